package watch

import (
	"context"
	"math/big"
	"net"
	"net/http"
	"net/netip"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
	"allclear/internal/subsystem"
)

func tlsDrills() []subsystem.Drill {
	return []subsystem.Drill{
		drillOf(CodeDNS, tlsName),
		drillOf(CodeTCP, tlsDoor),
		drillOf(CodeProxy, tlsProxy),
		drillOf(CodeTLS, tlsForeign),
		drillOf(CodeClientCert, tlsRevoked),
		drillOf(CodeHTTP, tlsAnswer),
	}
}

// tlsLab is a server of the lab with the target that watches it.
type tlsLab struct {
	server *lab.TLSServer
	target netdiag.Target
}

// newTLSLab starts a healthy server with a certificate of the lab's authority.
func newTLSLab(l *lab.Lab, o lab.TLSOptions) (*tlsLab, error) {
	server, err := l.TLS(o)
	if err != nil {
		return nil, err
	}
	return &tlsLab{server: server, target: netdiag.Target{
		Address: server.Addr(), ServerName: "lab.test", HostsFile: "-", Roots: l.CA().PEM,
		Timeouts: netdiag.Timeouts{Total: drillTimeout, TCP: drillTimeout / 2, TLS: drillTimeout / 2, HTTP: drillTimeout / 2},
	}}, nil
}

// rig is the check as production makes it.
func (t *tlsLab) rig(l *lab.Lab, broken, whole func(context.Context) error) rig {
	item := TLS{
		Name: l.Resource("tls"), Address: t.target.Address, Every: drillEvery, Timeout: drillTimeout,
		Target: func() (netdiag.Target, error) { return t.target, nil },
	}
	return rig{check: tlsCheck(item), broken: broken, whole: whole}
}

// become changes the server's switches for connections from now on.
func (t *tlsLab) become(change func(*lab.TLSOptions)) func(context.Context) error {
	return atOnce(func() { t.server.Set(change) })
}

// tlsName reaches the server by a name that the lab's DNS server knows, and
// takes the name away.
func tlsName(_ context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{})
	if err != nil {
		return rig{}, err
	}
	hosts := map[string][]netip.Addr{"lab.test": {netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	names, err := l.DNS(lab.DNSOptions{Hosts: hosts})
	if err != nil {
		return rig{}, err
	}
	_, port, err := net.SplitHostPort(t.server.Addr())
	if err != nil {
		return rig{}, err
	}
	t.target.Address = net.JoinHostPort("lab.test", port)
	t.target.Resolvers, t.target.Answers = []string{names.Addr()}, netdiag.AnswersAny
	return t.rig(l,
		atOnce(func() { names.Set(func(o *lab.DNSOptions) { o.Hosts = nil }) }),
		atOnce(func() { names.Set(func(o *lab.DNSOptions) { o.Hosts = hosts }) })), nil
}

// tlsDoor closes the port in front of the server.
func tlsDoor(ctx context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{})
	if err != nil {
		return rig{}, err
	}
	d, err := newDoor(ctx, l, t.server.Addr())
	if err != nil {
		return rig{}, err
	}
	t.target.Address = d.addr
	return t.rig(l, d.shut, d.open), nil
}

// tlsProxy makes the proxy on the way want credentials.
func tlsProxy(_ context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{})
	if err != nil {
		return rig{}, err
	}
	proxy, err := l.Proxy(lab.ProxyOptions{})
	if err != nil {
		return rig{}, err
	}
	t.target.Proxy = "http://" + proxy.Addr()
	return t.rig(l,
		atOnce(func() {
			proxy.Set(func(o *lab.ProxyOptions) { o.Status, o.Scheme = http.StatusProxyAuthRequired, "Basic" })
		}),
		atOnce(func() { proxy.Set(func(o *lab.ProxyOptions) { o.Status, o.Scheme = 0, "" }) })), nil
}

// tlsForeign makes the server show a certificate of an authority that nobody
// trusts.
func tlsForeign(_ context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{})
	if err != nil {
		return rig{}, err
	}
	foreign, err := l.NewCA("an authority that nobody trusts")
	if err != nil {
		return rig{}, err
	}
	pair, err := foreign.Issue(lab.CertOptions{})
	if err != nil {
		return rig{}, err
	}
	return t.rig(l,
		t.become(func(o *lab.TLSOptions) { o.Pair = pair }),
		t.become(func(o *lab.TLSOptions) { o.Pair = nil })), nil
}

// tlsRevoked makes the server refuse our certificate as revoked.
func tlsRevoked(_ context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{l.CA()}})
	if err != nil {
		return rig{}, err
	}
	own, err := l.Issue(lab.CertOptions{CommonName: "drill", Client: true})
	if err != nil {
		return rig{}, err
	}
	t.target.ClientCert, t.target.ClientKey = own.CertPEM, own.KeyPEM
	return t.rig(l,
		t.become(func(o *lab.TLSOptions) { o.Revoked = []*big.Int{own.Leaf.SerialNumber} }),
		t.become(func(o *lab.TLSOptions) { o.Revoked = nil })), nil
}

// tlsAnswer makes the service behind the endpoint answer with an error.
func tlsAnswer(_ context.Context, l *lab.Lab) (rig, error) {
	t, err := newTLSLab(l, lab.TLSOptions{})
	if err != nil {
		return rig{}, err
	}
	t.target.HTTP = &netdiag.HTTPCheck{Path: "/healthz", ExpectStatus: http.StatusOK}
	return t.rig(l,
		t.become(func(o *lab.TLSOptions) { o.Status = http.StatusServiceUnavailable }),
		t.become(func(o *lab.TLSOptions) { o.Status = 0 })), nil
}
