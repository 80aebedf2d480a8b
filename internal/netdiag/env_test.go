package netdiag_test

import (
	"net/netip"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

// env is one lab and what the cases need of it.
type env struct {
	t       *testing.T
	lab     *lab.Lab
	foreign *lab.CA // an authority that nobody trusts
}

func newEnv(t *testing.T) *env {
	t.Helper()
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	foreign, err := l.NewCA("foreign authority")
	if err != nil {
		t.Fatal(err)
	}
	return &env{t: t, lab: l, foreign: foreign}
}

// must unwraps a result that cannot fail in a working lab.
func must[T any](v T, err error) func(*env) T {
	return func(e *env) T {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
		return v
	}
}

func (e *env) tls(o lab.TLSOptions) *lab.TLSServer { return must(e.lab.TLS(o))(e) }
func (e *env) issue(o lab.CertOptions) *lab.Pair   { return must(e.lab.Issue(o))(e) }
func (e *env) proxy(o lab.ProxyOptions) *lab.Proxy { return must(e.lab.Proxy(o))(e) }
func (e *env) dns(o lab.DNSOptions) *lab.DNSServer { return must(e.lab.DNS(o))(e) }
func (e *env) fault(up string, o lab.FaultOptions) *lab.FaultProxy {
	return must(e.lab.Fault(up, o))(e)
}

// patient gives every step so long that only a case that means it runs into
// it, however busy the machine is.
var patient = netdiag.Timeouts{
	Total: 90 * time.Second, DNS: 40 * time.Second, TCP: 30 * time.Second, Proxy: 30 * time.Second,
	TLS: 30 * time.Second, Retry: 30 * time.Second, Quiet: 30 * time.Second, HTTP: 30 * time.Second,
}

// target is the healthy target at addr.
func (e *env) target(addr string) netdiag.Target {
	return netdiag.Target{
		Address: addr, ServerName: "lab.test", HostsFile: "-", Roots: e.lab.CA().PEM,
		SystemRoots: e.foreign.PEM, Timeouts: patient,
	}
}

// served is the healthy target at a TLS server with these switches.
func (e *env) served(o lab.TLSOptions) netdiag.Target { return e.target(e.tls(o).Addr()) }

// asking is served with a request on top.
func (e *env) asking(o lab.TLSOptions, h netdiag.HTTPCheck) netdiag.Target {
	t := e.served(o)
	t.HTTP = &h
	return t
}

// withCert gives t a client certificate.
func withCert(t netdiag.Target, p *lab.Pair) netdiag.Target {
	t.ClientCert, t.ClientKey = p.CertPEM, p.KeyPEM
	return t
}

// client issues a good client certificate.
func (e *env) client() *lab.Pair {
	return e.issue(lab.CertOptions{CommonName: "client", Client: true, NotBefore: time.Now().Add(-time.Hour)})
}

var (
	v4 = netip.MustParseAddr("127.0.0.1")
	v6 = netip.MustParseAddr("::1")
)

// hosts is a DNS zone with lab.test in it.
func hosts(addrs ...netip.Addr) map[string][]netip.Addr {
	return map[string][]netip.Addr{"lab.test": addrs}
}

// named is a healthy target by name: port of a TLS server, addresses of DNS.
func (e *env) named(o lab.TLSOptions, resolvers ...lab.DNSOptions) netdiag.Target {
	addr := netip.MustParseAddrPort(e.tls(o).Addr())
	t := e.target("lab.test:" + portOf(addr))
	t.Answers = netdiag.AnswersAny
	for _, r := range resolvers {
		t.Resolvers = append(t.Resolvers, e.dns(r).Addr())
	}
	return t
}
