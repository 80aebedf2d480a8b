package fault

import (
	"slices"
	"time"
)

// factPause is the least time between two change events by facts; in between
// the last fact wins.
const factPause = time.Minute

// Step moves a fault by one input. It is pure: the events it returns are all
// that happened, and folding them into f's belief gives the belief it returns.
// Events carry no Node, Epoch and Seq: the journal adds them.
//
// An input that the rules do not allow (an operator's word on a clear fault,
// say) gives no events; [CheckOperator] tells the operator why.
func Step(f Fault, e *Entry, in Input, now Now) (Fault, []Event) {
	s := stepper{f: f, e: e, now: now}
	switch in := in.(type) {
	case Observation:
		s.observe(in)
	case Operator:
		s.operator(in)
	case Tick:
		s.tick(in.Urgent)
	case Mask:
		s.mask(in)
	case Lend:
		s.lend(in)
	case Retire:
		s.retire()
	case Adoption:
		s.adopt(in)
	case RemedyStart:
		s.remedyStart(in)
	case RemedyEnd:
		if s.f.Auto != nil && s.f.Auto.InFlight != "" {
			s.emit(Event{Kind: KindRemedyEnd, By: in.Action, Reason: in.Result})
		}
	}
	return s.f, s.out
}

type stepper struct {
	f   Fault
	e   *Entry
	now Now
	out []Event
}

// emit completes the event and folds it in: the only way the belief changes.
func (s *stepper) emit(ev Event) {
	ev.Key, ev.ID, ev.Clock = s.f.Key, s.f.ID, s.now.Clock
	ev.At = s.now.Shown.Add(time.Duration(len(s.out)) * time.Microsecond)
	s.f = Fold(s.f, ev)
	s.out = append(s.out, ev)
}

func (s *stepper) observe(o Observation) {
	if o.Key != s.f.Key || o.Look == nil {
		return
	}
	if s.f.Active && s.f.Check != "" && s.f.Check != o.Look.Check {
		return // another check's word counts for nothing
	}
	l := &s.f.live
	switch o.Verdict {
	case Present:
		if o.Look.Started < l.lookStarted && o.Look.Ended < l.lookStarted {
			return // older than what a newer look already said
		}
		s.present(o)
	case Absent:
		if o.Look.Started <= l.lastPresent {
			return // began before the last look that said Present had ended
		}
		s.absent(o)
	case NotApplicable:
		l.verdict, l.running = NotApplicable, Unknown
		if s.f.Active {
			s.emit(Event{Kind: KindClear, Reason: Inapplicable, Trig: o.Look.Trigger})
			s.forget()
		}
	case Unknown:
		s.unanswered(o)
	}
}

// looked records that a conclusive look was taken. Every is the check's
// present interval; a belief keeps the one its raise told.
func (s *stepper) looked(o Observation) {
	l := &s.f.live
	l.verdict = o.Verdict
	l.lookStarted = o.Look.Started
	l.lookedAt = o.Look.At
	if s.f.StaleTold {
		s.emit(Event{Kind: KindFresh, Trig: o.Look.Trigger})
	}
}

func (s *stepper) present(o Observation) {
	l := &s.f.live
	before := l.verdict
	l.lastPresent = o.Look.Ended
	if !s.f.Active {
		s.pending(o)
		return
	}
	s.looked(o)
	l.running = Unknown
	if s.f.Flapping {
		s.swallow(before, Present)
		l.latest(o)
		return
	}
	if m := s.f.Mark; m != nil && m.Kind == OpFix && o.Look.Started > l.fixOrder {
		s.emit(Event{Kind: KindVerifyFailed, By: m.By, Reason: o.Text, Trig: o.Look.Trigger})
	}
	s.compare(o)
}

