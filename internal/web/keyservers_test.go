package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"allclear/internal/api"
	"allclear/internal/wire"
)

// addKeyServers gives a workshop two servers, of which the second fails, and a
// key that is not being renewed.
func addKeyServers(s *workshop, text string) {
	now := time.Now().UTC().Add(-time.Minute)
	names := []string{"address", "connect", "tls", "certificate", "client-certificate", "version", "vendor", "role", "clock", "keys", "life", "replica"}
	probe := func(ok int) *wire.KMIPProbe {
		p := &wire.KMIPProbe{Target: "ks:5696", At: now, DurationMS: 84, OK: ok == 12, Keys: []wire.KMIPKeyFound{{Key: "repo", Gen: 7, Found: ok == 12, Check: "9c41e07d", Why: text}}}
		for i, n := range names {
			st := wire.KMIPStep{Number: i + 1, Name: n, Outcome: "ok", DurationMS: 1.5, Detail: text}
			if i == ok {
				st.Outcome = "failed"
			} else if i > ok {
				st.Outcome = "not-tried"
			}
			p.Steps = append(p.Steps, st)
		}
		if ok < 12 {
			p.Error, p.Code = "the server refused our certificate "+text, "keyserver/client-not-accepted"
		}
		return p
	}
	cert := wire.KeyServerCertificate{Which: "server", DaysLeft: 12, Certificate: wire.Certificate{Subject: text, NotAfter: now.Add(12 * 24 * time.Hour)}}
	points := []wire.KeyServerPoint{{At: now.Add(-time.Hour), OK: true, ConnectMS: 3, ExchangeMS: 1.2, TotalMS: 20}, {At: now, OK: false, ConnectMS: 900}}
	s.set("keyserver/servers", wire.List[wire.KeyServer]{Items: []wire.KeyServer{
		{
			Name: "ks1", Group: "main", Address: "127.0.0.1:5696", Profile: "generic", Primary: true, Origin: "configuration", Status: "online", Role: "master", Vendor: text, Product: text,
			Level: "4.1.1.0", KMIP: "1.4", TLS: "1.3", Certificates: []wire.KeyServerCertificate{cert}, Last: probe(12), History: points, Faults: []string{"keyserver/cert-expiring@ks1/cert/server"}, LifeTested: &now,
		},
		{Name: "ks2", Group: "main", Address: "[::1]:5697", Profile: "generic", Origin: "command", Status: "offline", Last: probe(4), History: points},
		{Name: "ks3", Group: "main", Address: "[::1]:5698", Profile: "generic", Origin: "command", Status: "unknown"},
	}})
	s.set("keyserver/groups", wire.List[wire.KeyServerGroup]{Items: []wire.KeyServerGroup{{Name: "main", MinKMIP: "1.3", MinTLS: "1.2", Interval: "6h0m0s", Fast: "15m0s", Primary: "ks1"}}})
	s.set("keyserver/survival", wire.Survivability{
		Servers: []string{"ks1", "ks2"},
		Things: []wire.SurvivalThing{
			{ID: "backup/etc" + text, Openers: []string{"ks1", "ks2"}, Recovery: true, Opens: true},
			{ID: "backup/sole", Openers: []string{"ks1"}, Sole: "ks1", Opens: true},
			{ID: "secret/local", Local: true, Opens: true},
			{ID: "secret/gone"},
		},
		Lost: []wire.SurvivalIfServer{{Server: "ks1", Keys: []string{"repo generation 7" + text}}, {Server: "ks2"}},
	})
	s.set("keyserver/keys", wire.List[wire.Key]{Items: []wire.Key{theKey(text)}})
}

func theKey(text string) wire.Key {
	now := time.Now().UTC().Add(-time.Hour)
	return wire.Key{
		Name: "repo", Group: "main", State: "current", Current: &wire.KeyGeneration{Gen: 7, Name: "repo-0007" + text, UID: "17", Check: "9c41e07d", Created: &now}, Cached: &now,
		Things: []wire.KeyThing{{ID: "backup/etc" + text, Copies: 2, Recovery: true, Slots: []wire.KeySlot{{Kind: "kmip", Group: "main", Gen: 7, Created: now}, {Kind: "recovery"}}}, {ID: "secret/x", Copies: 1, Slots: []wire.KeySlot{{Kind: "local"}}}},
	}
}

