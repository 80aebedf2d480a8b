package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Times of the lock protocol.
const (
	lockSettle  = 200 * time.Millisecond // between writing a lock and looking for others again
	lockRefresh = 5 * time.Minute
	lockPoll    = 30 * time.Second // how often the age of our lock is looked at, in wall-clock time
	lockLapse   = 22*time.Minute + 30*time.Second
	lockStale   = 30 * time.Minute
	lockRelease = time.Minute // the time that removing our lock may take
)

// Mode is how a lock tolerates others.
type Mode bool

// Shared locks tolerate each other: backup, restore, adding a key. An exclusive one tolerates none: forget, prune,
// check, removing a key.
const (
	Shared    Mode = false
	Exclusive Mode = true
)

// LockInfo is a lock as it stands in the repository.
type LockInfo struct {
	ID        ID        `json:"-"`
	Time      time.Time `json:"time"`
	Exclusive bool      `json:"exclusive"`
	Hostname  string    `json:"hostname"`
	Username  string    `json:"username"`
	PID       int       `json:"pid"`
	UID       uint32    `json:"uid,omitempty"`
	GID       uint32    `json:"gid,omitempty"`
}

// LockedError says who holds a lock that keeps us out.
type LockedError struct {
	Lock LockInfo
	// Stale: nobody seems to stand behind the lock any more. On another host only a person can know; it blocks until
	// it is removed.
	Stale bool
}

func (e *LockedError) Error() string {
	kind, stale := "shared", ""
	if e.Lock.Exclusive {
		kind = "exclusive"
	}
	if e.Stale {
		stale = ", it looks abandoned"
	}
	return fmt.Sprintf("the repository is locked (%s) by process %d of %s on %s since %s%s", kind, e.Lock.PID, e.Lock.Username,
		e.Lock.Hostname, e.Lock.Time.Format(time.RFC3339), stale)
}

// Held knows the locks that this process holds, whichever [Repository] took them. With it a lock that carries our host
// name and process number is known for one of an earlier run: in a container the number is often the same again. The
// zero value is ready.
type Held struct {
	mu  sync.Mutex // guards ids
	ids map[ID]bool
}

func (h *Held) set(id ID, held bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids == nil {
		h.ids = map[ID]bool{}
	}
	if held {
		h.ids[id] = true
	} else {
		delete(h.ids, id)
	}
}

func (h *Held) has(id ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id]
}

// Lock is a lock of ours. It is refreshed until it is released.
type Lock struct {
	r      *Repository
	mode   Mode
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the refreshing has ended

	mu     sync.Mutex // guards the fields below
	id     ID
	last   time.Time     // wall clock of the last write
	fresh  chan struct{} // closed and replaced at each successful refresh
	offset time.Duration
}

func parseLock(id ID, b []byte) (LockInfo, error) {
	l := LockInfo{ID: id}
	err := json.Unmarshal(b, &l)
	return l, err
}

