package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/agent"
	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// door is a small real subsystem: a file that must exist.
type door struct {
	path  string
	auto  *fault.Auto
	looks atomic.Int64
}

const codeDoor fault.Code = "test/door-open"

func (d *door) Name() string                                { return "door" }
func (d *door) Run(ctx context.Context, _ check.Sink) error { <-ctx.Done(); return nil }
func (d *door) Describe() (text string, configured bool)    { return "one door", true }
func (d *door) close() error                                { return os.WriteFile(d.path, nil, 0o600) }
func (d *door) open() error                                 { return os.Remove(d.path) }
func (d *door) key() fault.Key                              { return fault.Key{Code: codeDoor, Resource: "front"} }

func (d *door) Faults() []fault.Entry {
	return []fault.Entry{{
		Code: codeDoor, Title: "Door open", Impact: "i", Cause: "c", Raise: "r", Clear: "c", Severity: fault.Major,
		Remedy: []fault.Remedy{{Text: "Close it.", Impact: "none"}}, Auto: d.auto,
	}}
}

func (d *door) Checks() []check.Check {
	return []check.Check{{
		Name: "door.closed", Resource: "front", Codes: []fault.Code{codeDoor}, Every: time.Hour,
		Run: func(_ context.Context, r *check.Report) {
			d.looks.Add(1)
			if _, err := os.Stat(d.path); err != nil {
				r.Present(codeDoor, err, nil)
				return
			}
			r.Absent(codeDoor)
			r.Proved("the door is closed")
		},
	}}
}

func (d *door) Actions() []subsystem.Action {
	return []subsystem.Action{{
		Name: "close", Role: subsystem.Operator, Verifies: []fault.Key{d.key()},
		Do: func(context.Context, json.RawMessage, func(wire.Progress)) (any, error) { return nil, d.close() },
	}}
}

// rig is a running agent over a real journal.
type rig struct {
	*agent.Agent
	store *journal.Store
	door  *door
	stop  func()
}

