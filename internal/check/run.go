package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"allclear/internal/fault"
)

// ErrLate is the cause of a look's context when its time is over.
var ErrLate = errors.New("the look ran over its time")

// ending is how a Run ended.
type ending struct {
	failure string // "", "panic", "timeout", "rules"
	detail  string
	stack   string
}

// look takes one look from start to record.
func (s *Scheduler) look(ctx context.Context, t *task, c Check, trigger fault.Trigger, waiters []*waiter) {
	begun, clock := time.Now(), s.opts.Recorder.Clock()
	l := fault.Look{
		Check: c.ID(), Resource: c.Resource, Codes: c.Codes, Causes: c.Causes, Trigger: trigger,
		Every: c.Every, Timeout: c.Timeout, At: clock, Started: s.opts.Recorder.NextOrder(),
	}
	r := newReport(&c, s.opts.Entries, trigger)
	end, abandoned := s.run(ctx, &c, r, t)
	if ctx.Err() != nil && end.failure == "timeout" {
		s.finish(t, waiters, Last{}, context.Cause(ctx)) // the agent stops: that says nothing of the check
		return
	}
	l.Observations = r.look.observations()
	if end.failure != "" {
		l.Observations = r.look.unknown("the check failed: " + end.detail)
	} else {
		l.Complete = r.look.complete
	}
	if abandoned {
		l.Observations = newReport(&c, s.opts.Entries, trigger).look.unknown("the check failed: " + end.detail)
	}
	l.Ended = s.opts.Recorder.NextOrder()
	out, err := s.opts.Recorder.Observe(ctx, l)
	last := Last{
		At: begun, Duration: time.Since(begun), Trigger: trigger, Failure: end.detail,
		Events: out.Events, RecordError: err,
	}
	if end.failure == "" {
		last.Judgements, last.Proved = judgements(l.Observations), r.look.proved
	}
	s.health(ctx, t, &c, l, end)
	s.settle(t, &last, out, err)
	s.finish(t, waiters, last, nil)
}

// run calls the check with its deadline and catches what it must not do. A Run
// that outlives its deadline is left behind: its report is never read, and no
// other look of it starts until it returns.
func (s *Scheduler) run(ctx context.Context, c *Check, r *Report, t *task) (end ending, abandoned bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, ErrLate)
	defer cancel()
	done := make(chan ending, 1)
	go func() { // awaited through done, unless it hangs: see abandon
		defer func() {
			if p := recover(); p != nil {
				done <- ending{"panic", fmt.Sprintf("panic: %v", p), string(debug.Stack())}
			}
		}()
		c.Run(ctx, r)
		done <- ending{}
	}()
	late := ending{failure: "timeout", detail: fmt.Sprintf("no result within %s", c.Timeout)}
	select {
	case end = <-done:
		switch {
		case end.failure != "":
		case ctx.Err() != nil:
			end = late
		case r.look.misuse != "":
			end = ending{failure: "rules", detail: r.look.misuse}
		}
		return end, false
	case <-ctx.Done():
	}
	select { // a Run that heeds its context returns now
	case <-done:
		return late, false
	case <-time.After(grace):
	}
	s.opts.Log.LogAttrs(ctx, slog.LevelError, "check does not return after its deadline", slog.String("check", c.ID()))
	s.abandon(t, done)
	return late, true
}

// grace is how long a Run may take to return once its context has ended.
const grace = 2 * time.Second

// abandon keeps a task from being started until its stray Run returns.
func (s *Scheduler) abandon(t *task, done <-chan ending) {
	s.mu.Lock()
	t.stray = true
	s.mu.Unlock()
	go func() { // ends with the stray Run, which is beyond our reach
		<-done
		s.mu.Lock()
		t.stray, t.running = false, false
		s.mu.Unlock()
		s.poke()
	}()
}

func judgements(obs []fault.Observation) []Judgement {
	js := make([]Judgement, len(obs))
	for i, o := range obs {
		js[i] = Judgement{o.Key, o.Verdict, o.Text}
	}
	return js
}

// settle plans the next look by what this one found.
func (s *Scheduler) settle(t *task, last *Last, out fault.Outcome, err error) {
	s.mu.Lock()
	own := t.check
	s.mu.Unlock()
	for _, ev := range out.Events {
		if ev.Kind == fault.KindRaise && len(ev.Causes) > 0 {
			// Causes that this look judged itself were looked at just now.
			s.AskCauses(slices.DeleteFunc(slices.Clone(ev.Causes), own.Owns))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last.Conclusive = t.last.Conclusive
	for _, j := range last.Judgements {
		if j.Verdict != fault.Unknown {
			last.Conclusive = last.At
		}
	}
	t.last = *last
	next := t.check.Every
	if out.Active || last.Failure != "" {
		next = t.check.Fast
	}
	if err != nil {
		next = min(next, refusedRetry)
	}
	next = spread(next)
	if out.HoldEnd > 0 {
		next = min(next, out.HoldEnd)
	}
	if at := last.At.Add(next); at.Before(t.due) {
		t.due = at
	}
}

// finish frees the slot and answers those who waited.
func (s *Scheduler) finish(t *task, waiters []*waiter, last Last, err error) {
	s.mu.Lock()
	if !t.stray {
		t.running = false
	} else {
		waiters, t.waiters = append(waiters, t.waiters...), nil // no look follows before it returns
	}
	s.free++
	s.mu.Unlock()
	for _, w := range waiters {
		w.last, w.err = last, err
		close(w.done)
	}
	s.poke()
}

// hanging is the answer to who asks for a look while an earlier one has not
// returned. The scheduler's lock is held.
func (t *task) hanging() Last {
	last := t.last
	last.Judgements, last.Proved, last.Events = nil, nil, nil
	begun := t.started[len(t.started)-1]
	last.Failure = fmt.Sprintf("the look of %s hangs and has not returned; no other can start", begun.UTC().Format("15:04:05 UTC"))
	return last
}

// Report records what a subsystem's own loop noticed as a look of its check.
func (s *Scheduler) Report(ctx context.Context, id string, trigger fault.Trigger, judge func(*Report)) error {
	s.mu.Lock()
	t := s.tasks[id]
	if t == nil {
		s.mu.Unlock()
		return fmt.Errorf("no check %s", id)
	}
	c := t.check
	s.mu.Unlock()
	l := fault.Look{
		Check: id, Resource: c.Resource, Codes: c.Codes, Causes: c.Causes, Trigger: trigger,
		Every: c.Every, Timeout: c.Timeout, At: s.opts.Recorder.Clock(), Started: s.opts.Recorder.NextOrder(),
	}
	r := newReport(&c, s.opts.Entries, trigger)
	begun := time.Now()
	judge(r)
	if r.look.misuse != "" {
		return fmt.Errorf("report for check %s: %s", id, r.look.misuse)
	}
	l.Observations, l.Complete, l.Ended = r.look.observations(), r.look.complete, s.opts.Recorder.NextOrder()
	out, err := s.opts.Recorder.Observe(ctx, l)
	last := Last{
		At: begun, Trigger: trigger, Judgements: judgements(l.Observations), Proved: r.look.proved,
		Events: out.Events, RecordError: err,
	}
	s.health(ctx, t, &c, l, ending{})
	s.settle(t, &last, out, err)
	s.poke()
	return err
}
