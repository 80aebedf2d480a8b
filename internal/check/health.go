package check

import (
	"context"
	"log/slog"
	"time"

	"allclear/internal/fault"
)

// health judges the check itself after a look. A check ran if its look returned
// in time and judged at least one of its codes.
func (s *Scheduler) health(ctx context.Context, t *task, c *Check, l fault.Look, end ending) {
	ran := end.failure == ""
	if ran {
		ran = false
		for _, o := range l.Observations {
			ran = ran || o.Verdict != fault.Unknown
		}
	}
	t.telling.Lock()
	defer t.telling.Unlock()
	s.mu.Lock()
	if t.gone {
		s.mu.Unlock()
		return
	}
	tellFailed := end.failure != "" || t.failing || !t.firstRan
	tellRunning := ran && (t.notRun || !t.firstRan)
	t.failing = end.failure != ""
	if ran {
		t.ranAt, t.notRun = time.Now(), false
	}
	t.firstRan = true
	s.mu.Unlock()

	var obs []fault.Observation
	if tellFailed {
		o := fault.Observation{Key: fault.Key{Code: CodeFailed, Resource: c.ID()}, Verdict: fault.Absent}
		if end.failure != "" {
			o.Verdict, o.Text = fault.Present, end.detail
			o.Sense = fault.NewSense(map[string]string{"failure": end.failure, "stack": end.stack})
		}
		obs = append(obs, o)
	}
	if tellRunning {
		obs = append(obs, fault.Observation{Key: fault.Key{Code: CodeNotRunning, Resource: c.ID()}, Verdict: fault.Absent})
	}
	s.recordHealth(ctx, c, obs)
}

// watch raises the fault of checks that did not run for three intervals. The
// caller holds the lock.
func (s *Scheduler) watch(ctx context.Context, now time.Time) {
	for _, t := range s.tasks {
		silent := now.Sub(t.ranAt)
		if silent < 3*t.check.Every+t.check.Timeout || now.Sub(t.notRunAt) < t.check.Every {
			continue
		}
		t.notRun, t.notRunAt = true, now
		c := t.check
		reason := "its looks could judge nothing"
		switch {
		case t.stray:
			reason = "a look hangs and does not return"
		case t.last.Failure != "":
			reason = t.last.Failure
		case t.last.At.IsZero():
			reason = "it was never looked at"
		}
		o := fault.Observation{
			Key: fault.Key{Code: CodeNotRunning, Resource: c.ID()}, Verdict: fault.Present, Text: reason,
			Sense: fault.NewSense(map[string]string{
				"reason": reason, "last_ran": t.ranAt.UTC().Format(time.RFC3339), "interval": c.Every.String(),
			}),
		}
		s.looks.Go(func() { s.tellNotRunning(ctx, t, &c, o) })
	}
}

// tellNotRunning records the fault unless a look ran in the meantime.
func (s *Scheduler) tellNotRunning(ctx context.Context, t *task, c *Check, o fault.Observation) {
	t.telling.Lock()
	defer t.telling.Unlock()
	s.mu.Lock()
	still := t.notRun && !t.gone
	s.mu.Unlock()
	if still {
		s.recordHealth(ctx, c, []fault.Observation{o})
	}
}

// recordHealth records the look at the check itself.
func (s *Scheduler) recordHealth(ctx context.Context, c *Check, obs []fault.Observation) {
	if len(obs) == 0 {
		return
	}
	l := fault.Look{
		Check: "check@" + c.ID(), Resource: c.ID(), Codes: []fault.Code{CodeFailed, CodeNotRunning},
		Trigger: fault.TriggerTimer, Every: c.Every, Timeout: c.Timeout, At: s.opts.Recorder.Clock(),
		Started: s.opts.Recorder.NextOrder(), Observations: obs,
	}
	l.Ended = s.opts.Recorder.NextOrder()
	if _, err := s.opts.Recorder.Observe(ctx, l); err != nil {
		s.mu.Lock()
		if t := s.tasks[c.ID()]; t != nil {
			t.firstRan = false // say it again with the next look
		}
		s.mu.Unlock()
		s.opts.Log.LogAttrs(ctx, slog.LevelWarn, "health of a check not recorded",
			slog.String("check", c.ID()), slog.Any("error", err))
	}
}
