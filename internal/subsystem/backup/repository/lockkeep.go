package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// keepLock starts the refreshing of a lock that was just taken.
func (r *Repository) keepLock(ctx context.Context, mode Mode, id ID, written time.Time) (context.Context, *Lock, error) {
	l := &Lock{r: r, mode: mode, id: id, last: written, fresh: make(chan struct{}), done: make(chan struct{})}
	if fi, err := r.store.Stat(ctx, filePath(locksDir, id)); err == nil {
		l.offset = fi.ModTime().Sub(written)
	} else if errors.Is(err, fs.ErrNotExist) {
		r.options.Held.set(id, false)
		return ctx, nil, fmt.Errorf("lock the repository: our lock vanished at once: %w", ErrLockLost)
	}
	ctx, l.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(l.done)
		if err := try(func() { l.keep(ctx) }); err != nil {
			l.cancel(err)
		}
	}()
	return ctx, l, nil
}

// ClockOffset answers how far the store's clock is ahead of ours, as the time of our lock file shows it. Stores that
// tell no times of their own answer about zero.
func (l *Lock) ClockOffset() time.Duration { return l.offset }

// keep refreshes until ctx ends. The age is wall-clock time: a machine that slept must not go on as if nothing was.
func (l *Lock) keep(ctx context.Context) {
	t := time.NewTicker(lockPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		age := l.age()
		if age < lockRefresh {
			continue
		}
		err := l.refresh(ctx, age >= lockLapse)
		// What goes wrong is tried again at the next tick, until the lock has lapsed.
		if err != nil && ctx.Err() == nil && (age >= lockLapse || errors.Is(err, fs.ErrNotExist)) {
			l.cancel(fmt.Errorf("%w: not refreshed for %s: %w", ErrLockLost, age.Round(time.Second), err))
			return
		}
	}
}

func (l *Lock) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.now().Round(0).Sub(l.last)
}

// refresh writes a new lock file and deletes the old, which must still be there: else (fs.ErrNotExist) somebody took it
// for stale and works already. After a lapse that is looked at once more.
func (l *Lock) refresh(ctx context.Context, lapsed bool) error {
	l.mu.Lock()
	old := l.id
	l.mu.Unlock()
	name := filePath(locksDir, old)
	if _, err := l.r.store.Stat(ctx, name); err != nil {
		return err
	}
	now := l.r.now().Round(0)
	id, err := l.r.writeLock(ctx, l.mode, now)
	if err != nil {
		return err
	}
	if lapsed {
		err := wait(ctx, lockSettle)
		if err == nil {
			_, err = l.r.store.Stat(ctx, name)
		}
		if err != nil {
			return errors.Join(err, l.r.dropLock(ctx, id))
		}
	}
	l.mu.Lock()
	l.id, l.last = id, now
	close(l.fresh)
	l.fresh = make(chan struct{})
	l.mu.Unlock()
	return l.r.dropLock(ctx, old)
}

// guard is asked before every write: it waits while the lock has lapsed, until it is refreshed or lost.
func (l *Lock) guard(ctx context.Context) error {
	for {
		l.mu.Lock()
		lapsed, fresh := l.r.now().Round(0).Sub(l.last) >= lockLapse, l.fresh
		l.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !lapsed {
			return nil
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Release ends the refreshing and removes the lock file, also when ctx has ended. It must be called once.
func (l *Lock) Release(ctx context.Context) error {
	l.cancel(context.Canceled)
	<-l.done
	if err := l.r.dropLock(ctx, l.id); err != nil {
		return fmt.Errorf("release the repository lock: %w", err)
	}
	return nil
}

// release is for defer: it adds what went wrong to err.
func (l *Lock) release(ctx context.Context, err *error) { *err = errors.Join(*err, l.Release(ctx)) }
