package watch

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// probeGap is the least time between two looks at one SSH server that no
// operator asked for: OpenSSH 9.8 and later lock out who connects too often
// without logging in (PerSourcePenalties).
const probeGap = 10 * time.Second

// connectionsPerLook bounds what a look may take: one connection, and one for
// each further host key type when a bare fingerprint is compared.
const connectionsPerLook = 5

func sshCodes() []fault.Code {
	var codes []fault.Code
	for _, c := range sshpolicy.Codes() {
		codes = append(codes, fault.Code(c))
	}
	return codes
}

// sshCheck looks at one server.
func (w *Watch) sshCheck(item SSH, known *sshpolicy.Store) check.Check {
	l := &sshLook{w: w, item: item, known: known}
	return check.Check{
		Name: "watch.ssh", Resource: item.Name, Codes: sshCodes(),
		Every: item.Every, Gap: probeGap, Timeout: connectionsPerLook*item.Timeout + time.Second,
		Version: fmt.Sprint(item.Address, item.Policy, item.Pins, item.TrustFirst, item.Login != nil),
		Run:     l.run,
	}
}

// sshLook is the look at one server.
type sshLook struct {
	w     *Watch
	item  SSH
	known *sshpolicy.Store
}

func (l *sshLook) run(ctx context.Context, r *check.Report) {
	o := sshpolicy.Options{
		Policy: l.item.Policy, Pins: l.item.Pins, CheckKey: true, TrustFirst: l.item.TrustFirst, Timeout: l.item.Timeout,
	}
	if l.known != nil {
		o.Pins = append(append([]sshpolicy.Pin(nil), o.Pins...), l.known.Pins(l.item.Address)...)
		o.TypeHints = l.known.TypeHints(l.item.Address)
	}
	credentials := l.login(&o, r)
	result := sshpolicy.Probe(ctx, sshpolicy.Target{Name: l.item.Name, Addr: l.item.Address}, o)
	if result.Inconclusive {
		return // we could not look: say nothing of the server
	}
	l.remember(&result)
	l.judge(r, &result, credentials)
}

// login adds the credential, unless there is none to try. What keeps it from
// being tried is returned for the judgement of ssh/auth-failed.
func (l *sshLook) login(o *sshpolicy.Options, r *check.Report) (lock *lockout) {
	if l.item.Login == nil {
		return nil
	}
	lock = l.w.lock(l.item.Name)
	if !lock.mayTry(r.Trigger()) {
		return lock
	}
	login, err := l.item.Login()
	if err != nil {
		lock.unreadable = err
		return lock
	}
	lock.unreadable = nil
	o.Login = &login
	return lock
}

// remember keeps what later looks and preflight need: the result, a key seen
// for the first time, and the type that a bare fingerprint turned out to have.
func (l *sshLook) remember(result *sshpolicy.Result) {
	l.w.mu.Lock()
	l.w.seen[l.item.Name] = *result
	l.w.mu.Unlock()
	k := result.HostKey
	if k == nil || l.known == nil {
		return
	}
	var origin sshpolicy.Origin
	switch {
	case k.Pin == sshpolicy.PinFirstSeen:
		origin = sshpolicy.OriginFirstSeen
	case k.Pin == sshpolicy.PinMatched && bare(l.item.Pins):
		origin = sshpolicy.OriginMatched
	default:
		return
	}
	if err := l.known.Add(l.item.Address, k.Key, origin); err != nil && l.w.options().Log != nil {
		l.w.options().Log.Warn("host key not remembered", "server", l.item.Name, "error", err)
	}
}

func bare(pins []sshpolicy.Pin) bool {
	for _, p := range pins {
		if p.Type == "" {
			return true
		}
	}
	return false
}

func (l *sshLook) judge(r *check.Report, result *sshpolicy.Result, lock *lockout) {
	sense := l.sense(result)
	for _, j := range result.Judged() {
		code := fault.Code(j.Code)
		if code == CodeAuthFailed && lock != nil {
			continue // judged below: a lock-out or an unreadable secret is known here only
		}
		switch j.Verdict {
		case sshpolicy.Present:
			r.Present(code, j.Err, sense)
			r.Advise(code, remedies(result.Remedy, sshRemedy)...)
		case sshpolicy.Absent:
			r.Absent(code)
		case sshpolicy.NotApplicable:
			r.NotApplicable(code, j.Why)
		}
	}
	if lock != nil {
		l.judgeLogin(r, result, lock, sense)
	}
	l.prove(r, result)
}

// sense is what the probe found, less what the fault's key says already.
func (l *sshLook) sense(result *sshpolicy.Result) map[string]string {
	sense := result.Facts()
	maps.Copy(sense, result.Readings())
	if l.item.TrustFirst && sense["pinned"] == string(sshpolicy.PinMatched) {
		sense["pinned"] = string(sshpolicy.PinFirstSeen)
	}
	return sense
}

func sshRemedy(s sshpolicy.Remedy) fault.Remedy {
	text := s.Text
	if s.Line != "" {
		text += "\n" + s.Line
	}
	return fault.Remedy{Text: text, Impact: s.Impact, Command: s.Command}
}

// prove says what the look has proved, also when a later step failed.
func (l *sshLook) prove(r *check.Report, result *sshpolicy.Result) {
	var parts []string
	if result.Offer != nil && len(result.Missing) == 0 {
		parts = append(parts, "all four categories meet "+result.Policy)
	}
	if h := result.Handshake; h != nil && h.Done {
		done := "key exchange done with " + h.Negotiated.KEX
		if h.GroupBits > 0 {
			done += fmt.Sprintf(" (%d bits)", h.GroupBits)
		}
		parts = append(parts, done)
	}
	if k := result.HostKey; k != nil {
		switch {
		case k.Pin == sshpolicy.PinFirstSeen:
			parts = append(parts, "host key first seen now, compared with nothing (pinned: first-seen)")
		case k.Pin == sshpolicy.PinMatched && l.item.TrustFirst:
			parts = append(parts, "host key is the one first seen (pinned: first-seen)")
		case k.Pin == sshpolicy.PinMatched:
			parts = append(parts, "host key matches its pin")
		}
	}
	if result.Auth != nil && result.Auth.OK {
		parts = append(parts, "login as "+result.Auth.User+" accepted")
	}
	if len(parts) > 0 {
		r.Proved("%s", strings.Join(parts, ", "))
	}
}
