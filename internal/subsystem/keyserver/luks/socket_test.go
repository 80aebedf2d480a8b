package luks_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver/luks"
)

// asked is who asked for keys.
type asked struct {
	mu      sync.Mutex
	volumes []string
	keys    map[string][]byte
}

func (a *asked) open(_ context.Context, volume string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.volumes = append(a.volumes, volume)
	k, ok := a.keys[volume]
	if !ok {
		return nil, errors.New("no such volume")
	}
	return append([]byte(nil), k...), nil
}

// serve runs a key socket until the test ends and answers its path.
func serve(t *testing.T, a *asked) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "luks") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "keys")
	s := listen(t, path, a)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is still there")
		}
		os.RemoveAll(dir)
	})
	return path
}

func listen(t *testing.T, path string, a *asked) *luks.KeySocket {
	t.Helper()
	s, err := luks.ListenKeys(t.Context(), path, a.open, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v (%v), want 0600", info.Mode(), err)
	}
	return s
}

// ask asks as systemd-cryptsetup does, from an abstract address.
func ask(t *testing.T, path, from string) string {
	t.Helper()
	var local *net.UnixAddr
	if from != "" {
		local = &net.UnixAddr{Name: from, Net: "unix"}
	}
	conn, err := net.DialUnix("unix", local, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheAddressTellsTheVolume(t *testing.T) {
	a := &asked{keys: map[string][]byte{"data": []byte("key of data"), "home": {0, '\n', 255}}}
	path := serve(t, a)
	for from, want := range map[string]string{
		"@0d7067f78d9827418/cryptsetup/data": "key of data",
		"@1d7067f78d9827418/cryptsetup/home": "\x00\n\xff",
		"@2d7067f78d9827418/cryptsetup/gone": "",
		"@3d7067f/cryptsetup-tpm2/data":      "",
		"@4d7067f/x/cryptsetup/data":         "",
		"":                                   "",
	} {
		if got := ask(t, path, from); got != want {
			t.Errorf("from %q came %q, want %q", from, got, want)
		}
	}
}

func TestVolumesAreNames(t *testing.T) {
	for address, want := range map[string]string{
		"@a1/cryptsetup/luks-1234.data_x":            "luks-1234.data_x",
		"@a1/cryptsetup/":                            "",
		"@/cryptsetup/x":                             "",
		"@a-1/cryptsetup/x":                          "",
		"a1/cryptsetup/x":                            "",
		"@a1/cryptsetup/../x":                        "",
		"@a1/cryptsetup/x\n":                         "",
		"@a1/cryptsetup/" + strings.Repeat("x", 129): "",
		"@":  "",
		"":   "",
		"@a": "",
	} {
		got, err := luks.VolumeOf(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("VolumeOf(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestASocketOfTheDeadIsReplacedAndOneOfTheLivingNot(t *testing.T) {
	a := &asked{keys: map[string][]byte{"data": []byte("k")}}
	path := serve(t, a)
	log := slog.New(slog.DiscardHandler)
	if _, err := luks.ListenKeys(t.Context(), path, a.open, log); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a second server on the same socket = %v", err)
	}
	if got := ask(t, path, "@abc/cryptsetup/data"); got != "k" {
		t.Errorf("the first one now answers %q", got)
	}
	dead := filepath.Join(filepath.Dir(path), "dead")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	third := listen(t, dead, a)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- third.Run(ctx) }()
	if got := ask(t, dead, "@abd/cryptsetup/data"); got != "k" {
		t.Errorf("in the place of the dead socket one answers %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := luks.ListenKeys(t.Context(), file, a.open, log); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file now holds %q, %v", b, err)
	}
}

// TestSystemdAsksThisWay has the real systemd-cryptsetup fetch the key of a real volume. Where the kernel has no
// device-mapper it fails after that.
func TestSystemdAsksThisWay(t *testing.T) {
	const program = "/lib/systemd/systemd-cryptsetup"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs: " + program)
	}
	key := newKey()
	_, image := volume(t, key)
	a := &asked{keys: map[string][]byte{"allclear-test": key}}
	path := serve(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "attach", "allclear-test", image, path, "luks,headless=true").CombinedOutput()
	if err == nil {
		if out, err := exec.Command(lab.Program("cryptsetup"), "close", "allclear-test").CombinedOutput(); err != nil {
			t.Errorf("close: %v\n%s", err, out)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.volumes) != 1 || a.volumes[0] != "allclear-test" {
		t.Errorf("systemd asked for %q (%v):\n%s", a.volumes, err, out)
	}
}
