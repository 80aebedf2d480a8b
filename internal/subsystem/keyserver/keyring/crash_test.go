package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"allclear/internal/envelope"
)

// The environment that makes the test binary a renewal at work instead of a test: its folder, the number of the step
// at which it kills itself, and what it does.
const (
	childDir  = "KEYRING_TEST_CHILD"
	childStep = "KEYRING_TEST_STEP"
	childGoal = "KEYRING_TEST_GOAL"
	childReal = "KEYRING_TEST_REAL" // the file that tells where real servers are
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// countdown answers a failpoint that does something at its nth call.
func countdown(n int, do func() error) func(string) error {
	calls := 0
	return func(string) error {
		if calls++; calls == n {
			return do()
		}
		return nil
	}
}

func child(dir string) error {
	n, err := strconv.Atoi(os.Getenv(childStep))
	if err != nil {
		return err
	}
	r, err := open(dir, countdown(n, func() error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) }))
	if err == nil && os.Getenv(childReal) != "" {
		err = r.connect(os.Getenv(childReal))
	}
	if err != nil {
		return err
	}
	return r.pursue(context.Background(), os.Getenv(childGoal))
}

// pursue goes on with a renewal, wherever it is, to its end or back.
func (r *rig) pursue(ctx context.Context, goal string) error {
	if goal == "cancel" {
		return r.cancelLate(ctx)
	}
	st, err := r.ring.Status()
	if err != nil {
		return err
	}
	if st.Current.Gen == 2 && st.Renewal == nil {
		return nil // the last step was done before the kill
	}
	if st.Current.Gen == 1 {
		if err := r.rekeyer.Prepare(ctx); err != nil {
			return err
		}
	}
	if err := r.rekeyer.Commit(ctx); err != nil {
		return err
	}
	if err := r.keeper.Protect(ctx, "secret/late", []byte("late")); err != nil && !errors.Is(err, envelope.ErrExists) {
		return err
	}
	r.now = r.now.Add(time.Hour)
	return r.rekeyer.Retire(ctx)
}

// cancelLate goes as far as it may and then all the way back.
func (r *rig) cancelLate(ctx context.Context) error {
	st, err := r.ring.Status()
	if err != nil {
		return err
	}
	if st.Renewal == nil && st.Orphans == nil && st.Current.Gen == 1 && r.marked() {
		return nil
	}
	if !r.marked() {
		if st.Current.Gen == 1 {
			if err := r.rekeyer.Prepare(ctx); err != nil {
				return err
			}
		}
		if err := r.rekeyer.Commit(ctx); err != nil {
			return err
		}
		if err := r.keeper.Protect(ctx, "secret/late", []byte("late")); err != nil && !errors.Is(err, envelope.ErrExists) {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.dir, "back"), nil, 0o600); err != nil {
			return err
		}
	}
	if st, err = r.ring.Status(); err == nil && st.Renewal != nil {
		err = r.rekeyer.Cancel(ctx)
	}
	return errors.Join(err, r.rekeyer.Sweep(ctx))
}

// marked claims that the way back was begun.
func (r *rig) marked() bool {
	_, err := os.Stat(r.dir + "/back")
	return err == nil
}

// TestKillAtEveryStepOfARenewal kills the process before each write, before and after each call of a server takes
// effect, and between the phases; looks from outside; and has another process finish.
func TestKillAtEveryStepOfARenewal(t *testing.T) {
	template := withKey(t).dir
	for _, goal := range []string{"finish", "cancel"} {
		t.Run(goal, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := copyOf(t, template)
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+strconv.Itoa(n), childGoal+"="+goal)
				out, err := cmd.CombinedOutput()
				if err == nil {
					if n < 40 {
						t.Errorf("there were only %d steps", n-1)
					}
					return
				}
				if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("step %d: the child ended by %v: %s", n, err, out)
				}
				r, err := open(dir, nil)
				if err != nil {
					t.Fatal(err)
				}
				when := fmt.Sprintf("killed at step %d", n)
				r.survives(t, when)
				r.finishes(t, goal, when)
				r.root.Close()
			}
		})
	}
}

// TestEveryCallAndWriteMayFailOnce has each step fail in turn instead.
func TestEveryCallAndWriteMayFailOnce(t *testing.T) {
	template := withKey(t).dir
	for _, goal := range []string{"finish", "cancel"} {
		t.Run(goal, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := copyOf(t, template)
				failed := ""
				calls := 0
				r, err := open(dir, func(step string) error {
					if calls++; calls != n {
						return nil
					}
					failed = step
					return errDown
				})
				if err != nil {
					t.Fatal(err)
				}
				_ = r.pursue(t.Context(), goal) // the next server may have helped
				when := fmt.Sprintf("failed at step %d (%s)", n, failed)
				r.survives(t, when)
				if failed == "" {
					if n < 40 {
						t.Errorf("there were only %d steps", n-1)
					}
					r.root.Close()
					return
				}
				r.root.Close()
				if r, err = open(dir, nil); err != nil {
					t.Fatal(err)
				}
				r.finishes(t, goal, when)
				r.root.Close()
			}
		})
	}
}

// copyOf copies what lies on disk.
func copyOf(t *testing.T, template string) string {
	t.Helper()
	dir := memoryDir(t)
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keys"), 0o700); err != nil { // the copy opened it to others
		t.Fatal(err)
	}
	return dir
}

// finishes claims that another process brings the renewal to its goal, and that everything is then as it should be.
func (r *rig) finishes(t *testing.T, goal, when string) {
	t.Helper()
	err := r.pursue(t.Context(), goal)
	_, wrong := errors.AsType[*envelope.WrongKeyError](err)
	if err != nil && (wrong || r.lost(t)) { // the answer to Create, or a right one to Get, never came: begin again
		if err = r.rekeyer.Cancel(t.Context()); err == nil {
			err = r.pursue(t.Context(), goal)
		}
	}
	if err != nil {
		t.Errorf("%s, then: %v", when, err)
		return
	}
	r.survives(t, when+", then finished")
	r.allOpen(t)
	if got, _, err := r.keeper.Open(t.Context(), "secret/late"); err != nil || string(got) != "late" {
		t.Errorf("%s: what was protected on the way is %q, %v", when, got, err)
	}
	st := r.status(t)
	gen := map[string]int{"finish": 2, "cancel": 1}[goal]
	left := 1
	for _, o := range st.Orphans {
		if o.UID != "" {
			left++
		}
	}
	if st.Current.Gen != gen || st.Renewal != nil || len(r.keysThere(t)) != left {
		t.Errorf("%s: in the end %+v, keys %v", when, st, r.keysThere(t))
	}
}

func (r *rig) lost(t *testing.T) bool {
	t.Helper()
	n := r.status(t).Renewal
	return n != nil && n.UID == ""
}
