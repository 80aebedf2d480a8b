package repository

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/restic/chunker"
)

// Identity is who works on the repository. It stands in locks, snapshots and key files.
type Identity struct {
	Hostname string
	Username string
	UID, GID uint32
	PID      int // 0: this process
}

// Options of an open repository. The zero value works, but for Who.Hostname.
type Options struct {
	Who         Identity
	Program     string           // name and version as snapshots carry them, "allclear 1.2.3"
	Compression Compression      // of data written from now on
	Now         func() time.Time // nil: time.Now
	// LockWait is how long taking a lock waits for others to finish. 0: not at all.
	LockWait time.Duration
	// Uploads is how many packs are sent at a time, 1 to 5; 0 means 2. Each takes 16 MiB of memory.
	Uploads int
	// PackSize is the target size of packs in bytes, 4 to 128 MiB; 0 means 16 MiB.
	PackSize int
	// Workers is how many goroutines compress and seal. 0: one for each processor.
	Workers int
	// Held knows the locks of this process; nil: a lock with our process number is taken for a living one.
	Held *Held
}

// Repository is an open repository. It is safe for concurrent use; each operation loads the index anew and takes its
// own lock.
type Repository struct {
	store   Store
	key     *sealKey
	keyID   ID
	conf    config
	codec   *codec
	who     Identity
	now     func() time.Time
	options Options
}

// config is the file of that name.
type config struct {
	Version    int         `json:"version"`
	ID         string      `json:"id"`
	Polynomial chunker.Pol `json:"chunker_polynomial"`
}

func parseConfig(b []byte) (config, error) {
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("decode: %w", err)
	}
	switch {
	case c.Version < 1 || c.Version > 2:
		return c, fmt.Errorf("repository version %d is not known, 1 and 2 are", c.Version)
	case !isID(c.ID):
		return c, fmt.Errorf("repository ID %.80q is not 64 hex digits", c.ID)
	case c.Polynomial.Deg() != 53 || !c.Polynomial.Irreducible():
		return c, fmt.Errorf("chunker polynomial %v is not irreducible of degree 53", c.Polynomial)
	}
	return c, nil
}

func build(s Store, o Options) (*Repository, error) {
	if o.Who.Hostname == "" {
		return nil, errors.New("open a repository: no host name is given for locks and snapshots")
	}
	if o.Who.PID == 0 {
		o.Who.PID = os.Getpid()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Uploads == 0 {
		o.Uploads = 2
	}
	if o.PackSize == 0 {
		o.PackSize = 16 << 20
	}
	if o.Uploads < 1 || o.Uploads > 5 || o.PackSize < 4<<20 || o.PackSize > 128<<20 {
		return nil, fmt.Errorf("open a repository: %d uploads, packs of %d bytes: 1 to 5 and 4 to 128 MiB are possible", o.Uploads, o.PackSize)
	}
	return &Repository{store: s, who: o.Who, now: o.Now, options: o}, nil
}

// Open opens a repository with a password, as given, without a final newline. It answers [ErrNoRepository] or
// [ErrWrongPassword] when it is that.
func Open(ctx context.Context, s Store, password []byte, o Options) (*Repository, error) {
	r, err := build(s, o)
	if err != nil {
		return nil, err
	}
	if _, err := s.Stat(ctx, configName); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoRepository
	} else if err != nil {
		return nil, fmt.Errorf("look for %s: %w", configName, err)
	}
	if r.key, r.keyID, err = searchKey(ctx, s, password); err != nil {
		return nil, err
	}
	sealed, err := get(ctx, s, configName, maxConfig)
	if err != nil {
		return nil, err
	}
	plain, err := r.key.open(nil, sealed)
	if err == nil {
		r.conf, err = parseConfig(plain)
	}
	if err != nil {
		return nil, damaged("config", ID{}, err)
	}
	r.codec, err = newCodec(r.conf.Version, o.Compression)
	return r, err
}