type rigOptions struct {
	dir       string
	door      *door
	limits    fault.Limits
	failpoint func(string) error
	clock     func() fault.Clock
	auto      bool
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{path: filepath.Join(t.TempDir(), strings.Repeat("door", 16))}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t *testing.T, o rigOptions) *rig {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	if o.door == nil {
		o.door = newDoor(t)
	}
	catalogue, err := fault.NewCatalogue(slices.Concat(agent.Faults(), check.Faults(), o.door.Faults())...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := journal.Open(t.Context(), journal.Options{
		Dir: o.dir, Node: "node", Catalogue: catalogue, Limits: o.limits, BallastBytes: -1, Failpoint: o.failpoint, Clock: o.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	auto := map[fault.Code]bool{}
	if o.auto {
		auto[codeDoor] = true
	}
	a, err := agent.New(agent.Options{
		Node: "node", Recorder: recorder{store}, Catalogue: catalogue, Auto: auto,
		Subsystems: []subsystem.Subsystem{o.door}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r := &rig{Agent: a, store: store, door: o.door}
	r.stop = func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Errorf("stop: %v", err)
		}
		r.stop = func() {}
	}
	t.Cleanup(func() { r.stop() })
	r.verify(t)
	return r
}

func (r *rig) verify(t *testing.T, what ...string) wire.VerifyReply {
	t.Helper()
	reply, err := r.Verify(t.Context(), what)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func (r *rig) fault(t *testing.T, k fault.Key) wire.Fault {
	t.Helper()
	f, err := r.Fault(k.String())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func kindsOf(events []fault.Event) (kinds []fault.Kind) {
	for _, ev := range events {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func TestStatusIsClearOnlyByProof(t *testing.T) {
	r := start(t, rigOptions{})
	if st := r.Status(); st.Verdict != agent.AllClear || st.Summary.Checks != 4 || st.Summary.Conclusive != 4 {
		t.Fatalf("at first: %s, %+v", st.Sentence, st.Summary)
	}
	if err := r.door.open(); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); st.Verdict != agent.AllClear {
		t.Errorf("nobody looked yet, but: %s", st.Sentence)
	}
	reply := r.verify(t, "front")
	if st := r.Status(); st.Verdict != agent.Faulty || reply.Active != 1 || st.Faults[0].Code != codeDoor {
		t.Errorf("after the look: %s, %d active", st.Sentence, reply.Active)
	}
	if err := r.door.close(); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); st.Verdict != agent.Faulty {
		t.Errorf("cleared without a look: %s", st.Sentence)
	}
	reply = r.verify(t, "front")
	if st := r.Status(); st.Verdict != agent.AllClear || !slices.Equal(kindsOf(reply.Events), []fault.Kind{fault.KindClear}) {
		t.Errorf("after the repair: %s, events %v", st.Sentence, kindsOf(reply.Events))
	}
}

func TestAFixIsOnlyAMark(t *testing.T) {
	r := start(t, rigOptions{})
	if err := r.door.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	fix := wire.OperatorRequest{Op: fault.OpFix, Reason: "closed it"}
	reply, err := r.Operate(t.Context(), r.door.key().String(), "eve", fix)
	if err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(reply.Events); !slices.Equal(got, []fault.Kind{fault.KindFix, fault.KindVerifyFailed}) || reply.Fault.State != fault.Active {
		t.Errorf("a fix that mended nothing: %v, %s", got, reply.Fault.State)
	}
	if err := r.door.close(); err != nil {
		t.Fatal(err)
	}
	if reply, err = r.Operate(t.Context(), r.door.key().String(), "eve", fix); err != nil {
		t.Fatal(err)
	}
	if reply.Fault.State != fault.Clear || reply.Fault.ClearReason != fault.Verified {
		t.Errorf("a fix that did: %s, %s", reply.Fault.State, reply.Fault.ClearReason)
	}
	if _, err := r.Operate(t.Context(), r.door.key().String(), "eve", fix); !errors.Is(err, fault.ErrNotActive) {
		t.Errorf("a fix of a clear fault: %v", err)
	}
}

func TestAnActionIsFollowedByALook(t *testing.T) {
	r := start(t, rigOptions{})
	if err := r.door.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	_, events, err := r.Do(t.Context(), "door", "close", nil, func(wire.Progress) {})
	if err != nil || !slices.Equal(kindsOf(events), []fault.Kind{fault.KindClear}) {
		t.Errorf("events %v, error %v", kindsOf(events), err)
	}
}

func TestFaultsOutliveTheAgentAndAreLookedAtFirst(t *testing.T) {
	dir, d := t.TempDir(), newDoor(t)
	r := start(t, rigOptions{dir: dir, door: d})
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	id := r.fault(t, d.key()).ID
	r.stop()

	r = start(t, rigOptions{dir: dir, door: d})
	if f := r.fault(t, d.key()); f.ID != id || f.State != fault.Active || f.Unverified || f.Count != 1 {
		t.Errorf("after the restart: id %d (was %d), %s, unverified %v, count %d", f.ID, id, f.State, f.Unverified, f.Count)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, rigOptions{dir: dir, door: d})
	if f := r.fault(t, d.key()); f.State != fault.Clear || f.ClearReason != fault.Verified {
		t.Errorf("repaired while the agent was down: %s, %s", f.State, f.ClearReason)
	}
}

func TestNoFaultOutlivesItsCheck(t *testing.T) {
	dir, d := t.TempDir(), newDoor(t)
	r := start(t, rigOptions{dir: dir, door: d})
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	r.stop()
	catalogue, err := fault.NewCatalogue(slices.Concat(agent.Faults(), check.Faults(), d.Faults())...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := journal.Open(t.Context(), journal.Options{Dir: dir, Node: "node", Catalogue: catalogue, BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	a, err := agent.New(agent.Options{Node: "node", Recorder: recorder{store}, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f, err := a.Fault(d.key().String()); err != nil || f.State != fault.Clear || f.ClearReason != fault.Retired {
		t.Errorf("without its check: %s, %s, %v", f.State, f.ClearReason, err)
	}
}

func TestAFailingJournalIsAFaultThatClearsByAProvenWrite(t *testing.T) {
	var failing atomic.Bool
	r := start(t, rigOptions{failpoint: func(step string) error {
		if failing.Load() && step == "commit" {
			return errors.New("no space left on device")
		}
		return nil
	}})
	key := fault.Key{Code: agent.CodeStoreFailing, Resource: "journal"}
	failing.Store(true)
	if err := r.door.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	if f := r.fault(t, r.door.key()); f.State != fault.Active || f.Durable {
		t.Errorf("a raise with a failing journal: %s, durable %v", f.State, f.Durable)
	}
	r.verify(t, "journal")
	if f := r.fault(t, key); f.State != fault.Active || f.Severity != fault.Critical || !strings.Contains(f.Text, "no space left") {
		t.Errorf("store-failing: %s %s %q", f.State, f.Severity, f.Text)
	}
	if err := r.door.close(); err != nil {
		t.Fatal(err)
	}
	if reply := r.verify(t, "front"); reply.Looks[0].Refused == "" {
		t.Error("a refused clear is not told")
	}
	if f := r.fault(t, r.door.key()); f.State != fault.Active {
		t.Error("cleared while the journal cannot write")
	}
	failing.Store(false)
	eventually(t, "store-failing to clear", func() bool {
		r.verify(t)
		return r.fault(t, key).State == fault.Clear && r.fault(t, r.door.key()).State == fault.Clear
	})
	if audit, err := r.store.Verify(t.Context()); err != nil {
		t.Errorf("the chain after it: %+v, %v", audit, err)
	}
}

func TestALimitIsNeverSilent(t *testing.T) {
	r := start(t, rigOptions{limits: fault.Limits{Active: 100, SenseBytes: 4096, TextBytes: 64}})
	if err := r.door.open(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front") // the error's text is longer than 64 bytes
	r.verify(t, "journal")
	key := fault.Key{Code: agent.CodeLimitReached, Resource: "journal"}
	if f := r.fault(t, key); f.State != fault.Active {
		t.Fatalf("limit-reached: %s", f.State)
	}
	if err := r.door.close(); err != nil {
		t.Fatal(err)
	}
	r.verify(t, "front")
	r.verify(t, "journal")
	if f := r.fault(t, key); f.State != fault.Clear {
		t.Errorf("limit-reached afterwards: %s", f.State)
	}
}

func TestARefusedReloadStandsUntilAGoodOne(t *testing.T) {
	r := start(t, rigOptions{})
	key := fault.Key{Code: agent.CodeConfigRejected, Resource: "config"}
	r.ConfigLoaded("c.yaml", errors.New("c.yaml:3:5: watch: no\nc.yaml:4:1: x: no"))
	r.verify(t, "config")
	if f := r.fault(t, key); f.State != fault.Active || f.Sense["more"] != "1" {
		t.Errorf("after a bad reload: %s, %v", f.State, f.Sense)
	}
	r.ConfigLoaded("c.yaml", nil)
	r.verify(t, "config")
	if f := r.fault(t, key); f.State != fault.Clear {
		t.Errorf("after a good one: %s", f.State)
	}
}

func TestADamagedDatabaseIsSetAsideAndSettledByAPerson(t *testing.T) {
	dir, d := t.TempDir(), newDoor(t)
	r := start(t, rigOptions{dir: dir, door: d})
	r.stop()
	damage(t, dir)
	r = start(t, rigOptions{dir: dir, door: d})
	key := fault.Key{Code: agent.CodeStateReset, Resource: "journal"}
	if f := r.fault(t, key); f.State != fault.Active || f.Sense["set_aside"] == "" {
		t.Fatalf("state-reset: %s, %v", f.State, f.Sense)
	}
	if r.verify(t, "journal"); r.fault(t, key).State != fault.Active {
		t.Error("a look cleared it")
	}
	reply, err := r.Operate(t.Context(), key.String(), "eve", wire.OperatorRequest{Op: fault.OpFix, Reason: "seen"})
	if err != nil || reply.Fault.ClearReason != fault.ByTheOperator {
		t.Fatalf("fix: %s, %v", reply.Fault.ClearReason, err)
	}
	r.verify(t, "journal")
	r.stop()
	r = start(t, rigOptions{dir: dir, door: d})
	if f := r.fault(t, key); f.State != fault.Clear {
		t.Errorf("settled, but after a restart: %s", f.State)
	}
}

// damage overwrites parts of every page of the database and of its log.
func damage(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database in %s: %v", dir, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 100; i+64 < len(data); i += 512 {
			copy(data[i:], strings.Repeat("\xa5", 64))
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for what another goroutine of the agent is about to do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
