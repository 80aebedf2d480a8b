package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"allclear/internal/envelope"
)

// Things are what keys open: the part of [envelope.Keeper] that renewing needs.
type Things interface {
	IDs() ([]string, error)
	Describe(id string) (envelope.Info, error)
	AddSlot(ctx context.Context, id string, ref envelope.SlotRef, key *envelope.Secret) error
	VerifySlot(id string, ref envelope.SlotRef, key *envelope.Secret) error
	DropSlots(id string, proof envelope.SlotRef, key *envelope.Secret, drop func(envelope.SlotRef) bool) error
}

// Options is what a [Rekeyer] is made of. Ring, Things, Groups and Green are required.
type Options struct {
	Ring   *Ring
	Things Things
	Groups Groups
	Green  Validator
	// Mine says which things the ring protects; nil means all.
	Mine func(id string) bool
	// Sources open slots of other kinds when a renewal is cancelled, such as that of the local key.
	Sources map[envelope.Kind]envelope.KeySource
	// Grace is how long the old slots stay after a commit: for state folders restored from a backup, and regrets. It is
	// at least a minute, far longer than a thing takes to be protected under the key before.
	Grace time.Duration
	// Replication is how long Prepare waits for the clones to have the key, asking every Poll; 0 means it asks once.
	Replication, Poll time.Duration
	// Failpoint, if set, is called before each phase is left, and makes that fail with its error. It is nil outside tests.
	Failpoint func(step string) error
}

// Rekeyer renews the key of a ring.
type Rekeyer struct {
	Options
	ring *Ring
	one  sync.Mutex // lets one command at a time in
}

// NewRekeyer answers one.
func NewRekeyer(o Options) (*Rekeyer, error) {
	if o.Ring == nil || o.Things == nil || o.Groups == nil || o.Green == nil {
		return nil, errors.New("a rekeyer needs a ring, things, groups and a validator")
	}
	if o.Mine == nil {
		o.Mine = func(string) bool { return true }
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) error { return nil }
	}
	o.Grace = max(o.Grace, time.Minute)
	o.Poll = max(o.Poll, 10*time.Millisecond)
	return &Rekeyer{Options: o, ring: o.Ring}, nil
}

// The fixed facts.
var (
	// ErrBusy says that another command on the same key is running.
	ErrBusy = errors.New("another step of this renewal is running")
	// ErrNoRenewal says that there is no renewal under way.
	ErrNoRenewal = errors.New("no renewal is under way")
	// ErrNoPrimary says that the group has no defined primary on which a key could be made.
	ErrNoPrimary = errors.New("the group has no primary")
	// ErrCreateLost says that Create was sent, its answer was lost and no key of the unique name exists. It is not sent
	// again: cancel, and prepare under another name.
	ErrCreateLost = errors.New("the answer to Create was lost, and no key of its name exists")
	// ErrNotRetired says that the last renewal is committed, but its old slots are still there.
	ErrNotRetired = errors.New("the key before this one is not retired yet")
	// ErrTooLate says that the old slots are going already.
	ErrTooLate = errors.New("the old slots are being removed already, it can only go on")
	// ErrCancelling says that a cancel was begun and must be finished first.
	ErrCancelling = errors.New("a cancel was begun: cancel again to finish it")
)

// LagError says that a server does not have a new key as the others do.
type LagError struct {
	Server string
	Err    error
}

func (e *LagError) Error() string {
	return fmt.Sprintf("%s does not have the key yet: %v", e.Server, e.Err)
}

// Unwrap answers what the server said.
func (e *LagError) Unwrap() error { return e.Err }

// EarlyError says that the grace time is not over.
type EarlyError struct{ Until time.Time }

func (e *EarlyError) Error() string {
	return "the old slots stay until " + e.Until.Format(time.RFC3339)
}

// Prepare makes the next generation of the key on the primary and waits until every server of the group gives the same
// bytes. Nothing is protected by it yet. It goes on where an earlier Prepare stopped.
func (r *Rekeyer) Prepare(ctx context.Context) error {
	return r.locked(func() error {
		st, err := r.ring.load()
		if err != nil {
			return err
		}
		if st.Renewal == nil {
			if err := r.begin(&st); err != nil {
				return err
			}
		}
		if p := st.Renewal.Phase; p.after(PhaseVerified) && p != PhaseCancelling {
			return ErrNotRetired
		}
		return r.advance(ctx, PhaseProved)
	})
}

// Commit gives every thing a slot for the prepared key, opens each with the key as the clones give it, and makes it the
// one for new things. The old slots stay.
func (r *Rekeyer) Commit(ctx context.Context) error {
	return r.locked(func() error { return r.advance(ctx, PhaseCommitted) })
}

// EndFirst ends the renewal that made the first generation at once if there is nothing to retire: no key before it, and
// no slot but its own and those of the recovery key. Otherwise it does nothing.
func (r *Rekeyer) EndFirst() error { return r.locked(r.endFirst) }

