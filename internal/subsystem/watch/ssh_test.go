package watch_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/watch"
)

func hostKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return must(ssh.NewSignerFromKey(key))(t)
}

// sshServer starts a server with one host key and returns the item that pins it.
func (w *world) sshServer(o lab.SSHOptions) (*lab.SSHServer, watch.SSH) {
	w.t.Helper()
	if o.HostKeys == nil {
		o.HostKeys = []ssh.Signer{hostKey(w.t)}
	}
	s := must(w.lab.SSH(o))(w.t)
	return s, watch.SSH{
		Name: "nas1", Address: s.Addr(), Policy: must(sshpolicy.Builtin("openssh-9"))(w.t),
		Every: time.Hour, Timeout: 20 * time.Second, Pins: []sshpolicy.Pin{sshpolicy.PinOf(o.HostKeys[0].PublicKey())},
	}
}

// facts are the evidence of the newest look whose change is an event.
func (w *world) facts(code fault.Code) map[string]string {
	w.t.Helper()
	e, _ := must(fault.NewCatalogue(watch.Faults()...))(w.t).Get(code)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.looks) - 1; i >= 0; i-- {
		for _, o := range w.looks[i].Observations {
			if o.Key.Code == code && o.Verdict == fault.Present {
				m := o.Sense.Map()
				maps.DeleteFunc(m, func(k, _ string) bool { return !e.IsFact(k) })
				return m
			}
		}
	}
	return nil
}

// found takes two looks at an unchanged fault: the code and qualifier must be
// these, every code before it in order Absent and every one after it Unknown,
// and the second look must know the same facts.
func (w *world) found(id, resource string, order []fault.Code, code fault.Code, qualifier string) check.Last {
	w.t.Helper()
	last := w.look(id, fault.TriggerTimer)
	got, want := verdicts(last, resource), fault.Absent
	for _, c := range order {
		switch {
		case c == code && got[string(c)] != fault.Present:
			w.t.Errorf("%s is %v, want present; all: %v", c, got[string(c)], got)
		case c == code:
			want = fault.Unknown
		case got[string(c)] != want && got[string(c)] != fault.NotApplicable:
			w.t.Errorf("%s is %v, want %v", c, got[string(c)], want)
		}
	}
	v, _ := w.view(code, resource)
	if q := v.Sense.Get("qualifier"); q != qualifier {
		w.t.Errorf("qualifier %q, want %q; text %q", q, qualifier, v.Text)
	}
	e, _ := must(fault.NewCatalogue(watch.Faults()...))(w.t).Get(code)
	if e.Variant(qualifier).Title == "" && qualifier != "" {
		w.t.Errorf("the catalogue says nothing of %s (%s)", code, qualifier)
	}
	for _, s := range v.Remedy {
		checkCommand(w.t, string(code), s.Command)
	}
	before := w.facts(code)
	w.look(id, fault.TriggerTimer)
	if after := w.facts(code); !maps.Equal(before, after) {
		w.t.Errorf("an unchanged server gives other facts:\n%v\n%v", before, after)
	}
	return last
}

func sshOrder() (codes []fault.Code) {
	for _, c := range sshpolicy.Codes() {
		codes = append(codes, fault.Code(c))
	}
	return codes
}

