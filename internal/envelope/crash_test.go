package envelope_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/lab"
)

// The environment that makes the test binary a keeper at work instead of a test: its folder, and the number of the
// step at which it kills itself.
const (
	childDir  = "ENVELOPE_TEST_CHILD"
	childStep = "ENVELOPE_TEST_STEP"
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

// fixedKeys are keys that the child and its parent both know.
type fixedKeys struct{}

func fixedKey(gen int) []byte {
	sum := sha256.Sum256([]byte(strconv.Itoa(gen)))
	return sum[:]
}

func fixedRef(gen int) envelope.SlotRef {
	return envelope.SlotRef{
		Kind: envelope.KindKMIP, Group: "main", UID: strconv.Itoa(gen), Name: "repo", Gen: gen, Check: envelope.CheckOf(fixedKey(gen)),
		Created: time.Unix(1_700_000_000, 0).UTC(),
	}
}

func (fixedKeys) Key(_ context.Context, ref envelope.SlotRef) (envelope.Key, error) {
	s, err := envelope.NewSecret(fixedKey(ref.Gen))
	return envelope.Key{Secret: s}, err
}

func (fixedKeys) Current(context.Context, string) (envelope.SlotRef, *envelope.Secret, error) {
	s, err := envelope.NewSecret(fixedKey(1))
	return fixedRef(1), s, err
}

func fixedKeeper(dir string, fail func(string) error) (*envelope.Keeper, *os.Root, error) {
	root, err := envelope.OpenFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	k, err := envelope.NewKeeper(envelope.Options{
		Folder: root, Wrap: fixedKeys{}, Failpoint: fail, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindKMIP: fixedKeys{}},
	})
	return k, root, err
}

// child protects, adds and drops slots and makes a recovery key, and kills itself before its step. It prints what was
// acknowledged.
func child(dir string) error {
	stop, err := strconv.Atoi(os.Getenv(childStep))
	if err != nil {
		return err
	}
	steps := 0
	k, _, err := fixedKeeper(dir, func(string) error {
		if steps++; steps == stop {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range story(k) {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Println(s.name)
	}
	return nil
}

type act struct {
	name string
	do   func() error
}

// story is what the child does.
func story(k *envelope.Keeper) []act {
	ctx := context.Background()
	add := func(id string) func() error {
		return func() error {
			s, err := envelope.NewSecret(fixedKey(2))
			if err != nil {
				return err
			}
			defer s.Destroy()
			return k.AddSlot(ctx, id, fixedRef(2), s)
		}
	}
	drop := func(id string) func() error {
		return func() error {
			s, err := envelope.NewSecret(fixedKey(2))
			if err != nil {
				return err
			}
			defer s.Destroy()
			return k.DropSlots(id, fixedRef(2), s, func(r envelope.SlotRef) bool { return r.Gen == 1 })
		}
	}
	return []act{
		{"protect a", func() error { return k.Protect(ctx, "backup/a", []byte("secret a")) }},
		{"protect b", func() error { return k.Protect(ctx, "backup/b", []byte("secret b")) }},
		{"add a", add("backup/a")},
		{"recovery", func() error { _, _, err := k.CreateRecovery(ctx); return err }},
		{"drop a", drop("backup/a")},
		{"protect c", func() error { return k.Protect(ctx, "backup/c", []byte("secret c")) }},
		{"add b", add("backup/b")},
		{"drop b", drop("backup/b")},
	}
}

// TestKillAtEveryStepLosesNothing kills a process before each of its writes, in turn, and damages one copy of what it
// left besides.
func TestKillAtEveryStepLosesNothing(t *testing.T) {
	for stop := 1; ; stop++ {
		dir := newDir(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+strconv.Itoa(stop))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		done := bytes.Fields(bytes.ReplaceAll(out, []byte(" "), []byte("-")))
		left(t, stop, dir, done)
		if err == nil {
			if stop < 30 {
				t.Errorf("the story has only %d steps", stop-1)
			}
			return
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: the child ended by %v", stop, err)
		}
	}
}

// left claims that everything acknowledged opens, that nothing is half there, and that the story can go on.
func left(t *testing.T, stop int, dir string, done [][]byte) {
	t.Helper()
	k, root, err := fixedKeeper(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	must := map[string]bool{}
	for _, d := range done {
		if id, ok := strings.CutPrefix(string(d), "protect-"); ok {
			must[id] = true
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		got, _, err := k.Open(t.Context(), "backup/"+id)
		if errors.Is(err, envelope.ErrNotFound) && !must[id] {
			continue
		}
		if err != nil || string(got) != "secret "+id {
			t.Errorf("killed at step %d after %q: Open(%s) = %q, %v", stop, done, id, got, err)
		}
	}
	if err := k.Repair(t.Context()); err != nil {
		t.Errorf("killed at step %d: Repair = %v", stop, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "backup~a."+strconv.Itoa(stop%2)), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range story(k) {
		if !must["a"] && s.name == "protect a" { // the torn file above is all there is of it
			if err := k.Remove("backup/a"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.do(); err != nil && !errors.Is(err, envelope.ErrExists) {
			t.Errorf("killed at step %d: then %s = %v", stop, s.name, err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		in, err := k.Describe("backup/" + id)
		if err != nil || in.Copies != 2 || !in.Recovery {
			t.Errorf("killed at step %d: in the end %s has %d copies, recovery %v, %v", stop, id, in.Copies, in.Recovery, err)
		}
	}
}

func TestAFullDiskLosesNothing(t *testing.T) {
	lab.Need(t, "root", "mount", "umount")
	dir := t.TempDir()
	run := func(name string, args ...string) {
		if out, err := exec.Command(lab.Program(name), args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", dir)
	t.Cleanup(func() { run("umount", "-l", dir) })
	k, root, err := fixedKeeper(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := k.Protect(t.Context(), "backup/a", []byte("secret a")); err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for free := int64(0); free < 5; free++ { // pages left free: none, one, two..
		if err := fill.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := fill.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(fill, io.LimitReader(zeros{}, 1<<20))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("filled by %d bytes: %v", n, err)
		}
		if err := fill.Truncate(max(0, n-free*4096)); err != nil {
			t.Fatal(err)
		}
		protected := k.Protect(t.Context(), "backup/b", []byte("secret b"))
		added := story(k)[2].do()
		if free == 0 && (!errors.Is(protected, syscall.ENOSPC) || !errors.Is(added, syscall.ENOSPC)) {
			t.Errorf("on a full disk: Protect = %v, AddSlot = %v; want ENOSPC", protected, added)
		}
		if got, _, err := k.Open(t.Context(), "backup/a"); err != nil || string(got) != "secret a" {
			t.Errorf("%d pages free: Open = %q, %v", free, got, err)
		}
		_, _, err = k.Open(t.Context(), "backup/b")
		if (protected == nil) != (err == nil) {
			t.Errorf("%d pages free: Protect = %v, but Open = %v", free, protected, err)
		}
		if err := k.Remove("backup/b"); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
