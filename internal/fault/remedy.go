package fault

// maxBudget bounds the budget of an automatic remedy: so many starts are kept.
const maxBudget = 32

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

func (s *stepper) remedyEnd(in RemedyEnd) {
	if s.f.Auto != nil && s.f.Auto.InFlight != "" {
		s.emit(Event{Kind: KindRemedyEnd, By: in.Action, Reason: in.Result})
	}
}

// remedying claims that an automatic remedy is in flight on the resource: two
// at once could undo each other's work.
func (s *Set) remedying(resource string) bool {
	for k, f := range s.faults {
		if k.Resource == resource && f.Auto != nil && f.Auto.InFlight != "" {
			return true
		}
	}
	return false
}

// RemedyAllowed claims that an automatic remedy of the fault may start now: its
// own budget allows it and none is in flight on its resource.
func (s *Set) RemedyAllowed(k Key, now Clock) bool {
	f := s.faults[k]
	return f != nil && RemedyAllowed(f, s.entry(k.Code), now) && !s.remedying(k.Resource)
}
