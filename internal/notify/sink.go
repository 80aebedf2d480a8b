package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Sink speaks to one receiver. It is safe for concurrent use.
type Sink interface {
	// Deliver sends one message and returns what the receiver answered, in a few
	// words. A *[RejectedError] says that the receiver is well and refuses this
	// very message; any other error that nothing gets through.
	Deliver(ctx context.Context, m Message) (answer string, err error)
	// Probe finds out, without telling anything, whether a message would get
	// through, as far as the protocol allows, and says what was proved.
	Probe(ctx context.Context) (proved string, err error)
	// Close lets go of connections.
	Close()
}

// Batcher is a Sink that takes many messages in one go: all or none.
type Batcher interface {
	DeliverAll(ctx context.Context, ms []Message) (answer string, err error)
}

// Refresher is a Sink whose receiver forgets: it is told again and again of
// all that is active and told.
type Refresher interface {
	Refresh(ctx context.Context, active []Message) error
}

// Config is one sink as the operator wants it.
type Config struct {
	Name string // unique; the resource of its fault
	Kind string // "webhook", ...
	// Template names the form of a webhook's messages; "" is CloudEvents.
	Template string
	// Destination is safe to show: of a URL the scheme and host only.
	Destination string
	// Identity is all that makes the receiver another one. A sink whose identity
	// changes starts with nothing told. It is stored as a hash only.
	Identity string
	// People claims that people read every message: a flood becomes a digest.
	People bool
	// BestEffort claims that messages older than a day are folded into one
	// instead of being tried one by one for ever.
	BestEffort bool
	// Stateful claims that the receiver keeps state of its own, which a lost
	// history must be brought in line with by a resync.
	Stateful bool
	// BySeverity claims that the receiver takes the same fault under another
	// severity for another one.
	BySeverity bool
	// Parallel is how many messages may be under way at a time, 1 if 0.
	Parallel int
	Sink     Sink
}

// told names the sink's told records: its name and its destination.
func (c *Config) told() string {
	sum := sha256.Sum256([]byte(c.Kind + "\x00" + c.Template + "\x00" + c.Identity))
	return c.Name + "#" + hex.EncodeToString(sum[:6])
}

// RejectedError says that the receiver answers and refuses one message.
type RejectedError struct {
	Answer string
}

func (e *RejectedError) Error() string { return "the receiver refuses the message: " + e.Answer }

// BusyError says that the receiver wants to be left alone for a while.
type BusyError struct {
	Answer string
	After  time.Duration // 0: it did not say
}

func (e *BusyError) Error() string { return "the receiver is busy: " + e.Answer }

// rejected claims that err concerns one message and not the receiver.
func rejected(err error) bool {
	_, ok := errors.AsType[*RejectedError](err)
	return ok
}

// deadline bounds one exchange with a receiver.
const deadline = 10 * time.Second

// deliver sends within the deadline.
func deliver(ctx context.Context, s Sink, m Message) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no answer within %s", deadline))
	defer cancel()
	answer, err := s.Deliver(ctx, m)
	return answer, explain(ctx, err)
}

// explain puts the deadline's own words in place of "context deadline exceeded".
func explain(ctx context.Context, err error) error {
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
