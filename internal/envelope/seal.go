package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// gcmSize is the length of n bytes sealed by seal.
func gcmSize(n int) int { return 12 + n + 16 }

// seal answers nonce, ciphertext and tag of plain under a key of 32 bytes. Nonces are random: a key seals a few
// thousand times in its life, far below the 2^32 of NIST SP 800-38D section 8.3.
func seal(key, plain, aad []byte) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, g.NonceSize(), gcmSize(len(plain)))
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return g.Seal(nonce, nonce, plain, aad), nil
}

// unseal is the reverse of seal. The caller clears what it gets.
func unseal(key, sealed, aad []byte) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcmSize(0) {
		return nil, fmt.Errorf("%d sealed bytes are fewer than %d", len(sealed), gcmSize(0))
	}
	plain, err := g.Open(nil, sealed[:g.NonceSize()], sealed[g.NonceSize():], aad)
	if err != nil {
		return nil, errors.New("the seal is broken")
	}
	return plain, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("key has %d bytes, need %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// derive makes a key for one purpose out of the data key, so that sealing the secret and guarding the header never
// share one.
func derive(dataKey *Secret, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, dataKey.Bytes(), nil, "allclear envelope 1 "+purpose, KeySize)
}

// aad binds sealed bytes to what they are for: each part with its length in front, so that no two lists are alike.
func aad(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

func secretAAD(id string) []byte { return aad("allclear envelope 1 secret", id) }

func slotAAD(id string, r SlotRef) []byte {
	return aad("allclear envelope 1 slot", id, string(r.Kind), r.Group, r.UID, r.Name, fmt.Sprint(r.Gen), string(r.Check))
}

// mac guards the header: HMAC-SHA-256 under a key derived from the data key.
func mac(dataKey *Secret, text []byte) ([]byte, error) {
	key, err := derive(dataKey, "header")
	if err != nil {
		return nil, err
	}
	defer clear(key)
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil), nil
}

// wrap makes the slot of ref for the thing id.
func wrap(id string, ref SlotRef, key, dataKey *Secret) (slot, error) {
	if got := CheckOf(key.Bytes()); got != ref.Check {
		return slot{}, &WrongKeyError{Ref: ref, Got: got}
	}
	w, err := seal(key.Bytes(), dataKey.Bytes(), slotAAD(id, ref))
	if err != nil {
		return slot{}, fmt.Errorf("wrap the data key under %s: %w", ref, err)
	}
	s := slot{SlotRef: ref, Alg: algGCM, Wrapped: w}
	return s, s.valid()
}

// unwrap opens a slot with its key and answers the data key.
func unwrap(id string, s slot, key *Secret) (*Secret, error) {
	if got := CheckOf(key.Bytes()); got != s.Check {
		return nil, &WrongKeyError{Ref: s.SlotRef, Got: got}
	}
	b, err := unseal(key.Bytes(), s.Wrapped, slotAAD(id, s.SlotRef))
	if err != nil {
		return nil, fmt.Errorf("unwrap the data key under %s: %w", s.SlotRef, err)
	}
	return NewSecret(b)
}

// wrapAge makes the recovery slot of a thing.
func wrapAge(id string, ref SlotRef, to *age.X25519Recipient, dataKey *Secret) (slot, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return slot{}, fmt.Errorf("wrap the data key of %s for the recovery key: %w", id, err)
	}
	// age has no additional data: the thing's identity goes in front of the key.
	if _, err := w.Write(agePrefix(id)); err != nil {
		return slot{}, err
	}
	if _, err := w.Write(dataKey.Bytes()); err != nil {
		return slot{}, err
	}
	if err := w.Close(); err != nil {
		return slot{}, fmt.Errorf("wrap the data key of %s for the recovery key: %w", id, err)
	}
	s := slot{SlotRef: ref, Alg: algAge, Wrapped: out.Bytes()}
	return s, s.valid()
}

// unwrapAge opens a recovery slot.
func unwrapAge(id string, s slot, with *age.X25519Identity) (*Secret, error) {
	r, err := age.Decrypt(bytes.NewReader(s.Wrapped), with)
	if err != nil {
		return nil, fmt.Errorf("open the recovery slot of %s: %w", id, err)
	}
	prefix := agePrefix(id)
	b, err := io.ReadAll(io.LimitReader(r, int64(len(prefix)+KeySize+1)))
	defer clear(b)
	if err != nil {
		return nil, fmt.Errorf("open the recovery slot of %s: %w", id, err)
	}
	if len(b) != len(prefix)+KeySize || !bytes.HasPrefix(b, prefix) {
		return nil, fmt.Errorf("open the recovery slot of %s: it belongs to something else", id)
	}
	return NewSecret(b[len(prefix):])
}

func agePrefix(id string) []byte { return aad("allclear envelope 1 recovery", id) }