func TestKeyServersSayWhatSurvives(t *testing.T) {
	s := newWorkshop("")
	addKeyServers(s, "")
	f := withWorks(t, &demo{}, s)
	p := f.someone(api.Viewer)
	_, text := p.get("/keyservers")
	has(t, "key servers", text, "Group main: KMIP 1.3 or later, TLS 1.2 or later, validated every 6 h, every 15 min while a fault is active",
		"12 of 12", "Stopped at 5", "Not looked at yet", `aria-label="4 of 12 steps passed, step 5 failed"`, "the server refused our certificate", "primary, says master", "its own until", "2 validations: the newest answers in 900 ms",
		"Lose ks1", "Lose all", "from ks2", "Recovery key only", "Lost", "with the key file of this host", "Not known to open now", "Only ks1 was found to hold",
		"repo-0007", "generation 7 of group main", "key file of this host", "1 of 2 copies", "The steps take an admin.")
	if strings.Contains(text, `action="/keys/`) || strings.Contains(text, `action="/keyservers/test`) {
		t.Error("a viewer gets buttons")
	}
	_, text = p.get("/keyservers/ks1")
	has(t, "ks1", text, "Client certificate", "generation 7", "12 days left", "through its whole life", "3.0 ms", "1.2 ms")
	_, text = p.get("/keyservers/ks3")
	has(t, "ks3", text, "Nothing is known of this server", "No validation is recorded")
	if resp, _ := p.get("/keyservers/ks9"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a server that is not there: %s", resp.Status)
	}
}

func TestTheKindsOfNoKeyServer(t *testing.T) {
	s := newWorkshop("")
	f := withWorks(t, &demo{}, s)
	p := f.someone(api.Admin)
	_, text := p.get("/keyservers")
	has(t, "no subsystem", text, "This agent knows no key servers")
	addKeyServers(s, "")
	s.set("keyserver/survival", wire.Survivability{})
	s.set("keyserver/keys", wire.List[wire.Key]{Items: []wire.Key{{Name: "repo", Group: "main", State: "none"}}})
	_, text = p.get("/keyservers")
	has(t, "no key", text, "Nothing is sealed here yet", "Not made yet", "Make the key", "This key opens nothing yet")
	s.set("keyserver/servers", wire.List[wire.KeyServer]{})
	s.set("keyserver/groups", wire.List[wire.KeyServerGroup]{})
	_, text = p.get("/keyservers")
	has(t, "no server", text, "No key server is defined")
	if strings.Contains(text, "Make the key") {
		t.Error("a key can be made without a server")
	}
}

// TestARenewalIsGuidedStepByStep walks through the phases, and reads which steps
// are offered, done and under way in each.
func TestARenewalIsGuidedStepByStep(t *testing.T) {
	s := newWorkshop("")
	addKeyServers(s, "")
	f := withWorks(t, &demo{}, s)
	admin, operator := f.someone(api.Admin), f.someone(api.Operator)
	begun := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		phase   string
		next    []string
		current string // the step that is marked
		done    int
	}{
		{"", []string{"prepare"}, "Prepare:", 0},
		{"created", []string{"prepare", "cancel"}, "Prepare:", 0},
		{"proved", []string{"verify", "commit", "cancel"}, "Commit:", 2},
		{"verified", []string{"verify", "commit", "cancel"}, "Commit:", 2},
		{"committed", []string{"verify", "retire", "cancel"}, "Retire ", 3},
		{"dropped", []string{"retire"}, "Retire ", 3},
		{"cancelling", []string{"cancel"}, "", 0},
	} {
		k := theKey("")
		if c.phase != "" {
			k.Old = &wire.KeyGeneration{Gen: 7, Name: "repo-0007"}
			k.State, k.Renewal = "renewing", &wire.KeyRenewal{Phase: c.phase, New: wire.KeyGeneration{Gen: 8, Name: "repo-0008", Check: "11aa22bb"}, Started: begun, Changed: begun, Next: c.next, RetireAfter: &begun}
		}
		s.set("keyserver/keys", wire.List[wire.Key]{Items: []wire.Key{k}})
		_, text := admin.get("/keyservers")
		for _, step := range []string{"prepare", "verify", "commit", "retire", "cancel", "create"} {
			want := strings.Contains(strings.Join(c.next, " "), step)
			if got := strings.Contains(text, `action="/keys/repo/`+step+`"`); got != want {
				t.Errorf("%q: step %s is offered: %v", c.phase, step, got)
			}
		}
		_, marked, _ := strings.Cut(text, `<li aria-current="step">`)
		if c.current != "" && !strings.HasPrefix(strings.TrimPrefix(marked, "<h3>"), c.current) {
			t.Errorf("%q: the step under way is %.60q, want %q", c.phase, marked, c.current)
		}
		if got := strings.Count(text, ", done</span>"); got != c.done {
			t.Errorf("%q: %d steps are done, want %d", c.phase, got, c.done)
		}
		if _, text = operator.get("/keyservers"); strings.Contains(text, `action="/keys/`) {
			t.Errorf("%q: an operator gets the steps", c.phase)
		}
	}
}

