package fault

// Summary counts faults. Drills are counted apart and in nothing else.
type Summary struct {
	Active                                          int
	BySeverity                                      [Critical + 1]int // active, by shown severity
	Acked, Shelved, Masked, Stale, Flapping, Drills int
}

// Summary returns the counters.
func (s *Set) Summary() Summary { return s.summary }

// Recount computes the counters anew.
func (s *Set) Recount() Summary {
	var sum Summary
	for _, f := range s.faults {
		sum.count(f, +1)
	}
	return sum
}

func (s *Summary) count(f *Fault, n int) {
	if f.Key.Drill() {
		if f.Active {
			s.Drills += n
		}
		return
	}
	if f.Shelf != nil {
		s.Shelved += n
	}
	if !f.Active {
		return
	}
	s.Active += n
	s.BySeverity[f.Shown()] += n
	if f.Mark != nil && f.Mark.Kind == OpAck {
		s.Acked += n
	}
	if len(f.MaskedBy) > 0 {
		s.Masked += n
	}
	if f.StaleTold {
		s.Stale += n
	}
	if f.Flapping {
		s.Flapping += n
	}
}
