// Package subsystem is the contract between the agent and the parts that do the
// protection jobs. The agent runs subsystems and knows none by name; a
// subsystem knows neither the agent nor any other.
package subsystem

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/url"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/wire"
)

// Subsystem does one job and proves that it does it.
type Subsystem interface {
	// Name is one lower-case word; the API mounts the subsystem under it.
	Name() string
	// Faults are the catalogue entries that it owns.
	Faults() []fault.Entry
	// Checks are its looks under the present configuration.
	Checks() []check.Check
	// Run does its work until ctx ends. One that only has checks returns nil when
	// ctx is done.
	Run(ctx context.Context, sink check.Sink) error
}

// Role is who may use a part of the API.
type Role string

// The roles, each including those before it.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
)

// Allows claims that a person of role have may do what needs role r.
func (r Role) Allows(have Role) bool { return rank(have) >= rank(r) }

func rank(r Role) int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

// Action is something a subsystem can do. The agent looks at Verifies after it,
// so that an action never judges itself.
type Action struct {
	Name     string
	Role     Role
	Verifies []fault.Key
	Do       func(ctx context.Context, in json.RawMessage, progress func(wire.Progress)) (any, error)
}

// View is something a subsystem can show: a value of package wire.
type View struct {
	Path string
	Role Role
	Get  func(ctx context.Context, q url.Values) (any, error)
}

// Stream is a view without end.
type Stream struct {
	Path string
	Role Role
	Open func(ctx context.Context, q url.Values) (iter.Seq2[any, error], error)
}

// Download is a long answer of bytes, such as files to restore. It is audited.
type Download struct {
	Path string
	Role Role
	Type string // the media type
	// Send writes the answer. An error before the first byte is the answer; what
	// is written must end with a mark of its own, so that a reader tells a whole
	// answer from one that was cut off.
	Send func(ctx context.Context, q url.Values, w io.Writer) error
}

// Drill breaks a real thing in a private lab so that the real check finds it.
// It never judges: the check does.
type Drill struct {
	Code fault.Code
	// Prepare builds the healthy thing and returns the real check on it, whose
	// resource begins with l.Resource().
	Prepare func(ctx context.Context, l *lab.Lab) (check.Check, error)
	Break   func(ctx context.Context, l *lab.Lab) error
	Repair  func(ctx context.Context, l *lab.Lab) error
}

// The optional interfaces.
type (
	// Actor has actions.
	Actor interface{ Actions() []Action }
	// Shower has views.
	Shower interface{ Views() []View }
	// Streamer has streams.
	Streamer interface{ Streams() []Stream }
	// Downloader has downloads.
	Downloader interface{ Downloads() []Download }
	// Driller has drills. Each call makes fresh ones: a drill keeps what it
	// prepared between its steps.
	Driller interface{ Drills() []Drill }
	// Describer says in a sentence what the subsystem protects right now, or what
	// is not configured.
	Describer interface {
		Describe() (text string, configured bool)
	}
	// Preflighter foresees what a planned change would break.
	Preflighter interface {
		Preflight(ctx context.Context, c wire.Change) []wire.Finding
	}
)
