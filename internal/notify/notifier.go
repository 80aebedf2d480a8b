package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/wire"
)

// Options are what a Notifier needs.
type Options struct {
	Node    string
	Journal *journal.Store
	// Wire makes of a fault what people and programs are shown.
	Wire func(*fault.View) wire.Fault
	// Looked claims that every check has looked once since the start: before that
	// nobody knows all that is active. Nil: it always has.
	Looked func() bool
	Log    *slog.Logger // nil: none
}

// ErrNoSink says that no sink of that name is configured.
var ErrNoSink = errors.New("no such sink")

// Notifier runs one courier for each sink. Its methods are safe for concurrent
// use.
type Notifier struct {
	opts    Options
	changed chan struct{} // capacity 1: there are other couriers

	mu       sync.Mutex // guards the fields below
	couriers []*courier
	retired  []*courier // of earlier configurations, to be closed by Run
}

// New returns a notifier that tells nobody yet.
func New(opts Options, sinks []Config) *Notifier {
	if opts.Looked == nil {
		opts.Looked = func() bool { return true }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{opts: opts, changed: make(chan struct{}, 1)}
	n.Configure(sinks)
	return n
}

// Configure puts other sinks in the place of those there are. What was told is
// kept for each that has the same name and destination.
func (n *Notifier) Configure(sinks []Config) {
	couriers := make([]*courier, len(sinks))
	for i, s := range sinks {
		couriers[i] = newCourier(&n.opts, s)
	}
	n.mu.Lock()
	n.retired = append(n.retired, n.couriers...)
	n.couriers = couriers
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default: // Run was told already
	}
}

// Name is the word under which the API mounts it.
func (n *Notifier) Name() string { return "notify" }

// Faults are the catalogue entries that it owns.
func (n *Notifier) Faults() []fault.Entry { return Faults() }

// Checks are one for each sink.
func (n *Notifier) Checks() []check.Check {
	var all []check.Check
	for _, c := range n.current() {
		all = append(all, c.check(c.Name))
	}
	return all
}

// Describe says in a sentence who is told.
func (n *Notifier) Describe() (text string, configured bool) {
	all := n.current()
	if len(all) == 0 {
		return "no receiver is configured: nobody is told of faults", false
	}
	text = "tells "
	for i, c := range all {
		if i > 0 {
			text += ", "
		}
		text += c.Name + " (" + c.Kind + ")"
	}
	return text, true
}

func (n *Notifier) current() []*courier {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.couriers)
}

// take returns the couriers to run and those to close.
func (n *Notifier) take() (couriers, gone []*courier) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gone = n.retired
	n.retired = nil
	return slices.Clone(n.couriers), gone
}

// Run tells the receivers until ctx ends. asks hears when a sink's check should
// look.
func (n *Notifier) Run(ctx context.Context, asks check.Sink) error {
	for ctx.Err() == nil {
		select {
		case <-n.changed: // it is what take returns
		default:
		}
		couriers, gone := n.take()
		closeAll(gone)
		n.forget(ctx, couriers)
		n.generation(ctx, couriers, asks)
	}
	couriers, gone := n.take()
	closeAll(gone)
	closeAll(couriers)
	return nil
}

// generation runs the couriers until there are others or ctx ends. They have
// all ended when it returns: no two couriers ever keep one record.
func (n *Notifier) generation(ctx context.Context, couriers []*courier, asks check.Sink) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, c := range couriers {
		ask := func() { asks.Ask(checkName+"@"+c.Name, fault.TriggerChanged) }
		wg.Go(func() { c.run(ctx, ask) })
	}
	select {
	case <-ctx.Done():
	case <-n.changed:
		n.changed <- struct{}{} // Run takes it
	}
}

func closeAll(couriers []*courier) {
	for _, c := range couriers {
		c.Sink.Close()
	}
}

// forget drops what sinks were told that are gone or go elsewhere now.
func (n *Notifier) forget(ctx context.Context, couriers []*courier) {
	for _, name := range n.opts.Journal.Sinks() {
		if slices.ContainsFunc(couriers, func(c *courier) bool { return c.id == name }) {
			continue
		}
		if err := n.opts.Journal.DropSink(ctx, name); err != nil {
			n.opts.Log.LogAttrs(ctx, slog.LevelWarn, "records of a former sink not dropped yet", slog.String("sink", name), slog.Any("error", err))
		}
	}
}

// List says of each sink how the telling goes.
func (n *Notifier) List() []wire.NotifySink {
	all := []wire.NotifySink{}
	for _, c := range n.current() {
		all = append(all, c.list(time.Now()))
	}
	return all
}

// Test really sends a test message to one sink, past all queues, and says what
// the receiver answered. The error wraps [ErrNoSink] if there is no such sink.
func (n *Notifier) Test(ctx context.Context, name string) (wire.NotifyTest, error) {
	for _, c := range n.current() {
		if c.Name != name {
			continue
		}
		t := wire.NotifyTest{Sink: name, Kind: c.Kind, Destination: c.Destination}
		began := time.Now()
		answer, err := deliver(ctx, c.Sink, c.own(Test, began))
		t.DurationMS = time.Since(began).Milliseconds()
		t.OK, t.Answer = err == nil, oneLine(answer)
		if err != nil {
			t.Error = oneLine(err.Error())
		}
		return t, nil
	}
	return wire.NotifyTest{}, fmt.Errorf("%w: %q", ErrNoSink, name)
}
