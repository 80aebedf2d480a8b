package journal

import (
	"errors"
	"fmt"

	"allclear/internal/fault"
)

// maxHeld bounds the events held in memory while the store fails. Beyond it
// only raises are held, which the faults themselves bound: what the looks say
// of faults that are visible already waits for the disk.
const maxHeld = 50_000

func (b *batch) full() bool { return len(b.s.held)+len(b.events) >= maxHeld }

// applyHeld moves one fault while the store fails.
func (b *batch) applyHeld(k fault.Key, in fault.Input) ([]fault.Event, error) {
	if _, adopts := in.(fault.Adoption); b.full() && !adopts {
		return nil, b.refuse(k.String())
	}
	m := b.mark()
	events, held, err := b.s.set.ApplyHolding(k, in, b.moment())
	if err != nil {
		b.back(m)
		return nil, err
	}
	b.add(events)
	if !held {
		return events, b.refuse(k.String())
	}
	return events, nil
}

// lookHeld applies a look while the store fails. Its error names the clears
// that were taken back; that a change of facts alone was is no error.
func (b *batch) lookHeld(l *fault.Look) (fault.Outcome, error) {
	said := make(map[fault.Key]fault.Verdict, len(l.Observations))
	part := *l
	part.Observations = nil
	for _, o := range l.Observations {
		said[o.Key] = o.Verdict
		if f := b.s.set.Get(o.Key); !b.full() || f == nil || !f.Active {
			part.Observations = append(part.Observations, o)
		}
	}
	part.Complete = l.Complete && len(part.Observations) == len(l.Observations)
	m := b.mark()
	out, err := b.s.set.LookHolding(&part, b.moment())
	if err != nil {
		b.back(m)
		return fault.Outcome{}, err
	}
	b.add(out.Events)
	var refused []error
	for _, k := range out.Withheld {
		if said[k] != fault.Present {
			refused = append(refused, b.refuse(fmt.Sprintf("clear of %s", k)))
		}
	}
	return out, errors.Join(refused...)
}
