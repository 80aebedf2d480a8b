package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"allclear/internal/envelope"
)

func openFolder(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := envelope.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// newDir answers a directory as the agent's state has it.
func newDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keys")
}

func write(t *testing.T, r *envelope.Record, content string) {
	t.Helper()
	if err := r.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
}

func reads(t *testing.T, r *envelope.Record, want string) {
	t.Helper()
	got, err := r.Read()
	if err != nil || string(got) != want {
		t.Errorf("Read = %q, %v; want %q", got, err, want)
	}
}

func TestARecordSurvivesAnyDamageToOneCopy(t *testing.T) {
	damages := map[string]func(b []byte) []byte{
		"removed":    nil,
		"empty":      func([]byte) []byte { return nil },
		"one bit":    func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"zeroes":     func(b []byte) []byte { clear(b); return b },
		"longer":     func(b []byte) []byte { return append(b, 'x') },
		"too long":   func([]byte) []byte { return make([]byte, 1<<20) },
		"old kind":   func(b []byte) []byte { return bytes.Replace(b, []byte("test"), []byte("tset"), 1) },
		"new number": func(b []byte) []byte { return bytes.Replace(b, []byte("1 2\n"), []byte("1 9\n"), 1) },
	}
	for cut := range 40 {
		damages[fmt.Sprintf("cut by %d", cut+1)] = func(b []byte) []byte { return b[:len(b)-cut-1] }
	}
	for name, damage := range damages {
		for _, copyName := range []string{"r.0", "r.1"} {
			dir := newDir(t)
			r := envelope.NewRecord(openFolder(t, dir), "r", "test")
			write(t, r, "one")
			write(t, r, "two")
			file := filepath.Join(dir, copyName)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if damage == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, damage(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Run(name+" "+copyName, func(t *testing.T) {
				reads(t, r, "two")
				if n := r.Whole(); n != 1 {
					t.Errorf("%d copies are whole, want 1", n)
				}
				if mended, err := r.Repair(); err != nil || !mended {
					t.Errorf("Repair = %v, %v", mended, err)
				}
				if n := r.Whole(); n != 2 {
					t.Errorf("after Repair %d copies are whole, want 2", n)
				}
				reads(t, r, "two")
			})
		}
	}
}

func TestARecordDamagedTwiceIsNotWrittenOver(t *testing.T) {
	dir := newDir(t)
	r := envelope.NewRecord(openFolder(t, dir), "r", "test")
	write(t, r, "one")
	for _, n := range []string{"r.0", "r.1"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, readErr := r.Read()
	_, repairErr := r.Repair()
	for what, err := range map[string]error{"Read": readErr, "Write": r.Write([]byte("two")), "Repair": repairErr} {
		if _, ok := errors.AsType[*envelope.DamageError](err); !ok {
			t.Errorf("%s answers %v, want a DamageError", what, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "r.0")); err != nil || string(b) != "torn" {
		t.Errorf("the damaged copy now holds %q (%v)", b, err)
	}
}

func TestARecordFailingAtAnyStepHoldsTheOldOrTheNew(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		step, want string
		one        bool
	}{{"r.0", "two", true}, {"r.1", "one", false}, {"r.done", "two", false}} {
		r := envelope.NewRecord(openFolder(t, newDir(t)), "r", "test")
		write(t, r, "one")
		err := r.WithFailpoint(func(step string) error {
			if step == c.step {
				return boom
			}
			return nil
		}).Write([]byte("two"))
		if !errors.Is(err, boom) || errors.Is(err, envelope.ErrOneCopy) != c.one {
			t.Errorf("%s: Write = %v, one copy: want %v", c.step, err, c.one)
		}
		r = r.WithFailpoint(func(string) error { return nil })
		reads(t, r, c.want)
		write(t, r, "three") // and the next write heals it
		reads(t, r, "three")
		if n := r.Whole(); n != 2 {
			t.Errorf("%s: %d copies are whole after the next write", c.step, n)
		}
	}
}

func TestAMissingRecordDoesNotExist(t *testing.T) {
	r := envelope.NewRecord(openFolder(t, newDir(t)), "r", "test")
	if _, err := r.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read = %v, want fs.ErrNotExist", err)
	}
	if n := r.Whole(); n != 0 {
		t.Errorf("%d copies", n)
	}
	if err := r.Remove(); err != nil {
		t.Errorf("Remove of nothing = %v", err)
	}
}

func TestARecordIsBounded(t *testing.T) {
	r := envelope.NewRecord(openFolder(t, newDir(t)), "r", "test")
	full := strings.Repeat("x", 256<<10)
	write(t, r, full)
	reads(t, r, full)
	if err := r.Write([]byte(full + "x")); err == nil {
		t.Error("one byte more was written")
	}
	reads(t, r, full)
}

func TestAFolderThatOthersMayEnterIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	root, err := envelope.OpenFolder(dir)
	if err == nil {
		root.Close()
		t.Fatal("a folder of mode 0750 was opened")
	}
	if !strings.Contains(err.Error(), "0750") {
		t.Errorf("the error does not name the mode: %v", err)
	}
}
