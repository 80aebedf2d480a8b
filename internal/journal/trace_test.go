package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// TestASinkThatHeardOnAFullDiskIsTold: the database remembers an older state,
// which the sink was told of; the trace alone knows that it may believe another.
func TestASinkThatHeardOnAFullDiskIsTold(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k)
	v, _ := n.View(k)
	for _, sink := range []string{"am", "hook"} {
		told := &fault.Told{Occurrence: v.Occurrence, Severity: v.Shown, Notice: v.Notice}
		if err := n.SetTold(t.Context(), sink, k, told); err != nil {
			t.Fatal(err)
		}
	}
	n.disk.broken.Store(true)
	worse := fault.Observation{Key: k, Verdict: fault.Present, Severity: fault.Critical, Text: "worse"}
	if _, err := n.look(worse); err != nil {
		t.Fatal(err)
	}
	for _, sink := range []string{"am", "hook"} {
		if err := n.SetTold(t.Context(), sink, k, &fault.Told{Severity: v.Shown}); err != nil {
			t.Fatal(err)
		}
	}
	_ = n.Close()
	n.disk.broken.Store(false)
	n.open()
	n.present(k)
	for _, sink := range []string{"am", "hook"} {
		due := n.Pending(sink)
		if len(due) != 1 || due[0].Send != fault.SendRaise || due[0].Told == nil || due[0].Told.Notice != 0 {
			t.Errorf("%s: due is %+v", sink, due)
		}
	}
}

// TestTheTraceHoldsManySinks: a key and 40 long names do not fit into a record.
func TestTheTraceHoldsManySinks(t *testing.T) {
	n := newNode(t)
	n.disk.broken.Store(true)
	keys := []fault.Key{key(plain, "a"), key(plain, strings.Repeat("x", 300)), key(plain, "c")}
	sink := func(i int) string { return fmt.Sprintf("%s-%d", strings.Repeat("s", 63), i) }
	for i := range 40 {
		for _, k := range keys {
			if i == 0 {
				n.present(k)
			}
			if err := n.SetTold(t.Context(), sink(i), k, &fault.Told{Notice: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if h := n.Health(); h.Untraced != 0 {
		t.Fatalf("%d are without a trace", h.Untraced)
	}
	_ = n.Close()
	n.open() // and what is there is kept while the disk takes nothing
	_ = n.Close()
	n.disk.broken.Store(false)
	n.open()
	for i := range 40 {
		if told := n.Told(sink(i)); len(told) != len(keys) {
			t.Errorf("sink %d may have heard of %v", i, told)
		}
	}
	for _, k := range keys {
		n.absent(k)
	}
	n.restart()
	for _, k := range keys {
		if n.active(k) {
			t.Errorf("an old trace brought %s back", k)
		}
	}
}

// tell notes that the sink may hear of the fault, as a sender does before it sends.
func (n *node) tell(sink string, keys ...fault.Key) error {
	told := map[fault.Key]*fault.Told{}
	for _, k := range keys {
		told[k] = &fault.Told{}
	}
	return n.SetToldAll(n.t.Context(), sink, told)
}

// TestWhatLeavesNoTraceIsToldLate: while not even the trace file takes anything
// nobody is told before the next start would know of it.
func TestWhatLeavesNoTraceIsToldLate(t *testing.T) {
	n := newNode(t)
	a, b := key(plain, "a"), key(plain, strings.Repeat("x", 600)) // too long for the trace
	n.disk.broken.Store(true)
	n.present(a)
	n.present(b)
	err := n.tell("hook", a, b)
	untraced, ok := errors.AsType[*journal.UntracedError](err)
	if !ok || len(untraced.Keys) != 1 || untraced.Keys[0] != b {
		t.Fatalf("got %v", err)
	}
	if told := n.Told("hook"); len(told) != 1 {
		t.Fatalf("told of %v", told)
	}
	n.clock.pass(2*time.Minute - time.Second)
	if err := n.tell("hook", b); err == nil {
		t.Fatal("it may be told before the next start can know")
	}
	n.clock.pass(time.Second)
	if err := n.tell("hook", b); err != nil {
		t.Fatal(err)
	}
	if lost := n.Lost(); !lost.IsZero() {
		t.Fatalf("lost at %s", lost)
	}
	_ = n.Close()
	n.open() // and the disk is still broken
	began := n.Now().Wall
	_ = n.Close()
	n.open()
	n.disk.broken.Store(false)
	n.tick()
	for range 2 { // the second finds a clean end
		if lost := n.Lost(); !lost.Equal(began) {
			t.Errorf("lost at %s, want %s", lost, began)
		}
		n.clock.pass(time.Hour)
		n.restart()
	}
}

// TestOnlyAnUncleanEndLongAgoIsInDoubt: while a database works it has a
// heartbeat, and whatever was told.
func TestOnlyAnUncleanEndLongAgoIsInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		clean  bool
		after  time.Duration
		reboot bool
		doubt  bool
	}{
		"clean, an hour ago": {clean: true, after: time.Hour},
		"clean, rebooted":    {clean: true, reboot: true},
		"unclean, just now":  {after: 50 * time.Second},
		"unclean, long ago":  {after: 2 * time.Minute, doubt: true},
		"unclean, rebooted":  {reboot: true, doubt: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			for range 200 {
				n.clock.pass(time.Second)
				n.tick()
			}
			dir := copyJournal(t, n.opts.Dir)
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			if !c.clean {
				n.opts.Dir = dir
			}
			n.clock.pass(c.after)
			if c.reboot {
				n.clock.reboot(time.Second)
			}
			n.open()
			if got := !n.Lost().IsZero(); got != c.doubt {
				t.Errorf("in doubt: %t", got)
			}
		})
	}
}
