package envelope

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// AddSlot adds a slot for the key of ref to a thing, which it opens by a slot that it has. A slot for the same key
// stays as it is, so that AddSlot may be asked again after a crash. On nil both copies have the slot.
func (k *Keeper) AddSlot(ctx context.Context, id string, ref SlotRef, key *Secret) error {
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, _, err := k.dataKey(ctx, s)
	if err != nil {
		return fmt.Errorf("add a slot: %w", err)
	}
	defer dataKey.Destroy()
	return k.change(id, dataKey, func(h *header) (bool, error) {
		if _, ok := h.find(ref); ok {
			return false, nil
		}
		n, err := wrap(id, ref, key, dataKey)
		if err != nil {
			return false, err
		}
		h.Slots = append(h.Slots, n)
		return true, nil
	})
}

// VerifySlot proves that the slot of ref opens with key: it unwraps the data key, checks the header's MAC and opens
// the sealed secret. Wherever the key came from is thereby proved to have the right bytes.
func (k *Keeper) VerifySlot(id string, ref SlotRef, key *Secret) error {
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, err := s.open(ref, key)
	if err != nil {
		return fmt.Errorf("verify a slot of %s: %w", id, err)
	}
	defer dataKey.Destroy()
	b, err := s.secret(dataKey)
	clear(b)
	return err
}

// DropSlots removes the slots that drop names from a thing. It first proves, as VerifySlot does, that the slot of proof
// opens with key; that slot and recovery slots always stay. On nil neither copy has a dropped slot any more: only then
// may its key be destroyed.
func (k *Keeper) DropSlots(id string, proof SlotRef, key *Secret, drop func(SlotRef) bool) error {
	if err := k.VerifySlot(id, proof, key); err != nil {
		return err
	}
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, err := s.open(proof, key)
	if err != nil {
		return fmt.Errorf("drop slots of %s: %w", id, err)
	}
	defer dataKey.Destroy()
	return k.change(id, dataKey, func(h *header) (bool, error) {
		if _, ok := h.find(proof); !ok {
			return false, fmt.Errorf("drop slots of %s: it has no slot for %s any more", id, proof)
		}
		before := len(h.Slots)
		h.Slots = slices.DeleteFunc(h.Slots, func(sl slot) bool {
			return sl.Kind != KindRecovery && !sl.Same(proof) && drop(sl.SlotRef)
		})
		return len(h.Slots) < before, nil
	})
}

// open answers the data key by the slot of ref.
func (s *stored) open(ref SlotRef, key *Secret) (*Secret, error) {
	sl, ok := s.find(ref)
	if !ok {
		return nil, fmt.Errorf("it has no slot for %s", ref)
	}
	return unwrap(s.ID, sl, key)
}

// change lets edit work on the present header of a thing whose data key the caller has, and stores it if edit says
// so. Otherwise it makes sure that both copies have the present one.
func (k *Keeper) change(id string, dataKey *Secret, edit func(*header) (bool, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	if err := s.guarded(dataKey); err != nil {
		return err
	}
	h := s.header
	h.Slots = slices.Clone(h.Slots)
	changed, err := edit(&h)
	if err != nil {
		return err
	}
	if !changed {
		_, err := k.record(id).Repair()
		return err
	}
	h.Gen++
	return k.store(h, dataKey)
}

// Repair mends what can be mended: a damaged, missing or old copy is written anew from the whole one, and a thing that
// lacks a slot for the recovery key gets one if it can be opened. It goes on after a thing that cannot be helped and
// answers all errors.
func (k *Keeper) Repair(ctx context.Context) error {
	all, err := k.IDs()
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range all {
		k.mu.Lock()
		_, err := k.record(id).Repair()
		k.mu.Unlock()
		if err != nil {
			failed = append(failed, fmt.Errorf("repair %s: %w", id, err))
		}
	}
	switch r, err := k.Recovery(); {
	case errors.Is(err, ErrNoRecovery):
	case err != nil:
		failed = append(failed, err)
	default:
		k.mu.Lock()
		_, err := k.recoveryRecord().Repair()
		k.mu.Unlock()
		failed = append(failed, err)
		for _, id := range all {
			if in, err := k.Describe(id); err == nil && !slices.ContainsFunc(in.Slots, r.ref().Same) {
				failed = append(failed, k.giveRecovery(ctx, id))
			}
		}
	}
	return errors.Join(failed...)
}
