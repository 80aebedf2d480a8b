package kmiptest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// store holds the objects of a server.
type store struct {
	now   func() time.Time
	root  *os.Root // nil: nothing is kept
	limit int      // bytes of all objects

	mu      sync.RWMutex // guards what follows
	objects map[string]*object
	size    int               // bytes of all objects
	names   map[string]string // Name of an object that is not destroyed -> its id
	feeds   []*feed           // to followers
	sources []*feed           // from those followed
	stamps  map[string]time.Time
	down    time.Time // since when the server is down, zero while it is up
}

// maxAttributes is how many instances of attributes an object may have.
const maxAttributes = 1000

func openStore(dir string, limit int, now func() time.Time) (*store, error) {
	st := &store{now: now, limit: limit, objects: map[string]*object{}, names: map[string]string{}, stamps: map[string]time.Time{}}
	if dir == "" {
		return st, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of objects: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of objects: %w", err)
	}
	st.root = root
	if err := st.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return st, nil
}

func (st *store) close() error {
	if st.root == nil {
		return nil
	}
	return st.root.Close()
}

// newID makes a random identifier in the form of a UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program when the system has no randomness
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// get answers an object, nil when there is none.
func (st *store) get(id string) *object {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.objects[id]
}

// named answers the id of the object that has the name, "" when none has.
func (st *store) named(name string) string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.names[name]
}

// all answers the objects, the oldest first.
func (st *store) all() []*object {
	st.mu.RLock()
	defer st.mu.RUnlock()
	out := make([]*object, 0, len(st.objects))
	for _, o := range st.objects {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *object) int {
		return cmp.Or(a.when(ttlv.TagInitialDate).Compare(b.when(ttlv.TagInitialDate)), strings.Compare(a.id, b.id))
	})
	return out
}

func (st *store) count() int {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return len(st.objects)
}

// put stores objects: all or, when one cannot be kept on disk, none. A name that another object has is refused.
func (st *store) put(objects ...*object) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.putLocked(objects)
}

func (st *store) putLocked(objects []*object) error {
	for _, o := range objects {
		for _, n := range o.names() {
			if holder := st.names[n]; holder != "" && holder != o.id && !o.destroyed() && !givesUp(objects, holder, n) {
				return refusef(reasonNameTaken, "the name %q belongs to object %s", n, holder)
			}
		}
	}
	total := st.size
	kept := make([]*object, len(objects))
	for i, o := range objects {
		var err error
		if o, err = o.compact(); err != nil {
			return err
		}
		if kept[i] = o; len(o.attrs) > maxAttributes {
			return refusef(reasonIndexOutOfBounds, "object %s would have %d attributes", o.id, len(o.attrs))
		}
		if total += o.size; st.objects[o.id] != nil {
			total -= st.objects[o.id].size
		}
	}
	if total > st.limit && total > st.size {
		return refusef(reasonGeneral, "the server holds %d bytes and takes no more", st.size)
	}
	for i, o := range kept {
		if err := st.save(o); err != nil {
			for _, undo := range kept[:i] {
				err = errors.Join(err, st.restore(undo.id))
			}
			return err
		}
	}
	now := st.now()
	for _, o := range kept {
		st.hold(o, now)
		for _, f := range st.feeds {
			f.push(change{at: now, id: o.id, obj: o})
		}
	}
	return nil
}

// compact answers a copy that shares no memory with the request that made the object: what is kept of a message of a
// megabyte are the bytes that count.
func (o *object) compact() (*object, error) {
	b := o.file().bytes()
	if len(b) > ttlv.MaxSize {
		return nil, refusef(reasonIndexOutOfBounds, "object %s would have %d bytes", o.id, len(b))
	}
	c, err := readObject(b)
	if err != nil {
		return nil, fmt.Errorf("keep object %s: %w", o.id, err)
	}
	c.size = len(b)
	return c, nil
}

// givesUp tells whether one of the objects about to be stored is the holder of a name, without it from now on.
func givesUp(objects []*object, holder, name string) bool {
	return slices.ContainsFunc(objects, func(o *object) bool {
		return o.id == holder && !slices.Contains(o.names(), name)
	})
}

// change applies f to a copy of the object that is stored now and stores it, with no other change in between. f must
// not use the store.
func (st *store) change(id string, f func(*object) error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	old := st.objects[id]
	if old == nil {
		return refusef(reasonItemNotFound, "there is no object %q", id)
	}
	o := old.clone()
	if err := f(o); err != nil {
		return err
	}
	return st.putLocked([]*object{o})
}

