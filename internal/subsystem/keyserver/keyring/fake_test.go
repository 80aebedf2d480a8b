package keyring_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
)

var errDown = errors.New("connection refused")

// fakeServer is a key server that keeps its keys as files in a folder, NAME~UID with the key in hexadecimal, so that
// it outlives the process that uses it. A clone keeps none: it looks into the folder of its primary, unless it lags.
type fakeServer struct {
	name, dir string
	down, lag bool
	wrong     bool // answers other bytes
	denies    bool
	// around, if set, is called before and after each call takes effect; its error is the call's.
	around func(step string) error
}

func (s *fakeServer) Name() string { return s.name }

func (s *fakeServer) call(op string, do func() error) error {
	if s.down {
		return fmt.Errorf("%s: %w", s.name, errDown)
	}
	if s.around != nil {
		if err := s.around("before " + op + " on " + s.name); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if s.around != nil {
		return s.around("after " + op + " on " + s.name)
	}
	return nil
}

func (s *fakeServer) files(t string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.dir, t))
	return found, err
}

func (s *fakeServer) Create(_ context.Context, name string) (string, error) {
	b := make([]byte, envelope.KeySize)
	rand.Read(b)
	uid := strings.ToLower(rand.Text()[:8])
	err := s.call("create", func() error {
		if s.denies {
			return keyring.ErrNotMade
		}
		return os.WriteFile(filepath.Join(s.dir, name+"~"+uid), []byte(hex.EncodeToString(b)), 0o600)
	})
	if err != nil {
		return "", err
	}
	return uid, nil
}

func (s *fakeServer) Find(_ context.Context, name string) (uids []string, err error) {
	err = s.call("find", func() error {
		found, err := s.files(name + "~*")
		for _, f := range found {
			_, uid, _ := strings.Cut(filepath.Base(f), "~")
			uids = append(uids, uid)
		}
		return err
	})
	return uids, err
}

func (s *fakeServer) Activate(context.Context, string) error {
	return s.call("activate", func() error { return nil })
}

func (s *fakeServer) Get(_ context.Context, uid string) (key *envelope.Secret, err error) {
	err = s.call("get", func() error {
		found, err := s.files("*~" + uid)
		switch {
		case err != nil:
			return err
		case s.denies:
			return keyring.ErrRefused
		case len(found) != 1 || s.lag:
			return envelope.ErrNoKey
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			return err
		}
		b, err := hex.DecodeString(string(text))
		if err != nil {
			return err
		}
		if s.wrong {
			b[0] ^= 1
		}
		key, err = envelope.NewSecret(b)
		return err
	})
	if err != nil {
		key.Destroy()
		return nil, err
	}
	return key, nil
}

func (s *fakeServer) Destroy(_ context.Context, uid string) error {
	return s.call("destroy", func() error {
		found, err := s.files("*~" + uid)
		for _, f := range found {
			err = errors.Join(err, os.Remove(f))
		}
		return err
	})
}

// rig is a node with one group of a primary and a clone, with all that lies on disk in one folder.
type rig struct {
	dir             string
	primary, clone  *fakeServer
	noPrimary       bool
	now             time.Time
	red             error // what the validation says
	root            *os.Root
	local           *envelope.LocalKey
	source          *keyring.Source
	ring            *keyring.Ring
	keeper          *envelope.Keeper
	rekeyer         *keyring.Rekeyer
	replication     time.Duration
	fail            func(step string) error
	underLocalFirst bool
	real            []keyring.Server // instead of primary and clone
	// exists answers the keys that exist on any server, by identifier, as seen from outside.
	exists func() (map[string][]byte, error)
}

func (r *rig) Servers(string) (keyring.Server, []keyring.Server) {
	if r.real != nil {
		return r.real[0], r.real
	}
	all := []keyring.Server{r.primary, r.clone}
	if r.noPrimary {
		return nil, all
	}
	return r.primary, all
}

func (r *rig) Green(context.Context, envelope.SlotRef, time.Time) error { return r.red }

