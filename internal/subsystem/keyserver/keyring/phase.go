package keyring

import "slices"

// Phase is how far a renewal has come; see the package comment.
type Phase string

// The phases in their order. PhaseCancelling stands beside them.
const (
	PhaseNamed      Phase = "named"
	PhaseSent       Phase = "sent"
	PhaseCreated    Phase = "created"
	PhaseProved     Phase = "proved"
	PhaseSlotted    Phase = "slotted"
	PhaseVerified   Phase = "verified"
	PhaseCommitted  Phase = "committed"
	PhaseRetiring   Phase = "retiring"
	PhaseDropped    Phase = "dropped"
	PhaseCancelling Phase = "cancelling"
)

// phases answers them in their order.
func phases() []Phase {
	return []Phase{
		PhaseNamed, PhaseSent, PhaseCreated, PhaseProved, PhaseSlotted, PhaseVerified, PhaseCommitted, PhaseRetiring, PhaseDropped,
		PhaseCancelling,
	}
}

func (p Phase) known() bool { return slices.Contains(phases(), p) }

// after claims that p comes later than o.
func (p Phase) after(o Phase) bool {
	all := phases()
	return slices.Index(all, p) > slices.Index(all, o)
}
