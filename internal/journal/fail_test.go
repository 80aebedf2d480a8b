package journal_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

func TestAFailingStoreShowsRaisesAndRefusesClears(t *testing.T) {
	n := newNode(t)
	old, fresh := key(plain, "old"), key(plain, "fresh")
	n.present(old)
	changed, moved := n.Changed(), n.Moved()
	n.disk.broken.Store(true)

	out, err := n.look(
		fault.Observation{Key: old, Verdict: fault.Absent},
		fault.Observation{Key: fresh, Verdict: fault.Present},
	)
	if !errors.Is(err, journal.ErrRefused) {
		t.Fatalf("a clear that cannot be stored was not refused: %v", err)
	}
	if len(out.Events) != 1 || out.Events[0].Kind != fault.KindRaise || out.Events[0].Seq != 3 {
		t.Fatalf("got %+v", out.Events)
	}
	if !n.active(old) || !n.active(fresh) {
		t.Fatal("a fault is not visible")
	}
	if n.Durable(fresh) || !n.Durable(old) {
		t.Fatalf("durable: fresh %t, old %t", n.Durable(fresh), n.Durable(old))
	}
	for _, op := range []fault.Operator{
		{Op: fault.OpAck, By: "eve", Reason: "x"},
		{Op: fault.OpShelve, By: "eve", Reason: "x", For: time.Hour},
		{Op: fault.OpFix, By: "eve", Reason: "x", Timeout: time.Minute},
	} {
		if _, err := n.Operate(t.Context(), old, op); !errors.Is(err, journal.ErrRefused) {
			t.Errorf("%s was not refused: %v", op.Op, err)
		}
	}
	if _, err := n.Retire(t.Context(), nobody{}); !errors.Is(err, journal.ErrRefused) {
		t.Errorf("retirement was not refused: %v", err)
	}
	if err := n.SetCursor(t.Context(), "hub", 1); !errors.Is(err, journal.ErrRefused) || n.Cursor("hub") != 0 {
		t.Errorf("a cursor was moved without the disk: %v", err)
	}
	if v, _ := n.View(old); v.Mark != nil || v.Shelf != nil || !v.Active {
		t.Fatalf("a refused word changed the fault: %+v", v.Belief)
	}
	h := n.Health()
	if h.Failing.IsZero() || h.Held != 1 || h.Error == "" || h.Seq != 2 || h.Untraced != 0 {
		t.Fatalf("got %+v", h)
	}
	for name, c := range map[string]<-chan struct{}{"changed": changed, "moved": moved} {
		select {
		case <-c:
		default:
			t.Errorf("nobody waiting on %s was woken", name)
		}
	}
	if got := n.events(2); len(got) != 0 {
		t.Fatalf("a follower saw what is not stored: %v", kinds(got))
	}
	if got, err := n.History(t.Context(), fresh, 10, 0); err != nil || len(got) != 1 {
		t.Fatalf("history of a held fault: %v, %v", got, err)
	}

	n.disk.broken.Store(false)
	changed = n.Changed()
	n.tick()
	if h := n.Health(); !h.Failing.IsZero() || h.Held != 0 || !n.Durable(fresh) {
		t.Fatalf("not recovered: %+v", h)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was woken by the recovery")
	}
	n.absent(old)
	want := []fault.Kind{fault.KindBoot, fault.KindRaise, fault.KindRaise, fault.KindClear}
	if diff := cmp.Diff(want, kinds(n.events(0))); diff != "" {
		t.Fatal(diff)
	}
	n.verified()
}

type nobody struct{}

func (nobody) Owns(fault.Key) bool { return false }

