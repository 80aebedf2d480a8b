package fault

import "time"

// causeWait is how long a raise with causes may wait for the looks at them, so
// that people hear of the cause and not of the symptom.
const causeWait = 30 * time.Second

// Told is what one receiver was told last of one fault. A message may arrive
// and its answer not: a sender stores the zero Told before it tries the first
// raise or a clear, and after the answer the whole Told, or none for a clear.
type Told struct {
	Occurrence uint64   `json:"occurrence"`
	Severity   Severity `json:"severity"`
	Notice     uint64   `json:"notice"`
}

// Send is what a receiver must hear of a fault now.
type Send uint8

// What may be due to a receiver.
const (
	Nothing Send = iota
	SendRaise
	SendClear
)

// Due decides by level, not by edge, what a receiver must hear: the newest
// state if it has not heard of it, and the clear of whatever it was told of,
// whatever is hidden. told is nil if it was told nothing or the clear last. A
// told record that is ahead of the belief comes from a history that was lost:
// it is told anew too.
func Due(active, hidden bool, notice uint64, told *Told) Send {
	switch {
	case !active && told != nil:
		return SendClear
	case active && !hidden && (told == nil || told.Notice != notice):
		return SendRaise
	}
	return Nothing
}

// Hidden claims that an active fault is not to be told of now: it is shelved or
// masked, it waits for a look of its own after a mask or a restart, or, freshly
// raised, for the looks at its causes.
func (s *Set) Hidden(f *Fault, now Clock) bool {
	return f.Shelved(now) || len(s.Maskers(f, now)) > 0 || f.waiting(now) || s.asking(f, now)
}

// asking claims that a raise still waits for a look at one of its causes.
func (s *Set) asking(f *Fault, now Clock) bool {
	r := f.live.get()
	if r.raisedOrder == 0 || now.Boot-r.raisedAt >= causeWait {
		return false
	}
	for _, k := range f.Causes {
		if s.tried[k] <= r.raisedOrder {
			return true
		}
	}
	return false
}
