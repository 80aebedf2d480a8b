package fault

import (
	"slices"
	"time"
)

// Belief is the durable part of a fault: what a node believes and may tell. It
// is exactly what [Fold] makes of the fault's events.
type Belief struct {
	Key    Key    `json:"key"`
	ID     uint64 `json:"id"` // small, stable for its key on this node
	Active bool   `json:"active"`

	Severity  Severity `json:"severity"`            // what the last Present said
	Escalated Severity `json:"escalated,omitempty"` // floor set by an escalation
	Lent      Severity `json:"lent,omitempty"`      // highest of the faults it masks

	Text   string        `json:"text,omitempty"`
	Sense  Sense         `json:"sense,omitempty"`
	Check  string        `json:"check,omitempty"` // its owner
	Every  time.Duration `json:"every,omitempty"` // the owner's interval
	Causes []Key         `json:"causes,omitempty"`

	MaskedBy  []Key `json:"masked_by,omitempty"`  // as last announced
	StaleTold bool  `json:"stale_told,omitempty"` // a stale event without a fresh one after it
	Flapping  bool  `json:"flapping,omitempty"`

	Raised      time.Time `json:"raised,omitzero"`
	Changed     time.Time `json:"changed,omitzero"`
	Cleared     time.Time `json:"cleared,omitzero"`
	ClearReason string    `json:"clear_reason,omitempty"`

	Count      uint64   `json:"count,omitempty"`      // raises, ever
	Occurrence uint64   `json:"occurrence,omitempty"` // grows with each raise
	Notice     uint64   `json:"notice,omitempty"`     // grows with whatever a receiver must hear
	Raises     [3]int64 `json:"raises,omitzero"`      // Unix seconds of the last three, newest first

	Mark        *Marked   `json:"mark,omitempty"`
	Shelf       *Shelf    `json:"shelf,omitempty"`
	Escalate    *Deadline `json:"escalate,omitempty"`    // the next escalation
	Escalations int       `json:"escalations,omitempty"` // how many have happened
	Penalty     Penalty   `json:"penalty,omitzero"`
	Auto        *AutoRun  `json:"auto,omitempty"`
}

// Marked is an operator's mark: ack or fixed.
type Marked struct {
	Kind   Op        `json:"kind"` // OpAck or OpFix
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Due    *Deadline `json:"due,omitempty"` // of a fix: when it counts as unanswered
}

// Shelf keeps a fault from being told until it ends.
type Shelf struct {
	End    *Deadline `json:"end"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// AutoRun is the record of automatic remedies of one fault.
type AutoRun struct {
	InFlight string  `json:"in_flight,omitempty"` // the running action
	Starts   []Clock `json:"starts,omitempty"`    // oldest first, bounded by the budget
}

// Fault is a belief together with what this process knows besides: readings,
// the order of looks, holds. A restart forgets the rest; it loses no knowledge
// that anybody was told.
type Fault struct {
	Belief
	live live
}

// live is the part of a fault that is not stored. Times are CLOCK_BOOTTIME.
type live struct {
	verdict     Verdict // of the newest look that was not Unknown
	running     Verdict // Present while pending, Absent while clearing, else Unknown
	factsWait   bool    // a fact changed less than factPause after the last change
	fixAnswered bool    // a look proved the repair but a hold is still to be met
	cut         bool    // sense or text was over its limit

	runFrom     time.Duration // start of the first look of the running hold
	lastPresent uint64        // end of the newest look that said Present
	lookStarted uint64        // start of the newest conclusive look
	lookedAt    Clock         // when the newest conclusive look started
	takenOver   time.Duration // when this process took the fault over
	raisedOrder uint64        // the counter at the raise
	raisedAt    time.Duration
	changedAt   time.Duration // of the last change event by a fact
	fixOrder    uint64        // the counter at the operator's fix
	unmasked    uint64        // the counter at the end of the last mask
	unmaskedAt  time.Duration
	flap        Penalty // of transitions swallowed while flapping
	swallowed   int
	text        string // the newest, if it differs from Belief.Text
	sense       Sense  // the newest, if it differs from Belief.Sense
}

// Condition is where the fault stands between clear and active.
type Condition string

// The conditions. Pending and clearing are holds that looks have not yet met.
const (
	Clear    Condition = "clear"
	Pending  Condition = "pending"
	Active   Condition = "active"
	Clearing Condition = "clearing"
)

// Condition returns where the fault stands.
func (f *Fault) Condition() Condition {
	switch {
	case f.Active && f.live.running == Absent:
		return Clearing
	case f.Active:
		return Active
	case f.live.running == Present:
		return Pending
	}
	return Clear
}

// Shown is the severity that people see: what the look said, raised by
// escalation and by the faults this one masks.
func (b *Belief) Shown() Severity { return max(b.Severity, b.Escalated, b.Lent) }

// Latest returns the newest text and evidence, readings included.
func (f *Fault) Latest() (string, Sense) {
	if f.live.sense == nil {
		return f.Text, f.Sense
	}
	return f.live.text, f.live.sense
}

func (l *live) latest(o Observation) {
	l.text, l.sense = o.Text, o.Sense
	if l.sense == nil {
		l.sense = Sense{}
	}
}

// LastLook is when the newest conclusive look of this process began, or zero.
func (f *Fault) LastLook() time.Time { return f.live.lookedAt.Wall }

// Shelved claims that the fault is on the shelf now, whatever was written.
func (b *Belief) Shelved(now Clock) bool { return b.Shelf != nil && !b.Shelf.End.Reached(now) }

// Stale claims that an active fault had no conclusive look of its own for three
// intervals. Stale never clears.
func (f *Fault) Stale(now Clock) bool {
	return f.Active && (f.StaleTold || f.overdue(now))
}

func (f *Fault) overdue(now Clock) bool {
	return f.Every > 0 && now.Boot-max(f.live.lookedAt.Boot, f.live.takenOver) > 3*f.Every
}

// Unverified claims that the fault stands from before this process and no look
// has judged it since.
func (f *Fault) Unverified() bool { return f.Active && f.live.lookStarted == 0 }

// Recurring claims at least three raises in 24 hours. It is a tag, never a
// severity, and a drill never has it.
func (b *Belief) Recurring(now Clock) bool {
	oldest := b.Raises[len(b.Raises)-1]
	return !b.Key.Drill() && oldest != 0 && now.Wall.Sub(time.Unix(oldest, 0)) <= 24*time.Hour
}

// waiting claims that the fault is not told yet although active and unshelved:
// until one look of its own after a mask or a restart, for at most two
// intervals.
func (f *Fault) waiting(now Clock) bool {
	limit := 2 * f.Every
	if f.live.unmasked != 0 && f.live.lookStarted <= f.live.unmasked && now.Boot-f.live.unmaskedAt < limit {
		return true
	}
	return f.Unverified() && now.Boot-f.live.takenOver < limit
}

// DeclaresCause claims that k is one of the fault's own causes.
func (b *Belief) DeclaresCause(k Key) bool { return slices.Contains(b.Causes, k) }
