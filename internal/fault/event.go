package fault

import "time"

// Kind is what an event records. The list is closed.
type Kind string

// The kinds of event.
const (
	KindRaise              Kind = "raise"
	KindClear              Kind = "clear" // with a Reason
	KindChange             Kind = "change"
	KindAck                Kind = "ack"
	KindUnack              Kind = "unack"
	KindShelve             Kind = "shelve"
	KindUnshelve           Kind = "unshelve"
	KindFix                Kind = "fix"
	KindVerifyFailed       Kind = "verify-failed"
	KindVerifyInconclusive Kind = "verify-inconclusive"
	KindMask               Kind = "mask"
	KindUnmask             Kind = "unmask"
	KindFlapOn             Kind = "flap-on"
	KindFlapOff            Kind = "flap-off"
	KindStale              Kind = "stale"
	KindFresh              Kind = "fresh"
	KindEscalate           Kind = "escalate"
	KindAdopt              Kind = "adopt"
	KindRemedyStart        Kind = "remedy-start"
	KindRemedyEnd          Kind = "remedy-end"
	// The rest concern the node, not one fault; their Key is zero.
	KindBoot      Kind = "boot"
	KindClockStep Kind = "clock-step"
	KindPrune     Kind = "prune"
)

// Kinds is the closed list, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		KindRaise, KindClear, KindChange, KindAck, KindUnack, KindShelve, KindUnshelve, KindFix,
		KindVerifyFailed, KindVerifyInconclusive, KindMask, KindUnmask, KindFlapOn, KindFlapOff,
		KindStale, KindFresh, KindEscalate, KindAdopt, KindRemedyStart, KindRemedyEnd,
		KindBoot, KindClockStep, KindPrune,
	}
}

// Reasons of a clear.
const (
	Verified      = "verified"       // a look proved the repair
	Inapplicable  = "not-applicable" // policy excludes the fault now
	Retired       = "retired"        // its check, code or object is gone
	ByTheOperator = "operator"       // a fix of a ByOperator code
)

// ClearWords says for people why a fault was cleared.
func ClearWords(reason string) string {
	switch reason {
	case Verified:
		return "a look proved the repair"
	case Inapplicable:
		return "it is not monitored any more"
	case Retired:
		return "its check is gone"
	case ByTheOperator:
		return "an operator settled it"
	}
	return reason
}

// Event is one step in how we came to believe what we believe. The core fills
// all but Epoch, Seq and Node, which the journal gives it when it is appended.
type Event struct {
	Node  string `json:"node,omitempty"`
	Epoch string `json:"epoch,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`

	Kind  Kind      `json:"kind"`
	Key   Key       `json:"key,omitzero"`
	ID    uint64    `json:"id,omitempty"`
	At    time.Time `json:"at"`    // shown; strictly grows along Seq
	Clock Clock     `json:"clock"` // what the clocks said

	Severity   Severity  `json:"severity,omitempty"` // raise, change, adopt: what the look said; escalate: the new floor
	Lent       *Severity `json:"lent,omitempty"`     // change: the severity lent by masked faults
	Text       string    `json:"text,omitempty"`
	Sense      Sense     `json:"sense,omitempty"`
	Remedy     []Remedy  `json:"remedy,omitempty"` // raise, change: the look's own steps
	Check      string    `json:"check,omitempty"`
	Every      int64     `json:"every,omitempty"`  // interval of the owner check, ns
	Causes     []Key     `json:"causes,omitempty"` // raise, adopt: declared causes; mask: those in force
	Occurrence uint64    `json:"occurrence,omitempty"`
	Notice     uint64    `json:"notice,omitempty"` // adopt: the newest that any receiver knows
	Count      int       `json:"count,omitempty"`  // flap-off: transitions swallowed; prune: events removed

	By     string    `json:"by,omitempty"`     // operator, or automatic action
	Reason string    `json:"reason,omitempty"` // clear: Verified...; operator: their words; verify-inconclusive: what blocked the look
	Due    *Deadline `json:"due,omitempty"`    // shelve: its end; raise, escalate: next escalation; fix: when it counts as unanswered
	Last   *Clock    `json:"last,omitempty"`   // boot: the newest clock of the boot before
	Trig   Trigger   `json:"trigger,omitempty"`
}

// Trigger is why a look happened.
type Trigger string

// The triggers of a look. The first six are those of the vendor documents.
const (
	TriggerCreated  Trigger = "created"
	TriggerChanged  Trigger = "changed"
	TriggerOperator Trigger = "operator"
	TriggerTimer    Trigger = "timer"
	TriggerStartup  Trigger = "startup"
	TriggerContent  Trigger = "content"
	TriggerCause    Trigger = "cause" // a symptom asked for its cause
)
