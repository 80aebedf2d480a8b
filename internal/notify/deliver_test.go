package notify_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/fault"
	"allclear/internal/notify"
)

var (
	r1 = fault.Key{Code: plain, Resource: "r1"}
	r2 = fault.Key{Code: plain, Resource: "r2"}
)

// play runs a story on the clock of the test and fails it if the node broke.
func play(t *testing.T, story func(t *testing.T, ctx context.Context, w *world)) {
	t.Helper()
	dir := fastDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(dir)
		w.start(t.Context())
		defer func() {
			w.stop()
			if w.err != nil {
				t.Error(w.err)
			}
		}()
		story(t, t.Context(), w)
	})
}

// agree fails the test if a receiver believes what is not so.
func (w *world) agree(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if wrong := w.wrong(); wrong != "" {
		t.Error(wrong)
	}
}

func TestRaiseWhoseAnswerIsLostIsCleared(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		for _, r := range w.rs {
			r.set(false, 3)
		}
		w.is(ctx, r1, fault.Present, fault.Major)
		synctest.Wait()
		w.is(ctx, r1, fault.Absent, 0)
		w.pass(ctx, 10*time.Minute, true)
		w.agree(t)
	})
}

func TestSeverityWhoseAnswerIsLostLeavesNoSecondAlarm(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Minor)
		w.agree(t)
		w.rs["am"].set(false, 3)
		w.pass(ctx, 2*time.Minute, false)
		w.is(ctx, r1, fault.Present, fault.Critical)
		synctest.Wait()
		w.is(ctx, r1, fault.Present, fault.Major)
		w.pass(ctx, 10*time.Minute, true)
		w.agree(t)
	})
}

func TestReceiverThatIsDownForADayHearsOfRaiseAndClear(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Major)
		w.agree(t)
		for _, r := range w.rs {
			r.set(true)
		}
		w.is(ctx, r1, fault.Absent, 0)
		w.is(ctx, r2, fault.Present, fault.Minor)
		w.pass(ctx, 26*time.Hour, true)
		for _, r := range w.rs {
			r.set(false)
		}
		w.pass(ctx, 2*time.Minute, true)
		w.agree(t)
		for name, r := range w.rs {
			last := r.messages()[len(r.messages())-1]
			folded := last.Type == notify.Digest && last.Late && len(last.Items) == 2
			if best := name == "mail" || name == "log"; folded != best {
				t.Errorf("%s: the last message is a %s of %d, late %t", name, last.Type, len(last.Items), last.Late)
			}
		}
	})
}

func TestFloodBecomesOneDigestAndTheCriticals(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		for i := range 40 {
			at := fault.Minor
			if i == 20 {
				at = fault.Critical
			}
			w.is(ctx, fault.Key{Code: plain, Resource: fmt.Sprint("f", i)}, fault.Present, at)
			w.pass(ctx, time.Second, false)
		}
		w.pass(ctx, 3*time.Minute, false)
		w.agree(t)
		single, digests, told := 0, 0, 0
		for _, m := range w.rs["mail"].messages() {
			if m.Type == notify.Digest {
				digests++
				told += len(m.Items)
			} else {
				single++
			}
		}
		if single != 11 || digests != 1 || told < 3 { // ten before it is a flood, and the critical one
			t.Errorf("%d single messages and %d digests of %d faults", single, digests, told)
		}
		w.pass(ctx, 12*time.Minute, false)
		w.agree(t)
		if n := len(w.rs["hook"].messages()); n != 40 {
			t.Errorf("a program was sent %d messages for 40 faults", n)
		}
	})
}

func TestHiddenFaultsAreNotToldAndTheirClearIs(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Major)
		w.agree(t)
		w.operate(ctx, r1, fault.Operator{Op: fault.OpShelve, For: time.Hour})
		w.pass(ctx, time.Minute, false)
		before := len(w.rs["hook"].messages())
		w.is(ctx, r1, fault.Present, fault.Critical) // worse, but shelved
		w.pass(ctx, time.Minute, false)
		if n := len(w.rs["hook"].messages()); n != before {
			t.Errorf("a shelved fault was told")
		}
		w.is(ctx, r1, fault.Absent, 0)
		w.pass(ctx, time.Second, false)
		if last := w.rs["hook"].messages()[before]; last.Type != notify.Clear {
			t.Errorf("told a %s, want the clear", last.Type)
		}
		w.agree(t)
	})
}

