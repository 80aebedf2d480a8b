package repository_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
)

var (
	errFault  = errors.New("the store fails, as the test asked for")
	errKilled = errors.New("the process was killed, as the test asked for")
)

// how a faulty store fails.
type how int

const (
	fails  how = iota // the call does nothing and answers an error
	short             // a save stores half under a temporary name and answers an error
	late              // the call does its work and answers an error
	killed            // like fails, and so does every later call: nothing of this process arrives any more
	stalls            // the call waits for its context to end
)

func (h how) String() string { return [...]string{"fails", "short", "late", "killed", "stalls"}[h] }

// faulty is a store with a switch: its nth call that changes something goes wrong.
type faulty struct {
	repository.Store

	mu    sync.Mutex // guards the fields below
	nth   int        // counts down
	how   how
	dead  bool
	hit   bool
	calls int
}

func (f *faulty) arm(nth int, h how) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nth, f.how, f.dead, f.hit, f.calls = nth, h, false, false, 0
}

// change answers how this call fails, -1 for not.
func (f *faulty) change() how {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.dead {
		return killed
	}
	if f.nth--; f.nth != 0 {
		return -1
	}
	f.hit = true
	f.dead = f.how == killed
	return f.how
}

func (f *faulty) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	switch f.change() {
	case fails:
		return 0, errFault
	case short:
		_, err := f.Store.Save(ctx, name+"-allclear-temp-00112233445566778899aabbccddeeff", io.LimitReader(r, size/2), -1)
		return 0, errors.Join(errFault, err)
	case late:
		_, err := f.Store.Save(ctx, name, r, size)
		return 0, errors.Join(errFault, err)
	case killed:
		return 0, errKilled
	case stalls:
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	return f.Store.Save(ctx, name, r, size)
}

func (f *faulty) Remove(ctx context.Context, name string) error {
	switch f.change() {
	case fails, short:
		return errFault
	case late:
		return errors.Join(errFault, f.Store.Remove(ctx, name))
	case killed:
		return errKilled
	case stalls:
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return f.Store.Remove(ctx, name)
}

func (f *faulty) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errKilled
	}
	return nil
}

func (f *faulty) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Store.Open(ctx, name, offset, length)
}

func (f *faulty) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Store.List(ctx, dir)
}

// world is a repository in a store that can be made to fail, seen by a second one that is always well.
type world struct {
	t     *testing.T
	mem   *memStore
	store *faulty
	bad   *repository.Repository // through the faulty store
	good  *repository.Repository
	root  string
	first map[string]string // content of the first snapshot
	snap  repository.Snapshot
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, mem: newMemStore(), root: t.TempDir()}
	create(t, w.mem, options())
	w.open()
	write(t, w.root, map[string]string{"a": noise(1, 5<<20), "b": noise(2, 1<<20), "sub/c": "c", "sub/d": noise(4, 3<<20)})
	w.snap = *backup(t, w.good, w.root)
	w.first = onDisk(t, w.root)
	return w
}

func (w *world) open() {
	w.store = &faulty{Store: w.mem}
	o := options()
	o.PackSize = 4 << 20
	o.Held = &repository.Held{} // so that what a killed run has left is known as such
	var err error
	if w.bad, err = repository.Open(w.t.Context(), w.store, password, o); err != nil {
		w.t.Fatal(err)
	}
	if w.good, err = repository.Open(w.t.Context(), w.mem, password, o); err != nil {
		w.t.Fatal(err)
	}
}

// clone answers an equal world that can be ruined by itself.
func (w *world) clone() *world {
	c := *w
	c.mem = w.mem.clone()
	c.open()
	return &c
}

