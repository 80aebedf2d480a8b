package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

func TestAFaultFromRaiseToClearThroughTheAPI(t *testing.T) {
	f := start(t)
	broken := f.raise()
	if broken.State != fault.Active || broken.Severity != fault.Major || broken.Sense["how"] != "cracked" {
		t.Fatalf("raised as %+v", broken)
	}
	var list wire.List[wire.Fault]
	f.get("GET", "/v1/faults?code=demo&severity=major&resource=thing", "", &list)
	if len(list.Items) != 1 || list.Items[0].ID != broken.ID {
		t.Errorf("the filters that fit it find %+v", list.Items)
	}
	f.get("GET", "/v1/faults?severity=critical", "", &list)
	if len(list.Items) != 0 {
		t.Errorf("a filter that does not fit it finds %+v", list.Items)
	}
	var why wire.Why
	f.get("GET", fmt.Sprintf("/v1/faults/%d/why", broken.ID), "", &why)
	if len(why.Reasons) == 0 || why.Check == nil {
		t.Errorf("why says nothing: %+v", why)
	}
	var reply wire.OperatorReply
	f.get("POST", fmt.Sprintf("/v1/faults/%d/ack", broken.ID), `{"reason":"on it"}`, &reply)
	if m := reply.Fault.Operator; m.Mark != "ack" || m.Reason != "on it" || m.By != login(f.server.access.agentUID) {
		t.Errorf("acked as %+v", m)
	}
	f.get("POST", fmt.Sprintf("/v1/faults/%d/fix", broken.ID), `{"reason":"mended, I think"}`, &reply)
	if reply.Fault.State != fault.Active {
		t.Errorf("a mark cleared the fault: %+v", reply.Fault)
	}
	f.demo.broken.Store(false)
	f.get("POST", fmt.Sprintf("/v1/faults/%d/fix", broken.ID), `{"reason":"really"}`, &reply)
	if reply.Fault.State != fault.Clear || reply.Fault.ClearReason != fault.Verified {
		t.Errorf("after a look that proved it: %s, %s", reply.Fault.State, reply.Fault.ClearReason)
	}
	var history wire.List[fault.Event]
	f.get("GET", fmt.Sprintf("/v1/faults/%d/history?limit=2", broken.ID), "", &history)
	if len(history.Items) != 2 || history.Items[0].Kind != fault.KindClear || history.Next != fmt.Sprint(history.Items[1].Seq) {
		t.Errorf("the newest two of its history: %+v, next %q", history.Items, history.Next)
	}
	var older wire.List[fault.Event]
	f.get("GET", fmt.Sprintf("/v1/faults/%d/history?limit=100&before=%s", broken.ID, history.Next), "", &older)
	if n := len(older.Items); n == 0 || older.Items[n-1].Kind != fault.KindRaise || older.Next != "" {
		t.Errorf("the rest of its history: %+v, next %q", older.Items, older.Next)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	f := start(t)
	id := f.raise().ID
	big := `{"reason":"` + strings.Repeat("x", maxBody) + `"}`
	cases := []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v1/nothing", "", 404, "no-such-path"},
		{"GET", "/", "", 404, "no-such-path"},
		{"POST", "/v1/status", "", 405, "wrong-method"},
		{"GET", "/v1/verify", "", 405, "wrong-method"},
		{"DELETE", "/v1/faults/1", "", 405, "wrong-method"},
		{"GET", "/v1/faults?severty=major", "", 400, "bad-request"},
		{"GET", "/v1/faults?severity=none", "", 400, "bad-request"},
		{"GET", "/v1/faults?state=gone", "", 400, "bad-request"},
		{"GET", "/v1/faults?limit=0", "", 400, "bad-request"},
		{"GET", "/v1/faults?limit=1001", "", 400, "bad-request"},
		{"GET", "/v1/faults?after=-1", "", 400, "bad-request"},
		{"GET", "/v1/faults/999", "", 404, "no-such-fault"},
		{"GET", "/v1/faults/demo%2Fbroken@other", "", 404, "no-such-fault"},
		{"POST", fmt.Sprintf("/v1/faults/%d/erase", id), "{}", 404, "no-such-path"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), "{}", 400, "no-reason"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{"op":"fix","reason":"x"}`, 400, "bad-request"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{"reson":"x"}`, 400, "bad-request"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{"reason":"x"} {}`, 400, "bad-request"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{"reason":"` + strings.Repeat("x", maxReason+1) + `"}`, 400, "bad-request"},
		{"POST", fmt.Sprintf("/v1/faults/%d/ack", id), big, 413, "too-large"},
		{"POST", fmt.Sprintf("/v1/faults/%d/unack", id), "{}", 409, "not-acked"},
		{"POST", fmt.Sprintf("/v1/faults/%d/unshelve", id), "{}", 409, "not-shelved"},
		{"POST", fmt.Sprintf("/v1/faults/%d/shelve", id), `{"reason":"x"}`, 400, "shelf-time"},
		{"POST", fmt.Sprintf("/v1/faults/%d/shelve", id), `{"reason":"x","for":"800h"}`, 400, "shelf-time"},
		{"POST", fmt.Sprintf("/v1/faults/%d/shelve", id), `{"reason":"x","for":"1h","until":"2100-01-01T00:00:00Z"}`, 400, "bad-request"},
		{"POST", "/v1/verify", `{"select":["nothing-like-it"]}`, 404, "nothing-selected"},
		{"POST", "/v1/preflight", "", 400, "bad-request"},
		{"GET", "/v1/demo/beats?refuse=1", "", 500, "internal"},
		{"POST", "/v1/demo/mend", `{"fail":"at once"}`, 500, "internal"},
	}
	for _, c := range cases {
		resp, text := f.do(c.method, c.path, c.body)
		var reply wire.ErrorReply
		err := json.Unmarshal([]byte(text), &reply)
		if err != nil || resp.StatusCode != c.status || reply.Error.Code != c.code || reply.Error.Message == "" {
			t.Errorf("%s %s %.60s: got %d %.200s, want %d %s", c.method, c.path, c.body, resp.StatusCode, text, c.status, c.code)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, got)
		}
	}
}