func TestRefusedMessageHoldsUpNoOther(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		for _, r := range w.rs {
			r.set(false, 4)
		}
		w.is(ctx, r1, fault.Present, fault.Major)
		synctest.Wait()
		w.is(ctx, r2, fault.Present, fault.Minor)
		synctest.Wait()
		for name, r := range w.rs {
			if _, ok := r.knows()[alarm{r2, map[bool]fault.Severity{true: fault.Minor}[r.bySeverity]}]; !ok {
				t.Errorf("%s was not told of the second fault", name)
			}
		}
		w.pass(ctx, time.Minute, false)
		w.agree(t)
	})
}

func TestRaiseIsToldWhileTheDiskIsFull(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.disk.full.Store(true)
		w.is(ctx, r1, fault.Present, fault.Major)
		w.pass(ctx, time.Second, false)
		heard := w.rs["hook"].messages()
		if len(heard) != 1 || heard[0].Fault.Durable {
			t.Fatalf("told %+v, want one raise marked as not durable", heard)
		}
		w.disk.full.Store(false)
		w.pass(ctx, 2*time.Minute, true)
		w.is(ctx, r1, fault.Absent, 0)
		w.pass(ctx, time.Second, false)
		w.agree(t)
		ids := map[string]bool{}
		for _, m := range w.rs["hook"].messages() {
			if ids[m.ID] {
				t.Errorf("id %s was given twice", m.ID)
			}
			ids[m.ID] = true
		}
	})
}

func TestLostDatabaseIsAnsweredByAResync(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Major)
		w.is(ctx, r2, fault.Present, fault.Major)
		w.agree(t)
		w.stop()
		if err := os.WriteFile(filepath.Join(w.dir, "journal.db"), bytes.Repeat([]byte("lost"), 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		w.start(ctx)
		if w.store.Health().SetAside == nil {
			t.Fatal("the journal has not noticed")
		}
		w.is(ctx, r1, fault.Present, fault.Major) // r2 was mended meanwhile, and nobody knows of it any more
		w.pass(ctx, 3*time.Minute, false)
		for _, name := range []string{"hook", "am"} {
			r := w.rs[name]
			n := 0
			for _, m := range r.messages() {
				if m.Type == notify.Resync {
					n++
				}
			}
			if knows := r.knows(); n != 1 || len(knows) != 1 {
				t.Errorf("%s had %d resyncs and believes %v", name, n, knows)
			}
		}
	})
}

func TestSinkIsNotToldOfItsOwnFailureAndOthersAre(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		own := fault.Key{Code: notify.CodeFailed, Resource: "hook"}
		w.is(ctx, own, fault.Present, fault.Major)
		w.pass(ctx, time.Minute, false)
		if heard := w.rs["hook"].messages(); len(heard) != 0 {
			t.Errorf("it was told of itself: %+v", heard)
		}
		if heard := w.rs["am"].messages(); len(heard) != 1 {
			t.Errorf("another was told %+v", heard)
		}
	})
}

func TestNewDestinationStartsWithNothingTold(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Major)
		w.agree(t)
		before := w.store.Sinks()
		w.rs = receivers()
		moved := sinks(w.rs)
		for i := range moved {
			moved[i].Identity += "'"
		}
		w.notifier.Configure(moved)
		w.pass(ctx, 2*time.Minute, true)
		w.agree(t)
		for _, name := range before {
			if slices.Contains(w.store.Sinks(), name) {
				t.Errorf("the records of %s are still there", name)
			}
		}
	})
}

func TestListSaysWhatIsDue(t *testing.T) {
	play(t, func(t *testing.T, ctx context.Context, w *world) {
		w.is(ctx, r1, fault.Present, fault.Major)
		w.agree(t)
		w.rs["hook"].set(true)
		w.is(ctx, r2, fault.Present, fault.Minor)
		w.pass(ctx, 5*time.Minute, false)
		head := w.store.Head().Seq
		for _, l := range w.notifier.List() {
			switch {
			case l.Name == "hook" && (l.State != "failing" || l.Pending != 1 || l.Lag == 0 || l.ToldSeq+l.Lag != head ||
				l.LagSeconds < 290 || l.LastError == "" || l.NextTry == nil || l.Failures < 3):
				t.Errorf("down: %+v", l)
			case l.Name != "hook" && (l.State != "ok" || l.Pending != 0 || l.Lag != 0 || l.ToldSeq != head || l.Told != 2):
				t.Errorf("well: %+v", l)
			}
		}
	})
}