// invariants fails the test unless the repository is what it must be at every instant: each snapshot complete, the
// first one unchanged, and a new backup, forget and prune bring it back to perfect order.
func (w *world) invariants(when string) {
	w.t.Helper()
	got, err := w.good.Check(w.t.Context(), repository.CheckOptions{Level: repository.CheckData})
	if err != nil {
		w.t.Fatal(when, err)
	}
	for _, p := range got.Problems {
		w.t.Errorf("%s: %s", when, p)
	}
	for _, s := range read(w.t, w.good).Snapshots() {
		have, err := tryContent(w.t.Context(), w.good, s)
		if err != nil {
			w.t.Errorf("%s: snapshot %s: %v", when, s.ID.Short(), err)
		}
		if s.ID == w.snap.ID {
			if diff := cmp.Diff(w.first, have); diff != "" {
				w.t.Errorf("%s: the first snapshot:\n%s", when, diff)
			}
		}
	}
}

// tidy fails the test unless a prune leaves nothing behind.
func (w *world) tidy(when string) {
	w.t.Helper()
	if _, err := w.good.Prune(w.t.Context(), repository.PruneOptions{MaxUnused: -1}); err != nil {
		w.t.Fatalf("%s: %v", when, err)
	}
	if got := checkAll(w.t, w.good); len(got.Hints) > 0 {
		w.t.Errorf("%s: left after a prune: %q", when, got.Hints)
	}
}

// TestBackupHarmsNothingWhereverItFails lets each write of a backup go wrong in each way.
func TestBackupHarmsNothingWhereverItFails(t *testing.T) {
	for _, h := range []how{fails, short, late, killed, stalls} {
		t.Run(h.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testBackupFaults(t, h) }) })
	}
}

func testBackupFaults(t *testing.T, h how) {
	w := newWorld(t)
	for n := 1; ; n++ {
		// Files of one blob each, in three packs of 4 MiB at least wherever chance puts them: with one large file it was
		// sometimes one pack, and too few writes.
		files := map[string]string{"new": fmt.Sprint(n)}
		for i := range 28 {
			files[fmt.Sprintf("a%02d", i)] = noise(uint64(50+100*n+i), 400<<10)
		}
		write(t, w.root, files)
		before := len(read(t, w.good).Snapshots())
		w.store.arm(n, h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		s, err := tryBackup(ctx, w.bad, w.root)
		cancel()
		when := fmt.Sprintf("write %d of a backup %s", n, h)
		if !w.store.hit {
			if err != nil || n < 8 {
				t.Fatalf("%s, of which there are %d: %v", when, w.store.calls, err)
			}
			break
		}
		after := read(t, w.good).Snapshots()
		if err == nil && h != stalls {
			t.Errorf("%s: the backup says that all is well", when)
		}
		// A snapshot there is only when the backup says so, or when it does not know; and then it is whole.
		if s == nil && len(after) != before && h != late {
			t.Errorf("%s: there is a snapshot, and the backup answered %v", when, err)
		}
		w.store.arm(0, fails)
		w.invariants(when)
	}
	w.tidy("after all of it")
}

// TestPruneHarmsNothingWhereverItFails lets each write of a prune go wrong in each way.
func TestPruneHarmsNothingWhereverItFails(t *testing.T) {
	for _, h := range []how{fails, late, killed} {
		t.Run(h.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testPruneFaults(t, h) }) })
	}
}

func testPruneFaults(t *testing.T, h how) {
	before := newWorld(t)
	write(t, before.root, map[string]string{"b": noise(20, 2<<20), "sub/d": noise(21, 3<<20)})
	gone := backup(t, before.good, before.root)
	write(t, before.root, map[string]string{"sub/d": noise(22, 1<<20)})
	backup(t, before.good, before.root)
	if err := before.good.RemoveSnapshots(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		w := before.clone()
		w.store.arm(n, h)
		_, err := w.bad.Prune(t.Context(), repository.PruneOptions{MaxUnused: -1})
		when := fmt.Sprintf("write %d of a prune %s", n, h)
		if !w.store.hit {
			if err != nil || n < 8 {
				t.Fatalf("%s, of which there are %d: %v", when, w.store.calls, err)
			}
			return
		}
		if err == nil {
			t.Errorf("%s: the prune says that all is well", when)
		}
		w.store.arm(0, fails)
		w.invariants(when)
		w.tidy(when)
	}
}

func TestCancelledBackupLeavesNoLock(t *testing.T) { synctest.Test(t, testCancelledBackup) }

