package sshpolicy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/sshpolicy"
)

func lists(kex, hostKey, cipher, mac []string) sshpolicy.Lists {
	return sshpolicy.Lists{
		KEX: kex, HostKey: hostKey, CipherC2S: cipher, CipherS2C: cipher, MACC2S: mac, MACS2C: mac,
		CompressionC2S: []string{"none"}, CompressionS2C: []string{"none"},
	}
}

func names(s ...string) []string { return s }

type gap struct {
	Category  sshpolicy.Category
	Direction sshpolicy.Direction
}

func TestEveryFailingCategoryIsNamedAtOnceWithItsDirection(t *testing.T) {
	ucsm := builtin(t, "ucsm-4.0-2a")
	good := lists(names("diffie-hellman-group16-sha512"), names("rsa-sha2-512"), names("aes256-ctr"), names("hmac-sha2-512"))
	oneWay := good
	oneWay.CipherS2C, oneWay.MACC2S = names("aes128-cbc"), names("hmac-sha1")
	for _, tt := range []struct {
		name  string
		offer sshpolicy.Lists
		want  []gap
	}{
		{"all common", good, nil},
		{"no key exchange", lists(names("curve25519-sha256"), names("ssh-ed25519"), names("aes128-ctr"), names("hmac-sha2-256")), []gap{{sshpolicy.KEX, ""}}},
		{"only SHA-1 signatures", lists(names("diffie-hellman-group16-sha512"), names("ssh-rsa"), names("aes128-ctr"), names("hmac-sha2-256")), []gap{{sshpolicy.HostKey, ""}}},
		{"all four", lists(names("curve25519-sha256"), names("ssh-rsa"), names("aes128-cbc"), names("hmac-sha1")), []gap{
			{sshpolicy.KEX, ""}, {sshpolicy.HostKey, ""}, {sshpolicy.Cipher, "c2s"}, {sshpolicy.Cipher, "s2c"}, {sshpolicy.MAC, "c2s"}, {sshpolicy.MAC, "s2c"},
		}},
		{"one direction each", oneWay, []gap{{sshpolicy.Cipher, "s2c"}, {sshpolicy.MAC, "c2s"}}},
		{"nothing offered", sshpolicy.Lists{}, []gap{
			{sshpolicy.KEX, ""}, {sshpolicy.HostKey, ""}, {sshpolicy.Cipher, "c2s"}, {sshpolicy.Cipher, "s2c"}, {sshpolicy.MAC, "c2s"}, {sshpolicy.MAC, "s2c"},
		}},
	} {
		_, gaps := sshpolicy.Judge(tt.offer, ucsm)
		var got []gap
		for _, g := range gaps {
			got = append(got, gap{g.Category, g.Direction})
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// RFC 4253 section 7.1: the first name of the client's list that the server
// has, whatever the server prefers.
func TestTheClientsOrderChooses(t *testing.T) {
	v, _ := sshpolicy.Judge(lists(
		names("diffie-hellman-group18-sha512", "diffie-hellman-group16-sha512"), names("rsa-sha2-256", "ssh-ed25519"),
		names("aes256-ctr", "aes128-ctr"), names("hmac-sha2-512", "hmac-sha2-256"),
	), builtin(t, "ucsm-4.0-2a"))
	got := names(v.KEX.Chosen, v.HostKey.Chosen, v.Cipher.C2S.Chosen, v.MAC.S2C.Chosen)
	want := names("diffie-hellman-group16-sha512", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The MAC category does not matter where the cipher that will be chosen
// authenticates by itself, and only there.
func TestMACIsNotNeededOnlyWhereTheChosenCipherIsAEAD(t *testing.T) {
	p := sshpolicy.Policy{
		Name: "p", KEX: names("curve25519-sha256"), HostKeys: names("ssh-ed25519"),
		Ciphers: names("aes128-gcm@openssh.com", "aes128-ctr"), MACs: names("hmac-sha2-256"),
	}
	offer := lists(names("curve25519-sha256"), names("ssh-ed25519"), names("aes128-ctr", "aes128-gcm@openssh.com"), names("hmac-md5"))
	if v, gaps := sshpolicy.Judge(offer, p); len(gaps) != 0 || !v.MAC.C2S.NotNeeded || v.MAC.C2S.Chosen != "" {
		t.Errorf("AEAD both ways: gaps %v, mac %+v", gaps, v.MAC.C2S)
	}
	offer.CipherS2C = names("aes128-ctr")
	_, gaps := sshpolicy.Judge(offer, p)
	if len(gaps) != 1 || gaps[0].Category != sshpolicy.MAC || gaps[0].Direction != sshpolicy.S2C {
		t.Errorf("AEAD one way: got %v, want the MAC gap s2c only", gaps)
	}
	p.Ciphers = names("aes128-ctr", "aes128-gcm@openssh.com") // AEAD is common, but not chosen
	if _, gaps := sshpolicy.Judge(offer, p); len(gaps) != 2 {
		t.Errorf("AEAD not chosen: got %v, want both MAC gaps", gaps)
	}
}