// pending counts a Present of a fault that is not active, and raises it when
// Hold.Raise is met by the start of this look.
func (s *stepper) pending(o Observation) {
	l := &s.f.live
	if l.running != Present {
		l.running, l.runFrom = Present, o.Look.At.Boot
	}
	l.verdict, l.lookStarted, l.lookedAt = Present, o.Look.Started, o.Look.At
	if o.Look.At.Boot-l.runFrom < s.e.Hold.Raise {
		return
	}
	l.running = Unknown
	s.emit(Event{
		Kind: KindRaise, Severity: s.severity(o), Text: o.Text, Sense: o.Sense, Check: o.Look.Check,
		Every: int64(o.Look.Every), Causes: o.Look.Causes, Occurrence: s.f.Occurrence + 1,
		Due: s.nextEscalation(0), Trig: o.Look.Trigger,
	})
	l.raisedOrder, l.raisedAt = s.now.Order, s.now.Boot
	l.text, l.sense, l.factsWait, l.unmasked, l.fixAnswered = "", nil, false, 0, false
	l.changedAt = s.now.Boot
	s.flapOn()
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
	l := &s.f.live
	severity := s.severity(o)
	facts := s.factsDiffer(o.Sense)
	switch {
	case severity != s.f.Severity:
	case facts && s.now.Boot-l.changedAt >= factPause:
	default:
		l.factsWait = facts
		l.latest(o)
		return
	}
	s.change(severity, o.Text, o.Sense, o.Look.Trigger)
}

func (s *stepper) change(severity Severity, text string, sense Sense, t Trigger) {
	s.emit(Event{Kind: KindChange, Severity: severity, Text: text, Sense: sense, Trig: t})
	s.f.live.text, s.f.live.sense, s.f.live.factsWait = "", nil, false
	s.f.live.changedAt = s.now.Boot
}

func (s *stepper) factsDiffer(sense Sense) bool {
	only := func(in Sense) Sense {
		return slices.DeleteFunc(slices.Clone(in), func(p Pair) bool { return !s.e.IsFact(p.Key) })
	}
	return !slices.Equal(only(sense), only(s.f.Sense))
}

func (s *stepper) absent(o Observation) {
	l := &s.f.live
	before := l.verdict
	if !s.f.Active {
		l.verdict, l.running, l.lookStarted, l.lookedAt = Absent, Unknown, o.Look.Started, o.Look.At
		return
	}
	s.looked(o)
	if l.running != Absent {
		l.running, l.runFrom = Absent, o.Look.At.Boot
	}
	met := o.Look.At.Boot-l.runFrom >= s.e.Hold.Clear
	if m := s.f.Mark; m != nil && m.Kind == OpFix && o.Look.Started > l.fixOrder {
		met = met || !s.e.Hold.Always
		l.fixAnswered = true
		if met && s.f.Flapping { // the operator asked, and the look has answered
			s.flapOff()
		}
	}
	switch {
	case s.f.Flapping:
		s.swallow(before, Absent)
	case met && s.penaltyAfter() >= flapOn:
		l.swallowed = 1
		l.flap = l.flap.add(s.now.Clock)
		s.emit(Event{Kind: KindFlapOn, Trig: o.Look.Trigger})
	case met:
		s.clear(Verified, o.Look.Trigger)
	}
}

func (s *stepper) clear(reason string, t Trigger) {
	s.emit(Event{Kind: KindClear, Reason: reason, Trig: t})
	s.forget()
}

// forget drops what only an active fault has.
func (s *stepper) forget() {
	l := &s.f.live
	l.running, l.text, l.sense, l.factsWait, l.unmasked, l.fixAnswered = Unknown, "", nil, false, 0, false
	l.flap, l.swallowed, l.takenOver = Penalty{}, 0, 0
}

// unanswered treats a look that could not tell: it matters only to a person who
// asked for it by marking the fault fixed.
func (s *stepper) unanswered(o Observation) {
	m := s.f.Mark
	if !s.f.Active || m == nil || m.Kind != OpFix || s.f.live.fixAnswered || o.Look.Started <= s.f.live.fixOrder {
		return
	}
	reason := o.Text
	if reason == "" {
		reason = "the look could not judge it"
	}
	s.emit(Event{Kind: KindVerifyInconclusive, By: m.By, Reason: reason, Trig: o.Look.Trigger})
}

// swallow counts a transition of a flapping fault instead of telling it.
func (s *stepper) swallow(before, after Verdict) {
	if before == after {
		return
	}
	s.f.live.swallowed++
	s.f.live.flap = s.f.live.flap.add(s.now.Clock)
}

func (s *stepper) penaltyAfter() float64 { return s.f.penalty(s.now.Clock) + flapStep }

func (s *stepper) flapOn() {
	if !s.f.Flapping && s.f.penalty(s.now.Clock) >= flapOn {
		s.emit(Event{Kind: KindFlapOn})
	}
}

func (s *stepper) flapOff() {
	s.emit(Event{Kind: KindFlapOff, Count: s.f.live.swallowed})
	s.f.live.swallowed, s.f.live.flap = 0, Penalty{}
}

