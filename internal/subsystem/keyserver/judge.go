package keyserver

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/wire"
	"allclear/kmip"
)

// The limits of keyserver/slow besides the group's own.
const (
	slowSingle = 10 * time.Second
	// calmAfter is how long a server that was slow must not be so (catalogue,
	// keyserver/slow). What an operator asks for is judged by itself.
	calmAfter = 15 * time.Minute
)

// slowness is a validation that found a server slow.
type slowness struct {
	at    time.Time
	sense map[string]string
}

// judgeSpeed compares how long the exchanges took with what is allowed: their 95th
// percentile, and any single one. A server that was slow stays so until it was not
// for a quarter of an hour.
func (v *validation) judgeSpeed() {
	if len(v.res.times) == 0 {
		return // it was not reached: nobody knows how fast it is
	}
	all := slices.Clone(v.res.times)
	slices.SortStableFunc(all, func(a, b exchange) int { return cmp.Compare(a.took, b.took) })
	p95, worst := all[(len(all)*95+99)/100-1], all[len(all)-1]
	sense := map[string]string{
		"limit": v.group.Slow.String(), "operation": worst.op, "p95_ms": millis(p95.took), "worst_ms": millis(worst.took),
		"exchanges": strconv.Itoa(len(all)),
	}
	slow := func(qualifier string, err error) {
		v.res.found = append(v.res.found, finding{code: CodeSlow, qualifier: qualifier, sense: sense, err: err})
	}
	switch {
	case p95.took > v.group.Slow:
		v.res.slow = &slowness{v.res.began, sense}
		slow("p95", fmt.Errorf("one in twenty exchanges with %s takes %s or longer, allowed are %s", v.server.Name, round(p95.took), v.group.Slow))
	case worst.took > max(slowSingle, v.group.Slow):
		v.res.slow = &slowness{v.res.began, sense}
		slow("single", fmt.Errorf("%s took %s for %s, allowed are %s", v.server.Name, round(worst.took), worst.op, slowSingle))
	case v.slow != nil && v.res.began.Sub(v.slow.at) < calmAfter && !asked(v.trigger):
		sense = v.slow.sense
		v.res.slow = v.slow
		slow("p95", fmt.Errorf("%s was slow at %s: one exchange in twenty took %s ms, allowed are %s", v.server.Name, utc(v.slow.at), sense["p95_ms"], v.group.Slow))
	default:
		v.well(verdict{code: CodeSlow})
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// judge turns a result into verdicts. What the climb did not reach stays unknown.
func (res *result) judge(r *check.Report) {
	if res.cancel {
		return
	}
	if res.blind != "" {
		for _, code := range serverCodes() {
			r.Unknown(code, res.blind)
		}
		return
	}
	present := map[verdict]bool{}
	for _, f := range res.found {
		at := within(r, f.sub)
		at.PresentAt(f.severity, f.code, f.err, res.senseOf(&f))
		if len(f.remedy) > 0 {
			at.Advise(f.code, f.remedy...)
		}
		present[verdict{code: f.code, sub: f.sub}] = true
	}
	for _, a := range res.absent {
		if !present[verdict{code: a.code, sub: a.sub}] {
			within(r, a.sub).Absent(a.code)
		}
	}
	for _, n := range res.na {
		within(r, n.sub).NotApplicable(n.code, n.why)
	}
	if res.whole {
		r.Complete()
	}
	if res.whole && len(res.found) == 0 {
		r.Proved("%s", res.proof())
	}
}

func within(r *check.Report, sub string) *check.Report {
	if sub == "" {
		return r
	}
	return r.At(sub)
}

// senseOf is the evidence of a finding without empty values.
func (res *result) senseOf(f *finding) map[string]string {
	sense := map[string]string{}
	for k, text := range f.sense {
		if text != "" {
			sense[k] = text
		}
	}
	if f.qualifier != "" {
		sense["qualifier"] = f.qualifier
	}
	if f.step > 0 {
		sense["step"] = stepNames[f.step-1]
	}
	if f.cause != "" {
		sense["cause"] = f.cause
	}
	return sense
}

// proof is what a validation has shown when nothing is wrong.
func (res *result) proof() string {
	var parts []string
	for _, s := range res.steps {
		if s.Outcome != outcomeNotTried && s.Detail != "" && !strings.HasPrefix(s.Detail, "not needed") && !strings.HasPrefix(s.Detail, "not now") {
			parts = append(parts, s.Detail)
		}
	}
	return strings.Join(parts, "; ")
}

// worst is the finding that people are told of first: the most severe one that
// comes first.
func (res *result) worst() *finding {
	var best *finding
	for i := range res.found {
		f := &res.found[i]
		if f.code != CodeCertExpiring && f.code != CodeSlow && (best == nil || f.step < best.step) {
			best = f
		}
	}
	if best == nil && len(res.found) > 0 {
		best = &res.found[0]
	}
	return best
}

// usable claims that keys can be had from the server: it was reached, and gave
// every key that is used here.
func (res *result) usable() bool {
	for _, f := range res.found {
		switch f.code {
		case CodeSlow, CodeCertExpiring, CodeReplicaLag, CodePrimaryConflict:
		case CodeKMIPError:
			if f.step != stepLife {
				return false
			}
		default:
			return false
		}
	}
	return !res.cancel && res.blind == "" && res.reached >= stepKeys
}

// wire is the result for people.
func (res *result) wire() wire.KMIPProbe {
	p := wire.KMIPProbe{
		Target: res.server.Address, At: res.began, Trigger: string(res.trigger),
		DurationMS: float64(res.took.Microseconds()) / 1000, OK: len(res.found) == 0 && res.blind == "" && !res.cancel,
		Remedy: []fault.Remedy{}, Steps: slices.Clone(res.steps), KMIP: res.facts, Keys: append([]wire.KMIPKeyFound{}, res.keys...),
		Error: res.blind,
	}
	if rep := res.ladder; rep != nil {
		p.Address, p.ServerName, p.TLS = rep.Address, rep.ServerName, wireTLS(rep)
	}
	if f := res.worst(); f != nil {
		p.Code, p.Qualifier, p.Cause, p.Error = string(f.code), f.qualifier, f.cause, f.err.Error()
		if f.step > 0 {
			p.Step = stepNames[f.step-1]
		}
		p.Remedy = res.remedyOf(f)
	}
	return p
}

// remedyOf are the steps that mend a finding, as the fault shows them.
func (res *result) remedyOf(f *finding) []fault.Remedy {
	steps := f.remedy
	if len(steps) == 0 {
		for _, e := range Faults() {
			if e.Code != f.code {
				continue
			}
			steps = e.Variant(f.qualifier).Remedy
			if len(steps) == 0 {
				steps = e.Remedy
			}
		}
	}
	resource := res.server.Name
	if f.sub != "" {
		resource += "/" + f.sub
	}
	sense := res.senseOf(f)
	out := make([]fault.Remedy, 0, len(steps))
	for _, s := range steps {
		s.Text, s.Command = filled(s.Text, resource, sense), filled(s.Command, resource, sense)
		out = append(out, s)
	}
	return out
}

// filled puts the resource and the evidence into a text.
func filled(text, resource string, sense map[string]string) string {
	text = strings.ReplaceAll(text, "{resource}", resource)
	for k, value := range sense {
		text = strings.ReplaceAll(text, "{"+k+"}", value)
	}
	return text
}

func wireTLS(rep *netdiag.Report) *wire.TLSFacts {
	t := rep.TLS
	if t == nil {
		return nil
	}
	w := &wire.TLSFacts{
		Version: t.Version, Cipher: t.Cipher, Group: t.Group, ALPN: t.ALPN, ClientCertAsked: t.ClientCertAsked,
		AcceptedIssuers: t.AcceptedIssuers, Certificates: []wire.Certificate{},
	}
	for _, p := range t.Peers {
		w.Certificates = append(w.Certificates, wireCertificate(p))
	}
	return w
}

// maxText bounds what is told of one text of a server.
const maxText = 256

// cleaned makes a server's text fit for people: printable, on one line, bounded.
func cleaned(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return strings.TrimSpace(s)
}

func cleanedAll(texts []string) []string {
	out := make([]string, 0, min(len(texts), 16))
	for _, t := range texts[:min(len(texts), 16)] {
		out = append(out, cleaned(t))
	}
	return out
}

func joined(all []string) string { return strings.Join(all, ", ") }

func versionList(all []kmip.Version) string { return joined(versionNames(all)) }