// Init makes a repository of version 2 in an empty folder. It answers [ErrExists] when there is a config, a key or a
// snapshot already. The config is written last: a crash before leaves no repository, and with the same password the
// next Init completes what it left.
func Init(ctx context.Context, s Store, password []byte, kdf KDF, o Options) (*Repository, error) {
	r, err := build(s, o)
	if err != nil {
		return nil, err
	}
	if r.key, r.keyID, err = vacant(ctx, s, password); err != nil {
		return nil, err
	}
	if err := makeFolders(ctx, s); err != nil {
		return nil, err
	}
	if r.key == nil {
		if err := r.makeKey(ctx, password, kdf); err != nil {
			return nil, err
		}
	}
	pol, err := chunker.RandomPolynomial()
	if err != nil {
		return nil, fmt.Errorf("choose a polynomial: %w", err)
	}
	var id ID
	rand.Read(id[:]) //nolint:errcheck // never fails
	r.conf = config{Version: 2, ID: id.String(), Polynomial: pol}
	if r.codec, err = newCodec(2, o.Compression); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(r.conf)
	if err != nil {
		return nil, err
	}
	sealed := r.key.seal(nil, plain)
	if back, err := r.key.open(nil, sealed); err != nil || !bytes.Equal(back, plain) {
		return nil, fmt.Errorf("read back the sealed config: %w", err)
	}
	return r, put(ctx, s, configName, bytes.NewReader(sealed), int64(len(sealed)))
}

// makeKey makes a master key and the file that holds it.
func (r *Repository) makeKey(ctx context.Context, password []byte, kdf KDF) (err error) {
	if r.key, err = randomKey(); err != nil {
		return err
	}
	file, err := newKeyFile(r.key, password, kdf, r.who, r.now())
	if err != nil {
		return fmt.Errorf("make a key file: %w", err)
	}
	r.keyID, err = putNamed(ctx, r.store, keysDir, file)
	return err
}

// vacant tells whether a repository may be made here. An Init that was cut off has left a key file and nothing else;
// when the password opens it, its key is answered.
func vacant(ctx context.Context, s Store, password []byte) (*sealKey, ID, error) {
	if _, err := s.Stat(ctx, configName); err == nil {
		return nil, ID{}, fmt.Errorf("%w: it has a config", ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, ID{}, fmt.Errorf("look for %s: %w", configName, err)
	}
	there := map[string]int{}
	for _, dir := range []string{keysDir, snapsDir, indexDir} {
		files, err := list(ctx, s, dir)
		if err != nil {
			return nil, ID{}, err
		}
		there[dir] = len(files)
	}
	switch {
	case there[snapsDir] > 0:
		return nil, ID{}, fmt.Errorf("%w: no config, but %d files in %s", ErrExists, there[snapsDir], snapsDir)
	case there[keysDir] == 0:
		return nil, ID{}, nil
	}
	key, id, err := searchKey(ctx, s, password)
	if err != nil && !errors.Is(err, ErrWrongPassword) {
		return nil, ID{}, err
	}
	if err != nil || there[indexDir] > 0 {
		return nil, ID{}, fmt.Errorf("%w: no config, but %d files in %s", ErrExists, there[keysDir], keysDir)
	}
	return key, id, nil
}

func makeFolders(ctx context.Context, s Store) error {
	dirs := []string{dataDir, indexDir, keysDir, locksDir, snapsDir}
	for i := range 256 {
		dirs = append(dirs, fmt.Sprintf("%s/%02x", dataDir, i))
	}
	for _, dir := range dirs {
		if err := s.Mkdir(ctx, dir); err != nil {
			return fmt.Errorf("make folder %s: %w", dir, err)
		}
	}
	return nil
}

// ID answers the repository's own random name, 64 hex digits.
func (r *Repository) ID() string { return r.conf.ID }

// Version answers the format version, 1 or 2.
func (r *Repository) Version() int { return r.conf.Version }

// KeyID answers the key file that opened the repository.
func (r *Repository) KeyID() ID { return r.keyID }
