package wire

import (
	"time"

	"allclear/internal/fault"
)

// Fault is one fault as people and programs see it.
type Fault struct {
	ID          uint64            `json:"id"`
	Epoch       string            `json:"epoch"`
	Seq         uint64            `json:"seq"` // of its last event
	Node        string            `json:"node"`
	Code        fault.Code        `json:"code"`
	Legacy      []string          `json:"legacy"`
	Resource    string            `json:"resource"`
	Severity    fault.Severity    `json:"severity"` // shown
	SeverityWhy string            `json:"severity_why"`
	State       fault.Condition   `json:"state"`
	Title       string            `json:"title"`
	Text        string            `json:"text"`
	Sense       map[string]string `json:"sense"`
	Cause       string            `json:"cause"`
	Remedy      []fault.Remedy    `json:"remedy"`
	RaisedAt    *time.Time        `json:"raised_at"`
	ChangedAt   *time.Time        `json:"changed_at"`
	ClearedAt   *time.Time        `json:"cleared_at"`
	ClearReason string            `json:"clear_reason"`
	LastLook    *time.Time        `json:"last_look"`
	Count       uint64            `json:"count"`
	Occurrence  uint64            `json:"occurrence"`
	Operator    Operator          `json:"operator"`
	Shelf       *Shelf            `json:"shelf"`
	MaskedBy    []string          `json:"masked_by"` // CODE@RESOURCE
	Stale       bool              `json:"stale"`
	Unverified  bool              `json:"unverified"`
	Flapping    bool              `json:"flapping"`
	Recurring   bool              `json:"recurring"`
	Durable     bool              `json:"durable"`
	Drill       bool              `json:"drill"`
	Check       string            `json:"check"` // id of the owner check
}

// Operator is the operator's mark on a fault.
type Operator struct {
	Mark   string     `json:"mark"` // none, ack, fixed
	By     string     `json:"by,omitempty"`
	At     *time.Time `json:"at,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// Shelf says until when a fault is not told of.
type Shelf struct {
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// List is a page of a listing; Next is the token of the page after it.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// OperatorRequest is an operator's word on a fault. For and Until belong to
// shelve: one of them.
type OperatorRequest struct {
	Op     fault.Op   `json:"op"`
	Reason string     `json:"reason"`
	For    string     `json:"for,omitempty"` // a duration: 90m, 2h, 7d
	Until  *time.Time `json:"until,omitempty"`
}

// OperatorReply is the fault afterwards and what happened to it.
type OperatorReply struct {
	Fault  Fault         `json:"fault"`
	Events []fault.Event `json:"events"`
}

// VerifyRequest names what to look at: resources, codes, fault ids or
// CODE@RESOURCE; none means everything.
type VerifyRequest struct {
	Select []string `json:"select"`
}

// VerifyReply is what looking again has shown.
type VerifyReply struct {
	Looks  []Look        `json:"looks"`
	Events []fault.Event `json:"events"` // what changed
	Active int           `json:"active"` // faults active among what was looked at
}

// Why explains why a fault is, or is not, active.
type Why struct {
	Fault   Fault         `json:"fault"`
	Reasons []string      `json:"reasons"`
	Check   *Check        `json:"check"`
	Events  []fault.Event `json:"events"` // newest first
}

// Explanation is a catalogue entry.
type Explanation struct {
	Code       fault.Code     `json:"code"`
	Legacy     []string       `json:"legacy"`
	Title      string         `json:"title"`
	Severity   fault.Severity `json:"severity"`
	Severities string         `json:"severities,omitempty"`
	Impact     string         `json:"impact"`
	Cause      string         `json:"cause"`
	Raise      string         `json:"raise"`
	RaiseHold  string         `json:"raise_hold,omitempty"`
	Clear      string         `json:"clear"`
	ClearHold  string         `json:"clear_hold,omitempty"`
	Remedy     []fault.Remedy `json:"remedy"`
	Variants   []Variant      `json:"variants,omitempty"`
	Facts      []string       `json:"facts"`
	Readings   []string       `json:"readings"`
	CausedBy   []fault.Code   `json:"caused_by"`
	Applies    string         `json:"applies"`
	Never      string         `json:"never,omitempty"`
}

// Variant is a qualifier of a code.
type Variant struct {
	Name   string         `json:"name"`
	Title  string         `json:"title"`
	Cause  string         `json:"cause,omitempty"`
	Remedy []fault.Remedy `json:"remedy,omitempty"`
}
