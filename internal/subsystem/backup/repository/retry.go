package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how [Retrying] repeats what went wrong.
type RetryPolicy struct {
	First time.Duration // pause before the first repetition, doubled each time; 0: 1 s
	Most  time.Duration // the longest pause; 0: 60 s
	Total time.Duration // after that long an operation is given up; 0: 15 min. It is repeated once in any case
	// Final tells an error that repeating cannot mend: no space, permission denied. fs.ErrNotExist, fs.ErrPermission
	// and an ended context are final always.
	Final func(error) bool
	// Retried is told of each repetition.
	Retried func(op, name string, err error)
}

// Retrying makes a store that repeats what goes wrong. A Save whose first try arrived after all is found by its size.
func Retrying(s Store, p RetryPolicy) Store {
	if p.First == 0 {
		p.First = time.Second
	}
	if p.Most == 0 {
		p.Most = time.Minute
	}
	if p.Total == 0 {
		p.Total = 15 * time.Minute
	}
	return &retrying{s, p}
}

type retrying struct {
	s Store
	p RetryPolicy
}

// final tells an error after which another try is useless.
func (r *retrying) final(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, errors.ErrUnsupported) || r.p.Final != nil && r.p.Final(err)
}

// again does something until it succeeds, or it makes no sense to go on.
func (r *retrying) again(ctx context.Context, op, name string, do func() error) error {
	start := time.Now()
	for n, pause := 1, r.p.First; ; n, pause = n+1, min(2*pause, r.p.Most) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || r.final(err) {
			return err
		}
		if n > 1 && time.Since(start)+pause > r.p.Total {
			return fmt.Errorf("tried %d times in %s: %w", n, time.Since(start).Round(time.Second), err)
		}
		if r.p.Retried != nil {
			r.p.Retried(op, name, err)
		}
		if werr := wait(ctx, pause+rand.N(pause/4+1)); werr != nil { //nolint:gosec // jitter
			return errors.Join(err, werr)
		}
	}
}

// Save repeats from the start of r, which must be able to seek for that.
func (r *retrying) Save(ctx context.Context, name string, in io.Reader, size int64) (n int64, err error) {
	again, can := in.(io.Seeker)
	if !can {
		return r.s.Save(ctx, name, in, size)
	}
	tries := 0
	err = r.again(ctx, "save", name, func() error {
		if tries++; tries > 1 {
			if fi, err := r.s.Stat(ctx, name); err == nil && size >= 0 && fi.Size() == size {
				n = size
				return nil
			}
			if _, err := again.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
		var err error
		n, err = r.s.Save(ctx, name, in, size)
		return err
	})
	return n, err
}

// Open repeats the opening; a stream that breaks later is read on from where it broke.
func (r *retrying) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	f := &resuming{r: r, name: name, offset: offset, length: length, wait: ctx}
	return f, r.again(ctx, "read", name, f.open)
}

func (r *retrying) Stat(ctx context.Context, name string) (fi fs.FileInfo, err error) {
	err = r.again(ctx, "look at", name, func() error {
		fi, err = r.s.Stat(ctx, name)
		return err
	})
	return fi, err
}

func (r *retrying) List(ctx context.Context, dir string) (all []fs.FileInfo, err error) {
	err = r.again(ctx, "list", dir, func() error {
		all, err = r.s.List(ctx, dir)
		return err
	})
	return all, err
}

func (r *retrying) Remove(ctx context.Context, name string) error {
	tries := 0
	return r.again(ctx, "remove", name, func() error {
		err := r.s.Remove(ctx, name)
		if tries++; tries > 1 && errors.Is(err, fs.ErrNotExist) {
			return nil // the first try got through
		}
		return err
	})
}

func (r *retrying) Mkdir(ctx context.Context, dir string) error {
	return r.again(ctx, "make folder", dir, func() error { return r.s.Mkdir(ctx, dir) })
}

// resuming is a file being read that survives broken connections.
type resuming struct {
	r              *retrying
	name           string
	offset, length int64
	in             io.ReadCloser
	wait           context.Context //nolint:containedctx // of the Open; a Reader has no other way to wait under it
}

func (f *resuming) open() (err error) {
	f.in, err = f.r.s.Open(f.wait, f.name, f.offset, f.length)
	return err
}

// Read reads on, after a break on a new stream.
func (f *resuming) Read(p []byte) (n int, err error) {
	end := false
	err = f.r.again(f.wait, "read", f.name, func() (err error) {
		if f.in == nil {
			if err := f.open(); err != nil {
				return err
			}
		}
		n, err = f.in.Read(p)
		if end = errors.Is(err, io.EOF); n > 0 || end || err == nil {
			return nil // an error that came with bytes comes again
		}
		cerr := f.in.Close()
		f.in = nil
		return errors.Join(err, cerr)
	})
	f.offset += int64(n)
	if f.length > 0 {
		f.length -= int64(n)
	}
	if end {
		return n, io.EOF
	}
	return n, err
}

// Close closes the stream.
func (f *resuming) Close() error {
	if f.in == nil {
		return nil
	}
	return f.in.Close()
}
