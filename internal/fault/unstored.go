package fault

import "fmt"

// Withdrawn holds changes that were taken back and may be made again.
type Withdrawn []saved

// Withdraw takes back the changes made since the checkpoint, as Revert does,
// and returns them. So readers see nothing that is still on its way to disk.
func (s *Set) Withdraw(checkpoint int) Withdrawn {
	w := make(Withdrawn, 0, len(s.log)-checkpoint)
	for _, change := range s.log[checkpoint:] {
		w = append(w, saved{change.key, s.faults[change.key]})
	}
	s.Revert(checkpoint)
	return w
}

// Reinstate makes withdrawn changes again and commits them. The set must not
// have changed in between.
func (s *Set) Reinstate(w Withdrawn) {
	for _, change := range w {
		s.put(change.was)
	}
	s.Commit()
}

// Touched returns the faults that changed since the checkpoint, as they are
// now, each once, in the order of their first change. They must not be changed.
func (s *Set) Touched(checkpoint int) []*Fault {
	seen := make(map[Key]struct{}, len(s.log)-checkpoint)
	faults := make([]*Fault, 0, len(s.log)-checkpoint)
	for _, change := range s.log[checkpoint:] {
		if _, dup := seen[change.key]; !dup {
			seen[change.key] = struct{}{}
			faults = append(faults, s.faults[change.key])
		}
	}
	return faults
}

// entry returns the catalogue's entry of code. A code that an older version of
// the program raised and this one no longer knows still has to be shown and
// cleared: it gets an entry that says so.
func (s *Set) entry(code Code) *Entry {
	if e, ok := s.cat.Get(code); ok {
		return e
	}
	return &Entry{
		Code: code, Severity: Warning, Title: fmt.Sprintf("%s (a code this version does not know)", code),
		Cause: "An earlier version of the program raised it.",
	}
}

// knows claims that an input for code makes sense: the catalogue has it, or the
// input deals with what is left of an older version's fault.
func (s *Set) knows(k Key, in Input) bool {
	if _, ok := s.cat.Get(k.Code); ok {
		return true
	}
	switch in.(type) {
	case Adoption:
		return true
	case Observation:
		return false
	}
	return s.faults[k] != nil
}
