package envelope

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Key is what a [KeySource] gives. The caller destroys the secret.
type Key struct {
	Secret *Secret
	// Cached says that no keeper of the key could be asked now and that it comes from memory.
	Cached bool
	// From names the server that gave it, "" for none.
	From string
}

// KeySource gives the keys of slots.
type KeySource interface {
	// Key answers the key of a slot. [ErrNoKey] means that the source is sure that it does not exist; any other error
	// that it could not be had now. Whether the bytes are the right ones is judged here, not there.
	Key(ctx context.Context, ref SlotRef) (Key, error)
}

// Wrapper is a source that also says under which key a new thing goes.
type Wrapper interface {
	KeySource
	// Current answers that key, never out of a cache: a thing must not be protected by a key of which nobody knows
	// whether it still exists. The caller destroys the secret.
	Current(ctx context.Context, id string) (SlotRef, *Secret, error)
}

// Options is what a [Keeper] is made of. Folder and Wrap are required.
type Options struct {
	Folder *os.Root // of [OpenFolder]; the caller closes it after the last call
	Wrap   Wrapper
	// Sources open slots, by the kind of their key.
	Sources map[Kind]KeySource
	Now     func() time.Time // nil means time.Now
	// Failpoint, if set, is called before each step of writing and makes it fail with its error. It is nil outside tests.
	Failpoint func(step string) error
}

// Keeper protects things and opens them. It is safe for concurrent use by one process; two processes must not have
// one on the same folder.
type Keeper struct {
	root    *os.Root
	wrapper Wrapper
	sources map[Kind]KeySource
	now     func() time.Time
	fail    func(string) error

	mu sync.Mutex // lets one caller at a time write; held over no call of a source
}

// NewKeeper answers a keeper.
func NewKeeper(o Options) (*Keeper, error) {
	if o.Folder == nil || o.Wrap == nil {
		return nil, errors.New("a keeper needs a folder and a wrapper")
	}
	k := &Keeper{root: o.Folder, wrapper: o.Wrap, sources: o.Sources, now: o.Now, fail: o.Failpoint}
	if k.now == nil {
		k.now = time.Now
	}
	if k.fail == nil {
		k.fail = noFailpoint
	}
	return k, nil
}

// Info tells about a thing what may be told to everybody.
type Info struct {
	ID       string
	Slot     SlotRef   // the one that opened; zero from [Keeper.Describe]
	Slots    []SlotRef // all, recovery slots included
	Local    bool      // no slot needs a key server: whoever has this host's disk has the secret
	Recovery bool      // a recovery slot exists
	Proven   time.Time // when the recovery key was last validated; zero: never
	Cached   bool      // opened with a key from memory, no key server could be asked
	From     string    // the key server that gave the key
	Copies   int       // whole copies on disk: 2, or 1
	Gen      uint64    // counts the header's changes
}

// Protect seals a secret of 1 to 16384 bytes as id (see [CheckID]) under the wrapper's current key and, if there is
// one, for the recovery key. It leaves the caller's slice alone. After a crash in it there is nothing or the whole
// thing: ask [Keeper.Open] first. [ErrExists] if the id is taken.
func (k *Keeper) Protect(ctx context.Context, id string, secret []byte) error {
	if err := sealable(id, secret); err != nil {
		return err
	}
	if err := k.free(id); err != nil { // before a key server is troubled
		return err
	}
	h, dataKey, err := k.sealed(ctx, id, secret)
	if err != nil {
		return fmt.Errorf("protect %s: %w", id, err)
	}
	defer dataKey.Destroy()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.free(id); err != nil {
		return err
	}
	if err := k.addRecovery(&h, dataKey); err != nil {
		return fmt.Errorf("protect %s: %w", id, err)
	}
	if err := k.store(h, dataKey); err != nil {
		// The caller will not use the secret: half a thing must not keep the name.
		return errors.Join(err, k.record(id).Remove())
	}
	return nil
}

// Replace seals another secret as id, under the wrapper's current key only, whether the one before still opens or not.
// At every instant, a crash included, one of the two is there. On [ErrOneCopy] it is the new one, on most other errors
// the old one. [ErrNotFound] if there is none.
func (k *Keeper) Replace(ctx context.Context, id string, secret []byte) error {
	if err := sealable(id, secret); err != nil {
		return err
	}
	if _, err := load(k.root, id); err != nil {
		return fmt.Errorf("replace %s: %w", id, err)
	}
	h, dataKey, err := k.sealed(ctx, id, secret)
	if err != nil {
		return fmt.Errorf("replace %s: %w", id, err)
	}
	defer dataKey.Destroy()
	k.mu.Lock()
	defer k.mu.Unlock()
	before, err := load(k.root, id)
	if err != nil {
		return fmt.Errorf("replace %s: %w", id, err)
	}
	h.Gen = before.Gen + 1
	if err := k.addRecovery(&h, dataKey); err != nil {
		return fmt.Errorf("replace %s: %w", id, err)
	}
	return k.store(h, dataKey)
}

func sealable(id string, secret []byte) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if len(secret) == 0 || len(secret) > maxSecret {
		return fmt.Errorf("protect %s: the secret has %d bytes, not 1 to %d", id, len(secret), maxSecret)
	}
	return nil
}