func (r *Rekeyer) endFirst() error {
	st, err := r.ring.load()
	if err != nil || st.Renewal == nil || st.Renewal.Phase != PhaseCommitted || st.Renewal.Old != nil {
		return err
	}
	ref := r.ring.ref(st.Renewal)
	alone := true
	err = r.each(func(id string) error {
		in, err := r.Things.Describe(id)
		alone = alone && err == nil && !slices.ContainsFunc(in.Slots, func(s envelope.SlotRef) bool {
			return s.Kind != envelope.KindRecovery && !s.Same(ref)
		})
		return err
	})
	if err != nil || !alone {
		return err
	}
	st.Renewal = nil
	return r.ring.store(st)
}

// Retire ends a renewal: when the grace time is over and a validation since the commit was green, it removes the old
// slots and destroys the old key. Before that it answers an *[EarlyError] or the validator's error.
func (r *Rekeyer) Retire(ctx context.Context) error {
	return r.locked(func() error {
		st, err := r.ring.load()
		if err != nil {
			return err
		}
		if st.Renewal == nil {
			return ErrNoRenewal
		}
		if !st.Renewal.Phase.after(PhaseVerified) {
			return fmt.Errorf("retire the old key: the renewal is only %s", st.Renewal.Phase)
		}
		return r.advance(ctx, "")
	})
}

func (r *Rekeyer) locked(do func() error) error {
	if !r.one.TryLock() {
		return ErrBusy
	}
	defer r.one.Unlock()
	return do()
}

// begin stores the intent: a name that nobody ever used.
func (r *Rekeyer) begin(st *state) error {
	if len(st.Orphans) >= maxOrphans {
		return fmt.Errorf("begin a renewal: %d keys of cancelled ones are not destroyed yet", len(st.Orphans))
	}
	now := r.ring.second()
	n := &Renewal{Phase: PhaseNamed, Gen: 1, Started: now, Changed: now, Old: st.Current}
	if st.Current != nil {
		n.Gen = st.Current.Gen + 1
	}
	n.KeyName = fmt.Sprintf("allclear-%s-%s-%d-%s", r.ring.node, r.ring.name, n.Gen, strings.ToLower(rand.Text()[:12]))
	st.Renewal = n
	return r.ring.store(*st)
}

// advance leaves one phase after the other until one is reached, or for "" until the renewal is over.
func (r *Rekeyer) advance(ctx context.Context, until Phase) error {
	for {
		st, err := r.ring.load()
		if err != nil {
			return err
		}
		n := st.Renewal
		switch {
		case n == nil && until == "":
			return nil
		case n == nil:
			return ErrNoRenewal
		case n.Phase == PhaseCancelling:
			return ErrCancelling
		case until != "" && !until.after(n.Phase):
			return nil
		}
		phase := n.Phase
		err = r.Failpoint(string(phase))
		if err == nil {
			err = r.leave(ctx, &st)
		}
		if err == nil {
			err = r.ring.store(st)
		}
		if err != nil {
			return r.failed(phase, err)
		}
	}
}

// leave does what the phase asks for and changes the state to the next.
func (r *Rekeyer) leave(ctx context.Context, st *state) error {
	n := st.Renewal
	to := func(p Phase) { n.Phase, n.Changed, n.Failure = p, r.ring.second(), nil }
	switch n.Phase {
	case PhaseNamed:
		to(PhaseSent)
		return r.create(ctx, st)
	case PhaseSent:
		if err := r.adopt(ctx, st); err != nil {
			return err
		}
		to(PhaseCreated)
	case PhaseCreated:
		if err := r.prove(ctx, n); err != nil {
			return err
		}
		to(PhaseProved)
	case PhaseProved:
		if err := r.addSlots(ctx, n); err != nil {
			return err
		}
		to(PhaseSlotted)
	case PhaseSlotted:
		if err := r.verifySlots(ctx, n); err != nil {
			return err
		}
		to(PhaseVerified)
	case PhaseVerified:
		ref := r.ring.ref(n)
		st.Current, n.Committed = &ref, r.ring.second()
		to(PhaseCommitted)
	case PhaseCommitted:
		if err := r.mayRetire(ctx, n); err != nil {
			return err
		}
		to(PhaseRetiring)
	case PhaseRetiring:
		if err := r.dropOld(ctx, n); err != nil {
			return err
		}
		to(PhaseDropped)
	case PhaseDropped:
		if err := r.destroyOld(ctx, n); err != nil {
			return err
		}
		st.Renewal = nil
	}
	return nil
}

// failed stores what went wrong, for the fault, and answers it.
func (r *Rekeyer) failed(phase Phase, cause error) error {
	cause = fmt.Errorf("renew key %s, phase %s: %w", r.ring.name, phase, cause)
	if _, early := errors.AsType[*EarlyError](cause); early {
		return cause
	}
	st, err := r.ring.load()
	if err != nil || st.Renewal == nil {
		return errors.Join(cause, err)
	}
	text := strings.ToValidUTF8(cause.Error(), "?")
	st.Renewal.Failure = &Failure{At: r.ring.second(), Phase: phase, Error: strings.ToValidUTF8(text[:min(len(text), 1024)], "")}
	return errors.Join(cause, r.ring.store(st))
}
