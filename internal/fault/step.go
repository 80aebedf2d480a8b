package fault

import (
	"slices"
	"time"
)

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
		s.remedyEnd(in)
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

// tick does what time alone can do. [Fault.due] says when it would.
func (s *stepper) tick(urgent bool) {
	now := s.now.Clock
	if s.f.shelfOver(now) {
		s.emit(Event{Kind: KindUnshelve, Reason: "its time is over"})
	}
	if s.f.fixOverdue(now) {
		s.emit(Event{Kind: KindVerifyInconclusive, By: s.f.Mark.By, Reason: "no look ended in time"})
	}
	if s.f.escalates(s.e, now) {
		to := s.e.Escalate[s.f.Escalations].To
		s.emit(Event{Kind: KindEscalate, Severity: to, Due: s.nextEscalation(int(s.f.Escalations) + 1)})
	}
	if s.f.turnsStale(now) {
		s.emit(Event{Kind: KindStale})
	}
	if urgent {
		return
	}
	if s.f.factsDue(now) {
		s.change(s.f.Severity, s.f.newest(), "")
	}
	if s.f.calm(now) {
		s.flapOff()
		if s.f.live.verdict == Absent && s.f.live.lookedAt-s.f.live.get().runFrom >= s.e.Hold.Clear {
			s.clear(Verified, "")
		}
	}
}

func (f *Fault) shelfOver(now Clock) bool { return f.Shelf != nil && f.Shelf.End.Reached(now) }

func (f *Fault) fixOverdue(now Clock) bool {
	return f.Active && f.Mark != nil && f.Mark.Kind == OpFix && !f.live.fixAnswered && f.Mark.Due.Reached(now)
}

func (f *Fault) escalates(e *Entry, now Clock) bool {
	return f.Active && f.Escalate != nil && int(f.Escalations) < len(e.Escalate) && f.Escalate.Reached(now)
}

func (f *Fault) turnsStale(now Clock) bool { return f.Active && !f.StaleTold && f.overdue(now) }

func (f *Fault) factsDue(now Clock) bool {
	return f.Active && f.live.factsWait && !f.Flapping && now.Boot-f.live.changedAt >= factPause
}

func (f *Fault) calm(now Clock) bool { return f.Active && f.Flapping && f.penalty(now) < flapOff }

// due claims that a [Tick] would move the fault now.
func (f *Fault) due(entry func(Code) *Entry, now Clock) bool {
	return f.shelfOver(now) || f.fixOverdue(now) || f.turnsStale(now) || f.factsDue(now) || f.calm(now) ||
		f.Escalate != nil && f.escalates(entry(f.Key.Code), now)
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
	switch {
	case !s.f.Active || slices.Equal(in.By, s.f.MaskedBy):
	case len(in.By) > 0:
		s.emit(Event{Kind: KindMask, Causes: in.By})
	default:
		s.emit(Event{Kind: KindUnmask})
		s.f.live.edit(func(r *rare) { r.unmasked, r.unmaskedAt = s.now.Order, s.now.Boot })
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
		Check: in.Check, Every: int64(in.Every), Causes: s.bounded(in.Causes),
		Occurrence: max(in.Occurrence, s.f.Occurrence+1), Notice: in.Notice, Due: s.nextEscalation(0),
	})
	s.f.live = live{lookedAt: s.now.Boot}
}

// bounded keeps of a check's causes those that the entry allows, and of a drill
// those of a drill. One check may judge several codes, codes never cause each
// other in a circle, and a drill has nothing to do with real faults.
func (s *stepper) bounded(causes []Key) []Key {
	barred := func(k Key) bool { return !slices.Contains(s.e.CausedBy, k.Code) || k.Drill() != s.f.Key.Drill() }
	if !slices.ContainsFunc(causes, barred) {
		return causes
	}
	return slices.DeleteFunc(slices.Clone(causes), barred)
}
