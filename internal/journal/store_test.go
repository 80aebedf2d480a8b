package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

func TestAFaultIsRaisedStoredAndCleared(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k, fault.Pair{Key: "fact", Value: "a"})
	v, _ := n.View(k)
	if !v.Active || !v.Durable || v.Seq != 2 || v.Epoch == "" {
		t.Fatalf("got active %t durable %t seq %d epoch %q", v.Active, v.Durable, v.Seq, v.Epoch)
	}
	n.absent(k)
	if n.active(k) {
		t.Fatal("still active after an absent look")
	}
	want := []fault.Kind{fault.KindBoot, fault.KindRaise, fault.KindClear}
	if diff := cmp.Diff(want, kinds(n.events(0))); diff != "" {
		t.Fatal(diff)
	}
	n.verified()
}

func TestAnUnchangedFaultWritesNoEvent(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k, fault.Pair{Key: "fact", Value: "a"})
	before, health := n.Head(), n.Health()
	for i := range 10 {
		n.clock.pass(2 * time.Minute)
		n.present(k, fault.Pair{Key: "fact", Value: "a"}, fault.Pair{Key: "reading", Value: fmt.Sprint(i)})
	}
	if n.Head() != before || n.Health().LastCommit != health.LastCommit {
		t.Fatalf("looks at an unchanged fault wrote events: head %v, was %v", n.Head(), before)
	}
	if v, _ := n.View(k); v.Sense.Get("reading") != "9" {
		t.Fatalf("the newest reading is not shown: %v", v.Sense)
	}
}

func TestARestartFindsEveryFaultAgain(t *testing.T) {
	n := newNode(t)
	for i := range 20 {
		n.present(key(plain, fmt.Sprint(i)))
	}
	n.absent(key(plain, "7"))
	k := key(plain, "3")
	if _, err := n.Operate(t.Context(), k, fault.Operator{Op: fault.OpShelve, By: "eve", Reason: "later", For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	was, _ := n.View(k)
	n.clock.pass(time.Minute)
	n.restart()
	if got := n.Summary().Active; got != 19 {
		t.Fatalf("%d active, want 19", got)
	}
	v, _ := n.View(k)
	if !v.Unverified || !v.Shelved || v.Seq != was.Seq || v.ID != was.ID || v.Epoch != was.Epoch {
		t.Fatalf("got %+v", v)
	}
	if n.Health().Unclean {
		t.Fatal("an orderly stop was taken for a crash")
	}
	n.verified()
	n.clock.reboot(40 * time.Minute)
	n.restart()
	if v, _ := n.View(k); !v.Shelved {
		t.Fatal("the shelf was lost in a reboot")
	}
	n.clock.pass(25 * time.Minute)
	n.tick()
	if v, _ := n.View(k); v.Shelved || v.Shelf != nil {
		t.Fatal("the shelf hides the fault past its end")
	}
	n.verified()
}

func TestSeqIsDenseAndTimeGrowsUnderClockJumps(t *testing.T) {
	n := newNode(t)
	for i := range 30 {
		n.clock.jump(time.Duration(i%5-2) * time.Hour)
		n.present(key(plain, fmt.Sprint(i)))
		if i%10 == 9 {
			n.restart()
		}
	}
	var at time.Time
	for i, ev := range n.events(0) {
		if ev.Seq != uint64(i)+1 {
			t.Fatalf("event %d has seq %d", i, ev.Seq)
		}
		if !ev.At.After(at) {
			t.Fatalf("event %d at %s is not after %s", ev.Seq, ev.At, at)
		}
		at = ev.At
	}
	n.verified()
}

func TestAStepOfTheClockIsAnEvent(t *testing.T) {
	n := newNode(t)
	n.clock.pass(time.Second)
	if events := n.tick(); len(events) != 0 {
		t.Fatalf("got %v from an even clock", kinds(events))
	}
	changed := n.Changed()
	n.clock.jump(-3 * time.Second)
	if diff := cmp.Diff([]fault.Kind{fault.KindClockStep}, kinds(n.tick())); diff != "" {
		t.Fatal(diff)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was woken")
	}
	if s := n.Health().ClockStep; s == nil || s.By != -3*time.Second {
		t.Fatalf("got %+v", s)
	}
	if events := n.tick(); len(events) != 0 {
		t.Fatalf("the step was told twice: %v", kinds(events))
	}
}

func TestAnOperatorsErrorsAreThoseOfTheCore(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	ack := fault.Operator{Op: fault.OpAck, By: "eve", Reason: "seen"}
	if _, err := n.Operate(t.Context(), k, ack); !errors.Is(err, journal.ErrNoFault) {
		t.Fatalf("got %v", err)
	}
	n.present(k)
	if _, err := n.Operate(t.Context(), k, fault.Operator{Op: fault.OpAck, By: "eve"}); !errors.Is(err, fault.ErrNoReason) {
		t.Fatalf("got %v", err)
	}
	if events, err := n.Operate(t.Context(), k, ack); err != nil || len(events) != 1 || events[0].Seq == 0 {
		t.Fatalf("got %v, %v", events, err)
	}
	if _, err := n.Apply(t.Context(), key("no/such-code", "x"), fault.RemedyStart{}); !errors.Is(err, fault.ErrUnknownCode) {
		t.Fatalf("got %v", err)
	}
}

func TestALookWithAForeignCodeChangesNothing(t *testing.T) {
	n := newNode(t)
	head := n.Head()
	_, err := n.look(
		fault.Observation{Key: key(plain, "a"), Verdict: fault.Present},
		fault.Observation{Key: key("no/such-code", "a"), Verdict: fault.Present},
	)
	if !errors.Is(err, fault.ErrUnknownCode) {
		t.Fatalf("got %v", err)
	}
	if n.active(key(plain, "a")) || n.Head() != head {
		t.Fatal("half of a refused look stands")
	}
}

func TestManyCallersShareTheJournal(t *testing.T) {
	n := newNode(t)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan uint64, 1)
	go func() {
		last := uint64(0)
		for ev, err := range n.Follow(ctx, 0) {
			if err != nil || ev.Seq != last+1 {
				t.Errorf("follower got %d after %d, %v", ev.Seq, last, err)
				break
			}
			if last = ev.Seq; last == 1+8*50*2 {
				break
			}
		}
		seen <- last
	}()
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				k := key(plain, fmt.Sprintf("%d/%d", w, i))
				n.present(k)
				n.Page(0, 10, nil)
				n.Pending("mail")
				n.absent(k)
			}
		})
	}
	wg.Wait()
	if last := <-seen; last != n.Head().Seq {
		t.Fatalf("the follower saw %d of %d events", last, n.Head().Seq)
	}
	stop()
	n.verified()
}

