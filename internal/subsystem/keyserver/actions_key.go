package keyserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver/keyring"
	"allclear/internal/wire"
)

// doKeyCreate makes the first generation of the key and takes it into use. What
// the key file of this host seals gets slots for it, and loses those of the key
// file when the first generation is retired into.
func (k *KeyServers) doKeyCreate(ctx context.Context, in wire.KeyRequest, tell func(wire.Progress)) (wire.Key, error) {
	if err := keyNamed(in.Key); err != nil {
		return wire.Key{}, err
	}
	st, err := k.present().Status()
	if err != nil {
		return wire.Key{}, err
	}
	switch {
	case len(k.of(st.Group)) == 0:
		return wire.Key{}, fmt.Errorf("create key %s: group %s has no key server", ringName, st.Group)
	case st.Current != nil:
		return wire.Key{}, fmt.Errorf("key %s is there, generation %d since %s: \"allclear key rekey\" renews it", ringName, st.Current.Gen, utc(st.Current.Created))
	}
	return k.renewing(ctx, func(r *keyring.Rekeyer) error {
		tell(wire.Progress{Stage: "prepare", Text: "make the key on the primary, and prove it on every server"})
		if err := r.Prepare(ctx); err != nil {
			return err
		}
		tell(wire.Progress{Stage: "commit", Percent: 50, Text: "give everything a slot for it, and open each with it"})
		return errors.Join(r.Commit(ctx), r.EndFirst())
	})
}

// doKeyRekey does one step of a renewal.
func (k *KeyServers) doKeyRekey(ctx context.Context, in wire.KeyRequest, tell func(wire.Progress)) (wire.Key, error) {
	if err := keyNamed(in.Key); err != nil {
		return wire.Key{}, err
	}
	step := cmp.Or(in.Step, "prepare")
	tell(wire.Progress{Stage: step})
	switch step {
	case "prepare":
		return k.renewing(ctx, func(r *keyring.Rekeyer) error { return r.Prepare(ctx) })
	case "verify":
		return k.renewing(ctx, func(*keyring.Rekeyer) error { return k.verifyRenewal(ctx, tell) })
	case "commit":
		return k.renewing(ctx, func(r *keyring.Rekeyer) error { return errors.Join(r.Commit(ctx), r.EndFirst()) })
	case "retire":
		return k.renewing(ctx, func(r *keyring.Rekeyer) error {
			if err := k.verifyRenewal(ctx, tell); err != nil {
				return err
			}
			return r.Retire(ctx)
		})
	case "cancel":
		return k.renewing(ctx, func(r *keyring.Rekeyer) error { return r.Cancel(ctx) })
	}
	return wire.Key{}, fmt.Errorf("step %q is none of prepare, verify, commit, retire, cancel", cleaned(step))
}

// renewing does something to the renewal and answers the key after it.
func (k *KeyServers) renewing(ctx context.Context, do func(*keyring.Rekeyer) error) (wire.Key, error) {
	err := do(k.renewer())
	k.reportKey(ctx)
	if err != nil {
		return wire.Key{}, err
	}
	// What is in use has changed: who has it is looked at, for the matrix and for
	// the faults of the servers.
	if st, stErr := k.present().Status(); stErr == nil {
		k.warn(ctx, "servers not validated after a step of a renewal", k.test(ctx, k.namesOf(st.Group), fault.TriggerChanged, func(wire.Progress) {}))
	}
	return k.wireKey()
}

// verifyRenewal validates every server of the group: each must give the new key
// with the right bytes.
func (k *KeyServers) verifyRenewal(ctx context.Context, tell func(wire.Progress)) error {
	st, err := k.present().Status()
	switch {
	case err != nil:
		return err
	case st.Renewal == nil:
		return keyring.ErrNoRenewal
	case st.Renewal.Check == "":
		return fmt.Errorf("the renewal is only %s: there is no key to look for yet", st.Renewal.Phase)
	}
	began := k.now().Add(-time.Millisecond)
	if err := k.test(ctx, k.namesOf(st.Group), fault.TriggerOperator, tell); err != nil {
		return err
	}
	return (servers{k}).Green(ctx, renewed(st), began)
}

