package sshpolicy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"allclear/internal/sshpolicy"
)

func builtin(t testing.TB, name string) sshpolicy.Policy {
	t.Helper()
	p, err := sshpolicy.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Seed 000: R0-6, R0-7, R0-8, exactly and no more; the host key category is
// everything but SHA-1.
func TestUCSMPolicyIsTheSeedsExactly(t *testing.T) {
	p := builtin(t, "ucsm-4.0-2a")
	for _, tt := range []struct {
		category sshpolicy.Category
		want     []string
	}{
		{sshpolicy.KEX, []string{"diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"}},
		{sshpolicy.Cipher, []string{"aes128-ctr", "aes192-ctr", "aes256-ctr"}},
		{sshpolicy.MAC, []string{"hmac-sha2-256", "hmac-sha2-512"}},
	} {
		if diff := cmp.Diff(tt.want, p.List(tt.category)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.category, diff)
		}
	}
	for _, sha1 := range []string{"ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"} {
		if slices.Contains(p.HostKeys, sha1) {
			t.Errorf("the policy allows %s, which signs with SHA-1", sha1)
		}
	}
	for _, good := range []string{"ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512", "ecdsa-sha2-nistp256"} {
		if !slices.Contains(p.HostKeys, good) {
			t.Errorf("the policy does not allow %s", good)
		}
	}
	if err := p.Validate(sshpolicy.Go); err != nil {
		t.Errorf("the built-in transport cannot carry it: %v", err)
	}
}

func TestEveryBuiltinHasRealNamesAndAReason(t *testing.T) {
	for _, p := range sshpolicy.Builtins() {
		if len(p.Why) < 80 {
			t.Errorf("%s: no reason given: %q", p.Name, p.Why)
		}
		if err := p.Validate(sshpolicy.OpenSSH); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		part, err := p.For(sshpolicy.Go)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, c := range sshpolicy.Categories() {
			if len(part.List(c)) == 0 {
				t.Errorf("%s: the built-in transport can do no %s of it", p.Name, c)
			}
		}
		if info := p.Describe(); len(info) != len(p.KEX)+len(p.HostKeys)+len(p.Ciphers)+len(p.MACs) {
			t.Errorf("%s: described %d algorithms", p.Name, len(info))
		}
	}
}

func TestMistakesAreReportedAllAtOnceAndByPlace(t *testing.T) {
	p := sshpolicy.Policy{
		Name:     "mine",
		KEX:      []string{"diffie-helman-group16-sha512", "curve25519-sha256", "curve25519-sha256", "sntrup761x25519-sha512@openssh.com"},
		HostKeys: []string{"ssh-ed25519"},
		Ciphers:  []string{"aes256-ctr", "AES128-CTR"},
	}
	err := p.Validate(sshpolicy.Go)
	type mistake struct {
		Category   sshpolicy.Category
		Index      int
		Wrong, Did string
	}
	var got []mistake
	for _, e := range sshpolicy.AlgorithmErrors(err) {
		got = append(got, mistake{e.Category, e.Index, e.Wrong, e.DidYouMean})
	}
	want := []mistake{
		{sshpolicy.KEX, 0, sshpolicy.WrongUnknown, "diffie-hellman-group16-sha512"},
		{sshpolicy.KEX, 2, sshpolicy.WrongDuplicate, ""},
		{sshpolicy.KEX, 3, sshpolicy.WrongTransport, ""},
		{sshpolicy.Cipher, 1, sshpolicy.WrongUnknown, "aes128-ctr"},
		{sshpolicy.MAC, -1, sshpolicy.WrongEmpty, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
	for _, text := range []string{
		`policy "mine", kex: no such algorithm "diffie-helman-group16-sha512"; did you mean "diffie-hellman-group16-sha512"?`,
		`transport "go" cannot do "sntrup761x25519-sha512@openssh.com"`,
		`policy "mine", mac: no algorithm is allowed`,
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in:\n%v", text, err)
		}
	}
}

func TestUnknownPolicySuggestsANeighbour(t *testing.T) {
	_, err := sshpolicy.Builtin("ucsm-4.0.2a")
	e, ok := errors.AsType[*sshpolicy.UnknownPolicyError](err)
	if !ok || e.DidYouMean != "ucsm-4.0-2a" {
		t.Errorf("got %v", err)
	}
}

func TestAPolicyThatTheTransportCannotCarryIsRefusedBeforeAnyConnection(t *testing.T) {
	p := builtin(t, "ucsm-4.0-2a")
	p.Ciphers = []string{"no-such-cipher"}
	r := sshpolicy.Probe(t.Context(), sshpolicy.Target{Name: "x", Addr: "127.0.0.1:1"}, sshpolicy.Options{Policy: p})
	if r.OK || r.Connections != 0 || !r.Inconclusive || !strings.Contains(r.Error, "can do none of no-such-cipher") {
		t.Errorf("got ok=%v connections=%d inconclusive=%v error=%q", r.OK, r.Connections, r.Inconclusive, r.Error)
	}
}

// These hold the library to what was measured; the package is built around it.
func TestTheLibraryIsAsMeasured(t *testing.T) {
	var c ssh.Config
	c.SetDefaults()
	for _, absent := range []string{"diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256"} {
		if slices.Contains(c.KeyExchanges, absent) {
			t.Errorf("%s is a default now: a default client no longer fails against the seed's policy", absent)
		}
	}
	c = ssh.Config{Ciphers: []string{"no-such-cipher", "aes128-ctr"}}
	c.SetDefaults()
	if diff := cmp.Diff([]string{"aes128-ctr"}, c.Ciphers); diff != "" {
		t.Errorf("unknown names are no longer dropped silently (-want +got):\n%s", diff)
	}
	c = ssh.Config{Ciphers: []string{}}
	if c.SetDefaults(); len(c.Ciphers) == 0 {
		t.Error("an empty list no longer means the defaults")
	}
}

func TestSupportSaysWhoCanDoWhat(t *testing.T) {
	p := builtin(t, "openssh-9")
	for transport, cannot := range map[sshpolicy.Transport]string{
		sshpolicy.Go: "sntrup761x25519-sha512@openssh.com", sshpolicy.OpenSSH: "",
	} {
		all := p.Support(transport)
		if len(all) != len(p.KEX)+len(p.HostKeys)+len(p.Ciphers)+len(p.MACs) {
			t.Errorf("%s: %d algorithms", transport, len(all))
		}
		found := cannot == ""
		for _, c := range all {
			if c.Can != transport.Can(c.Category, c.Name) || c.Can != (c.Why == "") {
				t.Errorf("%s: %+v", transport, c)
			}
			found = found || c.Name == cannot && !c.Can
			if cannot == "" && !c.Can {
				t.Errorf("%s cannot do %s", transport, c.Name)
			}
		}
		if !found {
			t.Errorf("%s: nothing is said of %s", transport, cannot)
		}
	}
}
