package sshpolicy_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// keyPEM is a new key that the account lets in, as a file would hold it.
func (a *account) keyPEM(t testing.TB) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	a.conf.AuthorizedKeys = append(a.conf.AuthorizedKeys, key)
	if err := a.sshd.Reconfigure(context.Background(), a.conf); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func (a *account) openssh(t testing.TB, policy string) sshpolicy.DialOptions {
	t.Helper()
	lab.Need(t, "ssh")
	o := a.options(t)
	o.Policy = builtin(t, policy)
	o.Transport, o.KeyPEM, o.Dir = sshpolicy.OpenSSH, a.keyPEM(t), t.TempDir()
	return o
}

func TestFilesTravelThroughOpenSSH(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	s, r, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), a.openssh(t, sshpolicy.PolicyUCSM))
	if err != nil {
		t.Fatalf("%v\n%s", err, a.sshd.Log())
	}
	defer s.Close()
	if !r.OK || r.Auth == nil || r.Auth.Method != "publickey" || r.HostKey.Pin != sshpolicy.PinMatched {
		t.Errorf("ok=%v auth %+v key %+v", r.OK, r.Auth, r.HostKey)
	}
	n := s.Negotiated()
	if n.KEX != "diffie-hellman-group-exchange-sha256" || n.CipherC2S != "aes128-ctr" || n.MACS2C != "hmac-sha2-256" || n.HostKey != "ssh-ed25519" {
		t.Errorf("negotiated %+v", n)
	}
	dir := t.TempDir()
	for range 2 { // the second is a process of its own
		files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolAny)
		if err != nil {
			t.Fatal(err)
		}
		contract(t, files, dir)
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil || !errors.Is(s.Err(), sshpolicy.ErrClosed) {
		t.Errorf("%v, %v", err, s.Err())
	}
}

// What the library cannot do at all, the program can: the host key is then
// learned by the program, compared with the pins by us.
func TestOpenSSHDoesWhatTheLibraryCannot(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{KexAlgorithms: names("sntrup761x25519-sha512@openssh.com"), MACs: names("umac-128@openssh.com"), Ciphers: names("aes256-ctr")})
	o := a.openssh(t, "openssh-9")
	without := o
	without.Transport, without.KeyPEM = sshpolicy.Go, nil
	if s, _, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), without); s != nil || !strings.Contains(err.Error(), "sntrup761") {
		t.Errorf("the built-in transport: %v, %v", s, err)
	}
	s, r, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, a.sshd.Log())
	}
	defer s.Close()
	if n := s.Negotiated(); n.KEX != "sntrup761x25519-sha512@openssh.com" || n.MACC2S != "umac-128@openssh.com" || !r.OK || r.Connections != 3 {
		t.Errorf("ok=%v %+v, %d connections", r.OK, n, r.Connections)
	}
	o.Pins = []sshpolicy.Pin{{Type: "ssh-ed25519", SHA256: edSum}}
	s, r, err = sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), o)
	if s != nil || r.Code != sshpolicy.CodeHostKeyChanged || r.Auth != nil {
		t.Errorf("another pin: %v, %s, %+v", err, r.Code, r.Auth)
	}
}

func TestOpenSSHFailuresHaveTheirOwnCodes(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	good := a.openssh(t, sshpolicy.PolicyUCSM)
	for _, tt := range []struct {
		name   string
		conf   lab.SSHDConfig
		change func(*sshpolicy.DialOptions)
		code   string
		says   string
	}{
		{"not let in", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.KeyPEM = slices.Clone(otherKey(t)) }, sshpolicy.CodeAuthFailed, "publickey"},
		{"no common key exchange", lab.SSHDConfig{KexAlgorithms: names("curve25519-sha256")}, nil, sshpolicy.CodeNoCommonAlgorithm, "curve25519"},
		{"a pin of another key", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.Pins = []sshpolicy.Pin{{Type: "ssh-ed25519", SHA256: edSum}} }, sshpolicy.CodeHostKeyChanged, "changed"},
		{"no pin", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.Pins = nil }, sshpolicy.CodeHostKeyUnknown, "no pinned"},
		{"an option as user", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.Login = &sshpolicy.Login{User: "-oProxyCommand=x"} }, "", "begins with -"},
		{"two words as user", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.Login = &sshpolicy.Login{User: "a b"} }, "", "spaces"},
		{"a password", lab.SSHDConfig{}, func(o *sshpolicy.DialOptions) { o.KeyPEM = nil }, "", "private key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := a.conf
			conf.KexAlgorithms = tt.conf.KexAlgorithms
			if err := a.sshd.Reconfigure(context.Background(), conf); err != nil {
				t.Fatal(err)
			}
			o := good
			if tt.change != nil {
				tt.change(&o)
			}
			s, r, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), o)
			if s != nil || err == nil || r.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, code %q: %v", s, r.Code, err)
			}
			if sshpolicy.LockOut(err) != (tt.code == sshpolicy.CodeAuthFailed) {
				t.Errorf("lock-out: %v", err)
			}
		})
	}
}

func otherKey(t *testing.T) []byte {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func TestOpenSSHWithoutASubsystemSaysSo(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{Extra: names("Subsystem other internal-sftp")})
	s, _, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), a.openssh(t, sshpolicy.PolicyUCSM))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.SFTP(t.Context(), "."); !errors.Is(err, sshpolicy.ErrNoSFTP) {
		t.Errorf("got %v", err)
	}
}

// What could become an option of the program never reaches it.
func TestOpenSSHIsNeverGivenAHostThatIsAnOption(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "ran")
	for _, addr := range []string{"-oProxyCommand=x:22", "a b:22", "a\nb:22", "host:0", "host:x", "host"} {
		o := sshpolicy.DialOptions{Transport: sshpolicy.OpenSSH, KeyPEM: []byte("x"), Program: program(t, mark)}
		o.Policy, o.Login = builtin(t, sshpolicy.PolicyUCSM), &sshpolicy.Login{User: "backup"}
		s, r, err := sshpolicy.Dial(t.Context(), sshpolicy.Target{Name: "x", Addr: addr}, o)
		if s != nil || err == nil || !r.Inconclusive || r.Connections != 0 {
			t.Errorf("%q: %v, %d connections", addr, err, r.Connections)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program was run")
	}
}

// program is one that leaves a mark when it is run.
func program(t *testing.T, mark string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
