package watch_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/netdiag"
	"allclear/internal/subsystem/watch"
)

var ladder = []fault.Code{
	watch.CodeDNS, watch.CodeTCP, watch.CodeProxy, watch.CodeTLS, watch.CodeClientCert, watch.CodeHTTP,
}

// endpoint is the item that watches target.
func endpoint(target netdiag.Target) watch.TLS {
	return watch.TLS{
		Name: "hub", Address: target.Address, Every: time.Hour, Timeout: 20 * time.Second,
		Target: func() (netdiag.Target, error) { return target, nil },
	}
}

// tlsTarget is a healthy target at a server with these switches.
func (w *world) tlsTarget(o lab.TLSOptions) netdiag.Target {
	w.t.Helper()
	s := must(w.lab.TLS(o))(w.t)
	return netdiag.Target{
		Address: s.Addr(), ServerName: "lab.test", HostsFile: "-", Roots: w.lab.CA().PEM,
		Timeouts: netdiag.Timeouts{Total: 20 * time.Second, TCP: 5 * time.Second, TLS: 5 * time.Second, HTTP: 5 * time.Second},
		HTTP:     &netdiag.HTTPCheck{Path: "/healthz"},
	}
}

func (w *world) watchingTLS(target netdiag.Target) string {
	w.t.Helper()
	return w.watching(watch.Options{TLS: []watch.TLS{endpoint(target)}})
}

func TestEveryWayAnEndpointFailsIsToldApart(t *testing.T) {
	past := lab.CertOptions{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Minute)}
	quick := netdiag.Timeouts{Total: 4 * time.Second, DNS: time.Second, TCP: 500 * time.Millisecond, Proxy: time.Second, TLS: 500 * time.Millisecond, Retry: 200 * time.Millisecond, HTTP: 500 * time.Millisecond}
	for name, c := range map[string]struct {
		o         lab.TLSOptions
		change    func(*world, *netdiag.Target)
		code      fault.Code
		qualifier string
	}{
		"no such name": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) { w.resolve(target, lab.DNSOptions{}) }, watch.CodeDNS, "nxdomain"},
		"servfail": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			w.resolve(target, lab.DNSOptions{Rcode: dns.RcodeServerFailure})
		}, watch.CodeDNS, "servfail"},
		"sinkhole": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			w.resolve(target, lab.DNSOptions{Hosts: map[string][]netip.Addr{"lab.test": {netip.MustParseAddr("127.0.0.1")}}})
		}, watch.CodeDNS, "sinkhole"},
		"refused": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			target.Address = must(w.lab.RefusedAddr())(w.t)
		}, watch.CodeTCP, "refused"},
		"black hole": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			target.Address, target.Timeouts = must(w.lab.BlackHole())(w.t).Addr(), quick
		}, watch.CodeTCP, "timeout"},
		"proxy wants a login": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			target.Proxy = "http://" + must(w.lab.Proxy(lab.ProxyOptions{User: "a", Password: "b"}))(w.t).Addr()
		}, watch.CodeProxy, "auth"},
		"proxy forbids": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			target.Proxy = "http://" + must(w.lab.Proxy(lab.ProxyOptions{Status: 403}))(w.t).Addr()
		}, watch.CodeProxy, "blocked"},
		"proxy without a name": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) {
			target.Proxy = "http://proxy.lab.test:3128"
			target.Resolvers = []string{must(w.lab.DNS(lab.DNSOptions{}))(w.t).Addr()}
		}, watch.CodeProxy, "unreachable"},
		"hangs up":    {lab.TLSOptions{Manner: lab.CloseAfterHello}, nil, watch.CodeTLS, "closed"},
		"resets":      {lab.TLSOptions{Manner: lab.ResetAfterHello}, nil, watch.CodeTLS, "reset"},
		"silent":      {lab.TLSOptions{Manner: lab.Silent}, func(_ *world, target *netdiag.Target) { target.Timeouts = quick }, watch.CodeTLS, "silent"},
		"not tls":     {lab.TLSOptions{Manner: lab.Garbage, Banner: "220 mail ESMTP\r\n"}, nil, watch.CodeTLS, "not-tls"},
		"old":         {lab.TLSOptions{MaxVersion: 0x0301}, nil, watch.CodeTLS, "version"},
		"wrong name":  {lab.TLSOptions{}, func(_ *world, target *netdiag.Target) { target.ServerName = "other.test" }, watch.CodeTLS, "name"},
		"expired":     {lab.TLSOptions{}, func(w *world, target *netdiag.Target) { w.reissue(target, past) }, watch.CodeTLS, "expired"},
		"self-signed": {lab.TLSOptions{}, func(w *world, target *netdiag.Target) { w.reissue(target, lab.CertOptions{SelfSigned: true}) }, watch.CodeTLS, "self-signed"},
		"wants ours":  {lab.TLSOptions{Client: lab.ClientAny}, nil, watch.CodeClientCert, "required"},
		"refuses ours": {lab.TLSOptions{Client: lab.ClientAny, ClientAlert: lab.AlertAccessDenied}, func(w *world, target *netdiag.Target) {
			own := must(w.lab.Issue(lab.CertOptions{Client: true}))(w.t)
			target.ClientCert, target.ClientKey = own.CertPEM, own.KeyPEM
		}, watch.CodeClientCert, "rejected"},
		"ours is past": {lab.TLSOptions{Client: lab.ClientAny}, func(w *world, target *netdiag.Target) {
			own := must(w.lab.Issue(lab.CertOptions{Client: true, NotBefore: past.NotBefore, NotAfter: past.NotAfter}))(w.t)
			target.ClientCert, target.ClientKey = own.CertPEM, own.KeyPEM
		}, watch.CodeClientCert, "expired"},
		"500":       {lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Status: 500}}, nil, watch.CodeHTTP, "5xx"},
		"404":       {lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Status: 404}}, nil, watch.CodeHTTP, "404"},
		"truncated": {lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Truncate: true}}, nil, watch.CodeHTTP, "truncated"},
		"hangs":     {lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Hang: true}}, func(_ *world, target *netdiag.Target) { target.Timeouts = quick }, watch.CodeHTTP, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			target := w.tlsTarget(c.o)
			if c.change != nil {
				c.change(w, &target)
			}
			order := ladder
			switch name {
			case "ours is past", "proxy without a name":
				order = nil // nothing of the endpoint was reached, and a name is not the endpoint's
			}
			w.found(w.watchingTLS(target), "hub", order, c.code, c.qualifier)
		})
	}
}

