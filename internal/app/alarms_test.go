package app

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/agent"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/lab"
	"allclear/internal/wire"
)

// TestYanglintAcceptsTheAlarms holds the export to RFC 8632 through a history
// of raises, clears, operators and a clock that jumps both ways.
func TestYanglintAcceptsTheAlarms(t *testing.T) {
	var jump atomic.Int64 // of the wall clock, ns
	read, err := journal.SystemClock()
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, rigOptions{clock: func() fault.Clock {
		c := read()
		c.Wall = c.Wall.Add(time.Duration(jump.Load()))
		return c
	}})
	key := r.door.key().String()
	operate := func(req wire.OperatorRequest) {
		t.Helper()
		if _, err := r.Operate(t.Context(), key, "eve", req); err != nil {
			t.Fatal(err)
		}
	}
	accept(t, r)
	for _, by := range []time.Duration{0, -48 * time.Hour, 24 * time.Hour, -time.Minute} {
		jump.Add(int64(by))
		if err := r.door.open(); err != nil {
			t.Fatal(err)
		}
		r.verify(t, "front")
		operate(wire.OperatorRequest{Op: fault.OpAck, Reason: `on "it"`})
		operate(wire.OperatorRequest{Op: fault.OpShelve, Reason: "tonight", For: "1h"})
		accept(t, r)
		operate(wire.OperatorRequest{Op: fault.OpUnshelve})
		accept(t, r)
		if err := r.door.close(); err != nil {
			t.Fatal(err)
		}
		r.verify(t, "front")
		accept(t, r)
	}
}

// accept has yanglint judge what the agent shows now, and checks what a schema
// cannot say: the first change is the newest and is the alarm's own state.
func accept(t *testing.T, r *rig) {
	t.Helper()
	doc, err := r.Alarms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(doc.Alarms.List.Alarms, doc.Alarms.Shelved.Alarms...) {
		if want := map[bool]string{true: "cleared", false: a.Severity}[a.Cleared]; a.Changes[0].Severity != want {
			t.Errorf("newest change of %s says %s, the alarm %s", a.Resource, a.Changes[0].Severity, want)
		}
		for i := 1; i < len(a.Changes); i++ {
			if !a.Changes[i].Time.Before(a.Changes[i-1].Time) {
				t.Errorf("changes of %s are not in order", a.Resource)
			}
		}
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	lab.Need(t, "yanglint")
	dir := t.TempDir()
	file, own := filepath.Join(dir, "alarms.json"), filepath.Join(dir, agent.AlarmModule+".yang")
	for name, content := range map[string][]byte{file: data, own: withTestCodes(t)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{
		"-p", "testdata/yang", "-f", "json", "-t", "data",
		"-F", "ietf-alarms:operator-actions,alarm-shelving,alarm-history,alarm-summary",
		"testdata/yang/ietf-alarms@2022-06-06.yang", own, file,
	}
	if out, err := exec.Command(lab.Program("yanglint"), args...).CombinedOutput(); err != nil {
		t.Fatalf("yanglint: %v\n%s\n%s", err, out, data)
	}
}

// withTestCodes is the shipped module with the identities of this test's codes.
func withTestCodes(t *testing.T) []byte {
	t.Helper()
	shipped, err := os.ReadFile("../../docs/yang/" + agent.AlarmModule + ".yang")
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSuffix(strings.TrimSpace(string(shipped)), "}")
	return []byte(module + "identity test.door-open { base al:alarm-type-id; }\n}\n")
}
