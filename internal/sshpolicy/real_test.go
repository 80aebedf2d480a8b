package sshpolicy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

func target(addr string) sshpolicy.Target { return sshpolicy.Target{Name: addr, Addr: addr} }

func sshd(t *testing.T, c lab.SSHDConfig) *lab.SSHD {
	t.Helper()
	lab.Need(t, "sshd")
	s, err := lab.StartSSHD(t.Context(), t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// Debian's OpenSSH 9.2, restricted in each way, against the seed's policy.
func TestRealSSHDAgainstTheSeedsPolicy(t *testing.T) {
	lab.Need(t, "sshd")
	p := builtin(t, "ucsm-4.0-2a")
	const gex, g16, g18 = "diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"
	for _, tt := range []struct {
		name    string
		conf    lab.SSHDConfig
		missing string // categories
		kex     string // negotiated
		bits    int
		line    string // of the remedy
	}{
		{"defaults", lab.SSHDConfig{}, "", gex, 2048, ""},
		{"exactly the policy", lab.SSHDConfig{KexAlgorithms: p.KEX, Ciphers: p.Ciphers, MACs: p.MACs}, "", gex, 2048, ""},
		{"group18 only", lab.SSHDConfig{KexAlgorithms: names(g18)}, "", g18, 8192, ""},
		{"group16 only", lab.SSHDConfig{KexAlgorithms: names(g16)}, "", g16, 4096, ""},
		{"group exchange only", lab.SSHDConfig{KexAlgorithms: names(gex)}, "", gex, 2048, ""},
		{"curve25519 only", lab.SSHDConfig{KexAlgorithms: names("curve25519-sha256")}, "kex", "", 0, "KexAlgorithms curve25519-sha256," + gex},
		{"CBC only", lab.SSHDConfig{Ciphers: names("aes128-cbc", "aes256-cbc")}, "cipher", "", 0, "Ciphers aes128-cbc,aes256-cbc,aes128-ctr"},
		{"AEAD only", lab.SSHDConfig{Ciphers: names("aes256-gcm@openssh.com")}, "cipher", "", 0, "Ciphers aes256-gcm@openssh.com,aes128-ctr"},
		{"hmac-sha1 only", lab.SSHDConfig{MACs: names("hmac-sha1")}, "mac", "", 0, "MACs hmac-sha1,hmac-sha2-256"},
		{"ETM only", lab.SSHDConfig{MACs: names("hmac-sha2-512-etm@openssh.com")}, "mac", "", 0, "MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256"},
		{"ssh-rsa only", lab.SSHDConfig{KeyTypes: names("rsa"), HostKeyAlgorithms: names("ssh-rsa")}, "host_key", "", 0, "HostKeyAlgorithms ssh-rsa,rsa-sha2-512"},
		{"everything wrong", lab.SSHDConfig{
			KeyTypes: names("rsa"), HostKeyAlgorithms: names("ssh-rsa"), KexAlgorithms: names("ecdh-sha2-nistp256"), Ciphers: names("3des-cbc"), MACs: names("hmac-md5"),
		}, "kex,host_key,cipher,mac", "", 0, "KexAlgorithms ecdh-sha2-nistp256," + gex},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.conf.KeyTypes == nil {
				tt.conf.KeyTypes = names("ed25519")
			}
			s := sshd(t, tt.conf)
			r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: p})
			var got []string
			for _, c := range r.Missing {
				got = append(got, string(c))
			}
			if strings.Join(got, ",") != tt.missing {
				t.Fatalf("missing %v, want %q: %s", got, tt.missing, r.Error)
			}
			if r.Server.Family != "openssh" || r.Connections != 1 {
				t.Errorf("software %+v, %d connections", r.Server, r.Connections)
			}
			if tt.missing != "" {
				assertNegotiationFault(t, s, r, tt.missing, tt.line)
				return
			}
			h := r.Handshake
			if !r.OK || h == nil || !h.Done || h.Negotiated.KEX != tt.kex || h.GroupBits != tt.bits || !h.Strict {
				t.Errorf("ok=%v handshake %+v: %s", r.OK, h, r.Error)
			}
			if key, err := s.HostKey("ed25519"); err != nil || r.HostKey == nil || r.HostKey.Fingerprint != sshpolicy.PinOf(key).SHA256 {
				t.Errorf("host key %+v, want %v (%v)", r.HostKey, sshpolicy.PinOf(key), err)
			}
		})
	}
}

