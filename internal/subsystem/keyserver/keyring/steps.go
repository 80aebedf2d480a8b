package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"allclear/internal/envelope"
)

// primary answers the server on which keys are made.
func (r *Rekeyer) primary() (Server, error) {
	p, _ := r.Groups.Servers(r.ring.group)
	if p == nil {
		return nil, fmt.Errorf("group %s: %w", r.ring.group, ErrNoPrimary)
	}
	return p, nil
}

// create sends Create, once: that it is about to is durable before.
func (r *Rekeyer) create(ctx context.Context, st *state) error {
	p, err := r.primary()
	if err != nil {
		return err
	}
	if err := r.ring.store(*st); err != nil {
		return err
	}
	st.Renewal.UID, err = p.Create(ctx, st.Renewal.KeyName)
	if errors.Is(err, ErrNotMade) { // the name is still free
		st.Renewal.Phase = PhaseNamed
		return errors.Join(fmt.Errorf("create %s on %s: %w", st.Renewal.KeyName, p.Name(), err), r.ring.store(*st))
	}
	if err != nil {
		return fmt.Errorf("create %s on %s: %w", st.Renewal.KeyName, p.Name(), err)
	}
	return nil
}

// adopt makes the key that Create made ours: finds it by its name if the answer was lost, activates it and learns its
// check value.
func (r *Rekeyer) adopt(ctx context.Context, st *state) error {
	n := st.Renewal
	p, err := r.primary()
	if err != nil {
		return err
	}
	if n.UID == "" {
		uids, err := p.Find(ctx, n.KeyName)
		if err != nil {
			return fmt.Errorf("find %s on %s: %w", n.KeyName, p.Name(), err)
		}
		switch len(uids) {
		case 0:
			return fmt.Errorf("find %s on %s: %w", n.KeyName, p.Name(), ErrCreateLost)
		case 1:
			n.UID = uids[0]
		default:
			return fmt.Errorf("find %s on %s: %d keys have this name", n.KeyName, p.Name(), len(uids))
		}
	}
	if err := p.Activate(ctx, n.UID); err != nil {
		return fmt.Errorf("activate %s on %s: %w", n.UID, p.Name(), err)
	}
	key, err := p.Get(ctx, n.UID)
	if err != nil {
		return fmt.Errorf("get %s from %s: %w", n.UID, p.Name(), err)
	}
	defer key.Destroy()
	if len(key.Bytes()) != envelope.KeySize {
		return fmt.Errorf("get %s from %s: the key has %d bytes, not %d", n.UID, p.Name(), len(key.Bytes()), envelope.KeySize)
	}
	n.Check = envelope.CheckOf(key.Bytes())
	return nil
}

