package sshpolicy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoginOutcomesAreToldApart(t *testing.T) {
	key, other := newKey(t), newKey(t)
	passwords := map[string]string{"backup": "right"}
	keys := []ssh.PublicKey{key.PublicKey()}
	for _, tt := range []struct {
		name              string
		server            lab.SSHOptions
		login             sshpolicy.Login
		qualifier, method string // qualifier "" = logged in
		tried             []string
	}{
		{"password", lab.SSHOptions{Passwords: passwords}, sshpolicy.Login{Password: "right"}, "", "password", names("password")},
		{"wrong password", lab.SSHOptions{Passwords: passwords}, sshpolicy.Login{Password: "wrong"}, "password", "", names("password")},
		{"key", lab.SSHOptions{AuthorizedKeys: keys}, sshpolicy.Login{Key: key}, "", "publickey", names("publickey")},
		{"wrong key", lab.SSHOptions{AuthorizedKeys: keys}, sshpolicy.Login{Key: other}, "publickey", "", names("publickey")},
		{"key refused, password good", lab.SSHOptions{AuthorizedKeys: keys, Passwords: passwords}, sshpolicy.Login{Key: other, Password: "right"}, "", "password", names("publickey", "password")},
		{"password where only keys count", lab.SSHOptions{AuthorizedKeys: keys}, sshpolicy.Login{Password: "right"}, "publickey", "", names()},
		{"expired", lab.SSHOptions{Passwords: passwords, Expired: true}, sshpolicy.Login{Password: "right"}, "expired", "", names("keyboard-interactive")},
		{"second factor after the key", lab.SSHOptions{AuthorizedKeys: keys, SecondFactor: true}, sshpolicy.Login{Key: key}, "mfa", "", names("publickey")},
		{"second factor after the password", lab.SSHOptions{Passwords: passwords, SecondFactor: true}, sshpolicy.Login{Password: "right"}, "mfa", "", names("password", "keyboard-interactive")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := server(t, tt.server)
			tt.login.User = "backup"
			r := pinned(t, s, sshpolicy.Options{Login: &tt.login}, sshpolicy.PinOf(s.HostKeys()[0]))
			if r.Auth == nil {
				t.Fatalf("no outcome: %s", r.Error)
			}
			wantCode := sshpolicy.CodeAuthFailed
			if tt.qualifier == "" {
				wantCode = ""
			}
			if r.Code != wantCode || r.Qualifier != tt.qualifier || r.Auth.OK != (tt.qualifier == "") || r.Auth.Method != tt.method {
				t.Errorf("code %q (%s), %+v: %s", r.Code, r.Qualifier, r.Auth, r.Error)
			}
			if !slices.Equal(r.Auth.Tried, tt.tried) {
				t.Errorf("tried %v, want %v", r.Auth.Tried, tt.tried)
			}
			if len(r.Auth.Offered) == 0 && tt.qualifier != "" {
				t.Error("the methods of the server are not known")
			}
			if r.Code != "" {
				assertRemedies(t, r)
			}
			if !r.Handshake.Done || r.Connections != 1 {
				t.Errorf("handshake %+v, %d connections", r.Handshake, r.Connections)
			}
		})
	}
}

// A credential is shown to a proved and pinned host key only.
func TestNoCredentialIsShownToAKeyThatIsNotPinned(t *testing.T) {
	s := server(t, lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	login := &sshpolicy.Login{User: "backup", Password: "right"}
	for name, pins := range map[string][]sshpolicy.Pin{
		"unknown": nil, "changed": {{Type: "ssh-ed25519", SHA256: edSum}},
	} {
		r := pinned(t, s, sshpolicy.Options{Login: login}, pins...)
		if r.Auth != nil || !strings.HasPrefix(r.Code, "ssh/host-key-") || !r.Handshake.Done {
			t.Errorf("%s: code %q, auth %+v", name, r.Code, r.Auth)
		}
		for _, j := range r.Judged() {
			if j.Code == sshpolicy.CodeAuthFailed {
				t.Errorf("%s: the login is judged %s without having been tried", name, j.Verdict)
			}
		}
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	l := sshpolicy.Login{User: "u", Password: "canary-7f3a"}
	data, err := json.Marshal(l.Password)
	if err != nil {
		t.Fatal(err)
	}
	if out := fmt.Sprintf("%v %+v %#v %s %q %s", l, l, l, l.Password, l.Password, data); strings.Contains(out, "canary") {
		t.Errorf("printed: %s", out)
	}
}

func TestLoginToARealSSHD(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	s := sshd(t, lab.SSHDConfig{KeyTypes: names("ed25519"), AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	host, err := s.HostKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	o := sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a"), CheckKey: true, Pins: []sshpolicy.Pin{sshpolicy.PinOf(host)}}
	for _, tt := range []struct {
		key  ssh.Signer
		code string
	}{{key, ""}, {newKey(t), sshpolicy.CodeAuthFailed}} {
		o.Login = &sshpolicy.Login{User: me.Username, Key: tt.key}
		r := sshpolicy.Probe(t.Context(), target(s.Addr()), o)
		if strings.Contains(s.Log(), "account is locked") {
			t.Skip("needs: root") // the user who runs this test has no account that sshd lets in
		}
		if r.Code != tt.code || r.Auth == nil || r.Auth.OK != (tt.code == "") {
			t.Errorf("code %q, auth %+v: %s\n%s", r.Code, r.Auth, r.Error, s.Log())
		}
	}
}

func TestPrivateKeysAreReadOrExplained(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		data       []byte
		passphrase string
		says       string
	}{
		{"plain", pem.EncodeToMemory(plain), "", ""},
		{"locked and opened", pem.EncodeToMemory(locked), "pw", ""},
		{"locked", pem.EncodeToMemory(locked), "", "has a passphrase"},
		{"garbage", []byte("x"), "", "read private key"},
	} {
		_, err := sshpolicy.ParseKey(tt.data, []byte(tt.passphrase))
		if (tt.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
