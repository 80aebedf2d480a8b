package wire

import (
	"time"

	"allclear/internal/fault"
)

// FaultRow is what a list of thousands of faults needs of each: no text, no
// evidence, no remedy.
type FaultRow struct {
	ID         uint64          `json:"id"`
	Key        fault.Key       `json:"key"`
	Active     bool            `json:"active"`
	Severity   fault.Severity  `json:"severity"` // shown
	Raised     time.Time       `json:"raised"`
	Cleared    time.Time       `json:"cleared"`
	LastLook   time.Time       `json:"last_look"`
	Mark       string          `json:"mark"` // none, ack, fixed
	Shelved    bool            `json:"shelved"`
	Stale      bool            `json:"stale"`
	Recurring  bool            `json:"recurring"`
	Flapping   bool            `json:"flapping"`
	Unverified bool            `json:"unverified"`
	MaskedBy   []fault.Key     `json:"masked_by"`
	Check      string          `json:"check"`
	State      fault.Condition `json:"state"`
}

// AuditEntry is one change that somebody asked for, whether it was done or
// refused.
type AuditEntry struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	Role   string    `json:"role"`
	Door   string    `json:"door"` // socket, page
	From   string    `json:"from"` // uid and pid, or the address of the browser
	What   string    `json:"what"` // ack, verify, login, probe, ...
	Target string    `json:"target,omitempty"`
	Reason string    `json:"reason,omitempty"` // in the words of who asked
	Result string    `json:"result"`           // done, or the code of the error
}

// PageLogin is a link that opens the page once.
type PageLogin struct {
	URL     string    `json:"url"`
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
}

// PageLoginRequest asks for a link with a lesser role than the caller's.
type PageLoginRequest struct {
	Role string `json:"role,omitempty"`
}
