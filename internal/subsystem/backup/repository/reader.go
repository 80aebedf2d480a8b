package repository

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Reader is the repository as it was when it was read: snapshots and index. It is safe for concurrent use.
type Reader struct {
	r     *Repository
	lock  *Lock // nil: none was taken
	ctx   func(context.Context) (context.Context, context.CancelFunc)
	snaps []Snapshot
	x     *loadedIndex
	trees *treeReader

	mu     sync.Mutex // guards damage
	damage []error
}

// Read loads the snapshots and then the index (in this order each snapshot finds its blobs). With lock a shared lock is
// held until Close: nobody prunes meanwhile. Without it what is read may vanish under the reader, which then answers
// errors, and never wrong bytes.
//
// Snapshots and index files that are damaged are left out ([Reader.Damage]); for packs that no index file has then,
// their own headers are read.
func (r *Repository) Read(ctx context.Context, lock bool) (*Reader, error) {
	rd := &Reader{r: r, ctx: context.WithCancel}
	if lock {
		lockCtx, l, err := r.Lock(ctx, Shared)
		if err != nil {
			return nil, err
		}
		rd.lock, rd.ctx = l, joined(lockCtx)
	}
	err := rd.load(ctx)
	if err != nil {
		return nil, rd.closeWith(ctx, err)
	}
	return rd, nil
}

// joined answers a function that makes contexts which also end, with the same cause, when the lock's context ends.
func joined(lock context.Context) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(lock, func() { cancel(context.Cause(lock)) })
		return ctx, func() { stop(); cancel(nil) }
	}
}

func (rd *Reader) load(ctx context.Context) (err error) {
	ctx, cancel := rd.ctx(ctx)
	defer cancel()
	if rd.snaps, err = rd.r.loadSnapshots(ctx, rd.note); err != nil {
		return err
	}
	indexes := 0
	rd.x, err = rd.r.loadIndex(ctx, func(id ID, err error) error {
		indexes++
		return rd.note(id, err)
	})
	if err != nil {
		return err
	}
	if indexes > 0 {
		if _, err := rd.r.adopt(ctx, rd.x.index, func(err error) { _ = rd.note(ID{}, err) }); err != nil {
			return err
		}
	}
	rd.trees = newTreeReader(rd.r, rd.x.index)
	rd.trees.measure()
	return nil
}

func (rd *Reader) closeWith(ctx context.Context, err error) error {
	if rd.lock != nil {
		rd.lock.release(ctx, &err)
	}
	return err
}

// Close releases the lock, if one was taken.
func (rd *Reader) Close(ctx context.Context) error { return rd.closeWith(ctx, nil) }

// note takes in something damaged, and goes on.
func (rd *Reader) note(_ ID, err error) error {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.damage = append(rd.damage, err)
	return nil
}

// Damage answers what could not be read when the reader was made, each a [*DamageError]; with any, a check is due.
func (rd *Reader) Damage() []error {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return slices.Clone(rd.damage)
}

// Snapshots answers all readable snapshots, oldest first.
func (rd *Reader) Snapshots() []Snapshot { return slices.Clone(rd.snaps) }

// Snapshot answers the snapshot of a name: "latest", an ID, or the beginning of one, at least four digits. It answers
// [ErrNotFound] or [ErrAmbiguous].
func (rd *Reader) Snapshot(name string) (Snapshot, error) {
	if name == "latest" && len(rd.snaps) > 0 {
		return rd.snaps[len(rd.snaps)-1], nil
	}
	if len(name) < 4 {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrNotFound)
	}
	var in []Snapshot
	for _, s := range rd.snaps {
		if strings.HasPrefix(s.ID.String(), name) {
			in = append(in, s)
		}
	}
	switch len(in) {
	case 0:
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrNotFound)
	case 1:
		return in[0], nil
	}
	return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrAmbiguous)
}
