package sshpolicy_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

func server(t *testing.T, o lab.SSHOptions) *lab.SSHServer {
	t.Helper()
	s, err := lab.NewSSH(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// seedKEX makes a lab server meet the seed's policy.
var seedKEX = names("diffie-hellman-group-exchange-sha256")

// canned is what npm's ssh2 and other servers do: they advertise what they then
// cannot carry out.
func canned() sshpolicy.Lists {
	return lists(names("diffie-hellman-group-exchange-sha256"), names("ssh-ed25519"), names("aes128-ctr"), names("hmac-sha2-256"))
}

func TestEveryWayOfFailingHasItsOwnCode(t *testing.T) {
	for _, tt := range []struct {
		name            string
		options         lab.SSHOptions
		code, qualifier string
		says            string
	}{
		{"silent", lab.SSHOptions{Mode: lab.SSHSilent}, sshpolicy.CodeNotSSH, "silent", "said nothing"},
		{"closes", lab.SSHOptions{Mode: lab.SSHClose}, sshpolicy.CodeNotSSH, "closed", "a word"}, // without one, or reset before: our banner may be under way
		{"a megabyte of banner", lab.SSHOptions{Mode: lab.SSHFlood}, sshpolicy.CodeNotSSH, "banner", "65536 bytes"},
		{"http", lab.SSHOptions{Mode: lab.SSHText, Text: "HTTP/1.0 400 Bad Request\r\n\r\n"}, sshpolicy.CodeNotSSH, "banner", "looks like HTTP"},
		{"max startups", lab.SSHOptions{Mode: lab.SSHText, Text: "Exceeded MaxStartups\r\n"}, sshpolicy.CodeNotSSH, "rate-limited", "MaxStartups"},
		{"penalty", lab.SSHOptions{Mode: lab.SSHText, Text: "Not allowed at this time\r\n"}, sshpolicy.CodeNotSSH, "rate-limited", "Not allowed"},
		{"silent after the banner", lab.SSHOptions{Mode: lab.SSHBannerOnly}, sshpolicy.CodeUnreachable, "timeout", "offer"},
		{"silent after the offer", lab.SSHOptions{Mode: lab.SSHOffer, Offer: canned()}, sshpolicy.CodeUnreachable, "timeout", "key exchange"},
		{"dies in key exchange", lab.SSHOptions{Mode: lab.SSHDieInKEX, Offer: canned()}, sshpolicy.CodeCryptoError, "library", "diffie-hellman-group-exchange-sha256"},
		{"small group", lab.SSHOptions{Mode: lab.SSHSmallGroup, Offer: canned()}, sshpolicy.CodeCryptoError, "dh-group", "modulus of 1024 bits"},
		{"bad signature", lab.SSHOptions{Mode: lab.SSHBadSignature, KEX: seedKEX}, sshpolicy.CodeCryptoError, "bad-signature", "signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := server(t, tt.options)
			began := time.Now()
			r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a"), Timeout: 2 * time.Second})
			if r.OK || r.Code != tt.code || r.Qualifier != tt.qualifier || !strings.Contains(r.Error, tt.says) {
				t.Errorf("got %s (%s): %s", r.Code, r.Qualifier, r.Error)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("took %s with a timeout of 2 s", took)
			}
			if code, qualifier := sshpolicy.Classify(r.Err); code != r.Code || qualifier != r.Qualifier {
				t.Errorf("Classify says %s (%s)", code, qualifier)
			}
			assertRemedies(t, r)
		})
	}
}

func assertRemedies(t *testing.T, r sshpolicy.Result) {
	t.Helper()
	if len(r.Remedy) < 2 {
		t.Errorf("%s (%s): remedies %v", r.Code, r.Qualifier, r.Remedy)
	}
	for _, step := range r.Remedy {
		if step.Text == "" || step.Impact == "" {
			t.Errorf("%s: a step without text or impact: %+v", r.Code, step)
		}
		if text := strings.ToLower(step.Text + step.Command); strings.Contains(text, "disable fips") || strings.Contains(text, "fips off") {
			t.Errorf("%s: weakens the cryptography: %s", r.Code, step.Text)
		}
	}
}

func TestConnectionFailuresAreToldApart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	fails := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	hangs := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, tt := range []struct {
		name, code, qualifier string
		dial                  func(context.Context, string, string) (net.Conn, error)
	}{
		{"refused", sshpolicy.CodeUnreachable, "refused", nil},
		{"timeout", sshpolicy.CodeUnreachable, "timeout", hangs},
		{"no such name", sshpolicy.CodeNameNotResolved, "NXDOMAIN", fails(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}})},
		{"resolver broken", sshpolicy.CodeNameNotResolved, "SERVFAIL", fails(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}})},
		{"resolver silent", sshpolicy.CodeNameNotResolved, "timeout", fails(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", IsTimeout: true}})},
		{"no route", sshpolicy.CodeUnreachable, "no-route", fails(errno("EHOSTUNREACH"))},
		{"reset", sshpolicy.CodeUnreachable, "reset", fails(errno("ECONNRESET"))},
		{"packet filter", sshpolicy.CodeUnreachable, "no-route", fails(errno("EACCES"))},
		{"out of file handles", "", "", fails(errno("EMFILE"))},
	} {
		r := sshpolicy.Probe(t.Context(), target(addr), sshpolicy.Options{Policy: builtin(t, "modern"), Dial: tt.dial, Timeout: 200 * time.Millisecond})
		if r.OK || r.Code != tt.code || r.Qualifier != tt.qualifier || r.Inconclusive != (tt.code == "") || r.Reachable {
			t.Errorf("%s: got %q (%s) inconclusive=%v: %s", tt.name, r.Code, r.Qualifier, r.Inconclusive, r.Error)
		}
		if tt.code != "" {
			assertRemedies(t, r)
		}
	}
}

