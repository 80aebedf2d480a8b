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
	// Withheld lists faults whose change was taken back: the store fails.
	Withheld []Key
}

// Look applies all that a look said, in order; a complete look retires the
// sub-resources that it did not name. After an error what came before it
// stands: go back to a checkpoint.
func (s *Set) Look(l *Look, now Now) (Outcome, error) { return s.look(l, now, false) }

// LookHolding is Look while the store fails: what may stand in memory does, the
// rest is taken back and named in Outcome.Withheld, so that a clear that cannot
// be stored costs no raise of the same look.
func (s *Set) LookHolding(l *Look, now Now) (Outcome, error) { return s.look(l, now, true) }

func (s *Set) look(l *Look, now Now, holding bool) (Outcome, error) {
	var out Outcome
	apply := func(k Key, in Input) error {
		events, held, err := s.apply(k, in, now, holding)
		if err != nil {
			return err
		}
		if !held {
			out.Withheld = append(out.Withheld, k)
		}
		out.Events = append(out.Events, events...)
		now = now.After(events)
		return nil
	}
	for _, o := range l.Observations {
		o.Look = l
		if _, followed := s.followers[o.Key]; followed {
			s.tried[o.Key] = max(s.tried[o.Key], l.Started)
		}
		if err := apply(o.Key, o); err != nil {
			return out, err
		}
		if _, refused := s.refused[o.Key]; refused && o.Verdict == Present {
			out.Refused = append(out.Refused, o.Key)
		}
	}
	for _, k := range s.unnamed(l) {
		if err := apply(k, Retire{}); err != nil {
			return out, err
		}
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

// unnamed returns what a complete look did not name below its resource, and
// what no newer look has seen there.
func (s *Set) unnamed(l *Look) []Key {
	if !l.Complete {
		return nil
	}
	named := make(map[Key]bool, len(l.Observations))
	for _, o := range l.Observations {
		named[o.Key] = true
	}
	return s.concerning(func(k Key, f *Fault) bool {
		return !named[k] && k.Resource != l.Resource && Covers(l.Resource, k.Resource) && slices.Contains(l.Codes, k.Code) &&
			(f == nil || (f.Check == "" || f.Check == l.Check) && f.live.lastPresent < l.Started)
	})
}

// concerning returns the keys that want accepts among the faults that are
// active, shelved or pending, and those refused for the limit (f is nil).
func (s *Set) concerning(want func(k Key, f *Fault) bool) []Key {
	var keys []Key
	for k, f := range s.faults {
		if f.concerns() && want(k, f) {
			keys = append(keys, k)
		}
	}
	for k := range s.refused {
		if f := s.faults[k]; (f == nil || !f.concerns()) && want(k, f) {
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
		e := s.entry(o.Key.Code)
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
		left := max(time.Millisecond, hold-(now.Boot-f.live.get().runFrom))
		if out.HoldEnd == 0 || left < out.HoldEnd {
			out.HoldEnd = left
		}
	}
}

// Owners tells, of every key, whether a check judges it.
type Owners interface{ Owns(Key) bool }

// Orphans returns the keys that no check owns any more, to be retired: no fault
// outlives its check.
func (s *Set) Orphans(owners Owners) []Key {
	return s.concerning(func(k Key, _ *Fault) bool { return !owners.Owns(k) })
}
