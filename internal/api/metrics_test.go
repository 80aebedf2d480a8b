package api

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"allclear/internal/fault"
)

func (f *fixture) scrape() string {
	f.t.Helper()
	resp, err := http.Get("http://" + f.server.Addr() + "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		f.t.Fatalf("%s %v: %s", resp.Status, err, b)
	}
	return string(b)
}

func TestMetricsTellOfFaultsAndChecks(t *testing.T) {
	f := start(t)
	f.raise()
	text := f.scrape()
	for _, want := range []string{
		`allclear_fault_active{code="demo/broken",resource="thing",severity="major"} 1`,
		`allclear_faults{severity="major"} 1`,
		`allclear_faults{severity="critical"} 0`,
		`allclear_drill_faults 0`,
		`allclear_check_last_success_timestamp_seconds{check="demo.thing@thing"} 1`, // and more digits
		`allclear_check_duration_seconds{check="demo.thing@thing"} `,
		`allclear_checks{state="faulty"} 1`,
		`allclear_journal_held_events 0`,
		`allclear_journal_failing 0`,
		`allclear_build_info{go_version="go1",revision="abc",version="1.2.3"} 1`,
		`go_goroutines `, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no line begins with %s", want)
		}
	}
	_, seq := f.rec.Head()
	if want := fmt.Sprintf("\nallclear_journal_seq %d\n", seq); !strings.Contains(text, want) {
		t.Errorf("want %q", want)
	}
}

func TestDrillFaultsAreNoSeries(t *testing.T) {
	f := start(t)
	key := fault.Key{Code: codeBroken, Resource: fault.DrillPrefix + "run/thing"}
	f.observe(key)
	text := f.scrape()
	if strings.Contains(text, "allclear_fault_active{") || !strings.Contains(text, "\nallclear_drill_faults 1\n") {
		t.Errorf("a drill's fault: %s", regexp.MustCompile(`(?m)^allclear_(fault|drill).*$`).FindAllString(text, -1))
	}
}

func TestSeriesAreBounded(t *testing.T) {
	f := start(t)
	var keys []fault.Key
	for i := range maxSeries + 7 {
		keys = append(keys, fault.Key{Code: codeBroken, Resource: fmt.Sprintf("thing/%d", i)})
	}
	f.observe(keys...)
	text := f.scrape()
	if n := strings.Count(text, "\nallclear_fault_active{"); n != maxSeries {
		t.Errorf("%d series, want %d", n, maxSeries)
	}
	if !strings.Contains(text, "\n"+`allclear_series_left_out{metric="allclear_fault_active"} 7`+"\n") {
		t.Error("the rest is not counted")
	}
}

// observe lets a look say Present of keys, as a check would.
func (f *fixture) observe(keys ...fault.Key) {
	f.t.Helper()
	f.eventually("the agent has retired what nobody owns", func() bool { return !f.agent.Alive().IsZero() })
	look := fault.Look{
		Check: "demo.thing@thing", Trigger: fault.TriggerTimer, Started: f.rec.NextOrder(), At: f.rec.Now(), Every: 1 << 40,
		Resource: thing, Codes: []fault.Code{codeBroken},
	}
	for _, k := range keys {
		look.Observations = append(look.Observations, fault.Observation{Key: k, Verdict: fault.Present})
	}
	look.Ended = f.rec.NextOrder()
	if _, err := f.rec.Observe(f.t.Context(), look); err != nil {
		f.t.Fatal(err)
	}
}

func TestPromtoolFindsNothingToSay(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs: promtool")
	}
	f := start(t)
	f.raise()
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(f.scrape())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