// sealed makes the header of a thing with one slot, that of the wrapper's current key. The caller destroys the data key.
func (k *Keeper) sealed(ctx context.Context, id string, secret []byte) (_ header, dataKey *Secret, err error) {
	ref, key, err := k.wrapper.Current(ctx, id)
	if err != nil {
		return header{}, nil, err
	}
	defer key.Destroy()
	if dataKey, err = newDataKey(); err != nil {
		return header{}, nil, err
	}
	defer func() {
		if err != nil {
			dataKey.Destroy()
		}
	}()
	h := header{ID: id, Gen: 1, Created: k.second()}
	sealKey, err := derive(dataKey, "secret")
	if err != nil {
		return header{}, nil, err
	}
	defer clear(sealKey)
	if h.Sealed, err = seal(sealKey, secret, secretAAD(id)); err != nil {
		return header{}, nil, err
	}
	s, err := wrap(id, ref, key, dataKey)
	if err != nil {
		return header{}, nil, err
	}
	h.Slots = []slot{s}
	return h, dataKey, nil
}

// free claims that nothing has this id, whole or damaged.
func (k *Keeper) free(id string) error {
	switch _, err := load(k.root, id); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil:
		return fmt.Errorf("protect %s: %w", id, ErrExists)
	default:
		return fmt.Errorf("protect %s: %w", id, err)
	}
}

// Open answers the secret of id by the first slot that opens: those of key servers before local ones, the latest
// generation first, the recovery key never. The caller clears the bytes. [ErrNotFound], *[OpenError] with a cause for
// each slot, or *[DamageError].
func (k *Keeper) Open(ctx context.Context, id string) ([]byte, Info, error) {
	s, err := load(k.root, id)
	if err != nil {
		return nil, Info{}, err
	}
	dataKey, how, err := k.dataKey(ctx, s)
	if err != nil {
		return nil, Info{}, err
	}
	defer dataKey.Destroy()
	b, err := s.secret(dataKey)
	if err != nil {
		return nil, Info{}, err
	}
	info := k.info(s)
	info.Slot, info.Cached, info.From = how.Slot, how.Cached, how.From
	return b, info, nil
}

// Describe answers what is known of a thing without any key.
func (k *Keeper) Describe(id string) (Info, error) {
	s, err := load(k.root, id)
	if err != nil {
		return Info{}, err
	}
	return k.info(s), nil
}

// IDs answers the ids of all things, sorted, damaged ones included.
func (k *Keeper) IDs() ([]string, error) { return ids(k.root) }

// Remove forgets a thing. Its secret is then gone for good.
func (k *Keeper) Remove(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record(id).Remove()
}

// dataKey opens a thing by its slots and answers which did.
func (k *Keeper) dataKey(ctx context.Context, s *stored) (*Secret, Info, error) {
	order := slices.Clone(s.Slots)
	slices.SortStableFunc(order, func(a, b slot) int {
		if a.Kind != b.Kind {
			return cmp.Compare(rank(a.Kind), rank(b.Kind))
		}
		return cmp.Compare(b.Gen, a.Gen)
	})
	failed := &OpenError{ID: s.ID}
	for _, sl := range order {
		if sl.Kind == KindRecovery {
			continue
		}
		dataKey, how, err := k.bySlot(ctx, s.ID, sl)
		if err == nil {
			return dataKey, how, nil
		}
		if ctx.Err() != nil {
			return nil, Info{}, fmt.Errorf("open %s: %w", s.ID, err)
		}
		failed.Tried = append(failed.Tried, &SlotError{sl.SlotRef, err})
	}
	return nil, Info{}, failed
}

func rank(k Kind) int {
	switch k {
	case KindKMIP:
		return 0
	case KindLocal:
		return 1
	default:
		return 2
	}
}

func (k *Keeper) bySlot(ctx context.Context, id string, sl slot) (*Secret, Info, error) {
	source := k.sources[sl.Kind]
	if source == nil {
		return nil, Info{}, ErrNoSource
	}
	key, err := source.Key(ctx, sl.SlotRef)
	if err != nil {
		return nil, Info{}, err
	}
	defer key.Secret.Destroy()
	dataKey, err := unwrap(id, sl, key.Secret)
	return dataKey, Info{Slot: sl.SlotRef, Cached: key.Cached, From: key.From}, err
}

func (k *Keeper) info(s *stored) Info {
	in := Info{ID: s.ID, Local: true, Gen: s.Gen, Copies: k.record(s.ID).Whole()}
	for _, sl := range s.Slots {
		in.Slots = append(in.Slots, sl.SlotRef)
		in.Local = in.Local && sl.Kind != KindKMIP
		in.Recovery = in.Recovery || sl.Kind == KindRecovery
	}
	// Without a readable record of the recovery key nothing is proven.
	if r, err := k.Recovery(); err == nil {
		if _, ok := s.find(r.ref()); ok {
			in.Proven = r.Validated
		}
	}
	return in
}

// store writes a header; the caller holds mu.
func (k *Keeper) store(h header, dataKey *Secret) error {
	content, err := h.encode(dataKey)
	if err != nil {
		return err
	}
	if err := k.record(h.ID).Write(content); err != nil {
		return fmt.Errorf("store %s: %w", h.ID, err)
	}
	return nil
}

func (k *Keeper) record(id string) *Record {
	return NewRecord(k.root, fileOf(id), recordKind).WithFailpoint(k.fail)
}

func (k *Keeper) second() time.Time { return k.now().UTC().Truncate(time.Second) }

func newDataKey() (*Secret, error) {
	b := make([]byte, KeySize)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	return NewSecret(b)
}