func TestACancelledLookSaysNothingAboutTheServer(t *testing.T) {
	s := server(t, lab.SSHOptions{Mode: lab.SSHSilent})
	ctx, cancel := context.WithCancel(t.Context())
	r := sshpolicy.Probe(ctx, target(s.Addr()), sshpolicy.Options{Policy: builtin(t, "modern"), Dial: func(dialCtx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialCtx, network, addr)
		cancel()
		return conn, err
	}})
	if !r.Inconclusive || r.Code != "" || len(r.Judged()) != 0 {
		t.Errorf("got code %q inconclusive=%v judged %v", r.Code, r.Inconclusive, r.Judged())
	}
}

// What a look did not reach stays unknown; what it reached is named.
func TestALookJudgesWhatItReachedAndNothingElse(t *testing.T) {
	p := builtin(t, "ucsm-4.0-2a")
	good := server(t, lab.SSHOptions{})
	pin := sshpolicy.PinOf(good.HostKeys()[0])
	for _, tt := range []struct {
		name string
		mode lab.SSHOptions
		o    sshpolicy.Options
		want []string
	}{
		{"well", lab.SSHOptions{KEX: seedKEX}, sshpolicy.Options{CheckKey: true, Pins: []sshpolicy.Pin{pin}}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh absent", "ssh/no-common-algorithm absent",
			"ssh/crypto-error absent", "ssh/host-key-unknown absent", "ssh/host-key-changed absent", "ssh/auth-failed not-applicable")},
		{"offer only", lab.SSHOptions{KEX: seedKEX}, sshpolicy.Options{OfferOnly: true}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh absent", "ssh/no-common-algorithm absent", "ssh/auth-failed not-applicable")},
		{"not pinned", lab.SSHOptions{KEX: seedKEX}, sshpolicy.Options{CheckKey: true}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh absent", "ssh/no-common-algorithm absent",
			"ssh/crypto-error absent", "ssh/host-key-unknown present", "ssh/host-key-changed absent", "ssh/auth-failed not-applicable")},
		{"silent", lab.SSHOptions{Mode: lab.SSHSilent}, sshpolicy.Options{}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh present", "ssh/auth-failed not-applicable")},
		{"stalls", lab.SSHOptions{Mode: lab.SSHBannerOnly}, sshpolicy.Options{}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable present", "ssh/auth-failed not-applicable")},
		{"no common key exchange", lab.SSHOptions{KEX: names("curve25519-sha256")}, sshpolicy.Options{CheckKey: true}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh absent", "ssh/no-common-algorithm present", "ssh/auth-failed not-applicable")},
		{"bad signature", lab.SSHOptions{Mode: lab.SSHBadSignature, KEX: seedKEX}, sshpolicy.Options{CheckKey: true, Pins: []sshpolicy.Pin{pin}}, names(
			"ssh/name-not-resolved absent", "ssh/unreachable absent", "ssh/not-ssh absent", "ssh/no-common-algorithm absent",
			"ssh/crypto-error present", "ssh/auth-failed not-applicable")},
	} {
		if err := good.Reconfigure(tt.mode); err != nil {
			t.Fatal(err)
		}
		tt.o.Policy, tt.o.Timeout = p, 500*time.Millisecond
		if tt.name != "silent" && tt.name != "stalls" {
			tt.o.Timeout = 10 * time.Second
		}
		r := sshpolicy.Probe(t.Context(), target(good.Addr()), tt.o)
		var got []string
		for _, j := range r.Judged() {
			got = append(got, j.Code+" "+string(j.Verdict))
			if (j.Verdict == sshpolicy.Present) != (j.Err != nil) {
				t.Errorf("%s: %s is %s with error %v", tt.name, j.Code, j.Verdict, j.Err)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", tt.name, r.Error, diff)
		}
	}
}

func TestFactsOfAnUnchangedServerAreTheSameInEveryLook(t *testing.T) {
	s := server(t, lab.SSHOptions{KEX: names("curve25519-sha256"), Ciphers: names("aes128-ctr")})
	o := sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a")}
	first := sshpolicy.Probe(t.Context(), target(s.Addr()), o).Facts()
	for range 5 {
		if diff := cmp.Diff(first, sshpolicy.Probe(t.Context(), target(s.Addr()), o).Facts()); diff != "" {
			t.Fatalf("(-first +later):\n%s", diff)
		}
	}
	if first["kex_offered"] != "curve25519-sha256, curve25519-sha256@libssh.org" || first["missing"] != "kex" {
		t.Errorf("got %v", first)
	}
}

// The seed calls this failure "End point timed out"; the truth is in the error.
func TestTheErrorNamesTheTrueCause(t *testing.T) {
	s := server(t, lab.SSHOptions{KEX: names("curve25519-sha256")})
	r := sshpolicy.Probe(t.Context(), target(s.Addr()), sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a")})
	e, ok := errors.AsType[*sshpolicy.NegotiationError](r.Err)
	if !ok || len(e.Gaps) != 1 || !slices.Contains(e.Gaps[0].Offered, "curve25519-sha256") || !slices.Contains(e.Gaps[0].Allowed, "diffie-hellman-group16-sha512") {
		t.Fatalf("got %v", r.Err)
	}
	if strings.Contains(strings.ToLower(r.Error), "timed out") {
		t.Errorf("%q", r.Error)
	}
}
