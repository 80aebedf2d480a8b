package fault

import "slices"

// relate brings masks and lent severities in line after the fault of k changed,
// and follows what that changes. It ends because codes do not cause each other.
func (s *Set) relate(k Key, now *Now) []Event {
	var events []Event
	work := []Key{k}
	for len(work) > 0 {
		k := work[0]
		work = work[1:]
		for _, follower := range append([]Key{k}, s.followers[k]...) {
			if evs := s.remask(follower, now); len(evs) > 0 {
				events = append(events, evs...)
				work = append(work, follower)
			}
		}
		for _, cause := range s.causesOf(k) {
			if evs := s.relend(cause, now); len(evs) > 0 {
				events = append(events, evs...)
				work = append(work, cause)
			}
		}
	}
	return events
}

// Settle brings every mask and lent severity in line. It belongs after Restore:
// a cause that had become stale unnoticed is not stale in a new process, and
// beliefs salvaged from a damaged store do not all come from one moment.
func (s *Set) Settle(now Now) []Event {
	var events []Event
	for _, k := range s.Keys() {
		events = append(events, s.relend(k, &now)...)
		events = append(events, s.relate(k, &now)...)
	}
	return events
}

func (s *Set) causesOf(k Key) []Key {
	if f := s.faults[k]; f != nil {
		return f.Causes
	}
	return nil
}

func (s *Set) remask(k Key, now *Now) []Event {
	f := s.faults[k]
	if f == nil || !f.Active {
		return nil
	}
	by := s.Maskers(f, now.Clock)
	if slices.Equal(by, f.MaskedBy) {
		return nil
	}
	return s.step(k, s.entry(k.Code), Mask{By: by}, now)
}

func (s *Set) relend(cause Key, now *Now) []Event {
	c := s.faults[cause]
	if c == nil || !c.Active {
		return nil
	}
	lent := None
	for _, k := range s.followers[cause] {
		if f := s.faults[k]; slices.Contains(f.MaskedBy, cause) {
			lent = max(lent, f.Shown())
		}
	}
	if lent == c.Lent {
		return nil
	}
	return s.step(cause, s.entry(cause.Code), Lend{Severity: lent}, now)
}

// Maskers returns the faults among f's own causes that hide it now: active, not
// shelved, not stale.
func (s *Set) Maskers(f *Fault, now Clock) []Key {
	if !f.Active {
		return nil
	}
	var by []Key
	for _, k := range f.Causes {
		c := s.faults[k]
		if c != nil && c.Active && !c.Shelved(now) && !c.Stale(now) {
			by = append(by, k)
		}
	}
	return by
}
