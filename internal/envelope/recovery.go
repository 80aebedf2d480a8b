package envelope

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// recoveryName is the record of the recovery key; no thing can have it, for it has no "~".
const recoveryName = "recovery"

// Recovery is what is known of the offline recovery key: the public half and when the other half was last shown to
// work.
type Recovery struct {
	Recipient   string    `json:"recipient"`   // "age1..."
	Fingerprint string    `json:"fingerprint"` // 16 hexadecimal digits of its SHA-256, for people to compare
	Gen         int       `json:"gen"`         // counts recovery keys from 1
	Created     time.Time `json:"created"`
	Validated   time.Time `json:"validated"` // zero: never
	Things      int       `json:"things"`    // how many it opened then
	// Former is the key before, whose slots stay until this one is validated; nil for none.
	Former *FormerKey `json:"former"`
}

// FormerKey is a recovery key that was replaced.
type FormerKey struct {
	Recipient string    `json:"recipient"`
	Gen       int       `json:"gen"`
	Created   time.Time `json:"created"`
}

func (r Recovery) ref() SlotRef { return recoveryRef(r.Recipient, r.Gen, r.Created) }

// refs are the keys that things have slots for now.
func (r Recovery) refs() []SlotRef {
	out := []SlotRef{r.ref()}
	if f := r.Former; f != nil {
		out = append(out, recoveryRef(f.Recipient, f.Gen, f.Created))
	}
	return out
}

func recoveryRef(recipient string, gen int, created time.Time) SlotRef {
	f := fingerprint(recipient)
	return SlotRef{Kind: KindRecovery, UID: f, Name: recipient, Gen: gen, Check: Check(f), Created: created}
}

func fingerprint(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return hex.EncodeToString(sum[:8])
}

func (k *Keeper) recoveryRecord() *Record {
	return NewRecord(k.root, recoveryName, "recovery").WithFailpoint(k.fail)
}

// Recovery answers the present recovery key, or [ErrNoRecovery].
func (k *Keeper) Recovery() (Recovery, error) {
	content, err := k.recoveryRecord().Read()
	if errors.Is(err, fs.ErrNotExist) {
		return Recovery{}, ErrNoRecovery
	}
	if err != nil {
		return Recovery{}, err
	}
	return decodeRecovery(content)
}

func decodeRecovery(content []byte) (Recovery, error) {
	var r Recovery
	err := DecodeCanonical(content, &r)
	if err == nil {
		err = r.valid()
	}
	if err != nil {
		return Recovery{}, &DamageError{Name: recoveryName, Err: err}
	}
	return r, nil
}

func (r Recovery) valid() error {
	if r.Fingerprint != fingerprint(r.Recipient) {
		return errors.New("its fingerprint is not that of its recipient")
	}
	for _, ref := range r.refs() {
		if _, err := age.ParseX25519Recipient(ref.Name); err != nil {
			return fmt.Errorf("%q is no recipient", ref.Name)
		}
		if err := ref.valid(); err != nil {
			return err
		}
	}
	return nil
}

// CreateRecovery makes a recovery key, gives every thing a slot for it and answers the identity, "AGE-SECRET-KEY-1...",
// which is stored nowhere: it is for paper. Everything that is protected later gets a slot too. The slots of the key
// before stay until the new one is validated. On an error there is no identity to keep; ask again. A thing that does
// not open now is such an error, and then nothing was changed.
func (k *Keeper) CreateRecovery(ctx context.Context) (identity string, r Recovery, err error) {
	all, err := k.IDs()
	if err != nil {
		return "", Recovery{}, err
	}
	for _, id := range all {
		b, _, err := k.Open(ctx, id)
		clear(b)
		if err != nil {
			return "", Recovery{}, fmt.Errorf("create a recovery key: %w", err)
		}
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return "", Recovery{}, fmt.Errorf("create a recovery key: %w", err)
	}
	r, err = k.replaceRecovery(key.Recipient().String())
	if err != nil {
		return "", Recovery{}, fmt.Errorf("create a recovery key: %w", err)
	}
	if all, err = k.IDs(); err != nil { // also what was protected meanwhile
		return "", Recovery{}, err
	}
	for _, id := range all {
		if err := k.giveRecovery(ctx, id); err != nil {
			return "", Recovery{}, fmt.Errorf("create a recovery key: %w", err)
		}
	}
	return key.String(), r, nil
}