// prove asks every server of the group until each gives the same bytes or the time for replication is over.
func (r *Rekeyer) prove(ctx context.Context, n *Renewal) error {
	end := time.Now().Add(r.Replication)
	for {
		err := r.everywhere(ctx, r.ring.ref(n))
		if err == nil || ctx.Err() != nil {
			return err
		}
		if _, lag := errors.AsType[*LagError](err); !lag || !time.Now().Before(end) {
			return err
		}
		timer := time.NewTimer(r.Poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// everywhere claims that every server of the group gives the key with the right bytes.
func (r *Rekeyer) everywhere(ctx context.Context, ref envelope.SlotRef) error {
	_, all := r.Groups.Servers(r.ring.group)
	if len(all) == 0 {
		return fmt.Errorf("group %s has no key servers", r.ring.group)
	}
	var lag error
	for _, srv := range all {
		key, err := fetch(ctx, srv, ref)
		key.Destroy()
		switch {
		case errors.Is(err, envelope.ErrNoKey), errors.Is(err, ErrRefused): // servers differ in how they say "not yet"
			lag = errors.Join(lag, &LagError{Server: srv.Name(), Err: err})
		case err != nil:
			return err
		}
	}
	return lag
}

// each does something for every thing of the ring and stops at the first that fails.
func (r *Rekeyer) each(do func(id string) error) error {
	all, err := r.Things.IDs()
	if err != nil {
		return err
	}
	for _, id := range all {
		if !r.Mine(id) {
			continue
		}
		if err := do(id); err != nil {
			return err
		}
	}
	return nil
}

// addSlots gives every thing a slot for the new key.
func (r *Rekeyer) addSlots(ctx context.Context, n *Renewal) error {
	ref := r.ring.ref(n)
	key, err := r.ring.fresh(ctx, ref)
	if err != nil {
		return err
	}
	defer key.Destroy()
	return r.each(func(id string) error { return r.Things.AddSlot(ctx, id, ref, key) })
}

// verifySlots opens every thing with the new key as each clone gives it; without clones, as the primary does.
func (r *Rekeyer) verifySlots(ctx context.Context, n *Renewal) error {
	ref := r.ring.ref(n)
	for _, srv := range r.clones() {
		key, err := fetch(ctx, srv, ref)
		if err != nil {
			return err
		}
		err = r.each(func(id string) error { return r.Things.VerifySlot(id, ref, key) })
		key.Destroy()
		if err != nil {
			return fmt.Errorf("with the key of %s: %w", srv.Name(), err)
		}
	}
	return nil
}

// clones answers the servers that got the key by replication.
func (r *Rekeyer) clones() []Server {
	p, all := r.Groups.Servers(r.ring.group)
	var out []Server
	for _, srv := range all {
		if p == nil || srv.Name() != p.Name() {
			out = append(out, srv)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// mayRetire claims that the old slots can go: the grace time is over, the new key is green everywhere, and every thing,
// those protected just before the commit included, has a slot for it that opens.
func (r *Rekeyer) mayRetire(ctx context.Context, n *Renewal) error {
	if until := n.Committed.Add(r.Grace); r.ring.now().Before(until) {
		return &EarlyError{Until: until}
	}
	ref := r.ring.ref(n)
	if err := r.Green.Green(ctx, ref, n.Committed); err != nil {
		return fmt.Errorf("the new key is not yet validated: %w", err)
	}
	if err := r.everywhere(ctx, ref); err != nil {
		return err
	}
	if err := r.addSlots(ctx, n); err != nil {
		return err
	}
	return r.verifySlots(ctx, n)
}

// dropOld removes every slot but that of the new key and those of the recovery key. The key comes from a clone once
// more, and each thing is opened with it before a slot goes.
func (r *Rekeyer) dropOld(ctx context.Context, n *Renewal) error {
	ref := r.ring.ref(n)
	clones := r.clones()
	if len(clones) == 0 {
		return fmt.Errorf("group %s has no key servers", r.ring.group)
	}
	key, err := fetch(ctx, clones[0], ref)
	if err != nil {
		return err
	}
	defer key.Destroy()
	return r.each(func(id string) error {
		return r.Things.DropSlots(id, ref, key, func(envelope.SlotRef) bool { return true })
	})
}

// destroyOld destroys the key before, when it is certain once more that nothing needs it.
func (r *Rekeyer) destroyOld(ctx context.Context, n *Renewal) error {
	if n.Old == nil {
		return nil
	}
	p, err := r.primary()
	if err != nil {
		return err
	}
	if err := r.unused(n.Old.UID); err != nil {
		return err
	}
	if err := r.everywhere(ctx, r.ring.ref(n)); err != nil {
		return err
	}
	if err := r.verifySlots(ctx, n); err != nil {
		return err
	}
	if err := p.Destroy(ctx, n.Old.UID); err != nil {
		return fmt.Errorf("destroy %s on %s: %w", n.Old, p.Name(), err)
	}
	return nil
}

// unused claims that no copy of any header, the rings of other keys included, has a slot for the key.
func (r *Rekeyer) unused(uid string) error {
	all, err := r.Things.IDs()
	if err != nil {
		return err
	}
	for _, id := range all {
		in, err := r.Things.Describe(id)
		if err != nil {
			return fmt.Errorf("is %s still needed: %w", uid, err)
		}
		if in.Copies != 2 {
			return fmt.Errorf("%s has only %d whole copy, the other may need %s", id, in.Copies, uid)
		}
		for _, ref := range in.Slots {
			if ref.Kind == envelope.KindKMIP && ref.Group == r.ring.group && ref.UID == uid {
				return fmt.Errorf("%s still has a slot for %s", id, ref)
			}
		}
	}
	return nil
}
