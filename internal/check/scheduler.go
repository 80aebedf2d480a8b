package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"allclear/internal/fault"
)

// Recorder is where looks go.
type Recorder interface {
	// Observe records a look. An error means that what the look wanted to clear
	// was not cleared; what it raised stands.
	Observe(ctx context.Context, l fault.Look) (fault.Outcome, error)
	// NextOrder draws from the process-wide counter that orders looks.
	NextOrder() uint64
	// Clock reads the node's clocks.
	Clock() fault.Clock
}

// refusedRetry is when a look is repeated whose clear could not be stored.
const refusedRetry = 30 * time.Second

// jitter spreads timed looks over this part of their interval, either way.
const jitter = 0.1

// Options are what a Scheduler needs.
type Options struct {
	Recorder Recorder
	Entries  Entries
	Log      *slog.Logger
	// Parallel is how many looks run at once. Zero is 16.
	Parallel int
}

// Scheduler runs checks: on their timers, at two speeds, and on demand, never
// two looks of one check at once.
type Scheduler struct {
	opts Options
	wake chan struct{} // capacity 1: plans changed

	mu      sync.Mutex // guards the fields below
	tasks   map[string]*task
	free    int  // slots for looks
	begun   bool // Run was called
	looks   sync.WaitGroup
	stopped bool
	planned time.Time // when Run last planned
}

// task is a check with its plan and record. The scheduler's lock guards it.
type task struct {
	// telling puts what is recorded of the check's own health in order: what was
	// decided last must be recorded last. It is taken before the scheduler's lock.
	telling sync.Mutex

	check    Check
	due      time.Time
	trigger  fault.Trigger
	running  bool
	stray    bool      // a Run outlived its deadline and has not returned
	gone     bool      // removed while running
	waiters  []*waiter // of the next look
	started  []time.Time
	last     Last
	ranAt    time.Time // when it last ran, by the rule of FAULTS.md; first: when planned
	firstRan bool
	failing  bool
	notRun   bool
	notRunAt time.Time
}

// waiter is an operator who waits for a look.
type waiter struct {
	done chan struct{}
	last Last
	err  error
}

// Last is the record of a check's newest look.
type Last struct {
	At          time.Time
	Duration    time.Duration
	Trigger     fault.Trigger
	Judgements  []Judgement
	Proved      []string
	Failure     string    // why the look said nothing; empty if it ended in order
	Conclusive  time.Time // when a look last judged something conclusively
	Events      []fault.Event
	RecordError error
}

// Judgement is one verdict of a look.
type Judgement struct {
	Key     fault.Key
	Verdict fault.Verdict
	Why     string
}

// NewScheduler returns a scheduler without checks.
func NewScheduler(opts Options) *Scheduler {
	if opts.Parallel == 0 {
		opts.Parallel = 16
	}
	return &Scheduler{opts: opts, wake: make(chan struct{}, 1), tasks: map[string]*task{}, free: opts.Parallel}
}

// Set replaces the checks. New and changed ones are looked at soon, those gone
// are not looked at again. first lists ids to look at before all others: the
// owners of faults that stand from an earlier process.
func (s *Scheduler) Set(checks []Check, first map[string]bool) error {
	var errs []error
	next := make(map[string]Check, len(checks))
	for _, c := range checks {
		if p := c.problem(s.opts.Entries); p != "" {
			errs = append(errs, errors.New(p))
		}
		if _, dup := next[c.ID()]; dup {
			errs = append(errs, fmt.Errorf("check %s is declared twice", c.ID()))
		}
		next[c.ID()] = c.withDefaults()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.tasks {
		if _, kept := next[id]; !kept {
			s.drop(id, t)
		}
	}
	now := time.Now()
	for id, c := range next {
		s.plan(id, c, first[id], now)
	}
	s.poke()
	return nil
}

// Add plans one more check, for a drill. Its first look is on demand or by its
// timer.
func (s *Scheduler) Add(c Check) error {
	if p := c.problem(s.opts.Entries); p != "" {
		return errors.New(p)
	}
	c = c.withDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dup := s.tasks[c.ID()]; dup {
		return fmt.Errorf("check %s is declared twice", c.ID())
	}
	now := time.Now()
	s.tasks[c.ID()] = &task{check: c, trigger: fault.TriggerTimer, due: now.Add(c.Every), ranAt: now}
	s.poke()
	return nil
}

// Remove forgets one check.
func (s *Scheduler) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil {
		s.drop(id, t)
	}
}

func (s *Scheduler) drop(id string, t *task) {
	t.gone = true
	delete(s.tasks, id)
	for _, w := range t.waiters {
		w.err = fmt.Errorf("check %s was removed", id)
		close(w.done)
	}
	t.waiters = nil
}

// plan takes a check over from a configuration. The caller holds the lock.
func (s *Scheduler) plan(id string, c Check, first bool, now time.Time) {
	t := s.tasks[id]
	if t == nil {
		t = &task{ranAt: now, trigger: fault.TriggerCreated}
		s.tasks[id] = t
	} else if t.check.Version == c.Version && t.check.Every == c.Every {
		t.check = c
		return
	} else {
		if t.stray { // what hangs is the look at what was configured before
			t.gone = true
			t = &task{ranAt: t.ranAt, failing: t.failing, notRun: t.notRun, notRunAt: t.notRunAt, last: t.last}
			s.tasks[id] = t
		}
		t.trigger = fault.TriggerChanged
	}
	if !s.begun {
		t.trigger = fault.TriggerStartup
	}
	t.check, t.due = c, now
	if first {
		t.due = now.Add(-time.Hour) // before all others
	}
}

