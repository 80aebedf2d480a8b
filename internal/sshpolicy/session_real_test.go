package sshpolicy_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// opensshTen is what sshd 10 offers by default, as far as Debian's 9.2 has it:
// no finite-field key exchange is left.
func opensshTen() lab.SSHDConfig {
	return lab.SSHDConfig{
		KexAlgorithms: names("sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
		Ciphers:       names("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
	}
}

// A session under the seed's policy with OpenSSH restricted in each way: a file
// arrives, or the session is refused for the right reason.
func TestASessionUnderTheSeedsPolicyWithEverySSHD(t *testing.T) {
	t.Parallel()
	p := builtin(t, sshpolicy.PolicyUCSM)
	const gex, g18 = "diffie-hellman-group-exchange-sha256", "diffie-hellman-group18-sha512"
	for _, tt := range []struct {
		name    string
		conf    lab.SSHDConfig
		missing string
		kex     string
	}{
		{"exactly the policy", lab.SSHDConfig{KexAlgorithms: p.KEX, Ciphers: p.Ciphers, MACs: p.MACs}, "", gex},
		{"group18 only", lab.SSHDConfig{KexAlgorithms: names(g18)}, "", g18},
		{"group exchange only", lab.SSHDConfig{KexAlgorithms: names(gex)}, "", gex},
		{"CBC only", lab.SSHDConfig{Ciphers: names("aes256-cbc")}, "cipher", ""},
		{"hmac-sha1 only", lab.SSHDConfig{MACs: names("hmac-sha1")}, "mac", ""},
		{"curve25519 only", lab.SSHDConfig{KexAlgorithms: names("curve25519-sha256")}, "kex", ""},
		{"AEAD only", lab.SSHDConfig{Ciphers: names("aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")}, "cipher", ""},
		{"ETM only", lab.SSHDConfig{MACs: names("hmac-sha2-512-etm@openssh.com")}, "mac", ""},
		{"ssh-rsa only", lab.SSHDConfig{KeyTypes: names("rsa"), HostKeyAlgorithms: names("ssh-rsa")}, "host_key", ""},
		{"sshd 10", opensshTen(), "kex", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t, tt.conf)
			s, r, err := sshpolicy.Dial(t.Context(), target(a.sshd.Addr()), a.options(t))
			if tt.missing != "" {
				if s != nil || r.Code != sshpolicy.CodeNoCommonAlgorithm || r.Qualifier != tt.missing || r.Auth != nil || r.Connections != 1 {
					t.Errorf("session %v, %s (%s): %v", s, r.Code, r.Qualifier, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, a.sshd.Log())
			}
			defer s.Close()
			if n := s.Negotiated(); n.KEX != tt.kex || !slices.Contains(p.Ciphers, n.CipherC2S) || !slices.Contains(p.MACs, n.MACS2C) || !r.OK || r.Connections != 1 {
				t.Errorf("ok=%v negotiated %+v in %d connections", r.OK, n, r.Connections)
			}
			stores(t, s, t.TempDir())
		})
	}
}

// stores saves one file and reads it back.
func stores(t *testing.T, s *sshpolicy.Session, dir string) {
	t.Helper()
	files, err := s.Files(t.Context(), dir, sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	data := random(1 << 20)
	if _, err := files.Save(t.Context(), "file", bytes.NewReader(data), -1); err != nil {
		t.Fatal(err)
	}
	part(t, files, "file", data, 0, -1)
}

func TestAChrootedAccountIsToldWhyItsPathIsMissing(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("/run", "allclear-chroot-") // sshd wants every folder above to be root's alone
	if err != nil {
		lab.Need(t, "root")
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(filepath.Join(root, "upload"), 0o777), os.Chmod(filepath.Join(root, "upload"), 0o777)); err != nil {
		t.Fatal(err)
	}
	a := newAccount(t, lab.SSHDConfig{Extra: []string{"ChrootDirectory " + root, "ForceCommand internal-sftp"}})
	a.user = "nobody"
	s := a.dial(t, nil)
	stores(t, s, "/upload")
	if _, err := os.Stat(filepath.Join(root, "upload/file")); err != nil {
		t.Error(err)
	}
	_, err = s.Files(t.Context(), root+"/upload", sshpolicy.ProtocolSFTP)
	fileError(t, err, sshpolicy.FileNotFound, sshpolicy.WhyChroot, "chroot")
	files, err := s.Files(t.Context(), "/", sshpolicy.ProtocolSFTP)
	if err != nil {
		t.Fatal(err)
	}
	_, err = files.Save(t.Context(), "file", strings.NewReader("x"), 1)
	fileError(t, err, sshpolicy.FileDenied, sshpolicy.WhyPermission, "allow")
	// The same account by SCP: a naive client believes that the file arrived.
	_, err = s.Files(t.Context(), "/upload", sshpolicy.ProtocolSCP)
	fileError(t, err, sshpolicy.FileOther, "", "sftp connections only")
}

// fileError checks an error of Files.
func fileError(t *testing.T, err error, kind sshpolicy.FileErrorKind, why, says string) *sshpolicy.FileError {
	t.Helper()
	e, ok := errors.AsType[*sshpolicy.FileError](err)
	if !ok || e.Kind != kind || e.Why != why || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %#v: %v; want %s (%s)", e, err, kind, why)
	}
	return e
}

// Seed 000, CSCvt27613: an allowed key exchange can fail by itself. The session
// goes on with the next one, and the culprit is named.
func TestADyingKeyExchangeIsReplacedAndNamed(t *testing.T) {
	t.Parallel()
	a := newAccount(t, lab.SSHDConfig{})
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const gex, g16, g18 = "diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"
	broken, err := l.BreakKex(a.sshd.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		broken   []string
		used     string // "" = no session
		fallback []string
	}{
		{"nothing", nil, gex, nil},
		{"the first", names(gex), g16, names(gex)},
		{"two", names(gex, g16), g18, names(gex, g16)},
		{"all", names(gex, g16, g18), "", names(gex, g16, g18)},
	} {
		for _, transport := range []sshpolicy.Transport{sshpolicy.Go, sshpolicy.OpenSSH} {
			t.Run(tt.name+" by "+string(transport), func(t *testing.T) {
				broken.Break(tt.broken...)
				o := a.options(t)
				if transport == sshpolicy.OpenSSH {
					o = a.openssh(t, sshpolicy.PolicyUCSM)
				}
				s, r, err := sshpolicy.Dial(t.Context(), target(broken.Addr()), o)
				if (s == nil) != (tt.used == "") || (err == nil) != (s != nil) {
					t.Fatalf("session %v: %v", s, err)
				}
				var died []string
				for _, p := range r.Fallback {
					died = append(died, p.Algorithm)
				}
				if !slices.Equal(died, tt.fallback) {
					t.Errorf("died: %v, want %v", died, tt.fallback)
				}
				verdicts := map[string]sshpolicy.Verdict{}
				for _, j := range r.Judged() {
					verdicts[j.Code] = j.Verdict
				}
				want := sshpolicy.Absent
				if len(tt.broken) > 0 {
					want = sshpolicy.Present
					if r.Code != sshpolicy.CodeCryptoError || r.OK || r.Facts()["kex"] != gex || r.Facts()["kex_used"] != tt.used || len(r.Remedy) < 2 {
						t.Errorf("code %s, ok=%v, facts %v", r.Code, r.OK, r.Facts())
					}
				}
				if verdicts[sshpolicy.CodeCryptoError] != want || s != nil && verdicts[sshpolicy.CodeHostKeyChanged] != sshpolicy.Absent || s != nil && verdicts[sshpolicy.CodeAuthFailed] != sshpolicy.Absent {
					t.Errorf("verdicts %v", verdicts)
				}
				if s == nil {
					return
				}
				defer s.Close()
				if n := s.Negotiated(); n.KEX != tt.used {
					t.Errorf("negotiated %s, want %s", n.KEX, tt.used)
				}
				stores(t, s, t.TempDir())
			})
		}
	}
}

func TestRefusalsOfADialAreTold(t *testing.T) {
	t.Parallel()
	limited := server(t, lab.SSHOptions{Mode: lab.SSHText, Text: "Not allowed at this time\r\n"})
	expired := server(t, lab.SSHOptions{Passwords: map[string]string{"backup": "right"}, Expired: true, KEX: seedKEX})
	mute := server(t, lab.SSHOptions{Mode: lab.SSHBannerOnly})
	for _, tt := range []struct {
		name, addr          string
		login               *sshpolicy.Login
		code, qualifier     string
		lockOut, rateLimits bool
	}{
		{"penalty", limited.Addr(), &sshpolicy.Login{User: "backup", Password: "right"}, sshpolicy.CodeNotSSH, "rate-limited", false, true},
		{"expired", expired.Addr(), &sshpolicy.Login{User: "backup", Password: "right"}, sshpolicy.CodeAuthFailed, "expired", true, false},
		{"wrong", expired.Addr(), &sshpolicy.Login{User: "backup", Password: "wrong"}, sshpolicy.CodeAuthFailed, "password", true, false},
		{"mute", mute.Addr(), &sshpolicy.Login{User: "backup", Password: "right"}, sshpolicy.CodeUnreachable, "timeout", false, false},
		{"no login", limited.Addr(), nil, "", "", false, false},
	} {
		s, r, err := sshpolicy.Dial(t.Context(), target(tt.addr), sshpolicy.DialOptions{Options: sshpolicy.Options{
			Policy: builtin(t, sshpolicy.PolicyUCSM), Pins: []sshpolicy.Pin{sshpolicy.PinOf(expired.HostKeys()[0])}, Login: tt.login, Timeout: time.Second,
		}})
		if s != nil || err == nil || r.Code != tt.code || r.Qualifier != tt.qualifier || sshpolicy.LockOut(err) != tt.lockOut || sshpolicy.RateLimited(err) != tt.rateLimits {
			t.Errorf("%s: %s (%s), lock-out %v, limited %v: %v", tt.name, r.Code, r.Qualifier, sshpolicy.LockOut(err), sshpolicy.RateLimited(err), err)
		}
	}
}
