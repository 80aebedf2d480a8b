package fault

import "fmt"

// Holdable claims that the events of one input may stand in memory while the
// store fails and be written later: they make a fault more visible, never less,
// and nobody was promised that they are kept. before is the fault of the first
// event as it was; nil if there was none.
func Holdable(before *Fault, events []Event) bool {
	if len(events) == 0 {
		return true
	}
	f := Fault{}
	if before != nil {
		f = *before
	}
	for _, ev := range events {
		after := Fold(f, ev)
		if !holdable(&f, &after, ev) {
			return false
		}
		f = after
	}
	return true
}

func holdable(before, after *Fault, ev Event) bool {
	switch ev.Kind {
	case KindRaise, KindAdopt, KindEscalate, KindMask, KindUnmask, KindStale, KindFresh, KindFlapOn,
		KindVerifyFailed, KindVerifyInconclusive, KindBoot, KindClockStep:
		return true
	case KindChange:
		return ev.Lent != nil || after.Shown() > before.Shown()
	case KindUnshelve:
		return before.Shelf != nil && before.Shelf.End.Reached(ev.Clock)
	}
	return false
}

// ApplyHolding is Apply while the store fails: a change that may not stand in
// memory is taken back, and held is false. Of a Present even then remains that
// it was seen: it answers an operator's fix and outdates older looks.
func (s *Set) ApplyHolding(k Key, in Input, now Now) (events []Event, held bool, err error) {
	return s.apply(k, in, now, true)
}

func (s *Set) apply(k Key, in Input, now Now, holding bool) (events []Event, held bool, err error) {
	before, checkpoint := s.faults[k], s.Checkpoint()
	events, err = s.Apply(k, in, now)
	if err != nil || !holding || Holdable(before, events) {
		return events, true, err
	}
	s.Revert(checkpoint)
	if o, ok := in.(Observation); ok && o.Verdict == Present {
		o.Severity, o.Text, o.Sense, o.Remedy = before.Severity, before.Text, before.Sense, before.Remedy
		events, err = s.Apply(k, o, now)
		return events, false, err
	}
	return nil, false, nil
}

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
		if change.was == nil {
			s.remove(change.key)
			continue
		}
		s.put(change.was)
	}
	s.Commit()
}

// Touched returns the faults that changed since the checkpoint, as they are
// now, each once, in the order of their first change; not those that are gone
// again, which no event concerned. They must not be changed.
func (s *Set) Touched(checkpoint int) []*Fault {
	seen := make(map[Key]struct{}, len(s.log)-checkpoint)
	faults := make([]*Fault, 0, len(s.log)-checkpoint)
	for _, change := range s.log[checkpoint:] {
		if _, dup := seen[change.key]; dup {
			continue
		}
		seen[change.key] = struct{}{}
		if f := s.faults[change.key]; f != nil {
			faults = append(faults, f)
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
