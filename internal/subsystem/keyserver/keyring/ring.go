package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"allclear/internal/envelope"
)

// Ring is one key of a group by its name for people ("repo"), in all its generations. It says under which of them new
// things go, and is the envelope.Wrapper of kind kmip. What it knows lies in a record of its own in the folder of keys.
type Ring struct {
	name, group, node string
	source            *Source
	record            *envelope.Record
	now               func() time.Time

	mu sync.Mutex // lets one caller at a time write the record
}

// RingOptions is what a [Ring] is made of.
type RingOptions struct {
	Name  string // 1 to 63 letters, digits, dots, dashes and underscores
	Group string
	Node  string // goes into the names of keys at the servers, for people who look there
	// Folder is that of the things; the record is key-NAME in it.
	Folder    *os.Root
	Source    *Source
	Now       func() time.Time
	Failpoint func(step string) error // see envelope.Options
}

// KeptBy answers the group that keeps the key of that name, "" when there is none yet.
func KeptBy(folder *os.Root, name string) (string, error) {
	r := &Ring{name: name, record: envelope.NewRecord(folder, "key-"+name, "keyring")}
	st, err := r.load()
	return st.Group, err
}

// NewRing answers the ring of that name, whether it has a key yet or not. One whose record is damaged answers every
// question with that, until the record is restored: what the slots of things name can still be opened.
func NewRing(o RingOptions) (*Ring, error) {
	if err := envelope.CheckID("key/" + o.Name); err != nil {
		return nil, err
	}
	r := &Ring{name: o.Name, group: o.Group, node: o.Node, source: o.Source, now: o.Now}
	r.record = envelope.NewRecord(o.Folder, "key-"+o.Name, "keyring").WithFailpoint(o.Failpoint)
	st, err := r.load()
	if _, damaged := errors.AsType[*envelope.DamageError](err); damaged {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if st.Group != o.Group {
		return nil, fmt.Errorf("key %s is kept by group %s, not %s", o.Name, st.Group, o.Group)
	}
	return r, nil
}

// ErrNoCurrent says that a ring has no key yet.
var ErrNoCurrent = errors.New("no key was created on the key servers yet")

// Key answers the key of a slot; see [Source.Key].
func (r *Ring) Key(ctx context.Context, ref envelope.SlotRef) (envelope.Key, error) {
	return r.source.Key(ctx, ref)
}

// Current answers the key for new things, fresh from a server: new work stops when none can be asked.
func (r *Ring) Current(ctx context.Context, _ string) (envelope.SlotRef, *envelope.Secret, error) {
	st, err := r.load()
	if err != nil {
		return envelope.SlotRef{}, nil, err
	}
	if st.Current == nil {
		return envelope.SlotRef{}, nil, fmt.Errorf("key %s of group %s: %w", r.name, r.group, ErrNoCurrent)
	}
	key, err := r.fresh(ctx, *st.Current)
	return *st.Current, key, err
}

// fresh answers a key that a server gave just now.
func (r *Ring) fresh(ctx context.Context, ref envelope.SlotRef) (*envelope.Secret, error) {
	key, err := r.source.Key(ctx, ref)
	if err != nil {
		return nil, err
	}
	if key.Cached {
		key.Secret.Destroy()
		return nil, fmt.Errorf("%s is only in memory, no key server of group %s can be asked", ref, ref.Group)
	}
	return key.Secret, nil
}

// Status is what a ring knows.
type Status struct {
	Name, Group string
	// Current is the key for new things; nil before the first is committed.
	Current *envelope.SlotRef
	// Renewal is the one under way, or nil.
	Renewal *Renewal
	// Orphans are keys made for a renewal that was cancelled and not yet destroyed.
	Orphans []Orphan
}

// Renewal is a change of keys under way.
type Renewal struct {
	Phase   Phase  `json:"phase"`
	Gen     int    `json:"gen"`
	KeyName string `json:"key_name"` // the unique Name attribute
	UID     string `json:"uid"`      // "" until the server has answered
	// Check is "" until the primary has given the key back.
	Check     envelope.Check `json:"check"`
	Started   time.Time      `json:"started"`
	Changed   time.Time      `json:"changed"`   // when Phase began
	Committed time.Time      `json:"committed"` // zero: not yet
	// Old is the key before; nil if there was none (local keys are not named here).
	Old *envelope.SlotRef `json:"old"`
	// Failure is what went wrong last in this phase; nil after it went well.
	Failure *Failure `json:"failure"`
}

// Failure is a step of a renewal that did not go well.
type Failure struct {
	At    time.Time `json:"at"`
	Phase Phase     `json:"phase"` // the one in which it happened
	Error string    `json:"error"` // at most 1 KiB
}

// Orphan is a key at the servers that nothing uses.
type Orphan struct {
	KeyName string    `json:"key_name"`
	UID     string    `json:"uid"` // "": whether it exists is not known
	Since   time.Time `json:"since"`
}

// state is a ring as it is stored.
type state struct {
	Name    string            `json:"name"`
	Group   string            `json:"group"`
	Current *envelope.SlotRef `json:"current"`
	Renewal *Renewal          `json:"renewal"`
	Orphans []Orphan          `json:"orphans"`
}

// maxOrphans bounds what a ring remembers; a renewal does not begin above it.
const maxOrphans = 16

// Status answers what the ring knows now.
func (r *Ring) Status() (Status, error) {
	st, err := r.load()
	if err != nil {
		return Status{}, err
	}
	return Status(st), nil
}

// load reads the record; a missing one is a ring without keys.
func (r *Ring) load() (state, error) {
	content, err := r.record.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return state{Name: r.name, Group: r.group}, nil
	}
	if err != nil {
		return state{}, err
	}
	var st state
	if err := envelope.DecodeCanonical(content, &st); err != nil {
		return state{}, &envelope.DamageError{Name: "key " + r.name, Err: err}
	}
	if err := st.valid(r.name); err != nil {
		return state{}, &envelope.DamageError{Name: "key " + r.name, Err: err}
	}
	return st, nil
}

func (st state) valid(name string) error {
	if st.Name != name {
		return fmt.Errorf("it is key %q", st.Name)
	}
	if len(st.Orphans) > 2*maxOrphans {
		return fmt.Errorf("it has %d orphans", len(st.Orphans))
	}
	if n := st.Renewal; n != nil {
		switch {
		case !n.Phase.known():
			return fmt.Errorf("its renewal is in phase %q", n.Phase)
		case n.KeyName == "" || n.Gen < 1:
			return errors.New("its renewal has no name or generation")
		case n.Phase.after(PhaseSent) && n.Phase != PhaseCancelling && (n.UID == "" || n.Check == ""):
			return fmt.Errorf("its renewal is in phase %s without a key", n.Phase)
		}
	}
	return nil
}

func (r *Ring) store(st state) error {
	content, err := json.Marshal(st)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.record.Write(content); err != nil {
		return fmt.Errorf("store key %s: %w", r.name, err)
	}
	return nil
}

// Repair writes a damaged or old copy of the record anew.
func (r *Ring) Repair() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.record.Repair(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("repair key %s: %w", r.name, err)
	}
	return nil
}

func (r *Ring) second() time.Time { return r.now().UTC().Truncate(time.Second) }

// ref names the key of a renewal.
func (r *Ring) ref(n *Renewal) envelope.SlotRef {
	return envelope.SlotRef{
		Kind: envelope.KindKMIP, Group: r.group, UID: n.UID, Name: n.KeyName, Gen: n.Gen, Check: n.Check, Created: n.Started,
	}
}
