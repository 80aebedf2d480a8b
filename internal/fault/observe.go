package fault

import (
	"slices"
	"time"
)

// factPause is the least time between two change events by facts; in between
// the last fact wins.
const factPause = time.Minute

// observe takes in what a look said, if the look has a say: it is the owner's,
// and nothing newer has spoken. Where looks overlap, Present wins.
func (s *stepper) observe(o Observation) {
	if o.Key != s.f.Key || o.Look == nil {
		return
	}
	if s.f.foreign(o.Look.Check) {
		return
	}
	l := &s.f.live
	switch o.Verdict {
	case Present:
		if o.Look.Ended >= l.lookStarted {
			s.present(o)
		}
	case Absent, NotApplicable:
		if o.Look.Started <= l.lastPresent || o.Look.Started < l.lookStarted {
			return // began before a look that said Present had ended, or before a newer one
		}
		if o.Verdict == Absent {
			s.absent(o)
		} else {
			s.notApplicable(o)
		}
	case Unknown:
		s.unanswered(o)
	}
}

// foreign claims that the fault is active and another check's: the named one's
// word counts for nothing.
func (f *Fault) foreign(check string) bool { return f.Active && f.Check != "" && f.Check != check }

// looked records what a look said that could tell, and when.
func (s *stepper) looked(o Observation) {
	l := &s.f.live
	l.verdict = o.Verdict
	if o.Look.Started > l.lookStarted {
		l.lookStarted = o.Look.Started
		l.lookedAt, l.lookedWall = o.Look.At.Boot, o.Look.At.Wall.UnixNano()
	}
	if o.Verdict == Present {
		l.lastPresent = max(l.lastPresent, o.Look.Ended)
	}
	if s.f.StaleTold && o.Verdict.Conclusive() {
		s.emit(Event{Kind: KindFresh, Trig: o.Look.Trigger})
	}
}

// answers claims that the look began after an operator marked the fault fixed.
func (s *stepper) answers(o Observation) bool {
	return s.f.Active && s.f.Mark != nil && s.f.Mark.Kind == OpFix && o.Look.Started > s.f.live.get().fixOrder
}

func (s *stepper) present(o Observation) {
	before := s.f.live.verdict
	s.looked(o)
	if !s.f.Active {
		s.pending(o)
		return
	}
	s.f.live.running, s.f.live.fixAnswered = Unknown, false
	if s.answers(o) {
		s.emit(Event{Kind: KindVerifyFailed, By: s.f.Mark.By, Reason: o.Text, Trig: o.Look.Trigger})
	}
	if s.f.Flapping {
		s.swallow(before, Present)
		s.f.latest(o)
		return
	}
	s.compare(o)
}

// pending counts a Present of a fault that is not active, and raises it when
// Hold.Raise is met by the start of this look.
func (s *stepper) pending(o Observation) {
	l := &s.f.live
	if l.running != Present {
		s.run(o)
	}
	if o.Look.At.Boot-l.get().runFrom < s.e.Hold.Raise {
		return
	}
	causes := s.bounded(o.Look.Causes)
	s.emit(Event{
		Kind: KindRaise, Severity: s.severity(o), Text: o.Text, Sense: o.Sense, Remedy: o.Remedy, Check: o.Look.Check,
		Every: int64(o.Look.Every), Causes: causes, Occurrence: s.f.Occurrence + 1,
		Due: s.nextEscalation(0), Trig: o.Look.Trigger,
	})
	s.forget()
	l.changedAt = s.now.Boot
	if len(causes) > 0 {
		l.edit(func(r *rare) { r.raisedOrder, r.raisedAt = s.now.Order, s.now.Boot })
	}
	if s.f.penalty(s.now.Clock) >= flapOn {
		s.emit(Event{Kind: KindFlapOn})
	}
}

// run begins a hold with this look.
func (s *stepper) run(o Observation) {
	s.f.live.running = o.Verdict
	s.f.live.edit(func(r *rare) { r.runFrom = o.Look.At.Boot })
}

