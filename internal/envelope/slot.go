package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind says what kind of key opens a slot.
type Kind string

// The kinds of keys.
const (
	KindKMIP     Kind = "kmip"     // a key that a key server keeps
	KindLocal    Kind = "local"    // the key file of this host
	KindRecovery Kind = "recovery" // the offline recovery key
)

// The ways to wrap a data key.
const (
	algGCM = "AES-256-GCM" // NIST SP 800-38D, nonce of 12 bytes in front, tag of 16 behind
	algAge = "age-X25519"  // age-encryption.org/v1, one X25519 recipient
)

// Sizes, in bytes.
const (
	// KeySize is the length of every key that wraps or seals: AES-256.
	KeySize    = 32
	maxWrapped = 1 << 10
	maxText    = 256
	maxSlots   = 16
	maxGen     = 1 << 30
)

// Check is a key check value: 16 hexadecimal digits that tell whether two keys are the same and nothing about what
// they are, as long as the keys are random. It is no secret.
type Check string

// CheckOf answers the check value of a key: the first 8 bytes of HMAC-SHA-256 over a fixed text.
func CheckOf(key []byte) Check {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("allclear key check 1"))
	return Check(hex.EncodeToString(h.Sum(nil)[:8]))
}

// SlotRef names the key of a slot, without its bytes.
type SlotRef struct {
	Kind Kind `json:"kind"`
	// Group is the group of key servers that has the key; "" for the other kinds.
	Group string `json:"group"`
	// UID is what its keeper calls the key: the Unique Identifier of KMIP, the check value of a local key, the
	// fingerprint of a recovery key.
	UID string `json:"uid"`
	// Name is its name for people: the KMIP Name attribute, "local", or the recovery key's age recipient.
	Name string `json:"name"`
	// Gen counts the generations of a renewed key from 1. The slot of the highest is tried first.
	Gen int `json:"gen"`
	// Check is the key's check value; a recovery key, whose bytes nobody here has, has its fingerprint there.
	Check   Check     `json:"check"`
	Created time.Time `json:"created"`
}

// Same claims that both name the same key.
func (r SlotRef) Same(o SlotRef) bool {
	return r.Kind == o.Kind && r.Group == o.Group && r.UID == o.UID && r.Gen == o.Gen && r.Check == o.Check
}

// String names the key for people.
func (r SlotRef) String() string {
	if r.Group == "" {
		return fmt.Sprintf("%s key %s", r.Kind, r.UID)
	}
	return fmt.Sprintf("%s key %s (%s, generation %d) of group %s", r.Kind, r.Name, r.UID, r.Gen, r.Group)
}

func (r SlotRef) valid() error {
	switch r.Kind {
	case KindKMIP, KindLocal, KindRecovery:
	default:
		return fmt.Errorf("slot is of unknown kind %q", r.Kind)
	}
	for _, s := range []string{r.Group, r.UID, r.Name} {
		if err := plainText(s); err != nil {
			return fmt.Errorf("slot of kind %s: %w", r.Kind, err)
		}
	}
	if b, err := hex.DecodeString(string(r.Check)); err != nil || len(b) != 8 || hex.EncodeToString(b) != string(r.Check) {
		return fmt.Errorf("slot of kind %s has no check value of 16 hexadecimal digits", r.Kind)
	}
	switch {
	case r.UID == "":
		return fmt.Errorf("slot of kind %s names no key", r.Kind)
	case (r.Kind == KindKMIP) != (r.Group != ""):
		return fmt.Errorf("slot of kind %s has group %q", r.Kind, r.Group)
	case r.Gen < 1 || r.Gen > maxGen:
		return fmt.Errorf("slot of kind %s has generation %d", r.Kind, r.Gen)
	case !r.Created.Equal(r.Created.Truncate(time.Second)) || r.Created.Location() != time.UTC:
		return fmt.Errorf("slot of kind %s has a time that is not of whole seconds in UTC", r.Kind)
	}
	return nil
}

// plainText refuses what would not survive JSON or would upset a terminal: the names come from foreign servers.
func plainText(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("a name of %d bytes is longer than %d", len(s), maxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("a name is no UTF-8")
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("a name holds the character %U", c)
		}
	}
	return nil
}

// slot is a SlotRef with the data key wrapped under its key.
type slot struct {
	SlotRef
	Alg     string `json:"alg"`
	Wrapped []byte `json:"wrapped"`
}

func (s slot) valid() error {
	if err := s.SlotRef.valid(); err != nil {
		return err
	}
	want := algGCM
	if s.Kind == KindRecovery {
		want = algAge
	}
	switch {
	case s.Alg != want:
		return fmt.Errorf("slot of kind %s is wrapped by %q, not %s", s.Kind, s.Alg, want)
	case s.Alg == algGCM && len(s.Wrapped) != gcmSize(KeySize):
		return fmt.Errorf("slot of kind %s has a wrapped key of %d bytes, not %d", s.Kind, len(s.Wrapped), gcmSize(KeySize))
	case len(s.Wrapped) == 0 || len(s.Wrapped) > maxWrapped:
		return fmt.Errorf("slot of kind %s has a wrapped key of %d bytes", s.Kind, len(s.Wrapped))
	}
	return nil
}
