package watch_test

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/watch"
	"allclear/internal/wire"
)

// openssh92 is the default offer of OpenSSH 9.2.
func openssh92() lab.SSHOptions {
	ciphers := []string{"chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"}
	macs := []string{
		"umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha1-etm@openssh.com",
		"umac-64@openssh.com", "umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1",
	}
	return lab.SSHOptions{Mode: lab.SSHOffer, Version: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3", Offer: sshpolicy.Lists{
		KEX: []string{
			"sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org",
			"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256",
			"diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256",
		},
		HostKey:   []string{"rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"},
		CipherC2S: ciphers, CipherS2C: ciphers, MACC2S: macs, MACS2C: macs,
		CompressionC2S: []string{"none"}, CompressionS2C: []string{"none"},
	}}
}

// only returns the one finding, which must have this verdict.
func only(t *testing.T, found []wire.Finding, verdict string) wire.Finding {
	t.Helper()
	if len(found) != 1 || found[0].Verdict != verdict {
		t.Fatalf("findings %+v, want one that says %s", found, verdict)
	}
	if found[0].Why == "" || found[0].Missing == nil || found[0].Remedy == nil {
		t.Errorf("finding without a reason, or with null: %+v", found[0])
	}
	return found[0]
}

func TestPreflightForeseesATighterPolicy(t *testing.T) {
	w := newWorld(t)
	o := openssh92()
	o.Offer.KEX = []string{"curve25519-sha256", "ecdh-sha2-nistp256"}
	_, item := w.sshServer(o)
	p := watch.New(watch.Options{SSH: []watch.SSH{item}})
	f := only(t, p.Preflight(t.Context(), wire.Change{Policy: "ucsm-4.0-2a"}), "breaks")
	if f.Target != "nas1" || f.Kind != "ssh" || !slices.Equal(f.Missing, []string{"kex"}) {
		t.Errorf("%+v", f)
	}
	// R0-2: the exact line that prevents it, ready to paste.
	want := "KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group-exchange-sha256"
	if !slices.Contains(f.Remedy, want) {
		t.Errorf("no line %q in %q", want, f.Remedy)
	}
	only(t, p.Preflight(t.Context(), wire.Change{Policy: "modern"}), "works")
}

func TestPreflightUsesTheNewestLook(t *testing.T) {
	w := newWorld(t)
	s, item := w.sshServer(lab.SSHOptions{})
	watching := watch.New(watch.Options{SSH: []watch.SSH{item}})
	w.look(w.add(watching.Checks()[0]), fault.TriggerCreated)
	if err := s.Reconfigure(lab.SSHOptions{Mode: lab.SSHClose}); err != nil {
		t.Fatal(err)
	}
	f := only(t, watching.Preflight(t.Context(), wire.Change{Policy: "modern"}), "works")
	if !strings.HasPrefix(f.Basis, "the look of ") {
		t.Errorf("basis %q", f.Basis)
	}
	// The same name at another address is another server.
	item.Address = must(w.lab.RefusedAddr())(t)
	watching.Configure(watch.Options{SSH: []watch.SSH{item}})
	only(t, watching.Preflight(t.Context(), wire.Change{Policy: "modern"}), "unknown")
}

func TestPreflightForeseesTheServersUpgrade(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(openssh92())
	item.Policy = must(sshpolicy.Builtin("ucsm-4.0-2a"))(t)
	p := watch.New(watch.Options{SSH: []watch.SSH{item}})
	f := only(t, p.Preflight(t.Context(), wire.Change{ServerUpgrade: true}), "breaks")
	if !strings.Contains(f.Basis, "OpenSSH_10") || len(f.Remedy) == 0 || !strings.HasPrefix(f.Remedy[0], "KexAlgorithms sntrup761x25519") {
		t.Errorf("%+v", f)
	}
	if found := p.Preflight(t.Context(), wire.Change{Policy: "modern", ServerUpgrade: true}); len(found) != 2 || found[0].Verdict != "works" || found[1].Verdict != "works" {
		t.Errorf("with the policy modern: %+v", found)
	}
	if found := p.Preflight(t.Context(), wire.Change{MinTLS: "1.3"}); len(found) != 0 {
		t.Errorf("a TLS version concerns no SSH server: %+v", found)
	}
}

func TestWhatFailsAlreadyDoesNotWorkAfterAnUpgrade(t *testing.T) {
	w := newWorld(t)
	o := openssh92()
	o.Offer.KEX = []string{"curve25519-sha256"}
	_, item := w.sshServer(o)
	item.Policy = must(sshpolicy.Builtin("ucsm-4.0-2a"))(t)
	f := only(t, watch.New(watch.Options{SSH: []watch.SSH{item}}).Preflight(t.Context(), wire.Change{ServerUpgrade: true}), "breaks")
	if !strings.Contains(f.Why, "already") || len(f.Remedy) == 0 {
		t.Errorf("%+v", f)
	}
}

func TestWhatCannotBeForeseenIsUnknown(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	down := item
	down.Name, down.Address = "down", must(w.lab.RefusedAddr())(t)
	for _, c := range []struct {
		item   watch.SSH
		change wire.Change
		why    string
	}{
		{item, wire.Change{Policy: "no-such"}, "no-such"},
		{item, wire.Change{ServerUpgrade: true}, "nothing is known"},
		{down, wire.Change{Policy: "modern"}, "offer is not known"},
	} {
		f := only(t, watch.New(watch.Options{SSH: []watch.SSH{c.item}}).Preflight(t.Context(), c.change), "unknown")
		if !strings.Contains(f.Why, c.why) {
			t.Errorf("%+v: %q, want %q in it", c.change, f.Why, c.why)
		}
	}
}

func TestPreflightKnowsTheConfigurationsOwnPolicies(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	own := item.Policy
	own.Name, own.KEX = "own", []string{"diffie-hellman-group18-sha512"}
	p := watch.New(watch.Options{SSH: []watch.SSH{item}, Policies: map[string]sshpolicy.Policy{"own": own}})
	only(t, p.Preflight(t.Context(), wire.Change{Policy: "own"}), "breaks")
}

func TestPreflightForeseesAHigherTLSMinimum(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		o       lab.TLSOptions
		min     string
		verdict string
	}{
		{lab.TLSOptions{}, "1.3", "works"},
		{lab.TLSOptions{MaxVersion: tls.VersionTLS12}, "1.3", "breaks"},
		{lab.TLSOptions{MaxVersion: tls.VersionTLS12}, "1.2", "works"},
		{lab.TLSOptions{Manner: lab.CloseAtOnce}, "1.3", "unknown"},
	} {
		p := watch.New(watch.Options{TLS: []watch.TLS{endpoint(w.tlsTarget(c.o))}})
		f := only(t, p.Preflight(t.Context(), wire.Change{MinTLS: c.min}), c.verdict)
		if c.verdict == "breaks" && (!strings.Contains(f.Why, "TLS 1.2") || !slices.Contains(f.Remedy, "nginx: ssl_protocols TLSv1.2 TLSv1.3;")) {
			t.Errorf("%+v", f)
		}
	}
	broken := endpoint(netdiag.Target{})
	broken.Target = func() (netdiag.Target, error) { return netdiag.Target{}, errors.New("open ca.pem: no such file") }
	only(t, watch.New(watch.Options{TLS: []watch.TLS{broken}}).Preflight(t.Context(), wire.Change{MinTLS: "1.3"}), "unknown")
	only(t, watch.New(watch.Options{TLS: []watch.TLS{broken}}).Preflight(t.Context(), wire.Change{MinTLS: "nonsense"}), "unknown")
}