// resolve makes target a name that a DNS server with these switches answers for.
func (w *world) resolve(target *netdiag.Target, o lab.DNSOptions) {
	w.t.Helper()
	target.Address = "lab.test:443"
	target.Resolvers = []string{must(w.lab.DNS(o))(w.t).Addr()}
}

// reissue replaces target's server by one with such a certificate.
func (w *world) reissue(target *netdiag.Target, o lab.CertOptions) {
	w.t.Helper()
	target.Address = must(w.lab.TLS(lab.TLSOptions{Pair: must(w.lab.Issue(o))(w.t)}))(w.t).Addr()
}

func TestAHealthyEndpointIsProvedToTheTop(t *testing.T) {
	w := newWorld(t)
	target := w.tlsTarget(lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{w.lab.CA()}})
	own := must(w.lab.Issue(lab.CertOptions{Client: true}))(t)
	target.ClientCert, target.ClientKey = own.CertPEM, own.KeyPEM
	last := w.look(w.watchingTLS(target), fault.TriggerCreated)
	for code, want := range map[fault.Code]fault.Verdict{
		watch.CodeDNS: fault.NotApplicable, watch.CodeTCP: fault.Absent, watch.CodeProxy: fault.NotApplicable,
		watch.CodeTLS: fault.Absent, watch.CodeClientCert: fault.Absent, watch.CodeHTTP: fault.Absent,
		watch.CodeCertExpired + "@certificate": fault.Absent, watch.CodeCertExpiring + "@certificate": fault.Absent,
	} {
		if got := verdicts(last, "hub")[string(code)]; got != want {
			t.Errorf("%s is %v, want %v", code, got, want)
		}
	}
	said := strings.Join(last.Proved, "")
	for _, want := range []string{"TLS 1.3", "lab.test", "client certificate accepted", "answer 200"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not proved: %q", want, said)
		}
	}
}

// A step that failed does not say anything of those above it, not even that
// they do not apply: that would clear their faults.
func TestAFailingLadderClearsNothingAboveIt(t *testing.T) {
	w := newWorld(t)
	target := w.tlsTarget(lab.TLSOptions{})
	s := must(w.lab.TLS(lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Status: 503}}))(t)
	target.Address = s.Addr()
	id := w.watchingTLS(target)
	w.look(id, fault.TriggerTimer)
	s.Set(func(o *lab.TLSOptions) { o.Manner = lab.CloseAfterHello })
	last := w.look(id, fault.TriggerTimer)
	if got := verdicts(last, "hub"); got[string(watch.CodeTLS)] != fault.Present || got[string(watch.CodeHTTP)] != fault.Unknown {
		t.Errorf("verdicts %v", got)
	}
	if v, _ := w.view(watch.CodeHTTP, "hub"); !v.Active {
		t.Error("the fault of the answer was cleared without an answer")
	}
}