// assertNegotiationFault checks the verdict, and then that the remedy is true:
// with its lines in the configuration the server meets the policy.
func assertNegotiationFault(t *testing.T, s *lab.SSHD, r sshpolicy.Result, missing, line string) {
	t.Helper()
	if r.OK || r.Code != sshpolicy.CodeNoCommonAlgorithm || r.Qualifier != missing || r.Inconclusive {
		t.Errorf("ok=%v code %q qualifier %q", r.OK, r.Code, r.Qualifier)
	}
	var lines []string
	for _, step := range r.Remedy {
		if step.Impact == "" || step.Text == "" {
			t.Errorf("a step without text or impact: %+v", step)
		}
		if step.Line != "" {
			lines = append(lines, step.Line)
		}
	}
	if !slices.Contains(lines, line) {
		t.Errorf("no line %q in %q", line, lines)
	}
	if err := s.Reconfigure(t.Context(), lab.SSHDConfig{KeyTypes: names("ed25519", "rsa"), Extra: lines}); err != nil {
		t.Fatalf("the server refuses the remedy: %v", err)
	}
	if again := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: builtin(t, r.Policy)}); !again.OK {
		t.Errorf("the remedy does not mend it: %s", again.Error)
	}
}

// AEAD ciphers need no MAC: a server whose MACs are all refused is well when
// the chosen cipher authenticates by itself.
func TestRealSSHDWithAEADNeedsNoMAC(t *testing.T) {
	s := sshd(t, lab.SSHDConfig{KeyTypes: names("ed25519"), Ciphers: names("aes256-gcm@openssh.com"), MACs: names("hmac-md5")})
	r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: builtin(t, "fips-140-3")})
	if !r.OK || !r.Handshake.Done || r.Handshake.Negotiated.MACC2S != "" || !r.Categories.MAC.C2S.NotNeeded {
		t.Errorf("ok=%v %+v: %s", r.OK, r.Handshake, r.Error)
	}
}

func TestProvingMakesOneConnectionForEachCommonKeyExchange(t *testing.T) {
	s := sshd(t, lab.SSHDConfig{KeyTypes: names("ed25519"), KexAlgorithms: names("sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "diffie-hellman-group14-sha256")})
	p := builtin(t, "openssh-9")
	o := sshpolicy.Options{Policy: p, Prove: true}
	r := sshpolicy.Probe(t.Context(), target(s.Addr()), o)
	got := map[string]string{}
	for _, proof := range r.Proofs {
		got[proof.Algorithm] = proof.Outcome
	}
	want := map[string]string{
		"sntrup761x25519-sha512@openssh.com": sshpolicy.ProofNotTried, // a fact about us, and said so
		"curve25519-sha256":                  sshpolicy.ProofOK,
		"diffie-hellman-group14-sha256":      sshpolicy.ProofOK,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Connections != 1+len(sshpolicy.ProvePlan(r, p)) || r.Connections > sshpolicy.MaxConnections(o) {
		t.Errorf("%d connections, plan %v, at most %d", r.Connections, sshpolicy.ProvePlan(r, p), sshpolicy.MaxConnections(o))
	}
	if n := strings.Count(s.Log(), "[preauth]"); n != r.Connections {
		t.Logf("the server counts %d: %s", n, s.Log())
	}
}

func TestRealDropbear(t *testing.T) {
	lab.Need(t, "dropbear")
	d, err := lab.StartDropbear(t.Context(), t.TempDir(), lab.DropbearConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	r := sshpolicy.Probe(t.Context(), target(d.Addr()), sshpolicy.Options{Policy: builtin(t, "openssh-9")})
	if !r.OK || !r.Handshake.Done || r.Server.Family != "dropbear" {
		t.Errorf("ok=%v %+v: %s", r.OK, r.Handshake, r.Error)
	}
	if slices.ContainsFunc(r.Offer.KEX, func(n string) bool { return strings.HasPrefix(n, "kexguess2") }) {
		t.Errorf("a pseudo-name among the key exchanges: %v", r.Offer.KEX)
	}
	r = sshpolicy.Probe(t.Context(), target(d.Addr()), sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a")})
	if r.Qualifier != "kex" || !strings.Contains(fmt.Sprint(r.Remedy), "DROPBEAR_DH_GROUP16") || strings.Contains(fmt.Sprint(r.Remedy), "sshd") {
		t.Errorf("qualifier %q, remedy %v", r.Qualifier, r.Remedy)
	}
}
