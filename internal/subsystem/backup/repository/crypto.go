package repository

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	//lint:ignore SA1019 the format is Poly1305-AES with AES-CTR, which no higher-level package offers
	"golang.org/x/crypto/poly1305"
)

// sealOverhead is what sealing adds: IV and tag, in bytes.
const sealOverhead = aes.BlockSize + poly1305.TagSize

// sealKey seals and opens with AES-256-CTR and Poly1305-AES. It is safe for concurrent use.
type sealKey struct {
	secret [64]byte     // 32 for AES-256, 16 k, 16 r: as scrypt gives them
	cipher cipher.Block // AES-256
	mac    cipher.Block // AES-128 under k
}

func newSealKey(secret []byte) (*sealKey, error) {
	if len(secret) != 64 {
		return nil, fmt.Errorf("the key has %d bytes, 64 are needed", len(secret))
	}
	k := &sealKey{secret: [64]byte(secret)}
	var err error
	if k.cipher, err = aes.NewCipher(k.secret[:32]); err != nil {
		return nil, err
	}
	k.mac, err = aes.NewCipher(k.secret[32:48])
	return k, err
}

// randomKey makes a master key.
func randomKey() (*sealKey, error) {
	var secret [64]byte
	rand.Read(secret[:]) //nolint:errcheck // never fails
	return newSealKey(secret[:])
}

// tag is Poly1305 over the ciphertext alone, under r and AES(k, IV). The library clamps r.
func (k *sealKey) tag(iv, ciphertext []byte) [poly1305.TagSize]byte {
	var once [32]byte
	copy(once[:16], k.secret[48:])
	k.mac.Encrypt(once[16:], iv)
	var out [poly1305.TagSize]byte
	poly1305.Sum(&out, ciphertext, &once)
	return out
}

// seal appends IV, ciphertext and tag to dst, which must not overlap plain.
func (k *sealKey) seal(dst, plain []byte) []byte {
	start := len(dst)
	dst = append(append(dst, make([]byte, aes.BlockSize)...), plain...)
	return k.sealInPlace(dst, start)
}

// sealInPlace seals what stands in b behind room for the IV, which begins at start, and appends the tag.
func (k *sealKey) sealInPlace(b []byte, start int) []byte {
	iv, c := b[start:start+aes.BlockSize], b[start+aes.BlockSize:]
	for clear(iv); [aes.BlockSize]byte(iv) == [aes.BlockSize]byte{}; { // readers refuse the zero IV
		rand.Read(iv) //nolint:errcheck // never fails
	}
	cipher.NewCTR(k.cipher, iv).XORKeyStream(c, c)
	tag := k.tag(iv, c)
	return append(b, tag[:]...)
}

// check tells whether sealed is what this key sealed, and answers its parts.
func (k *sealKey) check(sealed []byte) (iv, ciphertext []byte, err error) {
	if len(sealed) < sealOverhead {
		return nil, nil, fmt.Errorf("sealed data of %d bytes, %d are the least", len(sealed), sealOverhead)
	}
	iv, ciphertext = sealed[:aes.BlockSize], sealed[aes.BlockSize:len(sealed)-poly1305.TagSize]
	if [aes.BlockSize]byte(iv) == ([aes.BlockSize]byte{}) {
		return nil, nil, errors.New("the IV is all zero")
	}
	want := k.tag(iv, ciphertext)
	if subtle.ConstantTimeCompare(want[:], sealed[len(sealed)-poly1305.TagSize:]) != 1 {
		return nil, nil, errTag
	}
	return iv, ciphertext, nil
}

// open appends the plaintext to dst, which must not overlap sealed.
func (k *sealKey) open(dst, sealed []byte) ([]byte, error) {
	iv, c, err := k.check(sealed)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	dst = slices.Grow(dst, len(c))[:start+len(c)]
	cipher.NewCTR(k.cipher, iv).XORKeyStream(dst[start:], c)
	return dst, nil
}

// openInPlace decrypts over the ciphertext and answers that part of sealed.
func (k *sealKey) openInPlace(sealed []byte) ([]byte, error) {
	iv, c, err := k.check(sealed)
	if err != nil {
		return nil, err
	}
	cipher.NewCTR(k.cipher, iv).XORKeyStream(c, c)
	return c, nil
}