func TestAnOwnCredentialThatCannotBeReadSaysNothingOfTheEndpoint(t *testing.T) {
	w := newWorld(t)
	item := endpoint(w.tlsTarget(lab.TLSOptions{}))
	item.Target = func() (netdiag.Target, error) {
		return netdiag.Target{}, fmt.Errorf("%w: open c.pem: no such file", watch.ErrOwnCertificate)
	}
	last := w.look(w.watching(watch.Options{TLS: []watch.TLS{item}}), fault.TriggerTimer)
	for code, v := range verdicts(last, "hub") {
		if want := fault.Unknown; code == string(watch.CodeClientCert) {
			if v != fault.Present {
				t.Errorf("%s is %v, want present", code, v)
			}
		} else if v != want {
			t.Errorf("%s is %v, want %v", code, v, want)
		}
	}
}

func TestRootsThatCannotBeReadAreNobodysFault(t *testing.T) {
	w := newWorld(t)
	item := endpoint(w.tlsTarget(lab.TLSOptions{}))
	item.Target = func() (netdiag.Target, error) { return netdiag.Target{}, errors.New("open ca.pem: no such file") }
	last := w.look(w.watching(watch.Options{TLS: []watch.TLS{item}}), fault.TriggerTimer)
	for _, j := range last.Judgements {
		if j.Verdict != fault.Unknown {
			t.Errorf("%s is %v", j.Key, j.Verdict)
		}
	}
	if v := last.Judgements[0]; !strings.Contains(v.Why, "ca.pem") {
		t.Errorf("%s is unknown because %q, which does not name the file", v.Key, v.Why)
	}
}

func TestABadTargetIsNobodysFault(t *testing.T) {
	w := newWorld(t)
	target := w.tlsTarget(lab.TLSOptions{})
	target.Pins = []string{"sha256:nonsense"}
	last := w.look(w.watchingTLS(target), fault.TriggerTimer)
	for _, j := range last.Judgements {
		if j.Verdict != fault.Unknown || j.Why == "" {
			t.Errorf("%s is %v because %q", j.Key, j.Verdict, j.Why)
		}
	}
}

func TestTheCertificateThatAnEndpointShowsIsWatched(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		from, to time.Duration
		code     fault.Code
		severity fault.Severity
	}{
		"90 days, a third left":      {-70 * day, 20 * day, watch.CodeCertExpiring, fault.Warning},
		"90 days, nearly over":       {-85 * day, 5 * day, watch.CodeCertExpiring, fault.Major},
		"90 days, just renewed":      {-10 * day, 80 * day, "", fault.None},
		"six days, just renewed":     {-1 * day, 5 * day, "", fault.None},
		"six days, a third left":     {-5 * day, 1 * day, watch.CodeCertExpiring, fault.Warning},
		"ten years, a month left":    {-3600 * day, 29 * day, watch.CodeCertExpiring, fault.Warning},
		"ten years, two months left": {-3600 * day, 60 * day, "", fault.None},
		"expired":                    {-90 * day, -time.Minute, watch.CodeCertExpired, fault.Critical},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			target := w.tlsTarget(lab.TLSOptions{})
			w.reissue(&target, lab.CertOptions{NotBefore: time.Now().Add(c.from), NotAfter: time.Now().Add(c.to)})
			last := w.look(w.watchingTLS(target), fault.TriggerTimer)
			for _, code := range []fault.Code{watch.CodeCertExpiring, watch.CodeCertExpired} {
				v, _ := w.view(code, "hub/certificate")
				if v.Active != (code == c.code) || v.Active && v.Severity != c.severity {
					t.Errorf("%s active %v severity %v, want %q %v; %v", code, v.Active, v.Severity, c.code, c.severity, verdicts(last, "hub"))
				}
			}
		})
	}
}

// One cause, one fault to tell: TLS fails because the certificate has expired.
func TestAnExpiredCertificateHidesTheFailingHandshake(t *testing.T) {
	w := newWorld(t)
	target := w.tlsTarget(lab.TLSOptions{})
	w.reissue(&target, lab.CertOptions{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	w.look(w.watchingTLS(target), fault.TriggerTimer)
	v, _ := w.view(watch.CodeTLS, "hub")
	if len(v.MaskedBy) != 1 || v.MaskedBy[0] != (fault.Key{Code: watch.CodeCertExpired, Resource: "hub/certificate"}) {
		t.Errorf("active %v, masked by %v", v.Active, v.MaskedBy)
	}
}