func TestAChangeOfFactsAloneWaitsForTheDisk(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k, fault.Pair{Key: "fact", Value: "a"})
	early := n.NextOrder() // a look that begins now and takes long
	n.clock.pass(2 * time.Minute)
	n.disk.broken.Store(true)
	n.present(k, fault.Pair{Key: "fact", Value: "b"})
	if h := n.Health(); h.Held != 0 {
		t.Fatalf("a change of facts was held: %+v", h)
	}
	n.disk.broken.Store(false)
	_, err := n.Observe(t.Context(), fault.Look{
		Check: "watch", Started: early, Ended: n.NextOrder(), At: n.Now(), Every: time.Minute,
		Observations: []fault.Observation{{Key: k, Verdict: fault.Absent}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !n.active(k) {
		t.Fatal("a look that began before the last bad one cleared the fault")
	}
	n.present(k, fault.Pair{Key: "fact", Value: "b"})
	if v, _ := n.View(k); v.Belief.Sense.Get("fact") != "b" {
		t.Fatalf("the change never came: %v", v.Belief.Sense)
	}
	n.verified()
}

func TestAShelfEndsWithAFailingDisk(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k)
	if _, err := n.Operate(t.Context(), k, fault.Operator{Op: fault.OpShelve, By: "eve", Reason: "x", For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	n.disk.broken.Store(true)
	n.clock.jump(-5 * time.Hour)
	n.clock.pass(time.Hour)
	n.tick()
	if v, _ := n.View(k); v.Shelved || v.Shelf != nil || v.Hidden {
		t.Fatalf("the shelf hides the fault past its end: %+v", v.Belief.Shelf)
	}
	n.disk.broken.Store(false)
	n.tick()
	n.verified()
}

func TestMasksAndLentSeverityAreHeldToo(t *testing.T) {
	n := newNode(t)
	n.disk.broken.Store(true)
	n.present(key(symptom, "a"))
	n.present(key(cause, "a"))
	if v, _ := n.View(key(symptom, "a")); len(v.MaskedBy) != 1 {
		t.Fatalf("not masked: %+v", v.MaskedBy)
	}
	n.clock.pass(5 * time.Minute)
	n.tick() // both go stale: a stale cause hides nothing
	if v, _ := n.View(key(symptom, "a")); len(v.MaskedBy) != 0 || !v.Stale {
		t.Fatalf("masked by %v, stale %t", v.MaskedBy, v.Stale)
	}
	n.disk.broken.Store(false)
	n.tick()
	if h := n.Health(); h.Held != 0 {
		t.Fatalf("got %+v", h)
	}
	n.verified()
}

func TestWhatWasHeldAndLostIsAdopted(t *testing.T) {
	n := newNode(t)
	told, silent := key(plain, "told"), key(plain, "silent")
	n.disk.broken.Store(true)
	n.present(told)
	n.present(silent)
	v, _ := n.View(told)
	if err := n.SetTold(t.Context(), "mail", told, &fault.Told{Occurrence: v.Occurrence, Severity: v.Shown, Notice: v.Notice}); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err == nil {
		t.Fatal("closing with held events says nothing")
	}
	n.disk.broken.Store(false)
	n.open()
	for _, k := range []fault.Key{told, silent} {
		if v, ok := n.View(k); !ok || !v.Active || !v.Unverified {
			t.Fatalf("%s was not adopted: %+v", k, v.Belief)
		}
	}
	n.absent(told)
	n.absent(silent)
	due := n.Pending("mail")
	if len(due) != 1 || due[0].Key != told || due[0].Send != fault.SendClear {
		t.Fatalf("got %+v", due)
	}
	n.verified()
	n.restart()
	if n.active(told) || n.active(silent) {
		t.Fatal("an old trace brought a cleared fault back")
	}
}

func TestAToldFaultWithoutABeliefIsAdopted(t *testing.T) {
	n := newNode(t)
	k := key(plain, "ghost")
	if err := n.SetTold(t.Context(), "mail", k, &fault.Told{Occurrence: 4, Severity: fault.Critical, Notice: 9}); err != nil {
		t.Fatal(err)
	}
	n.restart()
	v, ok := n.View(k)
	if !ok || !v.Active || v.Shown != fault.Critical {
		t.Fatalf("got %+v", v.Belief)
	}
	if due := n.Pending("mail"); len(due) != 0 {
		t.Fatalf("told again: %+v", due)
	}
	n.absent(k)
	if due := n.Pending("mail"); len(due) != 1 || due[0].Send != fault.SendClear {
		t.Fatalf("got %+v", due)
	}
}

func TestAHangingDiskHidesNoRaise(t *testing.T) {
	n := newNode(t, func(o *journal.Options) { o.Stall = 50 * time.Millisecond })
	old, fresh := key(plain, "old"), key(plain, "fresh")
	n.present(old)
	gate := make(chan struct{})
	n.disk.block.Store(&gate)
	if _, err := n.look(fault.Observation{Key: old, Verdict: fault.Absent}); !errors.Is(err, journal.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	n.present(fresh)
	if !n.active(old) || !n.active(fresh) || !n.Health().Stalled {
		t.Fatalf("old %t, fresh %t, %+v", n.active(old), n.active(fresh), n.Health())
	}
	n.disk.block.Store(nil)
	close(gate) // the refused clear reaches the disk after all
	recovered(t, n)
	if !n.active(old) || !n.active(fresh) {
		t.Fatal("a late commit changed what was answered")
	}
	want := []fault.Kind{fault.KindBoot, fault.KindRaise, fault.KindRaise}
	if diff := cmp.Diff(want, kinds(n.events(0))); diff != "" {
		t.Fatal(diff)
	}
	n.verified()
	n.restart()
	if !n.active(old) || !n.active(fresh) {
		t.Fatal("a restart found something else")
	}
}

// recovered ticks until the store writes again.
func recovered(t *testing.T, n *node) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !n.Health().Failing.IsZero(); {
		if time.Now().After(end) {
			t.Fatalf("the store never recovered: %+v", n.Health())
		}
		n.tick()
	}
}

func TestEveryFailingStepIsSafe(t *testing.T) {
	for _, step := range []string{"begin", "event", "belief", "commit", "trace"} {
		t.Run(step, func(t *testing.T) {
			n := newNode(t)
			n.present(key(plain, "a"))
			n.disk.step.Store(step)
			n.disk.broken.Store(true)
			for i := range 5 {
				n.present(key(plain, fmt.Sprint(i)))
				if !n.active(key(plain, fmt.Sprint(i))) {
					t.Fatal("a raise is not visible")
				}
			}
			n.disk.broken.Store(false)
			n.tick()
			if n.Head().Seq != 7 || n.verified().Faults != 6 {
				t.Fatalf("head %+v", n.Head())
			}
		})
	}
}

func TestARaiseWithoutATraceIsCounted(t *testing.T) {
	n := newNode(t)
	n.disk.broken.Store(true)
	n.present(key(plain, string(make([]byte, 600))))
	if h := n.Health(); h.Untraced != 1 {
		t.Fatalf("got %+v", h)
	}
}

func TestAStoreOpensOnADiskThatTakesNothing(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.disk.broken.Store(true)
	n.open()
	if !n.active(k) || n.Health().Failing.IsZero() {
		t.Fatalf("active %t, %+v", n.active(k), n.Health())
	}
	n.present(key(plain, "db"))
	n.disk.broken.Store(false)
	n.tick()
	want := []fault.Kind{fault.KindBoot, fault.KindRaise, fault.KindBoot, fault.KindRaise}
	if diff := cmp.Diff(want, kinds(n.events(0))); diff != "" {
		t.Fatal(diff)
	}
	n.verified()
}
