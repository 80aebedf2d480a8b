package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"allclear/internal/config"
	"allclear/internal/lab"
)

func TestTheFirstValueOfAKeywordWins(t *testing.T) {
	got := parse("# KexAlgorithms x\nkexalgorithms a,b\nKexAlgorithms c\nCiphers=d\nPort 22\nMACs\n")
	want := settings{kex: []string{"a", "b"}, ciphers: []string{"d"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// kex tries one key exchange and answers whether it came as far as the host key, which must be the pinned one.
func kex(t *testing.T, d demo, name string) bool {
	t.Helper()
	c, err := net.DialTimeout("tcp", d.addr(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	agreed := false
	client, _, _, err := ssh.NewClientConn(c, d.addr(), &ssh.ClientConfig{
		Config: ssh.Config{KeyExchanges: []string{name}, Ciphers: []string{"aes128-cbc", "aes256-ctr"}},
		User:   "nobody",
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			agreed = true
			return ssh.FixedHostKey(d.key())(host, remote, key)
		},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		Timeout:           5 * time.Second,
	})
	if err == nil {
		t.Error("the demonstration lets anybody in")
		_ = client.Close()
	} else if strings.Contains(err.Error(), "host key mismatch") {
		t.Error(err)
	}
	return agreed
}

func servers(t *testing.T) map[string]func() (demo, error) {
	all := map[string]func() (demo, error){
		"the lab's server": func() (demo, error) {
			s, err := lab.NewSSH(parse(weak).inProcess())
			return inProcess{s}, err
		},
	}
	if len(lab.Missing("sshd")) == 0 {
		all["the host's sshd"] = func() (demo, error) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "sshd"), 0o700); err != nil {
				return nil, err
			}
			return startDemo(t.Context(), dir, parse(weak))
		}
	}
	return all
}

func TestTheDemonstrationIsWeakUntilItsFileSaysOtherwise(t *testing.T) {
	const old, good = "diffie-hellman-group14-sha1", "curve25519-sha256"
	for name, start := range servers(t) {
		t.Run(name, func(t *testing.T) {
			d, err := start()
			if err != nil {
				t.Fatal(err)
			}
			defer d.stop()
			if !kex(t, d, old) || kex(t, d, good) {
				t.Error("at first the server must know only the old key exchange")
			}
			mended := settings{kex: []string{good}, ciphers: []string{"aes256-ctr"}}
			if err := d.reload(context.Background(), mended); err != nil {
				t.Fatal(err)
			}
			if kex(t, d, old) || !kex(t, d, good) {
				t.Error("after the reload the server must know only the good key exchange")
			}
			if err := d.reload(context.Background(), settings{kex: []string{"no-such-name"}}); err == nil {
				t.Error("a name that the server does not know went through")
			}
			if err := d.reload(context.Background(), mended); err != nil {
				t.Fatal(err)
			}
			if !kex(t, d, good) {
				t.Error("after a refused reload the server is gone")
			}
		})
	}
}

func TestTheConfigurationHasNoMistake(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	s, err := lab.NewSSH(parse(weak).inProcess())
	if err != nil {
		t.Fatal(err)
	}
	d := inProcess{s}
	defer d.stop()
	b, err := configuration(d)
	if err != nil {
		t.Fatal(err)
	}
	c, wrong := config.Parse("allclear.yaml", b)
	if err := wrong.Err(); err != nil {
		t.Fatal(err)
	}
	got := c.Watch.SSH[0]
	if got.Address != d.addr() || got.HostKeys.Pins[0] != "ssh-ed25519 "+ssh.FingerprintSHA256(d.key()) {
		t.Errorf("the demonstration is watched as %+v", got)
	}
	if own := len(c.Watch.SSH) == 2; own != speaksSSH("127.0.0.1:22") {
		t.Errorf("this host's own server is watched: %v", own)
	}
}
