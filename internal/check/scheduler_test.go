package check_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// thing is what the checks of these tests look at.
type thing struct {
	broken atomic.Bool
	looks  atomic.Int64
	last   atomic.Int64 // Unix nanoseconds of the newest look
}

func (th *thing) check(name string, every time.Duration) check.Check {
	return check.Check{
		Name: "test", Resource: name, Codes: []fault.Code{codeA}, Every: every,
		Run: func(_ context.Context, r *check.Report) {
			th.looks.Add(1)
			th.last.Store(time.Now().UnixNano())
			if th.broken.Load() {
				r.Present(codeA, errors.New("broken"), nil)
				return
			}
			r.Absent(codeA)
			r.Proved("it is well")
		},
	}
}

// running starts a scheduler with these checks in a bubble of synthetic time
// and stops it when the test ends.
func running(t *testing.T, checks ...check.Check) (*check.Scheduler, *memory) {
	t.Helper()
	m, c := newMemory(t)
	s := check.NewScheduler(check.Options{Recorder: m, Entries: c, Log: slog.New(slog.DiscardHandler), Parallel: 4})
	if err := s.Set(checks, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return s, m
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestStartupLooksAtOnceAndThenByTheTimer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		th := &thing{}
		running(t, th.check("x", time.Minute))
		if n := th.looks.Load(); n != 1 {
			t.Fatalf("%d looks at start-up, want 1", n)
		}
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		if n := th.looks.Load(); n < 9 || n > 13 { // ten, each up to a tenth early or late
			t.Errorf("%d looks in ten and a half minutes, want about 11", n)
		}
	})
}

func TestAFaultIsLookedAtFasterUntilItClears(t *testing.T) {
	bubble(t, func(t *testing.T) {
		th := &thing{}
		th.broken.Store(true)
		_, m := running(t, th.check("x", time.Hour))
		if !m.active(codeA, "x") {
			t.Fatal("not raised by the first look")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := th.looks.Load(); n < 4 || n > 7 { // every 12 minutes
			t.Errorf("%d looks in the hour, want about 6", n)
		}
		th.broken.Store(false)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if m.active(codeA, "x") {
			t.Error("still active a fast interval after the repair")
		}
		n := th.looks.Load()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if more := th.looks.Load() - n; more > 1 {
			t.Errorf("%d looks in half an hour after the clear, want the normal pace", more)
		}
	})
}

func TestAVerifyDuringALookIsFollowedByOneMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var looks atomic.Int64
		c := check.Check{
			Name: "test", Resource: "slow", Codes: []fault.Code{codeA}, Every: time.Hour,
			Run: func(_ context.Context, r *check.Report) {
				looks.Add(1)
				time.Sleep(5 * time.Second)
				r.Absent(codeA)
			},
		}
		s, _ := running(t, c)
		time.Sleep(time.Second) // in the middle of the first look
		last, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator)
		if err != nil {
			t.Fatal(err)
		}
		if n := looks.Load(); n != 2 {
			t.Errorf("%d looks, want the running one and one more", n)
		}
		if last.Trigger != fault.TriggerOperator {
			t.Errorf("the answer is of a look by %s", last.Trigger)
		}
	})
}

func TestNeverTwoLooksOfOneCheckAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var now, most atomic.Int64
		c := check.Check{
			Name: "test", Resource: "x", Codes: []fault.Code{codeA}, Every: time.Second,
			Run: func(_ context.Context, r *check.Report) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(3 * time.Second)
				now.Add(-1)
				r.Absent(codeA)
			},
		}
		s, _ := running(t, c)
		for range 5 {
			s.Ask(c.ID(), fault.TriggerCause)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if most.Load() != 1 {
			t.Errorf("%d looks at once", most.Load())
		}
	})
}

func TestAtMostSoManyLooksAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var now, most atomic.Int64
		var checks []check.Check
		for _, name := range strings.Fields("a b c d e f g h") {
			checks = append(checks, check.Check{
				Name: "test", Resource: name, Codes: []fault.Code{codeA}, Every: time.Hour,
				Run: func(_ context.Context, r *check.Report) {
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
					}
					time.Sleep(time.Second)
					now.Add(-1)
					r.Absent(codeA)
				},
			})
		}
		running(t, checks...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if most.Load() != 4 {
			t.Errorf("%d looks at once, want 4", most.Load())
		}
	})
}

