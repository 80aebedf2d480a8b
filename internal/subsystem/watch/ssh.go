package watch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
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

// firstSeen is what the look says of a key that was only ever compared with
// itself.
const firstSeen = "pinned: first-seen"

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
		Every: item.Every, Gap: probeGap, Timeout: connectionsPerLook*item.timeout() + time.Second,
		Version: fmt.Sprint(item.Address, item.Policy, item.Pins, item.TrustFirst, item.Login != nil, item.Version),
		Run:     l.run,
	}
}

// timeout is of one connection.
func (item *SSH) timeout() time.Duration { return cmp.Or(item.Timeout, sshpolicy.DefaultTimeout) }

// sshLook is the look at one server.
type sshLook struct {
	w     *Watch
	item  SSH
	known *sshpolicy.Store // nil: nothing is remembered
}

func (l *sshLook) run(ctx context.Context, r *check.Report) {
	o := sshpolicy.Options{
		Policy: l.item.Policy, Pins: l.pins(), CheckKey: true, TrustFirst: l.item.TrustFirst,
		Timeout: l.item.timeout(), Dial: l.item.Dial,
	}
	if l.known != nil {
		o.TypeHints = l.known.TypeHints(l.item.Address)
	}
	login := l.credential(r.Trigger())
	if login != nil && login.err == nil && !login.held {
		o.Login = &login.login
	}
	result := sshpolicy.Probe(ctx, sshpolicy.Target{Name: l.item.Name, Addr: l.item.Address}, o)
	l.conclude(r, &result, login)
}

// conclude says what a connection has shown, whoever made it.
func (l *sshLook) conclude(r *check.Report, result *sshpolicy.Result, login *attempt) {
	if result.Inconclusive {
		for _, code := range sshCodes() { // we could not look: that says nothing of the server
			r.Unknown(code, result.Error)
		}
		return
	}
	l.w.remember(result)
	forgotten := l.rememberKey(result)
	l.judge(r, result, login)
	if forgotten != nil {
		r.Unknown(CodeHostKeyChanged, forgotten.Error())
	}
}

// pins are those of the configuration, and the keys that were trusted since. A
// key that was only seen first counts as long as the item says trust-first: a
// pin that somebody compared must not share its place with one that nobody did.
func (l *sshLook) pins() []sshpolicy.Pin {
	pins := slices.Clone(l.item.Pins)
	if l.known == nil {
		return pins
	}
	for _, k := range l.known.Known(l.item.Address) {
		if k.Origin == sshpolicy.OriginTrusted || k.Origin == sshpolicy.OriginFirstSeen && l.item.TrustFirst {
			pins = append(pins, k.Pin)
		}
	}
	return pins
}

// rememberKey keeps a key seen for the first time, and the type that a bare
// fingerprint turned out to have. The error says that the next look cannot tell
// whether the key is still the same.
func (l *sshLook) rememberKey(result *sshpolicy.Result) error {
	k := result.HostKey
	if k == nil {
		return nil
	}
	switch {
	case k.Pin == sshpolicy.PinFirstSeen && l.known == nil:
		return fmt.Errorf("the first key of %s cannot be remembered: there is no store", l.item.Name)
	case k.Pin == sshpolicy.PinFirstSeen:
		if err := l.known.Add(l.item.Address, k.Key, sshpolicy.OriginFirstSeen); err != nil {
			return fmt.Errorf("a change of the key cannot be seen: %w", err)
		}
	case k.Pin == sshpolicy.PinMatched && l.known != nil && bare(l.item.Pins):
		if err := l.known.Add(l.item.Address, k.Key, sshpolicy.OriginMatched); err != nil {
			l.w.warn("type of a pinned host key not remembered, the next look asks for all types again", l.item.Name, err)
		}
	}
	return nil
}

func bare(pins []sshpolicy.Pin) bool {
	return slices.ContainsFunc(pins, func(p sshpolicy.Pin) bool { return p.Type == "" })
}

func (l *sshLook) judge(r *check.Report, result *sshpolicy.Result, login *attempt) {
	sense := l.sense(result)
	for _, j := range result.Judged() {
		code := fault.Code(j.Code)
		if code == CodeAuthFailed && login != nil {
			continue // judged below: what held it back is known here only
		}
		switch j.Verdict {
		case sshpolicy.Present:
			r.Present(code, j.Err, sense)
			r.Advise(code, l.remedies(result)...)
		case sshpolicy.Absent:
			r.Absent(code)
		case sshpolicy.NotApplicable:
			r.NotApplicable(code, j.Why)
		}
	}
	if h := result.Handshake; h != nil && h.Why != "" {
		for _, code := range []fault.Code{CodeCryptoError, CodeHostKeyUnknown, CodeHostKeyChanged} {
			r.Unknown(code, h.Why)
		}
	}
	if login != nil {
		l.judgeLogin(r, result, login, sense)
	}
	if parts := l.proofs(result); len(parts) > 0 {
		r.Proved("%s", strings.Join(parts, ", "))
	}
}

// sense is what the probe found, in facts and readings.
func (l *sshLook) sense(result *sshpolicy.Result) map[string]string {
	sense := result.Facts()
	maps.Copy(sense, result.Readings())
	if l.onlyFirstSeen(result.HostKey) {
		sense["pinned"] = string(sshpolicy.PinFirstSeen)
	}
	if host, _, err := net.SplitHostPort(l.item.Address); err == nil {
		sense["host"] = host
	}
	return sense
}

// onlyFirstSeen claims that the key is trusted because it came first, and for
// no better reason.
func (l *sshLook) onlyFirstSeen(k *sshpolicy.ServerKey) bool {
	if k == nil || !l.item.TrustFirst || k.Pin != sshpolicy.PinMatched && k.Pin != sshpolicy.PinFirstSeen {
		return false
	}
	if l.known == nil {
		return true
	}
	return !slices.Contains(l.known.Known(l.item.Address), sshpolicy.Known{Pin: sshpolicy.PinOf(k.Key), Origin: sshpolicy.OriginTrusted})
}

// remedies are the probe's steps, with the look of this check as the last: a
// probe proves the repair to its reader, and clears nothing.
func (l *sshLook) remedies(result *sshpolicy.Result) []fault.Remedy {
	own := ""
	if _, err := sshpolicy.Builtin(result.Policy); err != nil { // the command reads no configuration
		own = " --policy " + result.Policy
	}
	steps := remedies(result.Remedy, func(s sshpolicy.Remedy) fault.Remedy {
		return fault.Remedy{Text: s.Text, Impact: s.Impact, Command: strings.Replace(s.Command, own, "", 1)}
	})
	if n := len(steps); n > 0 && strings.HasPrefix(steps[n-1].Command, "allclear probe ssh ") {
		steps[n-1].Command = "allclear verify " + l.item.Name
	}
	return steps
}

// proofs are what the look has proved, also when a later step failed.
func (l *sshLook) proofs(result *sshpolicy.Result) (parts []string) {
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
			parts = append(parts, "host key first seen now, compared with nothing ("+firstSeen+")")
		case k.Pin == sshpolicy.PinMatched && l.onlyFirstSeen(k):
			parts = append(parts, "host key is the one first seen ("+firstSeen+")")
		case k.Pin == sshpolicy.PinMatched:
			parts = append(parts, "host key matches its pin")
		}
	}
	if result.Auth != nil && result.Auth.OK {
		parts = append(parts, "login as "+result.Auth.User+" accepted")
	}
	return parts
}