func testCancelledBackup(t *testing.T) {
	w := newWorld(t)
	write(t, w.root, map[string]string{"a": noise(9, 9<<20)})
	stop := errors.New("the operator said stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	w.store.arm(2, stalls) // the first pack
	time.AfterFunc(time.Second, func() { cancel(stop) })
	if _, err := tryBackup(ctx, w.bad, w.root); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
	if locks, err := w.good.Locks(t.Context()); err != nil || len(locks) != 0 {
		t.Errorf("locks left: %v %v", locks, err)
	}
	w.invariants("cancelled")
}

// flaky fails every third call, whatever it is.
type flaky struct {
	repository.Store
	mu sync.Mutex // guards n
	n  int
}

func (f *flaky) fail() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.n%3 == 0 {
		return fmt.Errorf("call %d: %w", f.n, errFault)
	}
	return nil
}

func (f *flaky) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	if err := f.fail(); err != nil {
		_, cerr := io.CopyN(io.Discard, r, size/3) // some of it went over the line
		return 0, errors.Join(err, cerr)
	}
	return f.Store.Save(ctx, name, r, size)
}

func (f *flaky) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	in, err := f.Store.Open(ctx, name, offset, length)
	return &breaking{ReadCloser: in, f: f}, err
}

func (f *flaky) Remove(ctx context.Context, name string) error {
	return errors.Join(f.Store.Remove(ctx, name), f.fail())
}

// breaking is a stream that breaks now and then, between its bytes.
type breaking struct {
	io.ReadCloser
	f *flaky
}

func (b *breaking) Read(p []byte) (int, error) {
	if err := b.f.fail(); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}

func TestRetryingGetsThroughAFlakyStore(t *testing.T) { synctest.Test(t, testRetrying) }

func testRetrying(t *testing.T) {
	disk := newMemStore()
	create(t, disk, options())
	var mu sync.Mutex // guards told
	told := 0
	store := repository.Retrying(&flaky{Store: disk}, repository.RetryPolicy{Retried: func(op, name string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if told++; !errors.Is(err, errFault) {
			t.Errorf("%s %s is repeated because of %v", op, name, err)
		}
	}})
	r, err := repository.Open(t.Context(), store, password, options())
	if err != nil {
		t.Fatal(err)
	}
	root := oddTree(t)
	s := backup(t, r, root)
	if diff := cmp.Diff(onDisk(t, root), content(t, r, *s)); diff != "" {
		t.Error(diff)
	}
	checkAll(t, r)
	if told < 10 {
		t.Errorf("only %d repetitions", told)
	}
}

func TestRetryingGivesUp(t *testing.T) { synctest.Test(t, testRetryingGivesUp) }

func testRetryingGivesUp(t *testing.T) {
	full := errors.New("no space")
	for _, c := range []struct {
		err  error
		want time.Duration // at least
		most time.Duration
	}{{full, 0, 0}, {fs.ErrNotExist, 0, 0}, {fs.ErrPermission, 0, 0}, {errFault, 13 * time.Minute, 15*time.Minute + 15*time.Second}} {
		s := repository.Retrying(broken{c.err}, repository.RetryPolicy{Final: func(err error) bool { return errors.Is(err, full) }})
		start := time.Now()
		_, err := s.Save(t.Context(), "config", strings.NewReader("x"), 1)
		if took := time.Since(start); !errors.Is(err, c.err) || took < c.want || took > c.most {
			t.Errorf("%v: after %s: %v", c.err, took, err)
		}
	}
}

// broken answers one error to everything.
type broken struct{ err error }

func (b broken) Save(context.Context, string, io.Reader, int64) (int64, error) { return 0, b.err }
func (b broken) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, b.err
}
func (b broken) Stat(context.Context, string) (fs.FileInfo, error)   { return nil, b.err }
func (b broken) List(context.Context, string) ([]fs.FileInfo, error) { return nil, b.err }
func (b broken) Remove(context.Context, string) error                { return b.err }
func (b broken) Mkdir(context.Context, string) error                 { return b.err }
