package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// drillTime bounds one drill.
const drillTime = 2 * time.Minute

// Drill really breaks and repairs the thing behind each code in a private lab,
// and reports whether the real check raised and cleared it. No codes means all.
// tell, if not nil, hears each report as it is complete.
func (a *Agent) Drill(ctx context.Context, codes []fault.Code, tell func(wire.DrillReport)) ([]wire.DrillReport, error) {
	drills, err := a.drills(codes)
	if err != nil {
		return nil, err
	}
	reports := make([]wire.DrillReport, 0, len(drills))
	for _, d := range drills {
		r := a.drill(ctx, d)
		if ctx.Err() != nil {
			return reports, context.Cause(ctx)
		}
		reports = append(reports, r)
		if tell != nil {
			tell(r)
		}
	}
	return reports, nil
}

// Drills returns the codes that have a drill, in order.
func (a *Agent) Drills() []fault.Code {
	var codes []fault.Code
	for _, d := range a.allDrills() {
		codes = append(codes, d.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (a *Agent) allDrills() []subsystem.Drill {
	var all []subsystem.Drill
	for _, s := range a.opts.Subsystems {
		if d, ok := s.(subsystem.Driller); ok {
			all = append(all, d.Drills()...)
		}
	}
	return all
}

func (a *Agent) drills(codes []fault.Code) ([]subsystem.Drill, error) {
	all := a.allDrills()
	if len(codes) == 0 {
		return all, nil
	}
	var chosen []subsystem.Drill
	for _, code := range codes {
		found := false
		for _, d := range all {
			if fault.Covers(string(code), string(d.Code)) {
				chosen, found = append(chosen, d), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: no drill for %s", ErrNothingSelected, code)
		}
	}
	return chosen, nil
}

// exercise is one drill under way.
type exercise struct {
	a      *Agent
	d      subsystem.Drill
	lab    *lab.Lab
	check  check.Check
	report wire.DrillReport
}

func (a *Agent) drill(ctx context.Context, d subsystem.Drill) wire.DrillReport {
	ctx, cancel := context.WithTimeoutCause(ctx, drillTime, fmt.Errorf("the drill took longer than %s", drillTime))
	defer cancel()
	x := &exercise{a: a, d: d, report: wire.DrillReport{Code: d.Code, Steps: []wire.DrillStep{}}}
	err := x.run(ctx)
	if err != nil {
		x.report.Why = err.Error()
	}
	x.report.Passed = err == nil
	return x.report
}

func (x *exercise) step(name, text string, seq uint64) {
	x.report.Steps = append(x.report.Steps, wire.DrillStep{Name: name, At: time.Now().UTC(), Text: text, Seq: seq})
}

func (x *exercise) run(ctx context.Context) (err error) {
	if x.lab, err = x.a.newLab(ctx); err != nil {
		return fmt.Errorf("make a lab: %w", err)
	}
	defer func() { err = errors.Join(err, x.lab.Close()) }()
	x.report.Run = x.lab.Run()
	if x.check, err = x.d.Prepare(ctx, x.lab); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if !strings.HasPrefix(x.check.Resource, x.lab.Resource("")) {
		return fmt.Errorf("prepare: resource %q is outside of the drill", x.check.Resource)
	}
	x.report.Resource = x.check.Resource
	if err := x.a.sched.Add(x.check); err != nil {
		return err
	}
	defer x.retire(context.WithoutCancel(ctx))
	x.step("prepare", "a healthy "+x.check.Name+" stands in the lab", 0)
	return x.stages(ctx)
}

func (x *exercise) stages(ctx context.Context) error {
	last, err := x.look(ctx)
	if err != nil {
		return err
	}
	if v := x.verdict(last); v != fault.Absent {
		return fmt.Errorf("before anything was broken the check said %s", v)
	}
	x.step("well", "the check finds nothing", 0)
	if err := x.d.Break(ctx, x.lab); err != nil {
		return fmt.Errorf("break: %w", err)
	}
	x.step("break", "broken for true", 0)
	seq, err := x.until(ctx, fault.KindRaise)
	if err != nil {
		return err
	}
	x.step("raised", "the check found it", seq)
	if err := x.d.Repair(ctx, x.lab); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	x.step("repair", "repaired", 0)
	if seq, err = x.until(ctx, fault.KindClear); err != nil {
		return err
	}
	x.step("cleared", "a new look proved the repair", seq)
	return nil
}

func (x *exercise) look(ctx context.Context) (check.Last, error) {
	last, err := x.a.sched.Look(ctx, x.check.ID(), fault.TriggerCreated)
	switch {
	case err != nil:
		return last, fmt.Errorf("look: %w", err)
	case last.Failure != "":
		return last, fmt.Errorf("the check failed: %s", last.Failure)
	case last.RecordError != nil:
		return last, fmt.Errorf("not recorded: %w", last.RecordError)
	}
	return last, nil
}

// verdict is what the look says of the drilled code, on whatever resource.
func (x *exercise) verdict(last check.Last) fault.Verdict {
	v := fault.Unknown
	for _, j := range last.Judgements {
		if j.Key.Code == x.d.Code && (v == fault.Unknown || j.Verdict == fault.Present) {
			v = j.Verdict
		}
	}
	return v
}

// until looks until the event of the drilled code is in the journal. One look
// decides, unless the code has a hold to meet.
func (x *exercise) until(ctx context.Context, kind fault.Kind) (uint64, error) {
	e, _ := x.a.opts.Catalogue.Get(x.d.Code)
	hold := e.Hold.Raise
	if kind == fault.KindClear {
		hold = e.Hold.Clear
	}
	deadline := time.Now().Add(hold + time.Second)
	for {
		last, err := x.look(ctx)
		if err != nil {
			return 0, err
		}
		for _, ev := range last.Events {
			if ev.Key.Code == x.d.Code && ev.Kind == kind && fault.Covers(x.check.Resource, ev.Key.Resource) {
				return ev.Seq, nil
			}
		}
		if hold == 0 || time.Now().After(deadline) {
			return 0, fmt.Errorf("no %s: the look said %s%s", kind, x.verdict(last), x.others(last))
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(min(hold, time.Second)):
		}
	}
}

// others names what the look found instead.
func (x *exercise) others(last check.Last) string {
	var found []string
	for _, j := range last.Judgements {
		if j.Verdict == fault.Present && j.Key.Code != x.d.Code {
			found = append(found, string(j.Key.Code))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return " and found " + strings.Join(found, ", ")
}

// retire removes the check and whatever faults the drill left.
func (x *exercise) retire(ctx context.Context) {
	x.a.sched.Remove(x.check.ID())
	x.a.retire(ctx)
}
