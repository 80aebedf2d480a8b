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

// Penalty is a decaying count of transitions. Like a [Deadline] it runs on the
// boot's clock and is carried over a boot by the boot event.
type Penalty struct {
	Points float64       `json:"points,omitempty"`
	Boot   time.Duration `json:"boot,omitempty"` // when it stood at Points
}

// Value is what is left of the penalty.
func (p Penalty) Value(now Clock) float64 { return p.after(now.Boot - p.Boot) }

func (p Penalty) after(d time.Duration) float64 {
	if p.Points == 0 || d <= 0 {
		return p.Points
	}
	return p.Points * math.Exp2(-float64(d)/float64(flapHalf))
}

func (p Penalty) add(now Clock) Penalty { return Penalty{p.Value(now) + flapStep, now.Boot} }

// rebase carries the penalty over a boot, as [Deadline.Rebase] does.
func (p Penalty) rebase(last, now Clock) Penalty {
	if p.Points == 0 {
		return Penalty{}
	}
	return Penalty{p.after(max(0, last.Boot-p.Boot) + now.Since(last)), now.Boot}
}

func (f *Fault) penalty(now Clock) float64 {
	return f.Penalty.Value(now) + f.live.get().flap.Value(now)
}