func (s *stepper) severity(o Observation) Severity {
	if o.Severity != None {
		return o.Severity
	}
	return s.e.Severity
}

// compare tells a change of severity at once, one of facts at most once a
// minute, and readings never.
func (s *stepper) compare(o Observation) {
	severity := s.severity(o)
	facts := s.factsDiffer(o.Sense)
	switch {
	case severity != s.f.Severity:
	case facts && s.now.Boot-s.f.live.changedAt >= factPause:
	default:
		s.f.live.factsWait = facts
		s.f.latest(o)
		return
	}
	s.change(severity, newest{o.Text, o.Sense, o.Remedy}, o.Look.Trigger)
}

func (s *stepper) change(severity Severity, n newest, t Trigger) {
	s.emit(Event{Kind: KindChange, Severity: severity, Text: n.text, Sense: n.sense, Remedy: n.remedy, Trig: t})
	s.f.live.newest, s.f.live.factsWait = nil, false
	s.f.live.changedAt = s.now.Boot
}

// factsDiffer claims that sense holds other facts than the belief.
func (s *stepper) factsDiffer(sense Sense) bool {
	if slices.Equal(sense, s.f.Sense) {
		return false
	}
	only := func(in Sense) Sense {
		return slices.DeleteFunc(slices.Clone(in), func(p Pair) bool { return !s.e.IsFact(p.Key) })
	}
	return !slices.Equal(only(sense), only(s.f.Sense))
}

func (s *stepper) absent(o Observation) {
	l := &s.f.live
	before := l.verdict
	s.looked(o)
	if !s.f.Active {
		s.forget()
		return
	}
	if l.running != Absent {
		s.run(o)
	}
	met := o.Look.At.Boot-l.get().runFrom >= s.e.Hold.Clear
	asked := s.answers(o)
	if asked {
		met = met || !s.e.Hold.Always
		l.fixAnswered = true
	}
	switch {
	case met && asked: // the operator asked, and the look has answered
		if s.f.Flapping {
			s.flapOff()
		}
		s.clear(Verified, o.Look.Trigger)
	case s.f.Flapping:
		s.swallow(before, Absent)
	case met && s.f.penalty(s.now.Clock)+flapStep >= flapOn:
		s.emit(Event{Kind: KindFlapOn, Trig: o.Look.Trigger})
		s.swallow(Present, Absent)
	case met:
		s.clear(Verified, o.Look.Trigger)
	}
}

func (s *stepper) notApplicable(o Observation) {
	s.looked(o)
	if s.f.Active {
		s.clear(Inapplicable, o.Look.Trigger)
		return
	}
	s.forget()
}

func (s *stepper) clear(reason string, t Trigger) {
	s.emit(Event{Kind: KindClear, Reason: reason, Trig: t})
	s.forget()
}

// forget drops what only one stay in a condition has.
func (s *stepper) forget() {
	l := &s.f.live
	l.running, l.factsWait, l.fixAnswered, l.newest, l.rare = Unknown, false, false, nil, nil
}

// unanswered treats a look that could not tell: it matters only to a person who
// asked for it by marking the fault fixed.
func (s *stepper) unanswered(o Observation) {
	if s.f.live.fixAnswered || !s.answers(o) {
		return
	}
	reason := o.Text
	if reason == "" {
		reason = "the look could not judge it"
	}
	s.emit(Event{Kind: KindVerifyInconclusive, By: s.f.Mark.By, Reason: reason, Trig: o.Look.Trigger})
}

// swallow counts a transition of a flapping fault instead of telling it.
func (s *stepper) swallow(before, after Verdict) {
	if before == after {
		return
	}
	s.f.live.edit(func(r *rare) {
		r.swallowed++
		r.flap = r.flap.add(s.now.Clock)
	})
}

func (s *stepper) flapOff() {
	s.emit(Event{Kind: KindFlapOff, Count: s.f.live.get().swallowed})
	s.f.live.edit(func(r *rare) { r.swallowed, r.flap = 0, Penalty{} })
}