func (k *KeyServers) namesOf(group string) (names []string) {
	for _, s := range k.of(group) {
		names = append(names, s.Name)
	}
	return names
}

// nextSteps are the steps of a renewal that may be asked for now.
func nextSteps(n *keyring.Renewal) []string {
	switch n.Phase {
	case keyring.PhaseNamed, keyring.PhaseSent, keyring.PhaseCreated:
		return []string{"prepare", "cancel"}
	case keyring.PhaseProved, keyring.PhaseSlotted, keyring.PhaseVerified:
		return []string{"verify", "commit", "cancel"}
	case keyring.PhaseCommitted:
		if n.Old == nil { // there is no key to go back to
			return []string{"verify", "retire"}
		}
		return []string{"verify", "retire", "cancel"}
	case keyring.PhaseCancelling:
		return []string{"cancel"}
	}
	return []string{"retire"}
}

func (k *KeyServers) wireKey() (wire.Key, error) {
	st, err := k.present().Status()
	if err != nil {
		return wire.Key{}, err
	}
	w := wire.Key{Name: st.Name, Group: st.Group, State: "none", Orphans: []wire.KeyGeneration{}, Things: []wire.KeyThing{}}
	if st.Current != nil {
		w.State = "current"
		w.Current = generation(*st.Current)
		if until, ok := k.source.Held(*st.Current); ok {
			w.Cached = moment(until)
		}
	}
	if n := st.Renewal; n != nil {
		w.State = "renewing"
		w.Renewal = &wire.KeyRenewal{
			Phase: string(n.Phase), New: *generation(renewed(st)), Started: n.Started, Changed: n.Changed, Next: nextSteps(n),
		}
		if n.Phase == keyring.PhaseCommitted {
			o := k.options()
			w.Renewal.RetireAfter = moment(n.Committed.Add(cmp.Or(o.RetireAfter, day)))
		}
		if n.Failure != nil {
			w.Renewal.Failure, w.Renewal.FailedAt = n.Failure.Error, moment(n.Failure.At)
		}
		if n.Old != nil {
			w.Old = generation(*n.Old)
		}
	}
	for _, o := range st.Orphans {
		w.Orphans = append(w.Orphans, wire.KeyGeneration{UID: o.UID, Name: o.KeyName, Created: moment(o.Since)})
	}
	ids, err := k.keeper.IDs()
	for _, id := range ids {
		t, terr := k.wireThing(id)
		if terr != nil {
			t = wire.KeyThing{ID: id, Slots: []wire.KeySlot{}}
			err = errors.Join(err, terr)
		}
		w.Things = append(w.Things, t)
	}
	if err != nil {
		k.log.Warn("a sealed thing cannot be described", "error", err)
	}
	return w, nil
}

// generation is one generation of a key for people.
func generation(ref envelope.SlotRef) *wire.KeyGeneration {
	return &wire.KeyGeneration{Gen: ref.Gen, UID: ref.UID, Name: ref.Name, Check: string(ref.Check), Created: moment(ref.Created)}
}

func (k *KeyServers) wireThing(id string) (wire.KeyThing, error) {
	in, err := k.keeper.Describe(id)
	if err != nil {
		return wire.KeyThing{}, err
	}
	t := wire.KeyThing{ID: id, Local: in.Local, Recovery: in.Recovery, Copies: in.Copies, Slots: []wire.KeySlot{}}
	for _, r := range in.Slots {
		t.Slots = append(t.Slots, wire.KeySlot{
			Kind: string(r.Kind), Group: r.Group, UID: r.UID, Gen: r.Gen, Check: string(r.Check), Created: r.Created,
		})
	}
	slices.SortStableFunc(t.Slots, func(a, b wire.KeySlot) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), b.Gen-a.Gen) })
	return t, nil
}