// hold takes an object into the maps. The lock is held.
func (st *store) hold(o *object, at time.Time) {
	st.size += o.size
	if old := st.objects[o.id]; old != nil {
		st.size -= old.size
		for _, n := range old.names() {
			if st.names[n] == o.id {
				delete(st.names, n)
			}
		}
	}
	st.objects[o.id], st.stamps[o.id] = o, at
	if !o.destroyed() {
		for _, n := range o.names() {
			st.names[n] = o.id
		}
	}
}

// revert puts back what an object was before, or removes it.
func (st *store) revert(id string, before *object) error {
	if before == nil {
		return st.forget(id)
	}
	return st.put(before)
}

// forget removes an object altogether, as no operation of KMIP does.
func (st *store) forget(id string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.drop(id)
	now := st.now()
	for _, f := range st.feeds {
		f.push(change{at: now, id: id})
	}
	return st.unlink(id)
}

// drop takes an object out of the maps. The lock is held.
func (st *store) drop(id string) {
	o := st.objects[id]
	if o == nil {
		return
	}
	st.size -= o.size
	for _, n := range o.names() {
		if st.names[n] == id {
			delete(st.names, n)
		}
	}
	delete(st.objects, id)
}

func (st *store) unlink(id string) error {
	if st.root == nil {
		return nil
	}
	if err := st.root.Remove(fileOf(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove object %s: %w", id, err)
	}
	return nil
}

// The files of a folder: one for each object, the answer that an Export of it would have in KMIP 1.4. A new one is
// written beside the old one and renamed over it.

const (
	fileSuffix = ".ttlv"
	tempSuffix = ".new"
)

func fileOf(id string) string { return hex.EncodeToString([]byte(id)) + fileSuffix }

func (st *store) save(o *object) error {
	if st.root == nil {
		return nil
	}
	name := fileOf(o.id)
	if err := st.write(name, o.file().bytes()); err != nil {
		return fmt.Errorf("keep object %s in %s: %w", o.id, filepath.Join(st.root.Name(), name), err)
	}
	return nil
}

func (st *store) write(name string, data []byte) error {
	f, err := st.root.OpenFile(name+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, st.root.Remove(name+tempSuffix))
	}
	if err := st.root.Rename(name+tempSuffix, name); err != nil {
		return err
	}
	dir, err := st.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// restore writes what the maps hold again, after a change of several objects failed halfway.
func (st *store) restore(id string) error {
	if o := st.objects[id]; o != nil {
		return st.save(o)
	}
	return st.root.Remove(fileOf(id))
}

func (o *object) file() *item {
	out := structure(ttlv.TagResponsePayload, enum(ttlv.TagObjectType, o.kind), text(ttlv.TagUniqueIdentifier, o.id))
	for _, a := range o.attrs {
		it := a.encode(kmip.V1_4)
		if a.vendor != "" {
			it.add(text(ttlv.TagVendorIdentification, a.vendor))
		}
		out.add(it)
	}
	return out.add(o.value)
}

func readObject(b []byte) (*object, error) {
	it, err := parse(b)
	if err != nil {
		return nil, err
	}
	o := &object{id: it.kid(ttlv.TagUniqueIdentifier).text()}
	t, ok := typeOf(it.kid(ttlv.TagObjectType).enum())
	if !ok || o.id == "" {
		return nil, errors.New("it holds no object")
	}
	o.kind, o.value = t.kind, it.kid(t.tag)
	for _, k := range it.all(ttlv.TagAttribute) {
		a, err := decodeAttribute(kmip.V1_4, k)
		if err != nil {
			return nil, err
		}
		if a.value == nil {
			return nil, fmt.Errorf("its attribute %q has no value", a.name)
		}
		a.index, a.vendor = max(a.index, 0), k.kid(ttlv.TagVendorIdentification).text()
		o.attrs = append(o.attrs, a)
	}
	return o, nil
}

func (st *store) load() error {
	entries, err := fs.ReadDir(st.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("read the folder of objects: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tempSuffix) {
			if err := st.root.Remove(name); err != nil {
				return fmt.Errorf("remove an unfinished object: %w", err)
			}
		}
		if !strings.HasSuffix(name, fileSuffix) {
			continue
		}
		b, err := st.root.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read an object: %w", err)
		}
		o, err := readObject(b)
		if err != nil {
			return fmt.Errorf("read object %s: %w", filepath.Join(st.root.Name(), name), err)
		}
		o.size = len(b)
		st.hold(o, st.now())
	}
	return nil
}
