package sshpolicy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// account is a real sshd, a key that it lets in and a pin of its host key.
type account struct {
	sshd *lab.SSHD
	key  ssh.Signer
	user string
	pins []sshpolicy.Pin
	conf lab.SSHDConfig
}

// newAccount starts a real sshd that lets this user in, with an SFTP subsystem
// unless extra names another.
func newAccount(t testing.TB, c lab.SSHDConfig) *account {
	t.Helper()
	lab.Need(t, "sshd", "root")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	a := &account{key: newKey(t), user: me.Username}
	c.AuthorizedKeys = []ssh.PublicKey{a.key.PublicKey()}
	if c.KeyTypes == nil {
		c.KeyTypes = names("ed25519")
	}
	if !strings.Contains(strings.Join(c.Extra, "\n"), "Subsystem") {
		c.Extra = append(c.Extra, "Subsystem sftp internal-sftp")
	}
	a.conf = c
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // other accounts read their keys there
		t.Fatal(err)
	}
	a.sshd, err = lab.StartSSHD(context.Background(), dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.sshd.Stop() })
	for _, kt := range c.KeyTypes {
		key, err := a.sshd.HostKey(kt)
		if err != nil {
			t.Fatal(err)
		}
		a.pins = append(a.pins, sshpolicy.PinOf(key))
	}
	return a
}

func (a *account) options(t testing.TB) sshpolicy.DialOptions {
	return sshpolicy.DialOptions{Options: sshpolicy.Options{
		Policy: builtin(t, sshpolicy.PolicyUCSM), Pins: a.pins, Login: &sshpolicy.Login{User: a.user, Key: a.key},
	}}
}

func (a *account) dial(t testing.TB, change func(*sshpolicy.DialOptions)) *sshpolicy.Session {
	t.Helper()
	o := a.options(t)
	if change != nil {
		change(&o)
	}
	s, r, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), o)
	if err != nil {
		t.Fatalf("%v (%s)\n%s", err, r.Code, a.sshd.Log())
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestFilesTravelBothWaysBySFTP(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	s := a.dial(t, nil)
	dir := t.TempDir()
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, files, dir)
	if err := files.Close(); err != nil {
		t.Error(err)
	}
}

// contract is what every implementation of Files must do.
func contract(t *testing.T, files sshpolicy.Files, dir string) {
	t.Helper()
	ctx := t.Context()
	if err := files.Mkdir(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := files.Mkdir(ctx, "a/b"); err != nil {
		t.Errorf("a folder that exists: %v", err)
	}
	for i, size := range []int{0, 1, 255 << 10, 255<<10 + 1, 5<<20 + 17} {
		data, name := random(size), fmt.Sprint("a/b/file", i)
		n, err := files.Save(ctx, name, bytes.NewReader(data), int64(size))
		if err != nil || n != int64(size) {
			t.Fatalf("%d bytes: stored %d, %v", size, n, err)
		}
		stored, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(stored, data) {
			t.Fatalf("%d bytes: the server holds %d others (%v)", size, len(stored), err)
		}
		part(t, files, name, data, 0, -1)
		part(t, files, name, data, 0, int64(size))
		part(t, files, name, data, int64(size)/3, int64(size)/2)
		info, err := files.Stat(ctx, name)
		if err != nil || info.Size() != int64(size) || info.IsDir() {
			t.Errorf("stat %v, %v", info, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a/b/file0")); err != nil || files.Protocol() == sshpolicy.ProtocolSFTP && info.Mode().Perm() != 0o600 {
		t.Errorf("others may read what is stored: %v, %v", info.Mode(), err)
	}
	list, err := files.List(ctx, "a")
	if err != nil || len(list) != 1 || list[0].Name() != "b" || !list[0].IsDir() {
		t.Errorf("list %v, %v", list, err)
	}
	list, err = files.List(ctx, "a/b")
	if err != nil || len(list) != 5 || list[4].Name() != "file4" || list[4].Size() != 5<<20+17 {
		t.Errorf("list %v, %v", list, err)
	}
	missing(t, files)
}

func missing(t *testing.T, files sshpolicy.Files) {
	t.Helper()
	ctx := t.Context()
	_, err := files.Stat(ctx, "nothing")
	_, err2 := files.List(ctx, "nothing")
	_, err3 := files.Open(ctx, "nothing", 0, -1)
	_, err4 := files.Save(ctx, "nothing/file", strings.NewReader("x"), 1)
	for i, err := range []error{err, err2, err3, err4} {
		e, ok := errors.AsType[*sshpolicy.FileError](err)
		if !ok || e.Kind != sshpolicy.FileNotFound || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for _, name := range []string{"../x", "/etc/passwd", "a//b", "", "a/../../b", "x\x00y"} {
		if _, err := files.Save(ctx, name, strings.NewReader("x"), 1); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func part(t *testing.T, files sshpolicy.Files, name string, data []byte, offset, length int64) {
	t.Helper()
	r, err := files.Open(t.Context(), name, offset, length)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if closed := r.Close(); err != nil || closed != nil {
		t.Errorf("%d bytes from %d: %v, %v", length, offset, err, closed)
	}
	want := data[offset:]
	if length >= 0 {
		want = want[:length]
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes from %d: got %d", length, offset, len(got))
	}
}

func TestFilesTravelBothWaysBySCP(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	s := a.dial(t, nil)
	dir := t.TempDir()
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSCP)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, files, dir)
	t.Log(files.Notes())
}

func TestAnAccountWithNothingButSCP(t *testing.T) {
	t.Parallel()
	only := filepath.Join(t.TempDir(), "only-scp")
	script := "#!/bin/sh\ncase \"$SSH_ORIGINAL_COMMAND\" in \"scp \"*) eval exec \"$SSH_ORIGINAL_COMMAND\";; *) echo no shell here >&2; exit 1;; esac\n"
	if err := os.WriteFile(only, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	a := newAccount(t, lab.SSHDConfig{Extra: []string{"ForceCommand " + only}})
	s := a.dial(t, nil)
	dir := t.TempDir()
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSCP)
	if err != nil {
		t.Fatal(err)
	}
	contract(t, files, dir)
	t.Log(files.Notes())
}