func (s *stepper) tick(urgent bool) {
	now := s.now.Clock
	if s.f.Shelf != nil && s.f.Shelf.End.Reached(now) {
		s.emit(Event{Kind: KindUnshelve, Reason: "its time is over"})
	}
	if !s.f.Active {
		return
	}
	if m := s.f.Mark; m != nil && m.Due != nil && !s.f.live.fixAnswered && m.Due.Reached(now) {
		s.emit(Event{Kind: KindVerifyInconclusive, By: m.By, Reason: "no look ended in time"})
	}
	if s.f.Escalate != nil && s.f.Escalate.Reached(now) && s.f.Escalations < len(s.e.Escalate) {
		to := s.e.Escalate[s.f.Escalations].To
		s.emit(Event{Kind: KindEscalate, Severity: to, Due: s.nextEscalation(s.f.Escalations + 1)})
	}
	if !s.f.StaleTold && s.f.overdue(now) {
		s.emit(Event{Kind: KindStale})
	}
	if urgent {
		return
	}
	if l := &s.f.live; l.factsWait && !s.f.Flapping && s.now.Boot-l.changedAt >= factPause {
		s.change(s.f.Severity, l.text, l.sense, "")
	}
	if s.f.Flapping && s.f.penalty(now) < flapOff {
		s.flapOff()
		if s.f.live.verdict == Absent {
			s.clear(Verified, "")
		}
	}
}

// nextEscalation returns the deadline of the n-th escalation, counted from the
// raise; nil if there is none.
func (s *stepper) nextEscalation(n int) *Deadline {
	if n >= len(s.e.Escalate) {
		return nil
	}
	after := s.e.Escalate[n].After
	if n > 0 {
		after -= s.e.Escalate[n-1].After
	}
	return NewDeadline(s.now.Clock, after)
}

func (s *stepper) mask(in Mask) {
	l := &s.f.live
	switch {
	case !s.f.Active || slices.Equal(in.By, s.f.MaskedBy):
	case len(in.By) > 0:
		s.emit(Event{Kind: KindMask, Causes: in.By})
	default:
		s.emit(Event{Kind: KindUnmask})
		l.unmasked, l.unmaskedAt = s.now.Order, s.now.Boot
	}
}

func (s *stepper) lend(in Lend) {
	if s.f.Active && in.Severity != s.f.Lent {
		s.emit(Event{Kind: KindChange, Lent: &in.Severity})
	}
}

func (s *stepper) retire() {
	if s.f.Active {
		s.clear(Retired, "")
		return
	}
	s.f.live.running = Unknown
	if s.f.Shelf != nil {
		s.emit(Event{Kind: KindUnshelve, Reason: "its check is gone"})
	}
}

func (s *stepper) adopt(in Adoption) {
	if s.f.Active {
		return
	}
	severity := in.Severity
	if severity == None {
		severity = s.e.Severity
	}
	s.emit(Event{
		Kind: KindAdopt, Severity: severity, Text: "it was told as active, but no record of it is left",
		Check: in.Check, Every: int64(in.Every), Causes: in.Causes,
		Occurrence: max(in.Occurrence, s.f.Occurrence), Due: s.nextEscalation(0),
	})
	s.f.live = live{takenOver: s.now.Boot}
}

func (s *stepper) remedyStart(in RemedyStart) {
	if s.f.Active && RemedyAllowed(&s.f, s.e, s.now.Clock) {
		s.emit(Event{Kind: KindRemedyStart, By: in.Action})
	}
}

// RemedyAllowed claims that an automatic remedy may start now: none is in
// flight, the budget is not spent and the backoff has passed.
func RemedyAllowed(f *Fault, e *Entry, now Clock) bool {
	if e.Auto == nil || !f.Active {
		return false
	}
	if f.Auto == nil {
		return e.Auto.Budget > 0
	}
	if f.Auto.InFlight != "" {
		return false
	}
	recent := 0
	for _, start := range f.Auto.Starts {
		if now.Since(start) < e.Auto.Per {
			recent++
		}
	}
	if recent == 0 {
		return e.Auto.Budget > 0
	}
	last := f.Auto.Starts[len(f.Auto.Starts)-1]
	return recent < e.Auto.Budget && now.Since(last) >= e.Auto.Backoff<<(recent-1)
}
