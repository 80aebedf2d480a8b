package envelope_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allclear/internal/envelope"
)

// localFile answers the path of the one local key file.
func localFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "local-*.key"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d local key files, %v; want one", len(found), err)
	}
	return found[0]
}

func TestALocalKeyIsMadeOnceAndFoundAgain(t *testing.T) {
	dir := newDir(t)
	root := openFolder(t, dir)
	a, first, err := envelope.NewLocalKey(root, time.Now).Current(t.Context(), "x/y")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Destroy()
	b, second, err := envelope.NewLocalKey(root, time.Now).Current(t.Context(), "x/z")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Destroy()
	if !a.Same(b) || string(first.Bytes()) != string(second.Bytes()) {
		t.Errorf("two keys: %s and %s", a, b)
	}
	if info, err := os.Stat(localFile(t, dir)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key file has mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestALocalKeyFileThatCannotBeTrustedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(file string, content []byte) error
		want string
	}{
		"others may read": {func(f string, _ []byte) error { return os.Chmod(f, 0o640) }, "0640"},
		"a link": {func(f string, _ []byte) error {
			return errors.Join(os.Rename(f, f+"x"), os.Symlink(filepath.Base(f)+"x", f))
		}, "no regular file"},
		"missing":         {func(f string, _ []byte) error { return os.Remove(f) }, "does not exist"},
		"cut":             {func(f string, b []byte) error { return os.WriteFile(f, b[:len(b)-3], 0o600) }, "not what was written"},
		"empty":           {func(f string, _ []byte) error { return os.WriteFile(f, nil, 0o600) }, "not what was written"},
		"another key":     {func(f string, b []byte) error { return os.WriteFile(f, otherKey(b), 0o600) }, "holds the key"},
		"a line too many": {func(f string, b []byte) error { return os.WriteFile(f, append(b, '\n'), 0o600) }, "not what was written"},
		"no time": {func(f string, b []byte) error {
			return os.WriteFile(f, []byte(strings.Replace(string(b), "Z\n", "z\n", 1)), 0o600)
		}, "no time"},
		"a short key": {func(f string, b []byte) error {
			return os.WriteFile(f, append(b[:len(b)-9:len(b)-9], "AAA=\n"...), 0o600)
		}, "no key of 32 bytes"},
		"another's": {func(f string, _ []byte) error { return chown(f) }, "belongs to user 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Keeper = w.keeper(t, w.local, nil)
			w.protect(t, "backup/etc", "s")
			file := localFile(t, w.dir)
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.harm(file, content); errors.Is(err, os.ErrPermission) {
				t.Skip("needs: root")
			} else if err != nil {
				t.Fatal(err)
			}
			_, _, err = w.Open(t.Context(), "backup/etc")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open = %v, want one that tells of %q", err, c.want)
			}
			key := strings.Split(string(content), "\n")[2]
			if err != nil && strings.Contains(err.Error(), key) {
				t.Error("the error holds the key")
			}
		})
	}
}

func chown(file string) error { return os.Chown(file, 12345, -1) }

func otherKey(b []byte) []byte {
	if b[40] == 'A' {
		b[60] = 'B'
	} else if b[60] == 'A' {
		b[60] = 'C'
	} else {
		b[60] = 'A'
	}
	return b
}

func TestALostLocalKeyIsNotReplacedInSilence(t *testing.T) {
	w := newWorld(t)
	w.Keeper = w.keeper(t, w.local, nil)
	w.protect(t, "backup/etc", "s")
	file := localFile(t, w.dir)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	w.protect(t, "backup/www", "new") // makes another key
	if _, _, err := w.Open(t.Context(), "backup/etc"); !errors.Is(err, envelope.ErrNoKey) {
		t.Errorf("Open = %v, want ErrNoKey", err)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	w.opens(t, "backup/etc", "s")
	w.opens(t, "backup/www", "new")
	w.protect(t, "backup/usr", "newest")
	a, b := w.opens(t, "backup/www", "new"), w.opens(t, "backup/usr", "newest")
	if !a.Slot.Same(b.Slot) {
		t.Errorf("the newest key is %s, but %s was used", a.Slot, b.Slot)
	}
}
