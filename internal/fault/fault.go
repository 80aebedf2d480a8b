package fault

import (
	"cmp"
	"slices"
	"time"
)

// Belief is the durable part of a fault: what a node believes and may tell. It
// is exactly what [Fold] makes of the fault's events.
type Belief struct {
	Key Key    `json:"key"`
	ID  uint64 `json:"id"` // small, stable for its key on this node

	Active      bool     `json:"active"`
	Severity    Severity `json:"severity"`              // what the last Present said
	Escalated   Severity `json:"escalated,omitempty"`   // floor set by an escalation
	Lent        Severity `json:"lent,omitempty"`        // highest of the faults it masks
	StaleTold   bool     `json:"stale_told,omitempty"`  // a stale event without a fresh one after it
	Flapping    bool     `json:"flapping,omitempty"`    // latched active until flap-off
	Escalations uint8    `json:"escalations,omitempty"` // how many have happened since the raise

	Text     string        `json:"text,omitempty"`
	Sense    Sense         `json:"sense,omitempty"`
	Remedy   []Remedy      `json:"remedy,omitempty"` // the look's own steps; nil: the catalogue's
	Check    string        `json:"check,omitempty"`  // its owner
	Every    time.Duration `json:"every,omitempty"`  // the owner's interval
	Causes   []Key         `json:"causes,omitempty"`
	MaskedBy []Key         `json:"masked_by,omitempty"` // as last announced

	Raised      time.Time `json:"raised,omitzero"`
	Changed     time.Time `json:"changed,omitzero"`
	Cleared     time.Time `json:"cleared,omitzero"`
	ClearReason string    `json:"clear_reason,omitempty"`

	Count      uint64   `json:"count,omitempty"`      // raises, ever
	Occurrence uint64   `json:"occurrence,omitempty"` // grows with each raise
	Notice     uint64   `json:"notice,omitempty"`     // grows with whatever a receiver must hear
	Raises     [3]int64 `json:"raises,omitzero"`      // Unix seconds of the last three, newest first

	Mark     *Marked   `json:"mark,omitempty"`
	Shelf    *Shelf    `json:"shelf,omitempty"`
	Escalate *Deadline `json:"escalate,omitempty"` // the next escalation
	Auto     *AutoRun  `json:"auto,omitempty"`
	Penalty  Penalty   `json:"penalty,omitzero"`
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

// live is the part of a fault that is not stored. Durations are CLOCK_BOOTTIME;
// orders are readings of the process-wide counter.
type live struct {
	verdict     Verdict // of the newest look that was not Unknown
	running     Verdict // Present while pending, Absent while clearing, else Unknown
	factsWait   bool    // a fact changed less than factPause after the last change
	fixAnswered bool    // a look proved the repair but a hold is still to be met

	lastPresent uint64        // the latest end of a look that said Present
	lookStarted uint64        // start of the newest look that was not Unknown; 0: none yet
	lookedAt    time.Duration // when that look started; before it, when this process took the fault over
	lookedWall  int64         // when that look started, Unix nanoseconds
	changedAt   time.Duration // of the raise or the last change event

	seq uint64 // of the fault's last event, if the journal stamped it

	newest *newest // nil if it says what the belief says
	rare   *rare   // nil if all of it is zero
}

// newest is what the newest look said, readings included.
type newest struct {
	text   string
	sense  Sense
	remedy []Remedy
}

// rare is what few faults have at any time. It is never changed in place,
// because copies of a Fault share it: see live.edit.
type rare struct {
	runFrom     time.Duration // start of the first look of the running hold
	raisedOrder uint64        // at the raise of a fault with causes
	raisedAt    time.Duration
	fixOrder    uint64 // at the operator's fix
	unmasked    uint64 // at the end of the last mask
	unmaskedAt  time.Duration
	flap        Penalty // of transitions swallowed while flapping
	swallowed   int
}

func (l *live) get() rare {
	if l.rare == nil {
		return rare{}
	}
	return *l.rare
}

// edit changes the rare part in a copy of its own.
func (l *live) edit(change func(*rare)) {
	r := l.get()
	change(&r)
	l.rare = &r
	if r == (rare{}) {
		l.rare = nil
	}
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
	case f.Active && f.live.running == Absent && !f.Flapping:
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
	n := f.newest()
	return n.text, n.sense
}

func (f *Fault) newest() newest {
	if f.live.newest == nil {
		return newest{f.Text, f.Sense, f.Remedy}
	}
	return *f.live.newest
}

// latest keeps what a look said where it differs from the belief.
func (f *Fault) latest(o Observation) {
	f.live.newest = nil
	if o.Text != f.Text || !slices.Equal(o.Sense, f.Sense) || !slices.Equal(o.Remedy, f.Remedy) {
		f.live.newest = &newest{o.Text, o.Sense, o.Remedy}
	}
}

// LastLook is when the newest look of this process that judged the fault began,
// by the wall clock; zero if there was none.
func (f *Fault) LastLook() time.Time {
	if f.live.lookStarted == 0 {
		return time.Time{}
	}
	return time.Unix(0, f.live.lookedWall)
}

// Shelved claims that the fault is on the shelf now, whatever was written.
func (b *Belief) Shelved(now Clock) bool { return b.Shelf != nil && !b.Shelf.End.Reached(now) }

// Stale claims that an active fault had no conclusive look of its own for three
// intervals. Stale never clears.
func (f *Fault) Stale(now Clock) bool {
	return f.Active && (f.StaleTold || f.overdue(now))
}

func (f *Fault) overdue(now Clock) bool {
	return f.Every > 0 && now.Boot-f.live.lookedAt > 3*f.Every
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
// intervals, or two minutes where its owner is not known yet.
func (f *Fault) waiting(now Clock) bool {
	limit := 2 * cmp.Or(f.Every, time.Minute)
	r := f.live.get()
	if r.unmasked != 0 && f.live.lookStarted <= r.unmasked && now.Boot-r.unmaskedAt < limit {
		return true
	}
	return f.Unverified() && now.Boot-f.live.lookedAt < limit
}

// blank claims that no event ever concerned the fault and nothing is running:
// there is nothing to remember.
func (f *Fault) blank() bool {
	return !f.Active && f.Count == 0 && f.Notice == 0 && f.Shelf == nil && f.live.running == Unknown
}

// DeclaresCause claims that k is one of the fault's own causes.
func (b *Belief) DeclaresCause(k Key) bool { return slices.Contains(b.Causes, k) }