func TestStepsOfKeysAreDoneAndAudited(t *testing.T) {
	s := newWorkshop("")
	addKeyServers(s, "")
	var fails error
	s.actions["keyserver/key-rekey"] = func(any, func(wire.Progress)) (any, error) { return theKey(""), fails }
	s.actions["keyserver/key-create"] = s.actions["keyserver/key-rekey"]
	s.actions["keyserver/test"] = func(any, func(wire.Progress)) (any, error) { return wire.List[wire.KeyServerReply]{}, nil }
	f := withWorks(t, &demo{}, s)
	admin, operator := f.someone(api.Admin), f.someone(api.Operator)
	if resp, text := admin.post("/keys/repo/prepare", nil); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), "/keyservers#") {
		t.Errorf("prepare: %s %s", resp.Status, text)
	}
	if e := f.memory.last(); e.What != "keyserver/key-rekey" || e.Target != "repo" || e.Result != "done" {
		t.Errorf("the step is audited as %+v", e)
	}
	if resp, _ := admin.post("/keys/repo/create", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("create: %s", resp.Status)
	}
	fails = errors.New("ks2 returned other bytes")
	resp, text := admin.post("/keys/repo/commit", nil)
	has(t, "a step that fails", text, "Ks2 returned other bytes.")
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("a step that fails: %s", resp.Status)
	}
	_, text = admin.get("/keyservers")
	has(t, "afterwards", text, "The step ended", "Ks2 returned other bytes")
	for _, path := range []string{"/keys/repo/retire", "/keys/repo/cancel", "/keys/repo/create"} {
		if resp, _ := operator.post(path, nil); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s by an operator: %s", path, resp.Status)
		}
	}
	if resp, _ := admin.post("/keys/repo/destroy", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a step that is none: %s", resp.Status)
	}
	if resp, _ := operator.post("/keyservers/test", url.Values{"server": {"ks1"}, "back": {"/keyservers/ks1"}}); resp.Header.Get("Location") != "/keyservers/ks1" {
		t.Errorf("a test: %s", resp.Status)
	}
	if e := f.memory.last(); e.What != "keyserver/test" || e.Target != "ks1" {
		t.Errorf("the test is audited as %+v", e)
	}
	want := fmt.Sprint([]string{
		"keyserver/key-rekey {Key:repo Step:prepare}", "keyserver/key-create {Key:repo Step:}", "keyserver/key-rekey {Key:repo Step:commit}", "keyserver/test {Name:ks1}",
	})
	if got := fmt.Sprint(s.done()); got != want {
		t.Errorf("done was %s, want %s", got, want)
	}
}

func TestHostileKeyServersStayText(t *testing.T) {
	s := newWorkshop("")
	addKeyServers(s, hostile)
	f := withWorks(t, &demo{}, s)
	p := f.someone(api.Admin)
	for _, path := range []string{"/keyservers", "/keyservers/ks1", "/keyservers/ks2", "/keyservers/" + url.PathEscape(hostile)} {
		_, text := p.get(path)
		harmless(t, path, text)
	}
	for event, data := range p.stream(t, "0") {
		if strings.ContainsAny(data, "<\x1b") {
			t.Errorf("the stream says %s", data)
		}
		if event == "state" {
			break
		}
	}
}
