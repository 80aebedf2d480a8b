package repository_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/subsystem/backup/repository"
)

// openAs opens the repository of a store as a process of a host.
func openAs(t testing.TB, s repository.Store, host string, pid int, wait time.Duration) *repository.Repository {
	t.Helper()
	o := options()
	o.Who.Hostname, o.Who.PID, o.LockWait = host, pid, wait
	r, err := repository.Open(t.Context(), s, password, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLocksKeepOthersOut(t *testing.T) { synctest.Test(t, testLocks) }

func testLocks(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	a, b := openAs(t, mem, "host-a", os.Getpid(), 0), openAs(t, mem, "host-b", os.Getpid(), 0)
	for _, c := range []struct {
		first, second repository.Mode
		both          bool
	}{
		{repository.Shared, repository.Shared, true},
		{repository.Shared, repository.Exclusive, false},
		{repository.Exclusive, repository.Shared, false},
		{repository.Exclusive, repository.Exclusive, false},
	} {
		_, la, err := a.Lock(t.Context(), c.first)
		if err != nil {
			t.Fatal(err)
		}
		_, lb, err := b.Lock(t.Context(), c.second)
		if locked, is := errors.AsType[*repository.LockedError](err); (err == nil) != c.both || err != nil && (!is || locked.Lock.Hostname != "host-a" || locked.Stale) {
			t.Errorf("exclusive %v, then %v: %v", c.first, c.second, err)
		}
		if err == nil {
			if err := lb.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := la.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if left := mem.names("locks/"); len(left) > 0 {
		t.Errorf("locks left: %q", left)
	}
}

func TestOfManyExclusiveLocksOneAtATimeIsHeld(t *testing.T) { synctest.Test(t, testExclusive) }

func testExclusive(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	var mu sync.Mutex // guards holders and turns
	holders, turns := 0, 0
	var wg sync.WaitGroup
	for i := range 6 {
		r := openAs(t, mem, "host-"+string(rune('a'+i)), os.Getpid(), 6*time.Hour)
		wg.Go(func() {
			_, l, err := r.Lock(t.Context(), repository.Exclusive)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if holders++; holders > 1 {
				t.Error("two hold an exclusive lock")
			}
			turns++
			mu.Unlock()
			time.Sleep(7 * time.Minute) // over a refresh
			mu.Lock()
			holders--
			mu.Unlock()
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if turns != 6 {
		t.Errorf("%d of 6 had their turn", turns)
	}
}

func TestStaleLocks(t *testing.T) { synctest.Test(t, testStaleLocks) }

func testStaleLocks(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	lock := func(host string, pid int, mode repository.Mode) { // as a process leaves it that was killed
		t.Helper()
		dead := openAs(t, &faulty{Store: mem}, host, pid, 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		before := mem.clone()
		_, l, err := dead.Lock(ctx, mode)
		if err != nil {
			t.Fatal(err)
		}
		name := mem.names("locks/")[0]
		f := mem.files[name]
		if err := l.Release(ctx); err != nil {
			t.Fatal(err)
		}
		*mem = memStore{files: before.files}
		mem.files[name] = f
	}
	us := openAs(t, mem, "here", os.Getpid(), 0)
	const gone = 1 << 30 // larger than any process number of Linux

	lock("elsewhere", gone, repository.Exclusive)
	if _, _, err := us.Lock(t.Context(), repository.Shared); err == nil {
		t.Error("a fresh lock of another host was ignored")
	}
	time.Sleep(31 * time.Minute)
	_, _, err := us.Lock(t.Context(), repository.Shared)
	if locked, is := errors.AsType[*repository.LockedError](err); !is || !locked.Stale || locked.Lock.Hostname != "elsewhere" {
		t.Errorf("a stale lock of another host must block and say so: %v", err)
	}
	if n, err := us.Unlock(t.Context(), false); n != 1 || err != nil {
		t.Errorf("unlock removed %d: %v", n, err)
	}

	lock("here", gone, repository.Exclusive)
	_, l, err := us.Lock(t.Context(), repository.Exclusive)
	if err != nil {
		t.Fatalf("the lock of a dead process of this host: %v", err)
	}
	if n, err := openAs(t, mem, "elsewhere", 5, 0).Unlock(t.Context(), false); n != 0 || err != nil {
		t.Errorf("unlock removed %d living locks: %v", n, err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}

	lock("here", gone, repository.Shared)
	if _, l, err = us.Lock(t.Context(), repository.Shared); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if left := mem.names("locks/"); len(left) > 0 {
		t.Errorf("the shared lock of a dead process of this host stays and keeps restic out: %q", left)
	}

	lock("here", os.Getpid(), repository.Exclusive)
	if _, _, err := us.Lock(t.Context(), repository.Exclusive); err == nil {
		t.Error("a lock with our own number was ignored, though nobody knows whose it is")
	}
	o := options()
	o.Who.Hostname, o.Held = "here", &repository.Held{}
	knowing, err := repository.Open(t.Context(), mem, password, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, l, err = knowing.Lock(t.Context(), repository.Exclusive); err != nil {
		t.Fatalf("the lock of an earlier run with our number: %v", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLocksAreRefreshed(t *testing.T) { synctest.Test(t, testRefresh) }

func testRefresh(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	r := openAs(t, mem, "host", os.Getpid(), 0)
	ctx, l, err := r.Lock(t.Context(), repository.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		before := mem.names("locks/")
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		after := mem.names("locks/")
		if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
			t.Fatalf("locks %q, six minutes later %q", before, after)
		}
		all, err := r.Locks(t.Context())
		if err != nil || len(all) != 1 || time.Since(all[0].Time) > 6*time.Minute {
			t.Fatalf("%+v %v", all, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("the lock was lost:", context.Cause(ctx))
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil {
		t.Error("the context goes on after the release")
	}
}

func TestALostLockStopsAllWork(t *testing.T) { synctest.Test(t, testLostLock) }

func testLostLock(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	store := &faulty{Store: mem}
	o := options()
	r, err := repository.Open(t.Context(), store, password, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		harm    func()
		holds   time.Duration
		removed bool
	}{
		{"no refresh gets through", func() { store.arm(1, killed) }, 22 * time.Minute, false},
		{"somebody removes it", func() {
			if n, err := openAs(t, mem, "other", 1, 0).Unlock(t.Context(), true); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}, 4 * time.Minute, true},
	} {
		store.arm(0, fails)
		ctx, l, err := r.Lock(t.Context(), repository.Shared)
		if err != nil {
			t.Fatal(err)
		}
		c.harm()
		time.Sleep(c.holds)
		if ctx.Err() != nil {
			t.Errorf("%s: given up too early: %v", c.name, context.Cause(ctx))
		}
		time.Sleep(2 * time.Minute)
		if err := context.Cause(ctx); !errors.Is(err, repository.ErrLockLost) || errors.Is(err, fs.ErrNotExist) != c.removed {
			t.Errorf("%s: %v", c.name, err)
		}
		store.arm(0, fails)
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The wall clock jumps while nothing runs.
func TestASleptLockIsTakenUpAgainOnlyWhileItStands(t *testing.T) { synctest.Test(t, testSlept) }

func testSlept(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	for _, removed := range []bool{false, true} {
		var mu sync.Mutex // guards slept
		var slept time.Duration
		o := options()
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(slept)
		}
		r, err := repository.Open(t.Context(), mem, password, o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, l, err := r.Lock(t.Context(), repository.Shared)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		slept = 3 * time.Hour
		mu.Unlock()
		if removed {
			if n, err := openAs(t, mem, "other", 1, 0).Unlock(t.Context(), true); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if lost := ctx.Err() != nil; lost != removed {
			t.Errorf("lock removed meanwhile %v: lost %v, %v", removed, lost, context.Cause(ctx))
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if left := mem.names("locks/"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

func TestUnreadableLocks(t *testing.T) { synctest.Test(t, testUnreadableLocks) }

func testUnreadableLocks(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	save := func(data string) {
		t.Helper()
		if _, err := mem.Save(t.Context(), "locks/"+repository.Hash([]byte(data)).String(), strings.NewReader(data), -1); err != nil {
			t.Fatal(err)
		}
	}
	save("")
	_, l, err := r.Lock(t.Context(), repository.Exclusive)
	if err != nil {
		t.Fatalf("with an empty lock file: %v", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	save("garbage that is longer than what sealing adds")
	start := time.Now()
	_, _, err = r.Lock(t.Context(), repository.Exclusive)
	if d, is := errors.AsType[*repository.DamageError](err); !is || d.What != "lock" || time.Since(start) != 35*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if n, err := r.Unlock(t.Context(), true); n != 2 || err != nil {
		t.Errorf("unlock removed %d: %v", n, err)
	}
}

func TestClockOffsetIsThatOfTheStore(t *testing.T) { synctest.Test(t, testOffset) }

func testOffset(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	o := options()
	o.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	r, err := repository.Open(t.Context(), mem, password, o)
	if err != nil {
		t.Fatal(err)
	}
	_, l, err := r.Lock(t.Context(), repository.Shared)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.ClockOffset(); got < time.Hour || got > time.Hour+time.Second {
		t.Errorf("the store is %s ahead", got)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTwoAgentsBackUpIntoOneRepository(t *testing.T) { synctest.Test(t, testTwoAgents) }

func testTwoAgents(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	roots := []string{oddTree(t), oddTree(t), oddTree(t)}
	var wg sync.WaitGroup
	for i, root := range roots {
		r := openAs(t, mem, "host-"+string(rune('a'+i)), os.Getpid(), time.Hour)
		wg.Go(func() {
			for range 3 {
				if _, err := tryBackup(t.Context(), r, root); err != nil {
					t.Error(err)
				}
				if i == 0 { // waits until the others are not at it
					if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	r := openAs(t, mem, "host-z", os.Getpid(), 0)
	checkAll(t, r)
	snaps := read(t, r).Snapshots()
	if len(snaps) != 9 {
		t.Fatalf("%d snapshots", len(snaps))
	}
	for _, s := range snaps {
		if _, err := tryContent(t.Context(), r, s); err != nil {
			t.Error(err)
		}
	}
}

func TestResticRespectsOurLockAndWeRestics(t *testing.T) {
	r, dir := createDir(t)
	j := newRestic(t, dir)
	_, l, err := r.Lock(t.Context(), repository.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := j.try("snapshots"); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("restic worked under our exclusive lock: %s %v", out, err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	j.run("snapshots")
	// Its lock is one like ours.
	mem := newMemStore()
	ours := create(t, mem, options())
	_, l, err = ours.Lock(t.Context(), repository.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ours.Locks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(all[0])
	if err != nil || !bytes.HasPrefix(b, []byte(`{"time":"`)) || !bytes.Contains(b, []byte(`"exclusive":true,"hostname":"test-host","username":"tester","pid":`)) {
		t.Errorf("%s %v", b, err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