// Run looks until ctx ends, then waits for the looks under way.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	s.begun = true
	s.mu.Unlock()
	defer s.stop()
	for {
		wait := s.startDue(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (s *Scheduler) stop() {
	s.mu.Lock()
	s.stopped = true
	for id, t := range s.tasks {
		for _, w := range t.waiters {
			w.err = fmt.Errorf("the agent stops before a look of %s", id)
			close(w.done)
		}
		t.waiters = nil
	}
	s.mu.Unlock()
	s.looks.Wait()
}

// Planned is when Run last planned; it does so at least once a second.
func (s *Scheduler) Planned() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.planned
}

// poke makes Run plan anew.
func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it was told already
	}
}

// idleWait is how long Run sleeps when nothing is planned; it also paces the
// watch over checks that do not run.
const idleWait = time.Second

// startDue starts the looks that are due, the longest due first, and returns
// the time until the next.
func (s *Scheduler) startDue(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.planned = now
	s.watch(ctx, now)
	for s.free > 0 {
		t := s.nextDue(now)
		if t == nil {
			break
		}
		s.begin(ctx, t, now)
	}
	wait := idleWait
	for _, t := range s.tasks {
		if !t.running && s.free > 0 {
			wait = min(wait, max(0, s.earliest(t, now).Sub(now)))
		}
	}
	return wait
}

func (s *Scheduler) nextDue(now time.Time) *task {
	var next *task
	for _, t := range s.tasks {
		if t.running || s.earliest(t, now).After(now) {
			continue
		}
		if next == nil || t.due.Before(next.due) {
			next = t
		}
	}
	return next
}

// operatorLooks is how many operator's looks a minute a resource with a Gap
// allows; further ones wait.
const operatorLooks = 6

// earliest is when the task may start: when it is due, but not before its Gap.
func (s *Scheduler) earliest(t *task, now time.Time) time.Time {
	if t.check.Gap == 0 || len(t.started) == 0 {
		return t.due
	}
	free := t.started[len(t.started)-1].Add(t.check.Gap)
	if t.trigger == fault.TriggerOperator {
		free = time.Time{}
		if n := len(t.started) - operatorLooks; n >= 0 {
			free = t.started[n].Add(time.Minute)
		}
	}
	if free.After(t.due) {
		return free
	}
	return t.due
}

// begin starts one look. The caller holds the lock.
func (s *Scheduler) begin(ctx context.Context, t *task, now time.Time) {
	t.running = true
	t.started = append(t.started, now)
	t.started = t.started[max(0, len(t.started)-operatorLooks):]
	s.free--
	c, trigger, waiters := t.check, t.trigger, t.waiters // as they are now: Set may change them before the look runs
	t.waiters = nil
	t.trigger = fault.TriggerTimer
	t.due = now.Add(spread(c.Every))
	s.looks.Go(func() { s.look(ctx, t, c, trigger, waiters) })
}

func spread(every time.Duration) time.Duration {
	return every + time.Duration((rand.Float64()*2-1)*jitter*float64(every))
}

// Ask wants a look at the check of that id, soon; unknown ids are ignored.
func (s *Scheduler) Ask(id string, trigger fault.Trigger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil {
		s.hasten(t, trigger, time.Now())
	}
}

// hasten brings a look forward to at. An operator's wish outranks others.
func (s *Scheduler) hasten(t *task, trigger fault.Trigger, at time.Time) {
	if at.Before(t.due) || trigger == fault.TriggerOperator {
		t.due = at
		if t.trigger != fault.TriggerOperator {
			t.trigger = trigger
		}
		s.poke()
	}
}

// Look looks now and waits for the result. A look that is under way is waited
// for and then followed by one more: it may have begun before what the caller
// wants to see judged. Where an earlier look hangs beyond its deadline there is
// nothing to wait for: the answer says so in its Failure.
func (s *Scheduler) Look(ctx context.Context, id string, trigger fault.Trigger) (Last, error) {
	w := &waiter{done: make(chan struct{})}
	s.mu.Lock()
	t := s.tasks[id]
	if t == nil || s.stopped {
		s.mu.Unlock()
		return Last{}, fmt.Errorf("no check %s", id)
	}
	if t.stray {
		defer s.mu.Unlock()
		return t.hanging(), nil
	}
	t.waiters = append(t.waiters, w)
	s.hasten(t, trigger, time.Now())
	s.mu.Unlock()
	select {
	case <-w.done:
		return w.last, w.err
	case <-ctx.Done():
		return Last{}, context.Cause(ctx)
	}
}

// AskCauses starts looks at the checks that own these keys.
func (s *Scheduler) AskCauses(keys []fault.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	asked := map[*task]bool{}
	for _, k := range keys {
		for _, t := range s.tasks {
			if !asked[t] && t.check.Owns(k) {
				asked[t] = true
				s.hasten(t, fault.TriggerCause, now)
			}
		}
	}
}

// Owner returns the id of the check that judges k; false if none does. The
// checks' own health belongs to the checks named by the resource.
func (s *Scheduler) Owner(k fault.Key) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Code == CodeFailed || k.Code == CodeNotRunning {
		_, ok := s.tasks[k.Resource]
		return k.Resource, ok
	}
	owner := ""
	longest := -1
	for id, t := range s.tasks {
		if t.check.Owns(k) && len(t.check.Resource) > longest {
			owner, longest = id, len(t.check.Resource)
		}
	}
	return owner, longest >= 0
}

// Owns claims that some check judges k.
func (s *Scheduler) Owns(k fault.Key) bool {
	_, ok := s.Owner(k)
	return ok
}
