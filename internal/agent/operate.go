package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// Operate applies an operator's word to the fault named by ref. After a fix the
// owner check runs at once and the reply says what it found.
func (a *Agent) Operate(ctx context.Context, ref, who string, r wire.OperatorRequest) (wire.OperatorReply, error) {
	k, err := a.key(ref)
	if err != nil {
		return wire.OperatorReply{}, err
	}
	op := fault.Operator{Op: r.Op, By: who, Reason: r.Reason}
	switch {
	case r.Until != nil:
		op.For = time.Until(*r.Until)
	case r.For != "":
		if op.For, err = time.ParseDuration(r.For); err != nil {
			return wire.OperatorReply{}, fmt.Errorf("how long: %w", err)
		}
	}
	owner, owned := a.sched.Owner(k)
	op.Timeout = a.timeout(owner)
	events, err := a.opts.Recorder.Operate(ctx, k, op)
	if err != nil {
		return wire.OperatorReply{}, err
	}
	if r.Op == fault.OpFix && owned {
		last, err := a.sched.Look(ctx, owner, fault.TriggerOperator)
		if err != nil {
			return wire.OperatorReply{}, fmt.Errorf("look after the fix: %w", err)
		}
		events = append(events, last.Events...)
	}
	v, err := a.view(ref)
	if err != nil {
		return wire.OperatorReply{}, err
	}
	return wire.OperatorReply{Fault: a.wire(&v), Events: events}, nil
}

// timeout is that of the check; a minute if there is none.
func (a *Agent) timeout(id string) time.Duration {
	for _, s := range a.sched.Status() {
		if s.Check.ID() == id {
			return s.Check.Timeout
		}
	}
	return time.Minute
}

// Verify looks now at what selects name (resources, codes, check ids, fault ids
// or CODE@RESOURCE; none is everything), and returns when the looks are done
// and recorded.
func (a *Agent) Verify(ctx context.Context, selects []string) (wire.VerifyReply, error) {
	ids, err := a.selected(selects)
	if err != nil {
		return wire.VerifyReply{}, err
	}
	type result struct {
		last check.Last
		err  error
	}
	results := make([]result, len(ids))
	done := make(chan struct{})
	for i, id := range ids {
		go func() {
			results[i].last, results[i].err = a.sched.Look(ctx, id, fault.TriggerOperator)
			done <- struct{}{}
		}()
	}
	for range ids {
		<-done
	}
	reply := wire.VerifyReply{Looks: []wire.Look{}, Events: []fault.Event{}}
	for i, r := range results {
		if r.err != nil {
			return reply, fmt.Errorf("look at %s: %w", ids[i], r.err)
		}
		reply.Looks = append(reply.Looks, wireLook(ids[i], r.last))
		reply.Events = append(reply.Events, r.last.Events...)
	}
	owned := map[string]bool{}
	for _, id := range ids {
		owned[id] = true
	}
	views, _ := a.opts.Recorder.Page(0, 1<<30, func(f *fault.Fault) bool { return f.Active && owned[f.Check] })
	reply.Active = len(views)
	return reply, nil
}

// selected returns the ids of the checks that the words name.
func (a *Agent) selected(words []string) ([]string, error) {
	var ids []string
	statuses := a.sched.Status()
	if len(words) == 0 {
		for _, s := range statuses {
			if !drill(s.Check.Resource) {
				ids = append(ids, s.Check.ID())
			}
		}
	}
	for _, w := range words {
		found := a.named(w, statuses)
		if len(found) == 0 {
			return nil, fmt.Errorf("%w %q", ErrNothingSelected, w)
		}
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func (a *Agent) named(w string, statuses []check.Status) []string {
	var ids []string
	for _, s := range statuses {
		c := s.Check
		hit := c.ID() == w || c.Resource == w || c.Name == w || fault.Covers(w, c.Resource)
		for _, code := range c.Codes {
			hit = hit || fault.Covers(w, string(code))
		}
		if hit {
			ids = append(ids, c.ID())
		}
	}
	if len(ids) > 0 {
		return ids
	}
	k, err := fault.ParseKey(w)
	if id, numErr := strconv.ParseUint(w, 10, 64); numErr == nil {
		k, _ = a.opts.Recorder.Find(id)
		err = nil
	}
	if owner, ok := a.sched.Owner(k); err == nil && ok {
		return []string{owner}
	}
	return nil
}

// Do carries out an action of a subsystem and looks again at what it concerns.
func (a *Agent) Do(ctx context.Context, name, action string, in json.RawMessage, progress func(wire.Progress)) (any, []fault.Event, error) {
	act, err := a.action(name, action)
	if err != nil {
		return nil, nil, err
	}
	out, err := act.Do(ctx, in, progress)
	events := a.lookAfter(ctx, act)
	return out, events, err
}

func (a *Agent) action(name, action string) (subsystem.Action, error) {
	for _, s := range a.opts.Subsystems {
		actor, ok := s.(subsystem.Actor)
		if !ok || s.Name() != name {
			continue
		}
		for _, act := range actor.Actions() {
			if act.Name == action {
				return act, nil
			}
		}
	}
	return subsystem.Action{}, fmt.Errorf("%w: %s/%s", ErrNoAction, name, action)
}

func (a *Agent) lookAfter(ctx context.Context, act subsystem.Action) []fault.Event {
	var events []fault.Event
	looked := map[string]bool{}
	for _, k := range act.Verifies {
		owner, ok := a.sched.Owner(k)
		if !ok || looked[owner] {
			continue
		}
		looked[owner] = true
		last, err := a.sched.Look(ctx, owner, fault.TriggerOperator)
		if err != nil {
			a.opts.Log.LogAttrs(ctx, slog.LevelWarn, "no look after an action",
				slog.String("action", act.Name), slog.String("check", owner), slog.Any("error", err))
			continue
		}
		events = append(events, last.Events...)
	}
	return events
}

// Preflight asks every subsystem what the change would break.
func (a *Agent) Preflight(ctx context.Context, c wire.Change) []wire.Finding {
	findings := []wire.Finding{}
	for _, s := range a.opts.Subsystems {
		if p, ok := s.(subsystem.Preflighter); ok {
			findings = append(findings, p.Preflight(ctx, c)...)
		}
	}
	return findings
}