func TestEveryWayAnSSHServerFailsIsToldApart(t *testing.T) {
	both := func(kex string) sshpolicy.Lists {
		return sshpolicy.Lists{
			KEX: []string{kex}, HostKey: []string{"ssh-ed25519"},
			CipherC2S: []string{"aes128-ctr"}, CipherS2C: []string{"aes128-ctr"},
			MACC2S: []string{"hmac-sha2-256"}, MACS2C: []string{"hmac-sha2-256"},
			CompressionC2S: []string{"none"}, CompressionS2C: []string{"none"},
		}
	}
	const gex = "diffie-hellman-group-exchange-sha256"
	for name, c := range map[string]struct {
		o         lab.SSHOptions
		impatient bool // the case waits for a time-out
		code      fault.Code
		qualifier string
	}{
		"silent":        {lab.SSHOptions{Mode: lab.SSHSilent}, true, watch.CodeNotSSH, "silent"},
		"closes":        {lab.SSHOptions{Mode: lab.SSHClose}, false, watch.CodeNotSSH, "closed"},
		"http":          {lab.SSHOptions{Mode: lab.SSHText, Text: "HTTP/1.1 400 Bad Request\r\nDate: x\r\n\r\n"}, false, watch.CodeNotSSH, "banner"},
		"max startups":  {lab.SSHOptions{Mode: lab.SSHText, Text: "Exceeded MaxStartups\r\n"}, false, watch.CodeNotSSH, "rate-limited"},
		"penalty":       {lab.SSHOptions{Mode: lab.SSHText, Text: "Not allowed at this time\r\n"}, false, watch.CodeNotSSH, "rate-limited"},
		"flood":         {lab.SSHOptions{Mode: lab.SSHFlood}, false, watch.CodeNotSSH, "banner"},
		"banner only":   {lab.SSHOptions{Mode: lab.SSHBannerOnly}, true, watch.CodeUnreachable, "timeout"},
		"stalls":        {lab.SSHOptions{Mode: lab.SSHOffer, Offer: both("curve25519-sha256")}, true, watch.CodeUnreachable, "timeout"},
		"dies":          {lab.SSHOptions{Mode: lab.SSHDieInKEX, Offer: both("curve25519-sha256")}, false, watch.CodeCryptoError, "library"},
		"small group":   {lab.SSHOptions{Mode: lab.SSHSmallGroup, Offer: both(gex)}, false, watch.CodeCryptoError, "dh-group"},
		"bad signature": {lab.SSHOptions{Mode: lab.SSHBadSignature}, false, watch.CodeCryptoError, "bad-signature"},
		"weak":          {lab.SSHOptions{KEX: []string{"diffie-hellman-group14-sha1"}}, false, watch.CodeNoCommonAlgorithm, "kex"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, item := w.sshServer(c.o)
			if c.impatient {
				item.Timeout = 500 * time.Millisecond
			}
			w.found(w.watching(watch.Options{SSH: []watch.SSH{item}}), "nas1", sshOrder(), c.code, c.qualifier)
		})
	}
}

func TestAHealthyServerIsProvedInOneConnection(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	last := w.look(w.watching(watch.Options{SSH: []watch.SSH{item}}), fault.TriggerCreated)
	for code, v := range verdicts(last, "nas1") {
		want := fault.Absent
		if code == string(watch.CodeAuthFailed) {
			want = fault.NotApplicable // there is no login
		}
		if v != want {
			t.Errorf("%s is %v, want %v", code, v, want)
		}
	}
	said := strings.Join(last.Proved, "")
	for _, want := range []string{"all four categories meet openssh-9", "key exchange done", "host key matches its pin"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not proved: %q", want, said)
		}
	}
}

func TestTimersKnockAtMostEveryTenSeconds(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	if c := watch.New(watch.Options{SSH: []watch.SSH{item}}).Checks()[0]; c.Gap != 10*time.Second {
		t.Errorf("gap %v, want 10s (PerSourcePenalties)", c.Gap)
	}
}

func store(t *testing.T) *sshpolicy.Store {
	t.Helper()
	return must(sshpolicy.OpenStore(filepath.Join(t.TempDir(), "known_hosts")))(t)
}

