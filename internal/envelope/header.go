package envelope

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// recordKind marks the files of things.
const recordKind = "envelope"

// header is a protected thing as it is stored: one line of canonical JSON and, on a second line, its MAC.
type header struct {
	ID      string    `json:"id"`
	Gen     uint64    `json:"gen"` // counts the changes of this header from 1
	Created time.Time `json:"created"`
	Sealed  []byte    `json:"sealed"` // the secret, under a key derived from the data key
	Slots   []slot    `json:"slots"`
}

// stored is a header with what guards it.
type stored struct {
	header
	text []byte // the line of JSON, exactly
	mac  []byte
}

func (h header) valid(id string) error {
	switch {
	case h.ID != id:
		return fmt.Errorf("it holds %q", h.ID)
	case h.Gen == 0:
		return errors.New("it has no generation")
	case len(h.Sealed) <= gcmSize(0) || len(h.Sealed) > gcmSize(maxSecret):
		return fmt.Errorf("its sealed secret has %d bytes", len(h.Sealed))
	case len(h.Slots) == 0 || len(h.Slots) > maxSlots:
		return fmt.Errorf("it has %d slots, not 1 to %d", len(h.Slots), maxSlots)
	case h.Created.Location() != time.UTC:
		return errors.New("its time is not in UTC")
	}
	for i, s := range h.Slots {
		if err := s.valid(); err != nil {
			return err
		}
		for _, o := range h.Slots[:i] {
			if o.Same(s.SlotRef) {
				return fmt.Errorf("it has two slots for %s", s.SlotRef)
			}
		}
	}
	return nil
}

// encode answers the content of a record, guarded with the data key.
func (h header) encode(dataKey *Secret) ([]byte, error) {
	if err := h.valid(h.ID); err != nil {
		return nil, fmt.Errorf("store %s: %w", h.ID, err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", h.ID, err)
	}
	m, err := mac(dataKey, text)
	if err != nil {
		return nil, err
	}
	return append(append(text, '\n'), hex.EncodeToString(m)...), nil
}

// decode reads the content of a record. Only what encode writes is accepted: unknown, missing, repeated or reordered
// keys, white space and other spellings of the same value are refused, because the MAC is over these very bytes.
func decode(id string, content []byte) (*stored, error) {
	text, guard, ok := bytes.Cut(content, []byte("\n"))
	if !ok {
		return nil, &DamageError{Name: id, Err: errors.New("it has no MAC")}
	}
	m, err := hex.DecodeString(string(guard))
	if err != nil || len(m) != 32 || strings.ToLower(string(guard)) != string(guard) {
		return nil, &DamageError{Name: id, Err: errors.New("its MAC is not 64 hexadecimal digits")}
	}
	s := &stored{text: text, mac: m}
	if err := DecodeCanonical(text, &s.header); err != nil {
		return nil, &DamageError{Name: id, Err: err}
	}
	if err := s.valid(id); err != nil {
		return nil, &DamageError{Name: id, Err: err}
	}
	return s, nil
}

// DecodeCanonical decodes one line of JSON into v, which must encode to exactly these bytes again: unknown, repeated or
// reordered keys, white space and other spellings of a value are refused. It is for files that only we write.
func DecodeCanonical(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("its JSON cannot be read: %w", err)
	}
	again, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("its JSON cannot be read: %w", err)
	}
	if !bytes.Equal(text, again) {
		return errors.New("its JSON is not in the form that is written here")
	}
	return nil
}

// guarded says whether the header is the one that was stored with this data key.
func (s *stored) guarded(dataKey *Secret) error {
	want, err := mac(dataKey, s.text)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, s.mac) {
		return &DamageError{Name: s.ID, Err: errors.New("its header was changed by somebody without the key")}
	}
	return nil
}

// secret opens the sealed secret; the caller clears it.
func (s *stored) secret(dataKey *Secret) ([]byte, error) {
	if err := s.guarded(dataKey); err != nil {
		return nil, err
	}
	key, err := derive(dataKey, "secret")
	if err != nil {
		return nil, err
	}
	defer clear(key)
	b, err := unseal(key, s.Sealed, secretAAD(s.ID))
	if err != nil {
		return nil, &DamageError{Name: s.ID, Err: err}
	}
	return b, nil
}

// find answers the slot of a key.
func (h header) find(ref SlotRef) (slot, bool) {
	for _, s := range h.Slots {
		if s.Same(ref) {
			return s, true
		}
	}
	return slot{}, false
}

// maxName is the length of each part of an id, in bytes.
const maxName = 64

// CheckID says what is wrong with an id. Ids are KIND/NAME, as in "backup/etc": two parts of 1 to 64 letters, digits,
// dots, dashes and underscores, that begin with a letter or digit.
func CheckID(id string) error {
	kind, name, ok := strings.Cut(id, "/")
	if !ok {
		return fmt.Errorf("%.80q is no id of the form kind/name", id)
	}
	for _, p := range []string{kind, name} {
		if p == "" || len(p) > maxName {
			return fmt.Errorf("%.160q is no id: a part has %d bytes, not 1 to %d", id, len(p), maxName)
		}
		for i, c := range []byte(p) {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
			if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
				return fmt.Errorf("%.160q is no id: a part holds or begins with %q", id, c)
			}
		}
	}
	return nil
}

// fileOf answers the name of the files of a thing, and idOf the thing of a file name.
func fileOf(id string) string { return strings.Replace(id, "/", "~", 1) }

func idOf(file string) (string, bool) {
	base, ok := strings.CutSuffix(file, ".0")
	if !ok {
		if base, ok = strings.CutSuffix(file, ".1"); !ok {
			return "", false
		}
	}
	if !strings.Contains(base, "~") {
		return "", false
	}
	id := strings.Replace(base, "~", "/", 1)
	return id, CheckID(id) == nil
}
