package fault

import (
	"slices"
	"time"
)

// Outcome is what a look did.
type Outcome struct {
	Events []Event
	// Active claims that a fault of the look's own is active or pending: look
	// again at the faster pace.
	Active bool
	// HoldEnd is the time until the first running hold can be met; 0 if none.
	HoldEnd time.Duration
	// Refused lists faults that were present but not raised: the limit.
	Refused []Key
}

// Look applies all that a look said, in order; a complete look retires the
// sub-resources that it did not name.
func (s *Set) Look(l *Look, now Now) (Outcome, error) {
	var out Outcome
	for _, o := range l.Observations {
		o.Look = l
		if _, followed := s.followers[o.Key]; followed {
			s.tried[o.Key] = l.Started
		}
		events, err := s.Apply(o.Key, o, now)
		if err != nil {
			return out, err
		}
		out.Events = append(out.Events, events...)
		now = now.After(events)
		if _, refused := s.refused[o.Key]; refused {
			out.Refused = append(out.Refused, o.Key)
		}
	}
	for _, k := range s.unnamed(l) {
		events, err := s.Apply(k, Retire{}, now)
		if err != nil {
			return out, err
		}
		out.Events = append(out.Events, events...)
		now = now.After(events)
	}
	s.outlook(l, &out, now)
	return out, nil
}

// After returns the moment after events, so that shown time strictly grows.
func (n Now) After(events []Event) Now {
	if len(events) > 0 {
		n.Shown = events[len(events)-1].At.Add(time.Microsecond)
	}
	return n
}

// unnamed returns the active or shelved faults below the resource of a complete
// look that it did not name.
func (s *Set) unnamed(l *Look) []Key {
	if !l.Complete {
		return nil
	}
	named := make(map[Key]bool, len(l.Observations))
	for _, o := range l.Observations {
		named[o.Key] = true
	}
	var keys []Key
	for k, f := range s.faults {
		if !named[k] && k.Resource != l.Resource && Covers(l.Resource, k.Resource) &&
			slices.Contains(l.Codes, k.Code) && (f.Active || f.Shelf != nil) && f.Check == l.Check {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func (s *Set) outlook(l *Look, out *Outcome, now Now) {
	for _, o := range l.Observations {
		f := s.faults[o.Key]
		if f == nil {
			continue
		}
		e, _ := s.cat.Get(o.Key.Code)
		var hold time.Duration
		switch f.Condition() {
		case Pending:
			hold = e.Hold.Raise
		case Clearing:
			hold = e.Hold.Clear
		case Active:
			out.Active = true
			continue
		default:
			continue
		}
		out.Active = true
		left := max(time.Millisecond, hold-(now.Boot-f.live.runFrom))
		if out.HoldEnd == 0 || left < out.HoldEnd {
			out.HoldEnd = left
		}
	}
}

// Owners tells, of every key, whether a check judges it.
type Owners interface{ Owns(Key) bool }

// Orphans returns the keys, active or shelved, that no check owns any more: no
// fault outlives its check.
func (s *Set) Orphans(owners Owners) []Key {
	var keys []Key
	for k, f := range s.faults {
		if (f.Active || f.Shelf != nil) && !owners.Owns(k) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}
