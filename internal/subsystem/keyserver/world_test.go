package keyserver_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver"
)

// world is a scheduler over the real fault core with a journal in memory.
type world struct {
	t     *testing.T
	lab   *lab.Lab
	sched *check.Scheduler
	start time.Time
	order atomic.Uint64

	mu     sync.Mutex // guards the fields below
	set    *fault.Set
	shown  time.Time
	events []fault.Event
	noted  *sync.Cond // a look was recorded; of mu
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := must(fault.NewCatalogue(append(keyserver.Faults(), check.Faults()...)...))(t)
	l := must(lab.New(t.Context(), t.TempDir()))(t)
	w := &world{t: t, lab: l, start: time.Now(), set: fault.NewSet(c, fault.DefaultLimits())}
	w.noted = sync.NewCond(&w.mu)
	w.sched = check.NewScheduler(check.Options{Recorder: w, Entries: c, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.sched.Run(ctx); err != nil {
			t.Errorf("scheduler: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return w
}

func (w *world) NextOrder() uint64 { return w.order.Add(1) }

func (w *world) Clock() fault.Clock {
	now := time.Now()
	return fault.Clock{Wall: now, Boot: now.Sub(w.start), BootID: "boot"}
}

func (w *world) Observe(_ context.Context, l fault.Look) (fault.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := fault.Now{Clock: w.Clock(), Order: w.order.Load()}
	now.Shown = now.Wall
	if !now.Shown.After(w.shown) {
		now.Shown = w.shown.Add(time.Microsecond)
	}
	out, err := w.set.Look(&l, now)
	w.set.Commit()
	if n := len(out.Events); n > 0 {
		w.shown = out.Events[n-1].At
	}
	w.events = append(w.events, out.Events...)
	w.noted.Broadcast()
	return out, err
}

// view is the fault as people see it; ok is false when it never was.
func (w *world) view(code fault.Code, resource string) (fault.View, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.set.View(fault.Key{Code: code, Resource: resource}, w.Clock())
}

// noticed are the events so far.
func (w *world) noticed() []fault.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// active claims that the fault stands.
func (w *world) active(code fault.Code, resource string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.set.Get(fault.Key{Code: code, Resource: resource})
	return f != nil && f.Active
}

// await waits until looks that nobody here takes have cleared the fault.
func (w *world) await(code fault.Code, resource string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.noted.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if f := w.set.Get(fault.Key{Code: code, Resource: resource}); f == nil || !f.Active {
			return
		}
		if ctx.Err() != nil {
			w.t.Fatalf("%s at %s was not cleared", code, resource)
		}
		w.noted.Wait()
	}
}

// fix is an operator's mark, which asks for a look.
func (w *world) fix(code fault.Code, resource string) {
	w.t.Helper()
	w.mu.Lock()
	now := fault.Now{Clock: w.Clock(), Order: w.order.Load()}
	w.shown = w.shown.Add(time.Microsecond)
	now.Shown = w.shown
	_, err := w.set.Apply(fault.Key{Code: code, Resource: resource}, fault.Operator{Op: fault.OpFix, By: "op", Reason: "roles were changed", Timeout: time.Minute}, now)
	w.set.Commit()
	w.mu.Unlock()
	if err != nil {
		w.t.Fatal(err)
	}
}

// look takes one look, which must end in order.
func (w *world) look(id string, trigger fault.Trigger) check.Last {
	w.t.Helper()
	last, err := w.sched.Look(w.t.Context(), id, trigger)
	if err != nil {
		w.t.Fatal(err)
	}
	if last.Failure != "" || last.RecordError != nil {
		w.t.Fatalf("look of %s: failure %q, record error %v", id, last.Failure, last.RecordError)
	}
	return last
}

// verdict is what a look says of a code, on whatever resource; Present first.
func verdict(last check.Last, code fault.Code) fault.Verdict {
	v := fault.Unknown
	for _, j := range last.Judgements {
		if j.Key.Code == code && (v == fault.Unknown || j.Verdict == fault.Present) {
			v = j.Verdict
		}
	}
	return v
}

func kindsOf(events []fault.Event, code fault.Code) (kinds []fault.Kind) {
	for _, ev := range events {
		if ev.Key.Code == code {
			kinds = append(kinds, ev.Kind)
		}
	}
	return kinds
}
