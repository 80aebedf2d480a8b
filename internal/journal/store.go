package journal

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"allclear/internal/fault"
)

// Store is the journal of one node. It is safe for concurrent use. What reads
// beliefs never waits for the disk; what writes answers when the disk has it.
type Store struct {
	o       Options
	lock    *lock
	disk    *disk
	ballast *ballast
	trace   *trace
	hand    *hand
	queue   chan *task
	chores  chan *task // done in a batch of their own
	closing chan struct{}
	close   func() error  // once
	done    chan struct{} // closed when the writer has ended
	order   atomic.Uint64

	mu      sync.RWMutex // guards the fields below; never held across disk work
	set     *fault.Set
	head    Head // the newest durable event
	told    map[string]map[fault.Key]fault.Told
	cursors map[string]uint64
	health  Health
	moved   chan struct{} // closed and replaced when a belief changes
	changed chan struct{} // closed and replaced when the health changes

	held     []fault.Event          // numbered, visible, not on disk
	heldKeys map[fault.Key]struct{} // of held
	dirty    map[uint64]fault.Key   // by id: beliefs on disk that are or may be behind
	owed     map[toldKey]struct{}   // told records on disk that are behind
	beat     time.Duration          // when a heartbeat was last begun, on the boot's clock

	// What follows is touched by the writer only.
	seq       uint64    // of the newest event, held ones included
	shown     time.Time // of the newest event
	booted    uint64    // of this process's boot event
	torn      bool      // the disk may hold events above head
	heartbeat time.Duration
	watched   fault.Clock   // of the last tick
	stepped   time.Duration // when the wall clock was last seen to step; 0: never
	leftover  bool          // the trace file holds what the database has by now

	// Guarded by mu again: what retention has seen to.
	pruned time.Duration
}

// task is something to do in a batch. do runs under the store's lock and may
// run twice: in a group, and again alone if the group could not be stored.
type task struct {
	do   func(*batch) error
	err  error
	done chan struct{}
}

// submit has the writer do something and waits until it is stored or refused.
func submit[T any](ctx context.Context, s *Store, do func(*batch) (T, error)) (T, error) {
	return submitTo(ctx, s, s.queue, do)
}

func submitTo[T any](ctx context.Context, s *Store, queue chan *task, do func(*batch) (T, error)) (T, error) {
	var out, zero T
	t := &task{done: make(chan struct{}), do: func(b *batch) (err error) {
		out, err = do(b)
		return err
	}}
	select {
	case queue <- t:
	case <-s.closing:
		return zero, ErrClosed
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
	select {
	case <-t.done:
		return out, t.err
	case <-ctx.Done():
		return zero, context.Cause(ctx) // it may still happen
	case <-s.done:
	}
	select {
	case <-t.done:
		return out, t.err
	default:
		return zero, ErrClosed
	}
}

// NextOrder advances the counter that orders looks and returns it. A look takes
// one when it starts and one when it ends.
func (s *Store) NextOrder() uint64 { return s.order.Add(1) }

// Order is the present value of the counter.
func (s *Store) Order() uint64 { return s.order.Load() }

// Now reads the store's clock.
func (s *Store) Now() fault.Clock { return s.o.Clock() }

// Observe takes what a look said. An error that wraps [ErrRefused] means that
// the store is failing and that a clear in the look did not happen; the raises
// in it did, and the outcome says what came of it all.
func (s *Store) Observe(ctx context.Context, l fault.Look) (fault.Outcome, error) {
	return submit(ctx, s, func(b *batch) (fault.Outcome, error) { return b.look(&l) })
}

// Operate takes an operator's word on a fault. Errors are [ErrNoFault], those
// of fault.CheckOperator as they are, and [ErrRefused].
func (s *Store) Operate(ctx context.Context, k fault.Key, op fault.Operator) ([]fault.Event, error) {
	return submit(ctx, s, func(b *batch) ([]fault.Event, error) {
		f := s.set.Get(k)
		if f == nil {
			return nil, ErrNoFault
		}
		if err := fault.CheckOperator(f, op); err != nil {
			return nil, err
		}
		return b.apply(k, op)
	})
}

// Apply moves one fault by any other input.
func (s *Store) Apply(ctx context.Context, k fault.Key, in fault.Input) ([]fault.Event, error) {
	return submit(ctx, s, func(b *batch) ([]fault.Event, error) { return b.apply(k, in) })
}

// Retire clears every fault that no check owns any more.
func (s *Store) Retire(ctx context.Context, owners fault.Owners) ([]fault.Event, error) {
	return submit(ctx, s, func(b *batch) ([]fault.Event, error) {
		var all []fault.Event
		var errs []error
		for _, k := range s.set.Orphans(owners) {
			events, err := b.apply(k, fault.Retire{})
			all, errs = append(all, events...), append(errs, err)
		}
		return all, errors.Join(errs...)
	})
}

// Close ends the store: what is queued is answered with [ErrClosed], what is
// held is written if the disk takes it. An error says that it does not, and
// that the next start will look at what was left.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.closing)
	<-s.done
	if settled, _ := s.hand.settle(); !settled {
		return errHung // its files stay open until the disk answers or the process ends
	}
	close(s.hand.jobs)
	s.mu.RLock()
	held := len(s.held)
	s.mu.RUnlock()
	var lost error
	if held > 0 {
		lost = &HeldError{Events: held}
	}
	return errors.Join(lost, s.disk.close(), s.trace.close(), s.lock.release())
}

func (s *Store) path(name string) string { return filepath.Join(s.o.Dir, name) }
