package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/scrypt"
)

// maxKeys is how many key files other programs try before they give up: there must never be more.
const maxKeys = 20

// KDF is the cost of turning a password into a key: scrypt takes N*R*128 bytes and time in proportion to N*R*P.
type KDF struct{ N, R, P int }

// DefaultKDF takes 32 MiB and about half a second.
func DefaultKDF() KDF { return KDF{N: 32768, R: 8, P: 5} }

// Valid answers nil for parameters that are a scrypt cost and are no attack on the reader: memory at most 1 GiB, P at
// most 64.
func (k KDF) Valid() error {
	switch {
	case k.N < 2 || k.N&(k.N-1) != 0:
		return fmt.Errorf("scrypt N=%d is no power of two above 1", k.N)
	case k.R < 1 || k.P < 1 || k.P > 64:
		return fmt.Errorf("scrypt r=%d p=%d: r from 1, p from 1 to 64", k.R, k.P)
	case k.N > 1<<30/128/k.R:
		return fmt.Errorf("scrypt N=%d r=%d takes more than 1 GiB", k.N, k.R)
	}
	return nil
}

func (k KDF) derive(password, salt []byte) (*sealKey, error) {
	secret, err := scrypt.Key(password, salt, k.N, k.R, k.P, 64)
	if err != nil {
		return nil, err
	}
	return newSealKey(secret)
}