func TestHistoryPagesBackwards(t *testing.T) {
	n := newNode(t)
	a, b := key(plain, "a"), key(plain, "b")
	for range 5 {
		n.present(a)
		n.present(b)
		n.clock.pass(time.Hour)
		n.absent(a)
	}
	var got []uint64
	for before := uint64(0); ; {
		page, err := n.History(t.Context(), a, 3, before)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page {
			if ev.Key != a {
				t.Fatalf("history of %s holds %s", a, ev.Key)
			}
			got = append(got, ev.Seq)
			before = ev.Seq
		}
		if len(page) < 3 {
			break
		}
	}
	if len(got) != 10 || !slices.IsSortedFunc(got, func(x, y uint64) int { return int(y) - int(x) }) {
		t.Fatalf("got %v", got)
	}
	if _, err := n.History(t.Context(), key(plain, "no"), 3, 0); !errors.Is(err, journal.ErrNoFault) {
		t.Fatalf("got %v", err)
	}
}

func TestASinkHearsOfRaiseAndClear(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k)
	due := n.Pending("mail")
	if len(due) != 1 || due[0].Send != fault.SendRaise || due[0].Told != nil || !due[0].Durable {
		t.Fatalf("got %+v", due)
	}
	told := &fault.Told{Occurrence: due[0].Occurrence, Severity: due[0].Shown, Notice: due[0].Notice}
	if err := n.SetTold(t.Context(), "mail", k, told); err != nil {
		t.Fatal(err)
	}
	if due := n.Pending("mail"); len(due) != 0 {
		t.Fatalf("told twice: %+v", due)
	}
	n.restart()
	n.absent(k)
	due = n.Pending("mail")
	if len(due) != 1 || due[0].Send != fault.SendClear || *due[0].Told != *told {
		t.Fatalf("got %+v", due)
	}
	if err := n.SetTold(t.Context(), "mail", k, nil); err != nil {
		t.Fatal(err)
	}
	if due := n.Pending("mail"); len(due) != 0 || len(n.Sinks()) != 0 {
		t.Fatalf("got %+v, sinks %v", due, n.Sinks())
	}
}

func TestCursorsAndSinksSurviveARestart(t *testing.T) {
	n := newNode(t)
	k := key(plain, "web")
	n.present(k)
	ctx := t.Context()
	for _, err := range []error{
		n.SetCursor(ctx, "hub", 2), n.SetCursor(ctx, "old", 1), n.DropCursor(ctx, "old"),
		n.SetTold(ctx, "mail", k, &fault.Told{Notice: 1}), n.SetTold(ctx, "pager", k, &fault.Told{Notice: 1}), n.DropSink(ctx, "pager"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	n.restart()
	if n.Cursor("hub") != 2 || n.Cursor("old") != 0 {
		t.Fatalf("cursors %d and %d, want 2 and 0", n.Cursor("hub"), n.Cursor("old"))
	}
	if diff := cmp.Diff([]string{"mail"}, n.Sinks()); diff != "" {
		t.Fatal(diff)
	}
}

func TestDrillsOfAnEarlierProcessAreRetired(t *testing.T) {
	n := newNode(t)
	k := key(plain, fault.DrillPrefix+"1/web")
	n.present(k)
	n.restart()
	if v, _ := n.View(k); v.Active || v.ClearReason != fault.Retired {
		t.Fatalf("active %t, reason %q", v.Active, v.ClearReason)
	}
}

func TestASecondStoreIsRefused(t *testing.T) {
	n := newNode(t)
	_, err := journal.Open(t.Context(), n.opts)
	locked, ok := errors.AsType[*journal.LockedError](err)
	if !ok || locked.PID == 0 {
		t.Fatalf("got %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.open()
}

func TestCloseLeavesOneWholeFile(t *testing.T) {
	n := newNode(t)
	n.present(key(plain, "web"))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(n.database() + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the database is still open: its log is there (%v)", err)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	n := newNode(t)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.look(); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}