// Locks answers the locks in the repository, ours included. Empty files are no locks.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) {
	files, err := list(ctx, r.store, locksDir)
	if err != nil {
		return nil, err
	}
	var out []LockInfo
	for _, f := range files {
		if f.size == 0 {
			continue
		}
		l, err := r.readLock(ctx, f.id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // released since it was listed
		}
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// readLock looks again at a lock that cannot be read: it may be on its way.
func (r *Repository) readLock(ctx context.Context, id ID) (LockInfo, error) {
	for pause := 5 * time.Second; ; pause *= 2 {
		b, err := r.loadUnpacked(ctx, "lock", locksDir, id, maxLock)
		if err == nil {
			var l LockInfo
			if l, err = parseLock(id, b); err == nil {
				return l, nil
			}
			err = damaged("lock", id, err)
		}
		if _, isDamage := errors.AsType[*DamageError](err); !isDamage || pause > 20*time.Second {
			return LockInfo{}, err
		}
		if err := wait(ctx, pause); err != nil {
			return LockInfo{}, err
		}
	}
}

// Stale tells whether nobody seems to stand behind a lock: it is older than 30 minutes, or its process on this host is
// gone.
func (r *Repository) Stale(l LockInfo) bool {
	if r.now().Sub(l.Time) > lockStale {
		return true
	}
	if l.Hostname != r.who.Hostname {
		return false
	}
	if l.PID == r.who.PID {
		return r.options.Held != nil && !r.options.Held.has(l.ID)
	}
	return l.PID > 0 && errors.Is(unix.Kill(l.PID, 0), unix.ESRCH)
}

// conflict answers the lock that keeps a lock of this mode out. Stale locks of this host are removed, also those that
// keep nobody out here: a restic check wants the repository for itself.
func (r *Repository) conflict(ctx context.Context, mode Mode, ours ID) (*LockedError, error) {
	locks, err := r.Locks(ctx)
	if err != nil {
		return nil, err
	}
	var in *LockedError
	for _, l := range locks {
		if l.ID == ours {
			continue
		}
		stale, harmless := r.Stale(l), mode == Shared && !l.Exclusive
		if stale && l.Hostname == r.who.Hostname {
			if err := remove(ctx, r.store, filePath(locksDir, l.ID)); err != nil && !harmless {
				return nil, err
			}
			continue
		}
		if !harmless && (in == nil || in.Stale) {
			in = &LockedError{l, stale}
		}
	}
	return in, nil
}

// Lock takes a lock and keeps it fresh. The context that it answers ends when the lock is lost ([ErrLockLost]) or
// released: all work under the lock uses it. While others hold the repository it tries again, from every 5 s to every
// 60 s, for Options.LockWait; then it answers a [*LockedError].
func (r *Repository) Lock(ctx context.Context, mode Mode) (context.Context, *Lock, error) {
	deadline := r.now().Add(r.options.LockWait)
	for pause := 5 * time.Second; ; pause = min(2*pause, time.Minute) {
		id, written, err := r.takeLock(ctx, mode)
		if err == nil {
			return r.keepLock(ctx, mode, id, written)
		}
		if _, locked := errors.AsType[*LockedError](err); !locked || r.now().Add(pause).After(deadline) {
			return ctx, nil, fmt.Errorf("lock the repository: %w", err)
		}
		if err := wait(ctx, pause+rand.N(pause/4)); err != nil { //nolint:gosec // jitter
			return ctx, nil, fmt.Errorf("lock the repository: %w", err)
		}
	}
}

func (r *Repository) takeLock(ctx context.Context, mode Mode) (id ID, written time.Time, err error) {
	in, err := r.conflict(ctx, mode, ID{})
	if err != nil {
		return id, written, err
	}
	if in != nil {
		return id, written, in
	}
	written = r.now().Round(0)
	if id, err = r.writeLock(ctx, mode, written); err != nil {
		return id, written, err
	}
	if err = wait(ctx, lockSettle); err == nil {
		if in, err = r.conflict(ctx, mode, id); err == nil && in == nil {
			return id, written, nil
		}
	}
	if in != nil {
		err = in
	}
	return id, written, errors.Join(err, r.dropLock(ctx, id))
}

func (r *Repository) writeLock(ctx context.Context, mode Mode, now time.Time) (ID, error) {
	b, err := json.Marshal(LockInfo{
		Time: now, Exclusive: bool(mode), Hostname: r.who.Hostname, Username: r.who.Username,
		PID: r.who.PID, UID: r.who.UID, GID: r.who.GID,
	})
	if err != nil {
		return ID{}, err
	}
	sealed, err := r.encodeUnpacked(b)
	if err != nil {
		return ID{}, err
	}
	id := Hash(sealed)
	r.options.Held.set(id, true) // before others of this process can see it
	if _, err := putNamed(ctx, r.store, locksDir, sealed); err != nil {
		r.options.Held.set(id, false)
		return ID{}, errors.Join(err, r.dropLock(ctx, id)) // it may have arrived all the same
	}
	return id, nil
}

// dropLock removes a lock file of ours even when ctx has ended.
func (r *Repository) dropLock(ctx context.Context, id ID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockRelease)
	defer cancel()
	err := remove(ctx, r.store, filePath(locksDir, id))
	r.options.Held.set(id, false)
	return err
}

// Unlock removes locks that nobody stands behind, of whatever host; with all it removes every lock, which is right
// only when a person knows that no program works on the repository. It answers how many were removed.
func (r *Repository) Unlock(ctx context.Context, all bool) (int, error) {
	files, err := list(ctx, r.store, locksDir)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		if !all {
			b, err := r.loadUnpacked(ctx, "lock", locksDir, f.id, maxLock)
			if err != nil {
				continue // not readable, so not known to be stale
			}
			if l, err := parseLock(f.id, b); err != nil || !r.Stale(l) {
				continue
			}
		}
		if err := remove(ctx, r.store, filePath(locksDir, f.id)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// wait passes d, or less when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
