package repository_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"allclear/internal/subsystem/backup/repository"
)

// wrong is a store that is wrong: one of its calls, counted down, panics.
type wrong struct {
	repository.Store
	left atomic.Int64
}

func (w *wrong) step() {
	if w.left.Add(-1) == 0 {
		panic("the store is wrong")
	}
}

func (w *wrong) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	w.step()
	return w.Store.Save(ctx, name, r, size)
}

func (w *wrong) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	w.step()
	return w.Store.Open(ctx, name, offset, length)
}

func (w *wrong) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	w.step()
	return w.Store.List(ctx, dir)
}

// A panic at any call of the store, on whichever goroutine, ends the operation
// and neither the process nor its other work; the next operation is well.
func TestAPanicEndsTheOperationOnly(t *testing.T) { synctest.Test(t, testAPanicEndsTheOperationOnly) }

func testAPanicEndsTheOperationOnly(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(strings.Repeat(fmt.Sprint(i), 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, do := range map[string]func(*repository.Repository) error{
		"backup": func(r *repository.Repository) error {
			_, err := tryBackup(t.Context(), r, dir)
			return err
		},
		"check": func(r *repository.Repository) error {
			res, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Progress: func(repository.Progress) {}})
			if err == nil && res.Wrong > 0 {
				t.Errorf("a defect of ours is told as damage: %v", res.Problems)
			}
			return err
		},
		"restore": func(r *repository.Repository) error {
			snap := repository.Snapshot{}
			rd, err := r.Read(t.Context(), false)
			if err != nil {
				return err
			}
			if snap, err = rd.Snapshot("latest"); err != nil {
				return err
			}
			got, err := tryContent(t.Context(), r, snap)
			if n := len(onDisk(t, dir)); err == nil && len(got) != n {
				t.Errorf("restored %d things of %d without a word", len(got), n)
			}
			return err
		},
	} {
		mem := newMemStore()
		backup(t, create(t, mem, options()), dir)
		elsewhere := 0 // panics that were met on other goroutines than the caller's
		for n := int64(1); ; n++ {
			store := &wrong{Store: mem.clone()}
			r := open(t, store)
			store.left.Store(n)
			err, caught := recovered(func() error { return do(r) })
			if _, ok := errors.AsType[*repository.PanicError](err); ok {
				elsewhere++
			} else if !caught && store.left.Load() <= 0 {
				t.Errorf("%s, call %d: the panic is not told: %v", name, n, err)
			}
			if store.left.Load() > 0 {
				break // there are no so many calls
			}
			if err := do(r); err != nil {
				t.Errorf("%s, after a panic at call %d: %v", name, n, err)
			}
		}
		if elsewhere == 0 {
			t.Errorf("%s: no panic was met on a goroutine of its own", name)
		}
	}
}

func open(t *testing.T, s repository.Store) *repository.Repository {
	t.Helper()
	r, err := repository.Open(t.Context(), s, password, options())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recovered does what a caller does that goes on after a panic.
func recovered(do func() error) (err error, caught bool) {
	defer func() {
		if p := recover(); p != nil {
			caught = true
		}
	}()
	return do(), false
}

func TestAProgressThatPanicsEndsTheCheck(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	err, caught := recovered(func() error {
		_, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckIndex, Progress: func(repository.Progress) { panic("wrong") }})
		return err
	})
	if !caught {
		t.Errorf("the caller hears nothing: %v", err)
	}
	if left := mem.names("locks/"); len(left) > 0 {
		t.Errorf("the lock stays: %q", left)
	}
}
