package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"allclear/internal/api"
	"allclear/internal/fault"
)

// has claims that the page holds all of these words.
func has(t *testing.T, where, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			_, main, _ := strings.Cut(text, "<main")
			t.Errorf("%s does not say %q:\n%.3000s", where, w, main)
		}
	}
}

func TestTheOverviewNeverShowsABareGreen(t *testing.T) {
	f := start(t, &demo{things: 3})
	p := f.someone(api.Viewer)
	if _, err := f.agent.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, text := p.get("/")
	has(t, "all clear", text, "All clear", "checks were proved, none is late", "The oldest proof is that of", "3 checks", "Protected right now", "Not monitored here", `role="img"`)
	f.raise(t)
	_, text = p.get("/")
	has(t, "with faults", text, "No fault was cleared", "Not all clear: 3 faults", ": The thing is broken, since", "found faults", "3 major", "demo/broken<wbr>@thing-b")
}

func TestTheOverviewGoesOnWhereItReadLast(t *testing.T) {
	f := start(t, &demo{things: 1})
	p := f.someone(api.Viewer)
	cleared := func() int {
		_, text := p.get("/")
		return strings.Count(text, "by a look that proved it")
	}
	before := cleared()
	id := f.raise(t).ID
	raised := cleared()
	f.demo.broken.Store(false)
	if _, err := f.agent.Verify(t.Context(), []string{fmt.Sprint(id)}); err != nil {
		t.Fatal(err)
	}
	if after := cleared(); before != 0 || raised != 0 || after != 1 {
		t.Errorf("clears listed: %d, then %d, then %d; want 0, 0, 1", before, raised, after)
	}
}

func TestNothingConfiguredIsNotWell(t *testing.T) {
	f := start(t, &demo{})
	p := f.someone(api.Viewer)
	_, text := p.get("/")
	has(t, "overview", text, "Not configured", "Nobody set it up")
}

// TestFiveKindsOfNoRows reads what an empty list says: never the same thing.
func TestFiveKindsOfNoRows(t *testing.T) {
	f := start(t, &demo{things: 1})
	p := f.someone(api.Viewer)
	if _, err := f.agent.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, text := p.get("/faults")
	has(t, "well", text, "No active fault", "checks were proved")
	f.raise(t)
	_, text = p.get("/faults?q=ks-")
	has(t, "filtered", text, "Nothing matches <code>text=ks-</code>", "1 fault is active without the filter")
	f.demo.broken.Store(false)
	if _, err := f.agent.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, text = p.get("/faults?q=ks-")
	has(t, "filtered, and none", text, "That says nothing of what the filter leaves out")
	_, text = p.get("/timeline?range=1h")
	has(t, "timeline", text, "Cleared", "by a look that proved it")
	_, text = p.get("/checks?q=none-like-it")
	has(t, "checks", text, "No check matches")
	_, text = p.get("/notifications")
	has(t, "notifications", text, "This agent tells nobody")
	admin := f.someone(api.Admin)
	_, text = admin.get("/audit?q=none-like-it")
	has(t, "audit", text, "Nothing of the newest 200 matches")
}

func TestFiltersLiveInTheURLAndAreStrict(t *testing.T) {
	f := start(t, &demo{things: 30})
	f.raise(t)
	p := f.someone(api.Operator)
	for query, want := range map[string]int{
		"": 1, "group=none": 30, "group=resource": 30, "code=demo&group=none": 30, "q=D1&group=none": 30, "q=broken&group=none": 30,
		"resource=thing-b&group=none": 1, "q=thing-ax&group=none": 1, "severity=critical": 0, "severity=major&group=none": 30, "state=ack": 0, "state=cleared": 0,
	} {
		resp, text := p.get("/faults?" + query)
		if got := strings.Count(text, "data-fault"); resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%q: %s with %d rows, want %d", query, resp.Status, got, want)
		}
	}
	for _, bad := range []string{"severity=worst", "state=gone", "group=colour", "page=0", "page=x", "sevrity=major"} {
		if resp, _ := p.get("/faults?" + bad); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s, want 400", bad, resp.Status)
		}
	}
	_, text := p.get("/faults")
	has(t, "grouped", text, "30 resources", `popovertarget="m`)
}

// TestWithoutJavaScript does everything an operator does by plain forms.
func TestWithoutJavaScript(t *testing.T) {
	f := start(t, &demo{things: 1})
	id := fmt.Sprint(f.raise(t).ID)
	p := f.someone(api.Operator)
	step := func(op string, form url.Values, words ...string) {
		t.Helper()
		resp, text := p.post("/faults/"+id+"/"+op, form)
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: %s %s", op, resp.Status, text)
		}
		path, _, _ := strings.Cut(resp.Header.Get("Location"), "#")
		_, text = p.get(path)
		has(t, op, text, words...)
		if e := f.memory.last(); e.What != op || e.Target != id || e.Who != "anna" || e.Result != "done" {
			t.Errorf("%s is audited as %+v", op, e)
		}
	}
	step("verify", url.Values{"step": {"2"}}, `id="result-2" role="status"`, "Still present.", "asked for by a person")
	step("verify", nil, "Still present.")
	step("ack", url.Values{"reason": {"on it"}}, "Acknowledged.", "acknowledged by anna", "“on it”")
	step("unack", nil, "No longer acknowledged.")
	step("shelve", url.Values{"reason": {"later"}, "for": {"8h"}}, "Shelved.", "shelved until")
	step("unshelve", nil, "No longer shelved.")
	step("fix", url.Values{"reason": {"mended, I think"}}, "it is still there")
	f.demo.broken.Store(false)
	step("fix", url.Values{"reason": {"really"}}, "the repair is proved", "by a look that proved it")
	for op, form := range map[string]url.Values{"ack": {"reason": {"late"}}, "shelve": {"reason": {"x"}, "for": {"1000h"}}, "erase": nil} {
		resp, text := p.post("/faults/"+id+"/"+op, form)
		if resp.StatusCode/100 != 4 {
			t.Errorf("%s on a clear fault: %s", op, resp.Status)
		}
		has(t, op, text, "Not done")
	}
}