func TestTrustFirstRemembersTheKeyAndSaysSo(t *testing.T) {
	w := newWorld(t)
	s, item := w.sshServer(lab.SSHOptions{})
	item.Pins, item.TrustFirst = nil, true
	id := w.watching(watch.Options{SSH: []watch.SSH{item}, KnownHosts: store(t)})
	for _, want := range []string{"first seen now, compared with nothing (pinned: first-seen)", "is the one first seen (pinned: first-seen)"} {
		last := w.look(id, fault.TriggerTimer)
		if got := verdicts(last, "nas1"); got[string(watch.CodeHostKeyUnknown)] != fault.Absent || got[string(watch.CodeHostKeyChanged)] != fault.Absent {
			t.Errorf("verdicts %v", got)
		}
		if said := strings.Join(last.Proved, ""); !strings.Contains(said, want) {
			t.Errorf("%q not in %q", want, said)
		}
	}
	if err := s.Reconfigure(lab.SSHOptions{HostKeys: []ssh.Signer{hostKey(t)}}); err != nil {
		t.Fatal(err)
	}
	w.found(id, "nas1", nil, watch.CodeHostKeyChanged, "")
}

// A pin that somebody compared must not share its place with a key that nobody
// did: else an impostor who was there first stays trusted.
func TestAPinEndsTheTrustInTheFirstKey(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	right := item.Pins
	item.Pins, item.TrustFirst = nil, true
	known := store(t)
	first := w.watching(watch.Options{SSH: []watch.SSH{item}, KnownHosts: known})
	w.look(first, fault.TriggerCreated)
	w.sched.Remove(first)

	item.TrustFirst = false
	item.Pins = []sshpolicy.Pin{sshpolicy.PinOf(hostKey(t).PublicKey())}
	pinned := w.watching(watch.Options{SSH: []watch.SSH{item}, KnownHosts: known})
	if got := verdicts(w.look(pinned, fault.TriggerChanged), "nas1"); got[string(watch.CodeHostKeyChanged)] != fault.Present {
		t.Errorf("verdicts %v, want host-key-changed", got)
	}
	w.sched.Remove(pinned)

	item.Pins = right
	if got := verdicts(w.look(w.watching(watch.Options{SSH: []watch.SSH{item}, KnownHosts: known}), fault.TriggerChanged), "nas1"); got[string(watch.CodeHostKeyChanged)] != fault.Absent {
		t.Errorf("verdicts %v, want no host-key-changed", got)
	}
}

// Without a memory a changed key cannot be seen: that must not read as proof.
func TestAFirstKeyThatCannotBeRememberedProvesNothing(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	item.Pins, item.TrustFirst = nil, true
	dir := t.TempDir()
	known := must(sshpolicy.OpenStore(filepath.Join(dir, "gone", "known_hosts")))(t)
	for name, o := range map[string]watch.Options{
		"no store":          {SSH: []watch.SSH{item}},
		"store not written": {SSH: []watch.SSH{item}, KnownHosts: known},
	} {
		id := w.watching(o)
		if got := verdicts(w.look(id, fault.TriggerTimer), "nas1"); got[string(watch.CodeHostKeyChanged)] != fault.Unknown {
			t.Errorf("%s: verdicts %v", name, got)
		}
		w.sched.Remove(id)
	}
}

func TestABareFingerprintIsRememberedWithItsType(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{})
	item.Pins[0].Type = ""
	known := store(t)
	w.look(w.watching(watch.Options{SSH: []watch.SSH{item}, KnownHosts: known}), fault.TriggerCreated)
	if hints := known.TypeHints(item.Address); len(hints) != 1 || hints[0] != "ssh-ed25519" {
		t.Errorf("hints %v", hints)
	}
	if pins := known.Pins(item.Address); len(pins) != 0 {
		t.Errorf("a matched pin became a pin of its own: %v", pins)
	}
}

