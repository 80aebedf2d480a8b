package fault

import (
	"math"
	"time"
)

// Flap damping (ISA 18.2 "chattering"): each raise or clear adds flapStep, which
// decays with flapHalf. Looks ten minutes apart never reach flapOn: there
// Recurring is the answer.
const (
	flapStep = 1000.0
	flapOn   = 3500.0
	flapOff  = 750.0
	flapHalf = 15 * time.Minute
)

// Penalty is a decaying count of transitions.
type Penalty struct {
	Points float64 `json:"points,omitempty"`
	At     Clock   `json:"at,omitzero"`
}

// Value is what is left of the penalty.
func (p Penalty) Value(now Clock) float64 {
	if p.Points == 0 {
		return 0
	}
	return p.Points * math.Exp2(-float64(now.Since(p.At))/float64(flapHalf))
}

func (p Penalty) add(now Clock) Penalty { return Penalty{p.Value(now) + flapStep, now} }

func (f *Fault) penalty(now Clock) float64 {
	return f.Penalty.Value(now) + f.live.flap.Value(now)
}
