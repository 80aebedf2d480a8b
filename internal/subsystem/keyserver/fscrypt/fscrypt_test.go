package fscrypt_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver/fscrypt"
)

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(lab.Program(name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// mounted mounts a fresh ext4 file system until the test ends and answers its image and its place.
func mounted(t *testing.T, options ...string) (image, place string) {
	t.Helper()
	lab.Need(t, "loop", "mkfs.ext4")
	image = filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(32<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-b", "4096"}, options...), image)...)
	place = t.TempDir()
	run(t, "mount", "-o", "loop", image, place)
	t.Cleanup(func() { run(t, "umount", "-l", place) })
	return image, place
}

func newKey(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func stateIs(t *testing.T, dir string, want fscrypt.State) {
	t.Helper()
	if _, got, err := fscrypt.Status(dir); err != nil || got != want {
		t.Errorf("Status(%s) = %s, %v; want %s", dir, got, err, want)
	}
}

func TestADirectoryIsReallyEncryptedAndOnlyItsKeyUnlocksIt(t *testing.T) {
	image, place := mounted(t, "-O", "encrypt")
	dir := filepath.Join(place, "vault")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fscrypt.Status(dir); !errors.Is(err, fscrypt.ErrNotEncrypted) {
		t.Errorf("Status of a plain directory = %v, want ErrNotEncrypted", err)
	}
	key := newKey(64)
	want, err := fscrypt.Identify(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fscrypt.Encrypt(dir, key)
	if err != nil || got != want { // the kernel derives what we derive
		t.Fatalf("Encrypt = %s, %v; want %s", got, err, want)
	}
	if again, err := fscrypt.Encrypt(dir, key); err != nil || again != want {
		t.Errorf("Encrypt again = %s, %v", again, err)
	}
	stateIs(t, dir, fscrypt.Present)
	text := bytes.Repeat([]byte("this must never lie on the disk. "), 4000)
	name := filepath.Join(dir, "a-name-that-would-be-noticed")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(place, "a-plain-file-beside-it")
	if err := os.WriteFile(plain, []byte("this may lie on the disk."), 0o600); err != nil {
		t.Fatal(err)
	}
	syscall.Sync()

	if err := fscrypt.Lock(dir); err != nil {
		t.Fatal(err)
	}
	stateIs(t, dir, fscrypt.Absent)
	disk, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(disk, []byte("this may lie on the disk.")) || !bytes.Contains(disk, []byte("a-plain-file-beside-it")) {
		t.Fatal("the plain file is not found on the disk: the search proves nothing")
	}
	if bytes.Contains(disk, []byte("must never lie")) || bytes.Contains(disk, []byte("would-be-noticed")) {
		t.Error("the disk holds plaintext")
	}
	if _, err := os.ReadFile(name); err == nil {
		t.Error("the file is readable while it is locked")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() == filepath.Base(name) {
		t.Errorf("names in the locked directory: %v, %v", entries, err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, entries[0].Name())); !errors.Is(err, syscall.ENOKEY) {
		t.Errorf("reading without the key = %v, want ENOKEY", err)
	}
	if err := fscrypt.Unlock(dir, newKey(64)); !errors.Is(err, fscrypt.ErrWrongKey) {
		t.Errorf("Unlock with another key = %v, want ErrWrongKey", err)
	}
	stateIs(t, dir, fscrypt.Absent)
	if err := fscrypt.Unlock(dir, key); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, text) {
		t.Errorf("after Unlock: %d bytes, %v; want what was written", len(b), err)
	}
}

func TestAFileInUseIsSaidToBe(t *testing.T) {
	_, place := mounted(t, "-O", "encrypt")
	dir := filepath.Join(place, "vault")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := newKey(32)
	if _, err := fscrypt.Encrypt(dir, key); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		t.Fatal(err)
	}
	if err := fscrypt.Lock(dir); !errors.Is(err, fscrypt.ErrBusy) {
		t.Errorf("Lock with an open file = %v, want ErrBusy", err)
	}
	stateIs(t, dir, fscrypt.Busy)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fscrypt.Lock(dir); err != nil {
		t.Errorf("Lock after the file was closed = %v", err)
	}
	stateIs(t, dir, fscrypt.Absent)
	if err := fscrypt.Lock(dir); err != nil {
		t.Errorf("Lock of what is locked = %v", err)
	}
}

func TestWhatCannotBeEncryptedIsRefused(t *testing.T) {
	_, place := mounted(t, "-O", "encrypt")
	full := filepath.Join(place, "full")
	if err := os.MkdirAll(filepath.Join(full, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := fscrypt.Encrypt(full, newKey(64)); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("a full directory: %v, want ENOTEMPTY", err)
	}
	vault := filepath.Join(place, "vault")
	if err := os.Mkdir(vault, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := fscrypt.Encrypt(vault, newKey(64)); err != nil {
		t.Fatal(err)
	}
	if _, err := fscrypt.Encrypt(vault, newKey(64)); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a directory under another key: %v, want EEXIST", err)
	}
	link := filepath.Join(place, "link")
	if err := os.Symlink(vault, link); err != nil {
		t.Fatal(err)
	}
	if err := fscrypt.Lock(link); err == nil {
		t.Error("a link was followed")
	}
	for _, n := range []int{0, 31, 65} {
		if _, err := fscrypt.Encrypt(vault, make([]byte, n)); err == nil || !strings.Contains(err.Error(), "need 32 to 64") {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
		if err := fscrypt.Unlock(vault, make([]byte, n)); err == nil {
			t.Errorf("unlocked with a key of %d bytes", n)
		}
	}
	_, plain := mounted(t)
	for what, err := range map[string]error{"Unlock": fscrypt.Unlock(plain, newKey(64)), "Lock": fscrypt.Lock(plain)} {
		if !errors.Is(err, fscrypt.ErrUnsupported) && !errors.Is(err, fscrypt.ErrNotEncrypted) {
			t.Errorf("%s on a file system without encryption = %v", what, err)
		}
	}
	if _, err := fscrypt.Encrypt(filepath.Join(plain, "lost+found"), newKey(64)); !errors.Is(err, fscrypt.ErrUnsupported) {
		t.Errorf("Encrypt on a file system without encryption = %v, want ErrUnsupported", err)
	}
}

// TestTheKeyComesOutOfItsEnvelope is the whole way: the master key is a protected thing.
func TestTheKeyComesOutOfItsEnvelope(t *testing.T) {
	_, place := mounted(t, "-O", "encrypt")
	root, err := envelope.OpenFolder(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	local := envelope.NewLocalKey(root, time.Now)
	k, err := envelope.NewKeeper(envelope.Options{
		Folder: root, Wrap: local, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: local},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(place, "vault")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := newKey(64)
	if err := k.Protect(t.Context(), "fscrypt/vault", key); err != nil {
		t.Fatal(err)
	}
	if _, err := fscrypt.Encrypt(dir, key); err != nil {
		t.Fatal(err)
	}
	if err := fscrypt.Lock(dir); err != nil {
		t.Fatal(err)
	}
	got, _, err := k.Open(context.Background(), "fscrypt/vault")
	if err != nil || !slices.Equal(got, key) {
		t.Fatal(err)
	}
	if err := fscrypt.Unlock(dir, got); err != nil {
		t.Error(err)
	}
	stateIs(t, dir, fscrypt.Present)
}
