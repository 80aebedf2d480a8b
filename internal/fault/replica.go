package fault

import "fmt"

// Replica is what another place believes of one epoch of a node, built from
// batches of its events that may come twice, late or not at all.
type Replica struct {
	Epoch  string
	Next   uint64 // the seq it wants; the first is 1
	Faults map[Key]Fault
}

// NewReplica returns the replica of an epoch of which nothing is known.
func NewReplica(epoch string) *Replica {
	return &Replica{Epoch: epoch, Next: 1, Faults: map[Key]Fault{}}
}

// GapError says that events before the offered ones are missing.
type GapError struct{ Want, Got uint64 }

func (e *GapError) Error() string { return fmt.Sprintf("want event %d, got %d", e.Want, e.Got) }

// Apply takes over the events that are new. Known ones are passed over; a gap
// stops with a *[GapError] that says from where to send again, and what came
// before the gap is kept.
func (r *Replica) Apply(events []Event) error {
	for _, ev := range events {
		if ev.Epoch != r.Epoch {
			return fmt.Errorf("event of epoch %s, this is %s", ev.Epoch, r.Epoch)
		}
		if ev.Seq < r.Next {
			continue
		}
		if ev.Seq > r.Next {
			return &GapError{Want: r.Next, Got: ev.Seq}
		}
		r.Next++
		if ev.Kind == KindBoot {
			for k, f := range r.Faults {
				r.Faults[k] = Fold(f, ev)
			}
			continue
		}
		if ev.Key != (Key{}) {
			r.Faults[ev.Key] = Fold(r.Faults[ev.Key], ev)
		}
	}
	return nil
}