func TestASubsystemIsMounted(t *testing.T) {
	f := start(t)
	f.raise()
	var view map[string]any
	f.get("GET", "/v1/demo/state?of=it", "", &view)
	if view["broken"] != true || view["of"] != "it" {
		t.Errorf("view: %v", view)
	}
	if _, text := f.do("GET", "/v1/demo/beats", ""); text != `{"item":1}`+"\n"+`{"item":2}`+"\n"+`{"item":3}`+"\n"+
		`{"error":{"code":"internal","message":"out of beats"}}`+"\n" {
		t.Errorf("stream: %s", text)
	}
	if _, text := f.do("POST", "/v1/demo/mend", `{"fail":"late"}`); !strings.HasPrefix(text, `{"progress":{"stage":"glue","percent":50}}`+"\n") ||
		!strings.HasSuffix(text, `{"error":{"code":"internal","message":"the glue is dry"}}`+"\n") {
		t.Errorf("an action that fails on its way: %s", text)
	}
	_, text := f.do("POST", "/v1/demo/mend", "")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var end wire.ActionLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil {
		t.Fatal(err)
	}
	if !end.Done || end.Result != "mended" || len(end.Events) != 1 || end.Events[0].Kind != fault.KindClear {
		t.Errorf("the action's end: %+v; want its result and the clear that the look after it found", end)
	}
}

func TestADrillIsToldLineByLineAndCountsNowhere(t *testing.T) {
	f := start(t)
	_, text := f.do("POST", "/v1/drill", `{"codes":["demo/broken"]}`)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var report, end wire.DrillLine
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &report) != nil || json.Unmarshal([]byte(lines[1]), &end) != nil {
		t.Fatalf("answer: %s", text)
	}
	if report.Report == nil || !report.Report.Passed || !end.Done {
		t.Errorf("report %+v, end %+v", report.Report, end)
	}
	var st wire.Status
	f.get("GET", "/v1/status", "", &st)
	if st.Summary.Active != 0 || st.Summary.Drills != 0 {
		t.Errorf("after the drill: %+v", st.Summary)
	}
}

func TestPreflightAndSupportAnswer(t *testing.T) {
	f := start(t)
	var findings wire.List[wire.Finding]
	f.get("POST", "/v1/preflight", `{"policy":"strict"}`, &findings)
	if len(findings.Items) != 1 || findings.Items[0].Why != "policy strict" {
		t.Errorf("findings: %+v", findings)
	}
	var bundle map[string]any
	f.get("GET", "/v1/support", "", &bundle)
	if bundle["node"] != "web1" {
		t.Errorf("bundle: %v", bundle)
	}
}

func TestEveryChangeLeavesAnAuditLineWithUIDAndPID(t *testing.T) {
	f := start(t)
	id := f.raise().ID
	f.do("POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{"reason":"on it"}`)
	f.do("POST", fmt.Sprintf("/v1/faults/%d/ack", id), `{}`)
	f.do("GET", "/v1/status", "")
	var results []string
	for line := range strings.Lines(f.log.String()) {
		var l struct {
			Msg, Path, Result string
			UID, PID          *int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("log line %s: %v", line, err)
		}
		if l.Msg != "audit" {
			continue
		}
		if l.UID == nil || *l.UID != f.server.access.agentUID || l.PID == nil || *l.PID <= 0 {
			t.Errorf("audit line without the caller: %s", line)
		}
		results = append(results, l.Path+" "+l.Result)
	}
	want := []string{"/v1/verify done", fmt.Sprintf("/v1/faults/%d/ack done", id), fmt.Sprintf("/v1/faults/%d/ack no-reason", id)}
	if strings.Join(results, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit: %q, want %q", results, want)
	}
}

func TestPprofIsOnTheSocketOnly(t *testing.T) {
	f := start(t)
	if resp, _ := f.do("GET", "/debug/pprof/goroutine?debug=1", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("on the socket: %s", resp.Status)
	}
	if resp, _ := f.do("GET", "/debug/pprof/cmdline", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("cmdline: %s", resp.Status)
	}
	resp, err := http.Get("http://" + f.server.Addr() + "/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("on TCP: %s", resp.Status)
	}
}