// keyFile is a file of the folder keys. The order of fields is the format's.
type keyFile struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`
}

// masterKey is what a key file seals.
type masterKey struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// parseKeyFile reads and bounds a key file.
func parseKeyFile(b []byte) (keyFile, error) {
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("decode: %w", err)
	}
	if f.KDF != "scrypt" {
		return f, fmt.Errorf("key derivation %.40q is not known, only scrypt is", f.KDF)
	}
	if len(f.Salt) != 64 {
		return f, fmt.Errorf("salt of %d bytes, must be 64", len(f.Salt))
	}
	return f, KDF{f.N, f.R, f.P}.Valid()
}

// open answers the master key, errTag for a wrong password.
func (f keyFile) open(password []byte) (*sealKey, error) {
	user, err := KDF{f.N, f.R, f.P}.derive(password, f.Salt)
	if err != nil {
		return nil, err
	}
	plain, err := user.open(nil, f.Data)
	if err != nil {
		return nil, err
	}
	var m masterKey
	if err := json.Unmarshal(plain, &m); err != nil {
		return nil, errors.New("the master key in it is not decodable")
	}
	if len(m.Encrypt) != 32 || len(m.MAC.K) != 16 || len(m.MAC.R) != 16 {
		return nil, errors.New("the master key in it has parts of a wrong length")
	}
	return newSealKey(slices.Concat(m.Encrypt, m.MAC.K, m.MAC.R))
}

// newKeyFile seals master under a password.
func newKeyFile(master *sealKey, password []byte, kdf KDF, who Identity, now time.Time) ([]byte, error) {
	if len(password) == 0 {
		return nil, errors.New("an empty password protects nothing")
	}
	if err := kdf.Valid(); err != nil {
		return nil, err
	}
	f := keyFile{
		Created: now, Username: who.Username, Hostname: who.Hostname,
		KDF: "scrypt", N: kdf.N, R: kdf.R, P: kdf.P, Salt: make([]byte, 64),
	}
	rand.Read(f.Salt) //nolint:errcheck // never fails
	user, err := kdf.derive(password, f.Salt)
	if err != nil {
		return nil, err
	}
	var m masterKey
	m.Encrypt, m.MAC.K, m.MAC.R = master.secret[:32], master.secret[32:48], master.secret[48:]
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	f.Data = user.seal(nil, plain)
	return json.Marshal(f)
}

// searchKey opens the repository's master key with a password. A broken key file does not hide the others, but is told
// when none opens.
func searchKey(ctx context.Context, s Store, password []byte) (*sealKey, ID, error) {
	files, err := list(ctx, s, keysDir)
	if err != nil {
		return nil, ID{}, err
	}
	var broken error
	for i, f := range files {
		if i == maxKeys {
			return nil, ID{}, errors.Join(broken, fmt.Errorf("%d key files, only %d are tried: %w", len(files), maxKeys, ErrWrongPassword))
		}
		b, err := getNamed(ctx, s, "key", keysDir, f.id, maxKey)
		if err != nil {
			if _, ok := errors.AsType[*DamageError](err); !ok {
				return nil, ID{}, err
			}
			broken = errors.Join(broken, err)
			continue
		}
		kf, err := parseKeyFile(b)
		if err == nil {
			var master *sealKey
			if master, err = kf.open(password); err == nil {
				return master, f.id, nil
			}
		}
		if !errors.Is(err, errTag) {
			broken = errors.Join(broken, damaged("key", f.id, err))
		}
	}
	return nil, ID{}, errors.Join(broken, ErrWrongPassword)
}

// Key is what is known of a key file without opening it.
type Key struct {
	ID       ID        `json:"id"`
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	Current  bool      `json:"current"` // it opened this repository
}

// Keys lists the key files, oldest first.
func (r *Repository) Keys(ctx context.Context) ([]Key, error) {
	files, err := list(ctx, r.store, keysDir)
	if err != nil {
		return nil, err
	}
	var out []Key
	for _, f := range files {
		b, err := getNamed(ctx, r.store, "key", keysDir, f.id, maxKey)
		if err != nil {
			return nil, err
		}
		kf, err := parseKeyFile(b)
		if err != nil {
			return nil, damaged("key", f.id, err)
		}
		out = append(out, Key{f.id, kf.Created, kf.Username, kf.Hostname, f.id == r.keyID})
	}
	slices.SortFunc(out, func(a, b Key) int { return a.Created.Compare(b.Created) })
	return out, nil
}

// AddKey lets a further password open the repository, after it was tried. A change of password is AddKey, then
// RemoveKey of the old one by a repository that was opened with the new.
func (r *Repository) AddKey(ctx context.Context, password []byte, kdf KDF) (id ID, err error) {
	ctx, lock, err := r.Lock(ctx, Shared)
	if err != nil {
		return ID{}, err
	}
	defer lock.release(ctx, &err)
	files, err := list(ctx, r.store, keysDir)
	if err != nil {
		return ID{}, err
	}
	if len(files) >= maxKeys {
		return ID{}, fmt.Errorf("add a key: %d are there already, the most that every program tries", len(files))
	}
	b, err := newKeyFile(r.key, password, kdf, r.who, r.now())
	if err != nil {
		return ID{}, fmt.Errorf("make a key file: %w", err)
	}
	if id, err = putNamed(ctx, r.store, keysDir, b); err != nil {
		return ID{}, err
	}
	back, err := getNamed(ctx, r.store, "key", keysDir, id, maxKey)
	if err != nil {
		return ID{}, err
	}
	kf, err := parseKeyFile(back)
	if err == nil {
		_, err = kf.open(password)
	}
	if err != nil {
		return ID{}, damaged("key", id, errors.Join(err, remove(ctx, r.store, filePath(keysDir, id))))
	}
	return id, nil
}

// RemoveKey takes away a password's way in. The key that opened this repository cannot be removed through it.
func (r *Repository) RemoveKey(ctx context.Context, id ID) (err error) {
	if id == r.keyID {
		return fmt.Errorf("remove key %s: the repository is open with it", id.Short())
	}
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return err
	}
	defer lock.release(ctx, &err)
	name := filePath(keysDir, id)
	if _, err := r.store.Stat(ctx, name); err != nil {
		return fmt.Errorf("remove key %s: %w", id.Short(), err)
	}
	return remove(ctx, r.store, name)
}
