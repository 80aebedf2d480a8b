package watch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

// The verdicts of a finding.
const (
	works   = "works"
	breaks  = "breaks"
	unknown = "unknown"
)

// The kinds of what a finding is about.
const (
	kindSSH = "ssh"
	kindTLS = "tls"
)

// preflightJobs is how many endpoints are asked at once.
const preflightJobs = 32

// Preflight implements subsystem.Preflighter. A change of the SSH policy, or an
// upgrade of the servers, is judged on the newest offer of each server, or on a
// fresh one, without credentials, where there is none; a TLS minimum by a
// handshake with each endpoint. Nothing is changed and no fault is judged.
func (w *Watch) Preflight(ctx context.Context, c wire.Change) []wire.Finding {
	opts := w.options()
	var asks []func() []wire.Finding
	if c.Policy != "" || c.ServerUpgrade {
		for _, item := range opts.SSH {
			asks = append(asks, func() []wire.Finding { return w.foreseeSSH(ctx, &opts, item, c) })
		}
	}
	if c.MinTLS != "" {
		for _, item := range opts.TLS {
			asks = append(asks, func() []wire.Finding { return []wire.Finding{foreseeTLS(ctx, item, c.MinTLS)} })
		}
	}
	found := make([][]wire.Finding, len(asks))
	var g errgroup.Group
	g.SetLimit(preflightJobs)
	for i, ask := range asks {
		g.Go(func() error { found[i] = ask(); return nil })
	}
	_ = g.Wait() // no ask returns an error
	return slices.Concat(found...)
}

// finding is one with nothing foreseen yet: its lists are empty, not null.
func finding(target, kind, basis, why string, args ...any) wire.Finding {
	return wire.Finding{
		Target: target, Kind: kind, Verdict: unknown, Basis: basis, Why: fmt.Sprintf(why, args...),
		Missing: []string{}, Remedy: []string{},
	}
}

// policy finds a policy by its name.
func (o *Options) policy(name string) (sshpolicy.Policy, error) {
	if p, ok := o.Policies[name]; ok {
		return p, nil
	}
	for _, item := range o.SSH {
		if item.Policy.Name == name {
			return item.Policy, nil
		}
	}
	return sshpolicy.Builtin(name)
}

// foreseeSSH says what a new policy, and what an upgrade of the server, would
// do to one server.
func (w *Watch) foreseeSSH(ctx context.Context, opts *Options, item SSH, c wire.Change) []wire.Finding {
	policy := item.Policy
	if c.Policy != "" {
		var err error
		if policy, err = opts.policy(c.Policy); err != nil {
			return []wire.Finding{finding(item.Name, kindSSH, "", "%v", err)}
		}
	}
	result, basis := w.offer(ctx, &item)
	if result.Offer == nil {
		return []wire.Finding{finding(item.Name, kindSSH, basis, "the server's offer is not known: %s", result.Error)}
	}
	var all []wire.Finding
	today, _ := sshpolicy.Predict(result, policy) // the offer is there
	if c.Policy != "" {
		all = append(all, foreseen(item.Name, basis, today))
	}
	if c.ServerUpgrade {
		all = append(all, foreseeUpgrade(item.Name, basis, result, policy, today))
	}
	return all
}

// offer is the newest one read, or a fresh one where there is none; basis says
// which.
func (w *Watch) offer(ctx context.Context, item *SSH) (result sshpolicy.Result, basis string) {
	if s, ok := w.sighted(item); ok {
		return s.result, "the look of " + s.at.UTC().Format(time.RFC3339)
	}
	result = sshpolicy.Probe(ctx, sshpolicy.Target{Name: item.Name, Addr: item.Address}, sshpolicy.Options{
		Policy: item.Policy, OfferOnly: true, Timeout: item.timeout(), Dial: item.Dial,
	})
	w.remember(&result)
	return result, "asked now, without credentials"
}

// foreseeUpgrade says what the next major release of the server's software
// would do. What fails today and still fails then does not work.
func foreseeUpgrade(name, basis string, result sshpolicy.Result, policy sshpolicy.Policy, today sshpolicy.Prediction) wire.Finding {
	later, known := sshpolicy.PredictUpgrade(result, policy)
	if !known {
		return finding(name, kindSSH, basis, "nothing is known of what comes after %s", result.Software)
	}
	f := foreseen(name, basis+"; the defaults of "+later.Next, later)
	if len(later.Missing) > 0 && !later.Breaks {
		f.Verdict, f.Remedy = breaks, lines(today.Remedy)
	}
	return f
}

func foreseen(name, basis string, p sshpolicy.Prediction) wire.Finding {
	f := finding(name, kindSSH, basis, "%s", p.Reason)
	f.Verdict = works
	if p.Breaks {
		f.Verdict, f.Remedy = breaks, lines(p.Remedy)
	}
	for _, g := range p.Missing {
		if name := string(g.Category); !slices.Contains(f.Missing, name) {
			f.Missing = append(f.Missing, name)
		}
	}
	return f
}

// lines are the steps in order; where a step is a line to paste, only the line.
func lines(steps []sshpolicy.Remedy) []string {
	all := make([]string, 0, len(steps))
	for _, s := range steps {
		switch {
		case s.Line != "":
			all = append(all, s.Line)
		case s.Command != "":
			all = append(all, s.Text+" "+s.Command)
		default:
			all = append(all, s.Text)
		}
	}
	return all
}

// foreseeTLS says whether an endpoint can be used with nothing below low.
func foreseeTLS(ctx context.Context, item TLS, low string) wire.Finding {
	const basis = "a handshake now, without our certificate"
	version, err := netdiag.ParseTLSVersion(low)
	if err != nil {
		return finding(item.Name, kindTLS, "", "%v", err)
	}
	target, err := item.Target()
	if err != nil {
		return finding(item.Name, kindTLS, "", "the item's own files cannot be read: %v", err)
	}
	if target.Plain {
		return finding(item.Name, kindTLS, "", "the endpoint is watched without TLS")
	}
	v := netdiag.ProbeVersion(ctx, target, version)
	switch {
	case v.Accepted:
		f := finding(item.Name, kindTLS, basis, "the server speaks TLS %s", v.Version)
		f.Verdict = works
		return f
	case !v.Reached:
		return finding(item.Name, kindTLS, basis, "no TLS server was reached: %s", reason(v))
	}
	f := finding(item.Name, kindTLS, basis, "the best that the server speaks is TLS %s: %s", v.Best, reason(v))
	f.Verdict, f.Missing, f.Remedy = breaks, []string{"tls-" + low}, minimumLines(low, item.Name)
	return f
}

func reason(v netdiag.VersionResult) string {
	text := v.Cause.Text()
	if v.Detail != "" {
		text += ": " + v.Detail
	}
	return text
}

// minimumLines are the settings that give common servers a TLS version. Which
// one it is cannot be seen from outside.
func minimumLines(low, name string) []string {
	all := []string{
		"nginx: ssl_protocols TLSv1.2 TLSv1.3;",
		"Apache httpd: SSLProtocol -all +TLSv1.2 +TLSv1.3",
		"HAProxy: ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3",
	}
	if low == "1.3" {
		all = append(all, "TLS 1.3 needs OpenSSL 1.1.1, GnuTLS 3.6.5, Schannel of Windows Server 2022, Java 8u261 or Go 1.12 at the server: upgrade it where the line is refused")
	}
	return append(all, fmt.Sprintf("until then keep min_tls of %s in the configuration of allclear as it is", name))
}
