package journal_test

import (
	"errors"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

const day = 24 * time.Hour

func TestOldHistoryIsPrunedAndTheRestStaysTrue(t *testing.T) {
	n := newNode(t)
	active, shelved, told := key(plain, "active"), key(plain, "shelved"), key(plain, "told")
	n.present(active)
	for _, k := range []fault.Key{shelved, told, key(plain, "a"), key(plain, "b"), key(late, "c")} {
		n.present(k)
	}
	shelve := fault.Operator{Op: fault.OpShelve, By: "eve", Reason: "x", For: 30 * day}
	if _, err := n.Operate(t.Context(), shelved, shelve); err != nil {
		t.Fatal(err)
	}
	if err := n.SetTold(t.Context(), "mail", told, &fault.Told{Notice: 1}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []fault.Key{told, key(plain, "a"), key(plain, "b"), key(late, "c")} {
		n.absent(k)
	}
	n.clock.reboot(day)
	n.restart()
	n.clock.pass(89 * day)
	n.present(key(plain, "b")) // came back: it stays
	n.clock.pass(2 * day)
	raise := n.raiseOf(active)
	before := n.verified()
	n.tick() // stale, unshelve, and the pruning
	after := n.verified()
	if after.Removed == 0 || after.Events >= before.Events {
		t.Fatalf("nothing was pruned: %+v, before %+v", after, before)
	}
	for k, want := range map[fault.Key]bool{
		active: true, shelved: true, told: true, key(plain, "b"): true, key(plain, "a"): false, key(late, "c"): false,
	} {
		if _, ok := n.View(k); ok != want {
			t.Errorf("%s is there: %t, want %t", k, ok, want)
		}
	}
	if got := n.raiseOf(active); got != raise {
		t.Errorf("the raise of an active fault is gone: %d, was %d", got, raise)
	}
	n.present(key(plain, "a"))
	n.clock.reboot(0)
	n.restart()
	n.absent(active)
	n.verified()
	n.clock.pass(91 * day)
	n.tick()
	n.tick()
	n.verified()
	if v, ok := n.View(active); ok {
		t.Errorf("a fault cleared 91 days ago is still kept: %+v", v.Belief)
	}
	if _, ok := n.View(told); !ok {
		t.Error("a fault whose clear somebody waits for was forgotten")
	}
	n.restart()
	n.verified()
}

// raiseOf returns the seq of the first event of an active fault.
func (n *node) raiseOf(k fault.Key) uint64 {
	n.t.Helper()
	events, err := n.History(n.t.Context(), k, 100, 0)
	if err != nil || len(events) == 0 {
		n.t.Fatalf("no history of %s: %v", k, err)
	}
	first := events[len(events)-1]
	if first.Kind != fault.KindRaise {
		n.t.Fatalf("the first event of %s is %s", k, first.Kind)
	}
	return first.Seq
}

func TestOnlySoManyClearedFaultsAreKept(t *testing.T) {
	n := newNode(t, func(o *journal.Options) { o.MaxCleared = 20 })
	for i := range 60 {
		n.present(key(plain, itoa(i)))
		n.absent(key(plain, itoa(i)))
		n.clock.pass(time.Second)
		n.tick()
		if got := n.Health().Cleared; got > 20 {
			t.Fatalf("%d cleared faults kept", got)
		}
	}
	if _, ok := n.View(key(plain, "59")); !ok {
		t.Fatal("the newest was dropped")
	}
	n.verified()
	n.restart()
	n.verified()
}

func TestAFollowerHoldsBackPruning(t *testing.T) {
	n := newNode(t, func(o *journal.Options) { o.MaxCleared = 5 })
	if err := n.SetCursor(t.Context(), "hub", 3); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		n.present(key(plain, itoa(i)))
		n.absent(key(plain, itoa(i)))
	}
	n.tick()
	if got := n.events(3); len(got) != 38 && len(got) != 39 {
		t.Fatalf("%d events above the cursor are left, want all 38", len(got))
	}
	if err := n.SetCursor(t.Context(), "hub", n.Head().Seq); err != nil {
		t.Fatal(err)
	}
	n.tick()
	if got := n.Health().Cleared; got > 5 {
		t.Fatalf("%d cleared faults kept", got)
	}
	n.verified()
}

func TestAWrongDateDoesNotEmptyTheHistory(t *testing.T) {
	n := newNode(t)
	k := key(plain, "a")
	n.present(k)
	n.absent(k)
	n.clock.jump(3 * 365 * day)
	n.tick()
	n.clock.pass(2 * time.Hour)
	n.tick()
	if _, ok := n.View(k); !ok {
		t.Fatal("the history was pruned by a clock that had just stepped three years")
	}
	n.clock.pass(day)
	n.tick()
	n.clock.pass(time.Hour)
	n.tick()
	if _, ok := n.View(k); ok {
		t.Fatal("caution lasts for ever")
	}
	n.verified()
}

func TestADrillsClearedFaultGoesAfterADay(t *testing.T) {
	n := newNode(t)
	k := key(plain, fault.DrillPrefix+"1/web")
	n.present(k)
	n.absent(k)
	n.clock.pass(25 * time.Hour)
	n.tick()
	if _, ok := n.View(k); ok {
		t.Fatal("it is still there")
	}
	n.verified()
}

func TestPruningIsRefusedWhileTheStoreFails(t *testing.T) {
	n := newNode(t, func(o *journal.Options) { o.MaxCleared = 2 })
	for i := range 5 {
		n.present(key(plain, itoa(i)))
		n.absent(key(plain, itoa(i)))
	}
	n.disk.broken.Store(true)
	if _, err := n.look(fault.Observation{Key: key(plain, "0"), Verdict: fault.Present}); errors.Is(err, journal.ErrRefused) {
		t.Fatal("a raise was refused")
	}
	n.tick()
	if got := n.Health().Cleared; got != 4 {
		t.Fatalf("%d cleared, want all 4", got)
	}
	n.disk.broken.Store(false)
	n.tick()
	if got := n.Health().Cleared; got > 2 {
		t.Fatalf("%d cleared after the recovery", got)
	}
	n.verified()
}
