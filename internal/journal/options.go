package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"allclear/internal/fault"
)

// Options is what a [Store] is opened with. Dir, Node and Catalogue are
// required.
type Options struct {
	// Dir holds the database and the files beside it. It is made with mode 0700
	// if it is missing.
	Dir string
	// Node is the name that events carry.
	Node      string
	Catalogue *fault.Catalogue
	// Limits bound the set of faults; the zero value means fault.DefaultLimits.
	Limits fault.Limits
	// Clock reads the node's clocks; nil means [SystemClock].
	Clock func() fault.Clock
	// Retain is how long events and cleared faults are kept; 0 means 90 days.
	Retain time.Duration
	// MaxCleared is how many cleared faults are kept at most; 0 means 20 000.
	MaxCleared int
	// BallastBytes is the size of the file that is given up when the disk is
	// full, so that this can still be recorded; 0 means 8 MiB, below 0 none.
	BallastBytes int64
	// Stall is how long a commit may take before it counts as failing, plus a
	// little for each event in it; 0 means 2 s.
	Stall time.Duration
	// Log is for developers; nil means none.
	Log *slog.Logger
	// Failpoint, if set, is called before each step of writing with the step's
	// name ("begin", "event", "belief", "commit", "trace", "ballast") and makes
	// it fail with the error that it returns. It is nil outside tests.
	Failpoint func(step string) error
}

// The defaults of Options.
const (
	defaultRetain     = 90 * 24 * time.Hour
	defaultMaxCleared = 20_000
	defaultBallast    = 8 << 20
	defaultStall      = 2 * time.Second
)

func (o Options) complete() (Options, error) {
	if o.Dir == "" || o.Node == "" || o.Catalogue == nil {
		return o, errors.New("a journal needs a directory, a node name and a catalogue")
	}
	if o.Limits == (fault.Limits{}) {
		o.Limits = fault.DefaultLimits()
	}
	if o.Clock == nil {
		clock, err := SystemClock()
		if err != nil {
			return o, err
		}
		o.Clock = clock
	}
	if o.Retain == 0 {
		o.Retain = defaultRetain
	}
	if o.MaxCleared == 0 {
		o.MaxCleared = defaultMaxCleared
	}
	if o.BallastBytes == 0 {
		o.BallastBytes = defaultBallast
	}
	if o.Stall == 0 {
		o.Stall = defaultStall
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) error { return nil }
	}
	return o, nil
}

// What the store answers besides the errors of package fault.
var (
	// ErrRefused says that storing failed and that what was asked was taken
	// back. Raises that came with it did happen. Try again later.
	ErrRefused = errors.New("the journal cannot store it")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrNoFault says that the node knows no fault of that key.
	ErrNoFault = errors.New("no such fault")
)

// LockedError says that another process has the journal open.
type LockedError struct {
	Path string
	PID  int // 0: it did not say
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the journal is in use by process %d (%s)", e.PID, e.Path)
}