// account is a login with a password in a file, and the count of its reading.
func account(t *testing.T, password string) (login func() (sshpolicy.Login, error), write func(string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	write = func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(password)
	return func() (sshpolicy.Login, error) {
		secret, err := os.ReadFile(file)
		return sshpolicy.Login{User: "backup", Password: sshpolicy.Secret(secret)}, err
	}, write
}

func TestTimersStopAfterThreeRefusedLogins(t *testing.T) {
	w := newWorld(t)
	s, item := w.sshServer(lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	login, write := account(t, "wrong")
	item.Login = login
	id := w.watching(watch.Options{SSH: []watch.SSH{item}})
	auth := func(trigger fault.Trigger) fault.Verdict {
		t.Helper()
		return verdicts(w.look(id, trigger), "nas1")[string(watch.CodeAuthFailed)]
	}
	for i, trigger := range []fault.Trigger{fault.TriggerStartup, fault.TriggerTimer, fault.TriggerCause} {
		if got := auth(trigger); got != fault.Present {
			t.Fatalf("look %d: %v", i+1, got)
		}
	}
	// From here on the right password would do: only who may try finds out.
	if err := s.Reconfigure(lab.SSHOptions{Passwords: map[string]string{"backup": "wrong"}}); err != nil {
		t.Fatal(err)
	}
	for _, trigger := range []fault.Trigger{fault.TriggerTimer, fault.TriggerCause, fault.TriggerCreated, fault.TriggerStartup} {
		if got := auth(trigger); got != fault.Unknown {
			t.Errorf("held back, %s: %v, want unknown", trigger, got)
		}
	}
	if v, _ := w.view(watch.CodeAuthFailed, "nas1"); !v.Active || v.Sense.Get("failures") != "3" {
		t.Errorf("the fault must stand while nobody tries: %+v", v.Sense)
	}
	if got := auth(fault.TriggerOperator); got != fault.Absent {
		t.Errorf("an operator's look: %v, want absent", got)
	}
	if got := auth(fault.TriggerTimer); got != fault.Absent {
		t.Errorf("after a success timers try again: %v", got)
	}

	write("bad")
	for range 3 {
		auth(fault.TriggerTimer)
	}
	if got := auth(fault.TriggerTimer); got != fault.Unknown {
		t.Fatalf("held back again: %v", got)
	}
	write("wrong") // which is right by now
	if got := auth(fault.TriggerTimer); got != fault.Absent {
		t.Errorf("a changed credential is a new chance: %v", got)
	}
}

func TestACredentialThatCannotBeReadIsNamed(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	item.Login = func() (sshpolicy.Login, error) { return sshpolicy.Login{}, errors.New("open id: permission denied") }
	last := w.look(w.watching(watch.Options{SSH: []watch.SSH{item}}), fault.TriggerTimer)
	v, _ := w.view(watch.CodeAuthFailed, "nas1")
	if !v.Active || v.Sense.Get("qualifier") != "credential" || !strings.Contains(v.Text, "permission denied") {
		t.Errorf("%q, %v", v.Text, verdicts(last, "nas1"))
	}
}

func TestACredentialIsNeverShownToAnUntrustedKey(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{Passwords: map[string]string{"backup": "right"}})
	item.Pins = []sshpolicy.Pin{sshpolicy.PinOf(hostKey(t).PublicKey())}
	item.Login, _ = account(t, "right")
	got := verdicts(w.look(w.watching(watch.Options{SSH: []watch.SSH{item}}), fault.TriggerTimer), "nas1")
	if got[string(watch.CodeHostKeyChanged)] != fault.Present || got[string(watch.CodeAuthFailed)] != fault.Unknown {
		t.Errorf("verdicts %v", got)
	}
}

func TestTheLastStepOfARemedyIsTheLookThatClears(t *testing.T) {
	w := newWorld(t)
	_, item := w.sshServer(lab.SSHOptions{KEX: []string{"diffie-hellman-group14-sha1"}})
	w.look(w.watching(watch.Options{SSH: []watch.SSH{item}}), fault.TriggerTimer)
	v, _ := w.view(watch.CodeNoCommonAlgorithm, "nas1")
	if n := len(v.Remedy); n == 0 || v.Remedy[n-1].Command != "allclear verify nas1" {
		t.Errorf("remedy %+v", v.Remedy)
	}
}