func TestAFailedCheckSaysNothingAndIsAFaultOfItsOwn(t *testing.T) {
	run := map[string]func(ctx context.Context, r *check.Report){
		"panic": func(_ context.Context, r *check.Report) {
			r.Present(codeA, nil, nil)
			panic("boom")
		},
		"timeout": func(ctx context.Context, r *check.Report) {
			r.Present(codeA, nil, nil)
			<-ctx.Done()
		},
		"foreign code": func(_ context.Context, r *check.Report) {
			r.Present(codeA, nil, nil)
			r.Absent(codeB)
		},
		"undeclared sense": func(_ context.Context, r *check.Report) {
			r.Present(codeA, nil, map[string]string{"surprise": "1"})
		},
	}
	for name, f := range run {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var well atomic.Bool
				c := check.Check{
					Name: "test", Resource: "x", Codes: []fault.Code{codeA}, Every: time.Minute, Timeout: time.Second,
					Run: func(ctx context.Context, r *check.Report) {
						if well.Load() {
							r.Absent(codeA)
							return
						}
						f(ctx, r)
					},
				}
				s, m := running(t, c)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if m.active(codeA, "x") {
					t.Error("the failed look raised a fault")
				}
				if !m.active(check.CodeFailed, c.ID()) {
					t.Error("system/check-failed is not active")
				}
				well.Store(true)
				if _, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil {
					t.Fatal(err)
				}
				if m.active(check.CodeFailed, c.ID()) {
					t.Error("system/check-failed did not clear with a clean look")
				}
			})
		})
	}
}

func TestACheckThatCannotJudgeIsNotRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var well atomic.Bool
		c := check.Check{
			Name: "test", Resource: "x", Codes: []fault.Code{codeA}, Every: time.Minute,
			Run: func(_ context.Context, r *check.Report) {
				if well.Load() {
					r.Absent(codeA)
				}
			},
		}
		s, m := running(t, c)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if m.active(check.CodeNotRunning, c.ID()) {
			t.Error("raised before three intervals were over")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !m.active(check.CodeNotRunning, c.ID()) {
			t.Fatal("not raised after three intervals")
		}
		if m.active(check.CodeFailed, c.ID()) {
			t.Error("not judging is taken for a failed check")
		}
		well.Store(true)
		if _, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil {
			t.Fatal(err)
		}
		if m.active(check.CodeNotRunning, c.ID()) {
			t.Error("did not clear when the check ran")
		}
	})
}

func TestACheckThatHangsForEverIsLeftBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var looks atomic.Int64
		c := check.Check{
			Name: "test", Resource: "x", Codes: []fault.Code{codeA}, Every: time.Minute, Timeout: time.Second,
			Run: func(_ context.Context, r *check.Report) {
				if looks.Add(1) > 1 {
					r.Absent(codeA)
					return
				}
				<-release
				r.Present(codeA, nil, nil) // too late: nobody reads it
			},
		}
		th := &thing{}
		_, m := running(t, c, th.check("other", time.Minute))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := looks.Load(); n != 1 {
			t.Errorf("%d looks while one hangs", n)
		}
		if !m.active(check.CodeNotRunning, c.ID()) || !m.active(check.CodeFailed, c.ID()) {
			t.Error("a hanging check is not told of")
		}
		if th.looks.Load() < 4 {
			t.Errorf("the other check had %d looks", th.looks.Load())
		}
		close(release)
		synctest.Wait()
		if m.active(codeA, "x") {
			t.Error("the report of a look that was given up counted")
		}
	})
}

func TestASymptomAsksForItsCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cause, symptom := &thing{}, &thing{}
		follower := check.Check{
			Name: "job", Resource: "backup", Codes: []fault.Code{codeB}, Every: time.Hour,
			Causes: []fault.Key{{Code: codeA, Resource: "server"}},
			Run: func(_ context.Context, r *check.Report) {
				if symptom.broken.Load() {
					r.Present(codeB, nil, nil)
					return
				}
				r.Absent(codeB)
			},
		}
		s, m := running(t, cause.check("server", time.Hour), follower)
		cause.broken.Store(true)
		symptom.broken.Store(true)
		before := cause.looks.Load()
		if _, err := s.Look(t.Context(), follower.ID(), fault.TriggerOperator); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if cause.looks.Load() != before+1 {
			t.Fatal("the cause was not looked at when the symptom was raised")
		}
		if got := m.kinds(codeB); !slices.Equal(got, []fault.Kind{fault.KindRaise, fault.KindMask}) {
			t.Errorf("the symptom has %v, want raise, mask", got)
		}
	})
}

func TestALookIsPlannedForTheEndOfAHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		c := check.Check{
			Name: "test", Resource: "x", Codes: []fault.Code{codeHeld}, Every: 24 * time.Hour, Fast: 24 * time.Hour,
			Run: func(_ context.Context, r *check.Report) {
				if broken.Load() {
					r.Present(codeHeld, nil, nil)
					return
				}
				r.Absent(codeHeld)
			},
		}
		s, m := running(t, c)
		if m.active(codeHeld, "x") {
			t.Fatal("raised by the first look in spite of its hold")
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !m.active(codeHeld, "x") {
			t.Fatal("not raised a minute later: no look at the end of the hold")
		}
		broken.Store(false)
		if _, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil {
			t.Fatal(err)
		}
		if !m.active(codeHeld, "x") {
			t.Fatal("cleared by the first Absent in spite of its hold")
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if m.active(codeHeld, "x") {
			t.Error("not cleared at the end of the hold")
		}
	})
}

