package sshpolicy_test

import (
	"slices"
	"strings"
	"testing"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// seen is what a look at an OpenSSH server with these lists found.
func seen(banner string, l sshpolicy.Lists) sshpolicy.Result {
	s := sshpolicy.ParseSoftware(banner)
	return sshpolicy.Result{Target: "nas1", Banner: banner, Software: s.Name, Server: s, Offer: &l}
}

func openssh92() sshpolicy.Lists {
	return lists(
		names("sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
			"diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256"),
		names("rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519"),
		names("chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
		names("umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha1-etm@openssh.com",
			"umac-64@openssh.com", "umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"),
	)
}

// OpenSSH 10 dropped every finite-field Diffie-Hellman from the server's
// defaults: "upgrade the server", the seed's first remedy, breaks the seed's
// own policy.
func TestUpgradingAnUnconfiguredServerBreaksTheSeedsPolicy(t *testing.T) {
	r := seen("SSH-2.0-OpenSSH_9.2p1 Debian-2", openssh92())
	pr, ok := sshpolicy.PredictUpgrade(r, builtin(t, "ucsm-4.0-2a"))
	if !ok || !pr.Breaks || !strings.HasPrefix(pr.Next, "OpenSSH_10.") || len(pr.Missing) != 1 || pr.Missing[0].Category != sshpolicy.KEX {
		t.Fatalf("got %v %+v", ok, pr)
	}
	for _, say := range names("diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256", "ucsm-4.0-2a", "kex") {
		if !strings.Contains(pr.Reason, say) {
			t.Errorf("no %q in %q", say, pr.Reason)
		}
	}
	line := pr.Remedy[0].Line
	if !strings.HasPrefix(line, "KexAlgorithms sntrup761") || !strings.Contains(line, "diffie-hellman-group16-sha512") {
		t.Errorf("line %q", line)
	}
	if pr, ok := sshpolicy.PredictUpgrade(r, builtin(t, "modern")); !ok || pr.Breaks {
		t.Errorf("modern: %v %+v", ok, pr)
	}
}

// The line of the prediction is accepted by the real server today, and with it
// the upgrade no longer breaks anything.
func TestTheLineThatPreventsItWorksOnTheRealServer(t *testing.T) {
	p := builtin(t, "ucsm-4.0-2a")
	s := sshd(t, lab.SSHDConfig{KeyTypes: names("ed25519")})
	r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: p, OfferOnly: true})
	pr, ok := sshpolicy.PredictUpgrade(r, p)
	if !ok {
		t.Skipf("needs: an OpenSSH 9 server, this is %s", r.Software)
	}
	if !pr.Breaks {
		t.Fatalf("%s: %+v", r.Banner, pr)
	}
	if err := s.Reconfigure(t.Context(), lab.SSHDConfig{KeyTypes: names("ed25519"), Extra: names(pr.Remedy[0].Line)}); err != nil {
		t.Fatal(err)
	}
	again := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: p, OfferOnly: true})
	if !slices.Equal(again.Offer.KEX, r.Offer.KEX) {
		t.Errorf("the line changes the offer:\n%v\n%v", r.Offer.KEX, again.Offer.KEX)
	}
}

func TestAConfiguredListSurvivesTheUpgrade(t *testing.T) {
	l := openssh92()
	l.KEX = names("curve25519-sha256", "diffie-hellman-group16-sha512")
	pr, ok := sshpolicy.PredictUpgrade(seen("SSH-2.0-OpenSSH_9.2p1", l), builtin(t, "ucsm-4.0-2a"))
	if !ok || pr.Breaks {
		t.Errorf("%v %+v", ok, pr)
	}
}

// Debian's 9.2 offers a name that upstream added in 9.9; it is a default list
// all the same.
func TestABackportedNameDoesNotMakeAListConfigured(t *testing.T) {
	l := openssh92()
	l.KEX = slices.Insert(l.KEX, 0, "sntrup761x25519-sha512")
	if pr, ok := sshpolicy.PredictUpgrade(seen("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10", l), builtin(t, "ucsm-4.0-2a")); !ok || !pr.Breaks {
		t.Errorf("%v %+v", ok, pr)
	}
}

func TestNothingIsPredictedWithoutKnowledge(t *testing.T) {
	p := builtin(t, "ucsm-4.0-2a")
	for _, banner := range names("SSH-2.0-dropbear_2022.83", "SSH-2.0-OpenSSH_99.1", "SSH-2.0-OpenSSH", "SSH-2.0-OpenSSH_10.0") {
		if pr, ok := sshpolicy.PredictUpgrade(seen(banner, openssh92()), p); ok {
			t.Errorf("%s: %+v", banner, pr)
		}
	}
	if _, ok := sshpolicy.Predict(sshpolicy.Result{}, p); ok {
		t.Error("predicted without an offer")
	}
}

// Seed 000, R0-2: the client's upgrade tightened the policy.
func TestATighterPolicyIsJudgedOnWhatWasSeen(t *testing.T) {
	l := openssh92()
	l.KEX = names("curve25519-sha256")
	r := seen("SSH-2.0-OpenSSH_9.2p1", l)
	pr, ok := sshpolicy.Predict(r, builtin(t, "ucsm-4.0-2a"))
	if !ok || !pr.Breaks || pr.Missing[0].Category != sshpolicy.KEX || pr.Remedy[0].Line != "KexAlgorithms curve25519-sha256,diffie-hellman-group-exchange-sha256" {
		t.Errorf("%v %+v", ok, pr)
	}
	if pr, ok = sshpolicy.Predict(r, builtin(t, "modern")); !ok || pr.Breaks || len(pr.Remedy) != 0 {
		t.Errorf("%v %+v", ok, pr)
	}
}
