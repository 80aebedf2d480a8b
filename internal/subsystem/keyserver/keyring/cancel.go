package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"allclear/internal/envelope"
)

// forgetAfter is how long a key is looked for of which only the name is known: a Create may arrive late, not forever.
const forgetAfter = 24 * time.Hour

// Cancel takes a renewal back, from every phase before the old slots begin to go ([ErrTooLate]). After a commit it
// makes the old key the current one again, once that was proved to open everything. The new key becomes an orphan and
// is destroyed, now or by a later [Rekeyer.Sweep] if the primary does not answer.
func (r *Rekeyer) Cancel(ctx context.Context) error {
	return r.locked(func() error {
		if err := r.cancel(ctx); err != nil {
			return err
		}
		// The renewal is cancelled whatever becomes of its key; Status shows what is left.
		_ = r.sweep(ctx)
		return nil
	})
}

func (r *Rekeyer) cancel(ctx context.Context) error {
	st, err := r.ring.load()
	if err != nil {
		return err
	}
	n := st.Renewal
	if n == nil {
		return ErrNoRenewal
	}
	phase := n.Phase
	if phase == PhaseRetiring || phase == PhaseDropped {
		return fmt.Errorf("cancel the renewal of key %s: %w", r.ring.name, ErrTooLate)
	}
	err = r.Failpoint("cancel " + string(phase))
	if err == nil {
		err = r.takeBack(ctx, &st)
	}
	if err != nil {
		return r.failed(phase, fmt.Errorf("cancel: %w", err))
	}
	return nil
}

// takeBack does what cancelling asks for.
func (r *Rekeyer) takeBack(ctx context.Context, st *state) error {
	n := st.Renewal
	slotted := n.Phase.after(PhaseCreated) // a slot may exist
	if n.Phase == PhaseCommitted {
		if n.Old == nil {
			return errors.New("there is no key before this one to go back to")
		}
		if err := r.restoreOld(ctx, *n.Old); err != nil {
			return err
		}
		st.Current = n.Old
	}
	if slotted {
		if n.Phase != PhaseCancelling {
			n.Phase, n.Changed, n.Failure = PhaseCancelling, r.ring.second(), nil
			if err := r.ring.store(*st); err != nil {
				return err
			}
		}
		ref := r.ring.ref(n)
		if err := r.each(func(id string) error { return r.dropNew(ctx, id, ref, n.Old) }); err != nil {
			return err
		}
	}
	if n.Phase != PhaseNamed {
		st.Orphans = append(st.Orphans, Orphan{KeyName: n.KeyName, UID: n.UID, Since: r.ring.second()})
	}
	st.Renewal = nil
	return r.ring.store(*st)
}

// restoreOld gives every thing a slot for the old key and opens it with that key as a server gives it now.
func (r *Rekeyer) restoreOld(ctx context.Context, old envelope.SlotRef) error {
	key, err := r.ring.fresh(ctx, old)
	if err != nil {
		return err
	}
	defer key.Destroy()
	return r.each(func(id string) error {
		if err := r.Things.AddSlot(ctx, id, old, key); err != nil {
			return err
		}
		return r.Things.VerifySlot(id, old, key)
	})
}

// dropNew removes the slot of the new key from a thing, after another slot opened with a key that its keeper gave now.
func (r *Rekeyer) dropNew(ctx context.Context, id string, ref envelope.SlotRef, old *envelope.SlotRef) error {
	in, err := r.Things.Describe(id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(in.Slots, ref.Same) && in.Copies == 2 {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(in.Slots), func(s envelope.SlotRef) bool {
		return s.Kind == envelope.KindRecovery || s.Same(ref)
	})
	if len(others) == 0 && old != nil { // protected between the commit and its cancel
		key, err := r.ring.fresh(ctx, *old)
		if err != nil {
			return err
		}
		defer key.Destroy()
		if err := r.Things.AddSlot(ctx, id, *old, key); err != nil {
			return err
		}
		others = append(others, *old)
	}
	var failed []error
	for _, proof := range others {
		key, err := r.proofKey(ctx, proof)
		if err == nil {
			err = r.Things.DropSlots(id, proof, key, ref.Same)
			key.Destroy()
		}
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("%s has no other slot that is proved to open: %w", id, errors.Join(failed...))
}

// proofKey answers the key of a slot of any kind, never from memory.
func (r *Rekeyer) proofKey(ctx context.Context, ref envelope.SlotRef) (*envelope.Secret, error) {
	if ref.Kind == envelope.KindKMIP {
		return r.ring.fresh(ctx, ref)
	}
	source := r.Sources[ref.Kind]
	if source == nil {
		return nil, fmt.Errorf("%s: %w", ref, envelope.ErrNoSource)
	}
	key, err := source.Key(ctx, ref)
	return key.Secret, err
}

// Sweep destroys the orphans. One is kept until the primary has said that it is gone; one of which only the name is
// known is looked for during a day.
func (r *Rekeyer) Sweep(ctx context.Context) error {
	return r.locked(func() error { return r.sweep(ctx) })
}

func (r *Rekeyer) sweep(ctx context.Context) error {
	st, err := r.ring.load()
	if err != nil || len(st.Orphans) == 0 {
		return err
	}
	p, err := r.primary()
	if err != nil {
		return err
	}
	var left []Orphan
	var failed []error
	for _, o := range st.Orphans {
		gone, err := r.destroyOrphan(ctx, p, st, o)
		if !gone {
			left = append(left, o)
		}
		failed = append(failed, err)
	}
	if len(left) < len(st.Orphans) {
		st.Orphans = left
		failed = append(failed, r.ring.store(st))
	}
	return errors.Join(failed...)
}

// destroyOrphan claims that an orphan is gone.
func (r *Rekeyer) destroyOrphan(ctx context.Context, p Server, st state, o Orphan) (bool, error) {
	uids := []string{o.UID}
	if o.UID == "" {
		found, err := p.Find(ctx, o.KeyName)
		if err != nil {
			return false, fmt.Errorf("find %s on %s: %w", o.KeyName, p.Name(), err)
		}
		if len(found) == 0 {
			return r.ring.now().Sub(o.Since) > forgetAfter, nil
		}
		uids = found
	}
	for _, uid := range uids {
		if st.Current != nil && st.Current.UID == uid || st.Renewal != nil && st.Renewal.UID == uid {
			return false, fmt.Errorf("%s on %s is no orphan, it is in use", uid, p.Name())
		}
		if err := r.unused(uid); err != nil {
			return false, err
		}
		if err := p.Destroy(ctx, uid); err != nil {
			return false, fmt.Errorf("destroy %s on %s: %w", uid, p.Name(), err)
		}
	}
	return true, nil
}