// open builds everything anew on what lies in dir, as a process does that starts.
func open(dir string, around func(step string) error) (*rig, error) {
	r := &rig{dir: dir, now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), fail: around}
	keys := filepath.Join(dir, "servers")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return nil, err
	}
	r.primary = &fakeServer{name: "ks1", dir: keys, around: around}
	r.clone = &fakeServer{name: "ks2", dir: keys, around: around}
	r.exists = r.primary.keys
	var err error
	if r.root, err = envelope.OpenFolder(filepath.Join(dir, "keys")); err != nil {
		return nil, err
	}
	return r, r.build()
}

func (r *rig) build() error {
	now := func() time.Time { return r.now }
	r.local = envelope.NewLocalKey(r.root, now)
	r.source = keyring.NewSource(r, time.Hour, now)
	var err error
	r.ring, err = keyring.NewRing(keyring.RingOptions{
		Name: "repo", Group: "main", Node: "node1", Folder: r.root, Source: r.source, Now: now, Failpoint: r.fail,
	})
	if err != nil {
		return err
	}
	sources := map[envelope.Kind]envelope.KeySource{envelope.KindKMIP: r.source, envelope.KindLocal: r.local}
	var wrap envelope.Wrapper = r.ring
	if r.underLocalFirst {
		wrap = r.local
	}
	r.keeper, err = envelope.NewKeeper(envelope.Options{Folder: r.root, Wrap: wrap, Sources: sources, Now: now, Failpoint: r.fail})
	if err != nil {
		return err
	}
	r.rekeyer, err = keyring.NewRekeyer(keyring.Options{
		Ring: r.ring, Things: r.keeper, Groups: r, Green: r, Sources: sources, Grace: time.Hour, Replication: r.replication,
		Failpoint: r.fail,
	})
	return err
}

// memoryDir answers a folder in memory where the system has a place for that: there are hundreds of rounds, what a kill
// leaves is the same there, and waiting for disks is tested elsewhere.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keyring-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r, err := open(memoryDir(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.root.Close() })
	return r
}

// withKey answers a rig whose first key is committed and retired, with two things under it.
func withKey(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.rekey(t)
	for id, secret := range things() {
		if err := r.keeper.Protect(t.Context(), id, []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func things() map[string]string { return map[string]string{"backup/etc": "one", "secret/db": "two"} }

// rekey renews the key from the beginning to the end.
func (r *rig) rekey(t *testing.T) {
	t.Helper()
	if err := r.rekeyer.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(2 * time.Hour)
	if err := r.rekeyer.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) status(t *testing.T) keyring.Status {
	t.Helper()
	st, err := r.ring.Status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// allOpen claims that every thing opens by way of the servers.
func (r *rig) allOpen(t *testing.T) {
	t.Helper()
	for id, want := range things() {
		got, _, err := r.keeper.Open(t.Context(), id)
		if err != nil || string(got) != want {
			t.Errorf("Open(%s) = %q, %v; want %q", id, got, err, want)
		}
	}
}

// keys reads what lies in the folder.
func (s *fakeServer) keys() (map[string][]byte, error) {
	found, err := s.files("*~*")
	out := map[string][]byte{}
	for _, f := range found {
		_, uid, _ := strings.Cut(filepath.Base(f), "~")
		text, failed := os.ReadFile(f)
		b, bad := hex.DecodeString(string(text))
		err = errors.Join(err, failed, bad)
		out[uid] = b
	}
	return out, err
}

// keysThere answers the identifiers of the keys that exist.
func (r *rig) keysThere(t *testing.T) []string {
	t.Helper()
	there, err := r.exists()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(there))
}

// survives is the invariant: every thing has a slot whose very key exists on a server, looked at from outside.
func (r *rig) survives(t *testing.T, when string) {
	t.Helper()
	all, err := r.keeper.IDs()
	if err != nil {
		t.Fatal(err)
	}
	there, err := r.exists()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range all {
		in, err := r.keeper.Describe(id)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		opened := false
		for _, ref := range in.Slots {
			if there[ref.UID] == nil {
				continue
			}
			key, err := envelope.NewSecret(bytes.Clone(there[ref.UID]))
			if err != nil {
				t.Fatal(err)
			}
			opened = opened || r.keeper.VerifySlot(id, ref, key) == nil
			key.Destroy()
		}
		if !opened {
			t.Errorf("%s: nothing opens %s any more, slots %v, keys %v", when, id, in.Slots, r.keysThere(t))
		}
	}
}