func TestARefusedClearIsLookedAtAgainInHalfAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		th := &thing{}
		th.broken.Store(true)
		c := th.check("x", 24*time.Hour)
		s, m := running(t, c)
		th.broken.Store(false)
		m.mu.Lock()
		m.refuse = true
		m.mu.Unlock()
		last, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator)
		if err != nil || last.RecordError == nil {
			t.Fatalf("the refusal is not told: %v, %v", last.RecordError, err)
		}
		if !m.active(codeA, "x") {
			t.Fatal("cleared although it was refused")
		}
		m.mu.Lock()
		m.refuse = false
		m.mu.Unlock()
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if m.active(codeA, "x") {
			t.Error("not looked at again within half a minute")
		}
	})
}

func TestAGapHoldsBackTimersAndBoundsOperators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		th := &thing{}
		c := th.check("x", time.Hour)
		c.Gap = 10 * time.Second
		s, _ := running(t, c)
		s.Ask(c.ID(), fault.TriggerCause)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := th.looks.Load(); n != 1 {
			t.Errorf("%d looks within the gap, want 1", n)
		}
		begin := time.Now()
		for range 8 { // with the one at start-up, six are free in the first minute
			if _, err := s.Look(t.Context(), c.ID(), fault.TriggerOperator); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(begin); waited < 45*time.Second || waited > 70*time.Second {
			t.Errorf("eight operator's looks took %s: six a minute are allowed", waited)
		}
	})
}

func TestAReloadLooksAtWhatChangedAndForgetsWhatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		kept, changed, gone, added := &thing{}, &thing{}, &thing{}, &thing{}
		c := changed.check("changed", time.Hour)
		c.Version = "1"
		s, m := running(t, kept.check("kept", time.Hour), c, gone.check("gone", time.Hour))
		c.Version = "2"
		if err := s.Set([]check.Check{kept.check("kept", time.Hour), c, added.check("added", time.Hour)}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if kept.looks.Load() != 1 || changed.looks.Load() != 2 || added.looks.Load() != 1 {
			t.Errorf("looks: kept %d, changed %d, added %d; want 1, 2, 1", kept.looks.Load(), changed.looks.Load(), added.looks.Load())
		}
		var triggers []fault.Trigger
		for _, l := range m.looks {
			if l.Resource == "changed" || l.Resource == "added" {
				triggers = append(triggers, l.Trigger)
			}
		}
		slices.Sort(triggers)
		if want := []fault.Trigger{fault.TriggerChanged, fault.TriggerCreated, fault.TriggerStartup}; !slices.Equal(triggers, want) {
			t.Errorf("triggers %v, want %v", triggers, want)
		}
		if _, err := s.Look(t.Context(), "test@gone", fault.TriggerOperator); err == nil {
			t.Error("a check that is gone was looked at")
		}
		if s.Owns(fault.Key{Code: codeA, Resource: "gone"}) || !s.Owns(fault.Key{Code: codeA, Resource: "added"}) {
			t.Error("ownership does not follow the reload")
		}
	})
}

func TestWhatIsUnverifiedIsLookedAtFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, c := newMemory(t)
		s := check.NewScheduler(check.Options{Recorder: m, Entries: c, Log: slog.New(slog.DiscardHandler), Parallel: 1})
		var checks []check.Check
		for _, name := range strings.Fields("a b c d") {
			checks = append(checks, (&thing{}).check(name, time.Hour))
		}
		if err := s.Set(checks, map[string]bool{"test@c": true}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		if m.looks[0].Resource != "c" {
			t.Errorf("the first look was at %s", m.looks[0].Resource)
		}
	})
}

func TestAReportIsALookLikeAnyOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		th := &thing{}
		c := th.check("x", time.Hour)
		s, m := running(t, c)
		err := s.Report(t.Context(), c.ID(), fault.TriggerTimer, func(r *check.Report) { r.Present(codeA, nil, nil) })
		if err != nil || !m.active(codeA, "x") {
			t.Fatalf("a report did not raise: %v", err)
		}
		err = s.Report(t.Context(), c.ID(), fault.TriggerTimer, func(r *check.Report) { r.Present(codeB, nil, nil) })
		if err == nil {
			t.Error("a foreign code was accepted")
		}
	})
}
