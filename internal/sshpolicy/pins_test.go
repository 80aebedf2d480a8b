package sshpolicy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

const (
	edLine = "AAAAC3NzaC1lZDI1NTE5AAAAIBn1dH16/kvdeO5F5wTStbDDnYw7jM3JKzC1KecTvYN+"
	edSum  = "SHA256:KGUbxEfZNYCit4CwhCeTIdAkeIT13Yz2klOVDM5mCCM"
)

func TestPinsAreReadInEachForm(t *testing.T) {
	typed := sshpolicy.Pin{Type: "ssh-ed25519", SHA256: edSum}
	for in, want := range map[string]sshpolicy.Pin{
		edSum:                                           {SHA256: edSum},
		" " + edSum + "= ":                              {SHA256: edSum},
		"ssh-ed25519 " + edSum:                          typed,
		"ssh-ed25519 " + edLine:                         typed,
		"ssh-ed25519 " + edLine + " root@nas1":          typed,
		"[127.0.0.1]:2222 ssh-ed25519 " + edLine:        typed,
		"nas1,192.0.2.1 ssh-ed25519 " + edLine + " x y": typed,
	} {
		got, err := sshpolicy.ParsePin(in)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	for in, says := range map[string]string{
		"":                                 "is empty",
		"MD5:aa:bb":                        "want SHA256:",
		"SHA256:short":                     "43 characters",
		"ssh-ed25591 " + edSum:             `did you mean "ssh-ed25519"?`,
		"ssh-ed25519 AAAA":                 "want SHA256:..., TYPE SHA256:... or a known_hosts line",
		"@revoked * ssh-ed25519 " + edLine: "a @revoked line is no pin",
	} {
		if _, err := sshpolicy.ParsePin(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", in, err, says)
		}
	}
}

// look at a server with three key types and these pins.
func pinned(t *testing.T, s *lab.SSHServer, o sshpolicy.Options, pins ...sshpolicy.Pin) sshpolicy.Result {
	t.Helper()
	o.Policy, o.Pins, o.CheckKey = builtin(t, "openssh-9"), pins, true
	return sshpolicy.Probe(t.Context(), target(s.Addr()), o)
}

// The library asks for ECDSA, RSA and Ed25519 in this order; with one pinned
// type it would cry "mismatch" at a server that has it.
func TestThePinnedTypeIsAskedForFirst(t *testing.T) {
	s := server(t, lab.SSHOptions{})
	for _, key := range s.HostKeys() {
		r := pinned(t, s, sshpolicy.Options{}, sshpolicy.PinOf(key))
		if !r.OK || r.HostKey.Type != key.Type() || r.HostKey.Pin != sshpolicy.PinMatched || r.Connections != 1 {
			t.Errorf("%s: ok=%v %+v, %d connections: %s", key.Type(), r.OK, r.HostKey, r.Connections, r.Error)
		}
	}
}

func TestABareFingerprintIsComparedWithEachTypeOnce(t *testing.T) {
	s := server(t, lab.SSHOptions{})
	most := 0
	for _, key := range s.HostKeys() {
		bare := sshpolicy.Pin{SHA256: sshpolicy.PinOf(key).SHA256}
		r := pinned(t, s, sshpolicy.Options{}, bare)
		if !r.OK || r.HostKey.Type != key.Type() || r.HostKey.Pin != sshpolicy.PinMatched {
			t.Errorf("%s: ok=%v %+v: %s", key.Type(), r.OK, r.HostKey, r.Error)
		}
		most = max(most, r.Connections)
		again := pinned(t, s, sshpolicy.Options{TypeHints: names(key.Type())}, bare)
		if !again.OK || again.Connections != 1 {
			t.Errorf("%s with its type remembered: ok=%v, %d connections", key.Type(), again.OK, again.Connections)
		}
	}
	if most != 3 {
		t.Errorf("the last of three types took %d connections", most)
	}
	r := pinned(t, s, sshpolicy.Options{}, sshpolicy.Pin{SHA256: edSum})
	if r.Code != sshpolicy.CodeHostKeyChanged || r.Connections != 3 {
		t.Errorf("no type matches: %s after %d connections", r.Code, r.Connections)
	}
}

func TestUnknownChangedAndFirstSeenAreDifferent(t *testing.T) {
	s := server(t, lab.SSHOptions{})
	other := sshpolicy.Pin{Type: "ssh-ed25519", SHA256: edSum}
	for _, tt := range []struct {
		name  string
		o     sshpolicy.Options
		pins  []sshpolicy.Pin
		code  string
		state sshpolicy.PinState
	}{
		{"nothing pinned", sshpolicy.Options{}, nil, sshpolicy.CodeHostKeyUnknown, sshpolicy.PinUnknown},
		{"another key pinned", sshpolicy.Options{}, []sshpolicy.Pin{other}, sshpolicy.CodeHostKeyChanged, sshpolicy.PinChanged},
		{"trust first", sshpolicy.Options{TrustFirst: true}, nil, "", sshpolicy.PinFirstSeen},
		{"trust first, then another key", sshpolicy.Options{TrustFirst: true}, []sshpolicy.Pin{other}, sshpolicy.CodeHostKeyChanged, sshpolicy.PinChanged},
	} {
		r := pinned(t, s, tt.o, tt.pins...)
		if r.Code != tt.code || r.HostKey.Pin != tt.state || !r.Handshake.Done {
			t.Errorf("%s: code %q pin %q handshake %+v", tt.name, r.Code, r.HostKey.Pin, r.Handshake)
		}
		if tt.code != "" {
			assertRemedies(t, r)
		}
	}
}

// The server stopped offering the pinned type and shows another: that is a
// change, not a stranger.
func TestAPinnedTypeThatIsGoneIsAChange(t *testing.T) {
	s := server(t, lab.SSHOptions{})
	pin := sshpolicy.PinOf(s.HostKeys()[0])
	if err := s.Reconfigure(lab.SSHOptions{HostKeyAlgorithms: names("rsa-sha2-512")}); err != nil {
		t.Fatal(err)
	}
	if r := pinned(t, s, sshpolicy.Options{}, pin); r.Code != sshpolicy.CodeHostKeyChanged || !strings.Contains(r.Error, pin.String()) {
		t.Errorf("got %s: %s", r.Code, r.Error)
	}
}

func TestStoreRemembersAcrossRestartsAndKeepsOriginsApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known_hosts")
	s := server(t, lab.SSHOptions{})
	keys := s.HostKeys()
	store, err := sshpolicy.OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	add := func(k ssh.PublicKey, o sshpolicy.Origin) {
		t.Helper()
		if err := store.Add(s.Addr(), k, o); err != nil {
			t.Fatal(err)
		}
	}
	add(keys[0], sshpolicy.OriginFirstSeen)
	add(keys[0], sshpolicy.OriginFirstSeen) // twice is once
	add(keys[1], sshpolicy.OriginMatched)
	add(keys[2], sshpolicy.OriginTrusted)
	for range 2 {
		if diff := cmp.Diff([]sshpolicy.Pin{sshpolicy.PinOf(keys[0]), sshpolicy.PinOf(keys[2])}, store.Pins(s.Addr())); diff != "" {
			t.Errorf("pins (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(names(keys[1].Type()), store.TypeHints(s.Addr())); diff != "" {
			t.Errorf("hints (-want +got):\n%s", diff)
		}
		if got := store.Pins("127.0.0.1:1"); len(got) != 0 {
			t.Errorf("another port has %v", got)
		}
		if store, err = sshpolicy.OpenStore(path); err != nil { // as after a restart
			t.Fatal(err)
		}
	}
	if err := store.Forget(s.Addr(), sshpolicy.OriginFirstSeen); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sshpolicy.Pin{sshpolicy.PinOf(keys[2])}, store.Pins(s.Addr())); diff != "" {
		t.Errorf("after forgetting (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".known_hosts-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

// A line that cannot be read must not turn a pinned key into an unknown one.
func TestADamagedStoreIsAnErrorWithItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, []byte("# ours\nnas1 ssh-ed25519 "+edLine+"\nnas2 ssh-ed25519 AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sshpolicy.OpenStore(path); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("got %v", err)
	}
}

func TestAStoreThatCannotBeWrittenAnswersAsBefore(t *testing.T) {
	store, err := sshpolicy.OpenStore(filepath.Join(t.TempDir(), "missing", "known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	key := server(t, lab.SSHOptions{}).HostKeys()[0]
	if err := store.Add("nas1:22", key, sshpolicy.OriginTrusted); err == nil {
		t.Error("writing into a directory that is not there succeeded")
	}
	if got := store.Pins("nas1:22"); len(got) != 0 {
		t.Errorf("pins %v after a failed write", got)
	}
}