func TestARowActsOnAllItsFaults(t *testing.T) {
	f := start(t, &demo{things: 3})
	f.raise(t)
	p := f.someone(api.Operator)
	form := url.Values{"do": {"ack"}, "reason": {"all of them"}, "back": {"/faults"}}
	for _, row := range f.agent.Rows(api.Query{}) {
		form.Add("id", fmt.Sprint(row.ID))
	}
	if resp, text := p.post("/faults/act", form); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("acknowledge all: %s %s", resp.Status, text)
	}
	for _, row := range f.agent.Rows(api.Query{}) {
		if row.Mark != "ack" {
			t.Errorf("%s is not acknowledged", row.Key)
		}
	}
	form.Set("reason", "")
	if resp, _ := p.post("/faults/act", form); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without a reason: %s", resp.Status)
	}
}

func TestOneProbeAtATimeForEachSession(t *testing.T) {
	f := start(t, &demo{})
	p, other := f.someone(api.Operator), f.someone(api.Operator)
	form := url.Values{"kind": {"ssh"}, "target": {"nas"}}
	first := make(chan int)
	go func() {
		resp, _ := p.post("/probe", form)
		first <- resp.StatusCode
	}()
	for { // until the first is under way, the second is taken for it: then it waits as well
		resp, _ := p.do("POST", "/probe", strings.NewReader(""), "Content-Type", "application/x-www-form-urlencoded")
		if resp.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	close(f.prober.hold)
	if got := <-first; got != http.StatusOK {
		t.Errorf("the first probe: %d", got)
	}
	if resp, text := other.post("/probe", form); resp.StatusCode != http.StatusOK || !strings.Contains(text, "SSH nas") {
		t.Errorf("another session: %s", resp.Status)
	}
	if e := f.memory.last(); e.What != "probe ssh" || e.Target != "nas" {
		t.Errorf("the probe is audited as %+v", e)
	}
}

func TestTheStreamPatchesByIDAndResumes(t *testing.T) {
	f := start(t, &demo{things: 2})
	p := f.someone(api.Viewer)
	var seq string
	raised := make(chan struct{})
	events := p.stream(t, fmt.Sprint(f.agent.Brief().Seq))
	go func() {
		defer close(raised)
		f.demo.broken.Store(true)
		_, _ = f.agent.Verify(t.Context(), []string{"demo.thing"})
	}()
	patched, raises := map[string]string{}, 0
	for event, data := range events {
		kind, id, _ := strings.Cut(event, "#")
		switch kind {
		case "state":
			var list []struct{ I, T, S string }
			if err := json.Unmarshal([]byte(data), &list); err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				patched[l.I] = l.T + "/" + l.S
			}
		case "fault":
			var n struct{ Kind, S, W string }
			if err := json.Unmarshal([]byte(data), &n); err != nil {
				t.Fatal(err)
			}
			if n.Kind == string(fault.KindRaise) && n.S == "major" && n.W == "Major" {
				raises++
				if seq == "" {
					seq = id
				}
			}
		}
		if raises == 2 && patched["nav"] == "2/major" && patched["tab"] == "2 faults/major" {
			break
		}
	}
	<-raised
	for event := range p.stream(t, "0", "Last-Event-ID", seq) { // after the first raise: the second comes again
		if kind, id, _ := strings.Cut(event, "#"); kind == "fault" {
			if id == seq {
				t.Errorf("event %s came twice", seq)
			}
			break
		} else if kind == "lost" {
			t.Error("the stream could not resume")
			break
		}
	}
	for event := range p.stream(t, "0") { // events from before the page: it says so
		if event == "lost" {
			break
		} else if strings.HasPrefix(event, "fault") {
			t.Error("a page that missed events is not told")
			break
		}
	}
	if resp, _ := p.get("/events?after=x"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a stream after nothing: %s", resp.Status)
	}
}

// TestAnIdleStreamLives waits for the first sign of life, which comes later than
// any request may take to arrive.
func TestAnIdleStreamLives(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs: 15 seconds")
	}
	f := start(t, &demo{things: 1})
	for event := range f.someone(api.Viewer).stream(t, fmt.Sprint(f.agent.Brief().Seq)) {
		if event == "beat" {
			return
		}
	}
	t.Error("the stream ended before its first beat")
}

func TestColoursAreRememberedWithoutAScript(t *testing.T) {
	f := start(t, &demo{})
	p := f.someone(api.Viewer)
	resp, _ := p.post("/theme", url.Values{"theme": {"dark"}, "back": {"/checks"}})
	if resp.Header.Get("Location") != "/checks" {
		t.Errorf("back to %q", resp.Header.Get("Location"))
	}
	if _, text := p.get("/"); !strings.Contains(text, `data-theme="dark"`) {
		t.Error("the choice is forgotten")
	}
	if resp, _ := p.post("/theme", url.Values{"theme": {"pink"}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("pink: %s", resp.Status)
	}
}