// replaceRecovery stores a new recipient. The last one that was validated becomes the former one.
func (k *Keeper) replaceRecovery(recipient string) (Recovery, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := Recovery{Recipient: recipient, Fingerprint: fingerprint(recipient), Gen: 1, Created: k.second()}
	switch old, err := k.Recovery(); {
	case errors.Is(err, ErrNoRecovery):
	case err != nil:
		return Recovery{}, err
	case !old.Validated.IsZero():
		r.Gen, r.Former = old.Gen+1, &FormerKey{old.Recipient, old.Gen, old.Created}
	default:
		r.Gen, r.Former = old.Gen+1, old.Former
	}
	return r, k.writeRecovery(r)
}

func (k *Keeper) writeRecovery(r Recovery) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return k.recoveryRecord().Write(content)
}

// giveRecovery gives a thing exactly the recovery slots that it should have.
func (k *Keeper) giveRecovery(ctx context.Context, id string) error {
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, _, err := k.dataKey(ctx, s)
	if err != nil {
		return fmt.Errorf("add a recovery slot: %w", err)
	}
	defer dataKey.Destroy()
	return k.change(id, dataKey, func(h *header) (bool, error) {
		before := len(h.Slots)
		had := slices.Clone(h.Slots)
		if err := k.addRecovery(h, dataKey); err != nil {
			return false, err
		}
		same := len(h.Slots) == before && slices.EqualFunc(had, h.Slots, func(a, b slot) bool { return a.Same(b.SlotRef) })
		return !same, nil
	})
}

// addRecovery gives a header the recovery slots that it should have and takes those that it should not.
func (k *Keeper) addRecovery(h *header, dataKey *Secret) error {
	r, err := k.Recovery()
	if errors.Is(err, ErrNoRecovery) {
		return nil
	}
	if err != nil {
		return err
	}
	want := r.refs()
	h.Slots = slices.DeleteFunc(h.Slots, func(s slot) bool {
		return s.Kind == KindRecovery && !slices.ContainsFunc(want, s.Same)
	})
	for _, ref := range want {
		if _, ok := h.find(ref); ok {
			continue
		}
		to, err := age.ParseX25519Recipient(ref.Name)
		if err != nil {
			return fmt.Errorf("recovery key %s: %w", ref.UID, err)
		}
		s, err := wrapAge(h.ID, ref, to, dataKey)
		if err != nil {
			return err
		}
		h.Slots = append(h.Slots, s)
	}
	return nil
}

// ValidateRecovery proves that the identity opens every thing: it opens each recovery slot and with that the sealed
// secret, whose MAC compares what came out with what the other slots hold. It then records the time and takes away the
// slots of the key before. [ErrOtherRecovery] if it is not the identity of the present recovery key.
func (k *Keeper) ValidateRecovery(_ context.Context, identity string) (Recovery, error) {
	key, err := parseIdentity(identity)
	if err != nil {
		return Recovery{}, err
	}
	r, err := k.Recovery()
	if err != nil {
		return Recovery{}, err
	}
	if got := key.Recipient().String(); got != r.Recipient {
		return Recovery{}, fmt.Errorf("recovery key %s, expected %s: %w", fingerprint(got), r.Fingerprint, ErrOtherRecovery)
	}
	all, err := k.IDs()
	if err != nil {
		return Recovery{}, err
	}
	var failed []error
	for _, id := range all {
		b, err := openRecovery(k.root, id, key)
		clear(b)
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return Recovery{}, fmt.Errorf("validate the recovery key: %w", err)
	}
	return k.proveRecovery(r, key, all)
}

