package wire

import (
	"encoding/json"
	"time"

	"allclear/internal/fault"
)

// Error is why a request was refused or came to nothing.
type Error struct {
	Code    string `json:"code"` // stable, kebab-case
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what the caller can do
}

// ErrorReply wraps an Error as the body of an answer.
type ErrorReply struct {
	Error Error `json:"error"`
}

// Version says what a program was built from.
type Version struct {
	Version  string     `json:"version"`
	Revision string     `json:"revision"`
	Time     *time.Time `json:"time"` // of the revision
	Modified bool       `json:"modified"`
	Go       string     `json:"go"`
	Platform string     `json:"platform"` // linux/amd64
}

// ActionLine is one line of the answer to an action: progress lines, then one
// line with Done, or with Error.
type ActionLine struct {
	Progress *Progress     `json:"progress,omitempty"`
	Done     bool          `json:"done,omitempty"`
	Result   any           `json:"result,omitempty"`
	Events   []fault.Event `json:"events,omitempty"` // what the looks after it changed
	Error    *Error        `json:"error,omitempty"`
}

// DrillLine is one line of the answer to a drill: a report, or the error that
// ended the run, or Done.
type DrillLine struct {
	Report *DrillReport `json:"report,omitempty"`
	Done   bool         `json:"done,omitempty"`
	Error  *Error       `json:"error,omitempty"`
}

// StreamLine is one line of a subsystem's stream: an item, or the error that
// ended it.
type StreamLine struct {
	Item  json.RawMessage `json:"item,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

// Health is the answer to "does the agent make progress?".
type Health struct {
	OK bool `json:"ok"`
	// Scheduler and Journal are when each last made progress.
	Scheduler time.Time `json:"scheduler"`
	Journal   time.Time `json:"journal"`
	Problems  []string  `json:"problems"`
}