// proveRecovery records a successful validation.
func (k *Keeper) proveRecovery(r Recovery, key *age.X25519Identity, all []string) (Recovery, error) {
	for _, id := range all {
		if r.Former == nil {
			break
		}
		if err := k.dropFormer(r, key, id); err != nil {
			return Recovery{}, fmt.Errorf("take away the former recovery key: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now, err := k.Recovery(); err != nil || now.Recipient != r.Recipient {
		return Recovery{}, errors.Join(err, errors.New("the recovery key was replaced meanwhile"))
	}
	r.Former = nil
	r.Validated, r.Things = k.second(), len(all)
	return r, k.writeRecovery(r)
}

func (k *Keeper) dropFormer(r Recovery, key *age.X25519Identity, id string) error {
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, err := recoveryDataKey(s, key)
	if err != nil {
		return err
	}
	defer dataKey.Destroy()
	return k.change(id, dataKey, func(h *header) (bool, error) {
		before := len(h.Slots)
		h.Slots = slices.DeleteFunc(h.Slots, func(sl slot) bool {
			return sl.Kind == KindRecovery && !sl.Same(r.ref())
		})
		return len(h.Slots) < before, nil
	})
}

// Recover gives things that no ordinary slot opens any more a slot under the wrapper's current key, by means of the
// recovery identity, and answers their ids. It is the way back after all key servers or the local key were lost.
func (k *Keeper) Recover(ctx context.Context, identity string) ([]string, error) {
	key, err := parseIdentity(identity)
	if err != nil {
		return nil, err
	}
	all, err := k.IDs()
	if err != nil {
		return nil, err
	}
	var done []string
	for _, id := range all {
		if b, _, err := k.Open(ctx, id); err == nil {
			clear(b)
			continue
		}
		if err := k.recover(ctx, id, key); err != nil {
			return done, fmt.Errorf("recover %s: %w", id, err)
		}
		done = append(done, id)
	}
	return done, nil
}

func (k *Keeper) recover(ctx context.Context, id string, key *age.X25519Identity) error {
	s, err := load(k.root, id)
	if err != nil {
		return err
	}
	dataKey, err := recoveryDataKey(s, key)
	if err != nil {
		return err
	}
	defer dataKey.Destroy()
	ref, current, err := k.wrapper.Current(ctx, id)
	if err != nil {
		return err
	}
	defer current.Destroy()
	return k.change(id, dataKey, func(h *header) (bool, error) {
		n, err := wrap(id, ref, current, dataKey)
		if err != nil {
			return false, err
		}
		h.Slots = slices.DeleteFunc(h.Slots, func(sl slot) bool { return sl.Same(ref) })
		h.Slots = append(h.Slots, n)
		return true, nil
	})
}

// OpenWithRecovery answers the secret of a thing by the recovery identity alone. It needs nothing but the folder, so
// that it works when the agent, its key servers and its local key are gone. The caller clears the bytes.
func OpenWithRecovery(root *os.Root, id, identity string) ([]byte, error) {
	key, err := parseIdentity(identity)
	if err != nil {
		return nil, err
	}
	return openRecovery(root, id, key)
}

func openRecovery(root *os.Root, id string, key *age.X25519Identity) ([]byte, error) {
	s, err := load(root, id)
	if err != nil {
		return nil, err
	}
	dataKey, err := recoveryDataKey(s, key)
	if err != nil {
		return nil, err
	}
	defer dataKey.Destroy()
	return s.secret(dataKey)
}

func recoveryDataKey(s *stored, key *age.X25519Identity) (*Secret, error) {
	recipient := key.Recipient().String()
	for _, sl := range s.Slots {
		if sl.Kind == KindRecovery && sl.Name == recipient {
			return unwrapAge(s.ID, sl, key)
		}
	}
	return nil, fmt.Errorf("%s has no slot for recovery key %s: %w", s.ID, fingerprint(recipient), ErrOtherRecovery)
}

// parseIdentity reads what a person typed. Its error never holds any of it.
func parseIdentity(s string) (*age.X25519Identity, error) {
	key, err := age.ParseX25519Identity(strings.ToUpper(strings.TrimSpace(s)))
	if err != nil {
		return nil, errors.New(`this is no recovery key: one has 74 characters and begins with "AGE-SECRET-KEY-1"`)
	}
	return key, nil
}
