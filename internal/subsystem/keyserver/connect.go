package keyserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/kmip"
)

// materialError says that a file which a connection needs could not be read here.
type materialError struct {
	which string // ca, client_cert, client_key
	where string
	err   error
}

func (e *materialError) Error() string {
	return fmt.Sprintf("read the %s %s: %v", e.which, e.where, e.err)
}

func (e *materialError) Unwrap() error { return e.err }

// target reads what a connection needs, now.
func (s *Server) target(g *Group, resolvers []string) (netdiag.Target, error) {
	t := netdiag.Target{
		Address: s.Address, ServerName: s.ServerName, Resolvers: resolvers, Answers: netdiag.AnswersAny,
		MinTLS: g.MinTLS, ALPN: []string{}, Ciphers: g.ciphers(), Timeouts: netdiag.Timeouts{
			Total: g.Timeout, DNS: min(g.Timeout, 1500*time.Millisecond), TCP: min(g.Timeout, 3*time.Second),
			TLS: g.Timeout / 2, Retry: g.Timeout / 10, Quiet: g.Timeout / 4,
		},
	}
	if pin, ok := strings.CutPrefix(s.Pin, "SHA256:"); ok {
		t.Pins = []string{"sha256:" + pin}
	}
	for _, m := range []struct {
		which string
		from  Material
		into  *[]byte
	}{{"ca", s.CA, &t.Roots}, {"client_cert", s.ClientCert, &t.ClientCert}, {"client_key", s.ClientKey, &t.ClientKey}} {
		b, err := m.from.read()
		if err != nil {
			return t, &materialError{m.which, m.from.Where, err}
		}
		*m.into = b
	}
	return t, nil
}

// dialer makes connections to a server for a client of its own. The first
// connection after one that broke before any answer waits for the server's word
// on our certificate: under TLS 1.3 that is where a refusal shows.
type dialer struct {
	server    *Server
	group     *Group
	resolvers []string
	answered  atomic.Bool // an exchange went well since the last connection
}

// dial makes one connection.
func (d *dialer) dial(ctx context.Context, m netdiag.Manner) (net.Conn, *netdiag.Report, error) {
	t, err := d.server.target(d.group, d.resolvers)
	if err != nil {
		return nil, nil, err
	}
	conn, rep := netdiag.Connect(ctx, t, m)
	switch {
	case conn == nil:
		return nil, rep, &netdiag.Error{Report: rep}
	case rep.TLS == nil || !rep.TLS.ClientCertSent:
		_ = conn.Close() // nothing was sent on it
		return nil, rep, &netdiag.Error{Report: notAsked(rep)}
	}
	return conn, rep, nil
}

// causeNotAsked is a cause that only key servers have.
const causeNotAsked netdiag.Cause = "client-cert-not-asked"

// notAsked turns a connection on which our certificate was not shown into a
// refusal by us: such a server gives keys to anybody.
func notAsked(rep *netdiag.Report) *netdiag.Report {
	out := *rep
	out.OK, out.Step = false, netdiag.StepClientCert
	if i := slices.IndexFunc(rep.Warnings, func(w netdiag.Finding) bool { return w.Step == netdiag.StepClientCert }); i >= 0 {
		out.Cause, out.Detail = rep.Warnings[i].Cause, rep.Warnings[i].Detail
		return &out
	}
	if rep.TLS != nil && rep.TLS.ClientCertAsked {
		out.Cause, out.Detail = netdiag.ClientCertRequired, "it asks for one and none is configured"
		return &out
	}
	out.Cause, out.Detail = causeNotAsked, "the server does not ask for a client certificate: it would give keys to anybody"
	return &out
}

// client makes a client that is connected and has agreed on a version.
func (d *dialer) client(ctx context.Context, versions []kmip.Version) (*kmip.Client, error) {
	conn, _, err := d.dial(ctx, netdiag.Eager)
	if err != nil {
		return nil, err
	}
	c := d.wrap(conn, versions)
	if _, err := c.Negotiate(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	d.answered.Store(true)
	return c, nil
}

// wrap makes a client of a connection.
func (d *dialer) wrap(conn net.Conn, versions []kmip.Version) *kmip.Client {
	d.answered.Store(false)
	return kmip.NewClient(conn, kmip.Options{
		Versions: versions, Timeout: d.group.Timeout,
		Redial: func(ctx context.Context) (net.Conn, error) {
			m := netdiag.Patient
			if d.answered.Load() {
				m = netdiag.Eager
			}
			conn, _, err := d.dial(ctx, m)
			if err == nil && m == netdiag.Patient {
				d.answered.Store(true) // the server had its say
			}
			return conn, err
		},
	})
}

// connect does the first five steps.
func (v *validation) connect(ctx context.Context) bool {
	start := time.Now()
	d := &dialer{server: v.server, group: v.group, resolvers: v.resolvers}
	conn, rep, err := d.dial(ctx, netdiag.Eager)
	v.res.connect = time.Since(start)
	if bad, ok := errors.AsType[*materialError](err); ok {
		v.unreadable(bad)
		return false
	}
	if bad, ok := errors.AsType[*netdiag.Error](err); ok {
		return v.unconnected(bad.Report)
	}
	v.judgeCertificates(rep)
	v.ladderSteps(rep)
	v.res.ladder = rep
	v.res.times = append(v.res.times, exchange{"connect", v.res.connect})
	v.well(verdict{code: CodeUnreachable}, verdict{code: CodeTLSFailed})
	versions := slices.DeleteFunc(v.group.versions(), func(o kmip.Version) bool { return o < v.leastKMIP() })
	v.client = d.wrap(conn, versions)
	return true
}

// unreadable judges a server to which nothing was sent because a file is missing
// here. Without our certificate it would refuse us; without the authority we
// could not trust it.
func (v *validation) unreadable(bad *materialError) {
	if bad.which == "ca" {
		v.fail(finding{
			code: CodeTLSFailed, qualifier: "not-pem", cause: "ca-unreadable", step: stepCertificate, err: bad,
			sense: map[string]string{"file": bad.where},
		})
		return
	}
	v.fail(finding{
		code: CodeClientNotAccepted, qualifier: "unreadable", cause: string(netdiag.OwnCertUnreadable), step: stepClient, err: bad,
		sense: map[string]string{"file": bad.where},
	})
}

// stepOf maps the rungs of netdiag's ladder to the steps of a validation.
func stepOf(name netdiag.StepName) int {
	switch name {
	case netdiag.StepLocal, netdiag.StepDNS:
		return stepAddress
	case netdiag.StepTCP:
		return stepConnect
	case netdiag.StepTransport, netdiag.StepNegotiate:
		return stepTLS
	case netdiag.StepServerCert:
		return stepCertificate
	case netdiag.StepClientCert:
		return stepClient
	}
	return 0
}

// ladderSteps files the rungs that were climbed. Of several addresses one that
// answers is enough.
func (v *validation) ladderSteps(rep *netdiag.Report) {
	for _, s := range rep.Steps {
		n := stepOf(s.Name)
		if n == 0 || s.Outcome == netdiag.NotTried || s.Outcome == netdiag.Failed {
			continue
		}
		detail := s.Detail
		if n == stepConnect && s.Address != "" {
			detail = "connected to " + s.Address
		}
		if n == stepClient && rep.TLS != nil && rep.TLS.Acceptance == "first-read" {
			detail = "sent; the server's first answer will tell"
		}
		v.step(n, outcomeOK, detail, time.Duration(s.DurationMS*float64(time.Millisecond)))
	}
}

// unconnected judges a ladder that was not climbed to its end.
func (v *validation) unconnected(rep *netdiag.Report) bool {
	v.res.ladder = rep
	v.judgeCertificates(rep)
	switch rep.Cause {
	case netdiag.Cancelled:
		v.res.cancel = true
		return false
	case netdiag.ClockBeforeFloor:
		v.res.blind = (&netdiag.Error{Report: rep}).Error() // our own clock stands in the way
		return false
	}
	code, qualifier := placed(rep.Cause)
	step := stepOf(rep.Step)
	if own(rep.Cause) {
		step = stepClient
	} else {
		v.ladderSteps(rep)
	}
	if rep.Cause == netdiag.BadTarget { // a root that is no PEM: everything else was checked when it was defined
		step = stepCertificate
	}
	switch code {
	case CodeTLSFailed:
		if step > stepAddress && rep.Cause != netdiag.BadTarget {
			v.well(verdict{code: CodeUnreachable})
		}
	case CodeClientNotAccepted:
		if !own(rep.Cause) {
			v.well(verdict{code: CodeUnreachable}, verdict{code: CodeTLSFailed})
		}
	}
	f := finding{
		code: code, qualifier: qualifier, cause: string(rep.Cause), step: step, err: &netdiag.Error{Report: rep},
		sense: v.connectionSense(rep), remedy: connectionRemedies(v.server, rep.Cause),
	}
	if code == CodeUnreachable {
		v.unreachableMore(&f, rep)
	}
	v.fail(f)
	return false
}

// own claims that the cause is our own certificate, seen before anything was sent.
func own(c netdiag.Cause) bool {
	switch c {
	case netdiag.OwnCertUnreadable, netdiag.OwnCertKeyMismatch, netdiag.OwnCertExpired, netdiag.OwnCertNotYetValid:
		return true
	}
	return false
}

// placed is the fault that a cause belongs to, with its qualifier.
func placed(c netdiag.Cause) (fault.Code, string) {
	switch c {
	case netdiag.BadTarget:
		return CodeTLSFailed, "not-pem"
	case causeNotAsked:
		return CodeTLSFailed, "not-asked"
	case netdiag.NoAddressV4:
		return CodeUnreachable, "no-source-address-v4"
	case netdiag.NoAddressV6:
		return CodeUnreachable, "no-source-address-v6"
	case netdiag.TLSReset:
		return CodeUnreachable, "tls-reset"
	case netdiag.TLSClosed:
		return CodeUnreachable, "tls-closed"
	case netdiag.ServerCertExpired:
		return CodeTLSFailed, "server-expired"
	case netdiag.ClientCertPurpose:
		return CodeClientNotAccepted, "eku"
	}
	switch c.Code() {
	case netdiag.CodeDNS:
		return CodeUnreachable, "dns"
	case netdiag.CodeTCP:
		return CodeUnreachable, c.Qualifier()
	case netdiag.CodeClientCert:
		return CodeClientNotAccepted, c.Qualifier()
	}
	return CodeTLSFailed, c.Qualifier()
}

// connectionSense is the evidence of a ladder that was not climbed to its end.
func (v *validation) connectionSense(rep *netdiag.Report) map[string]string {
	sense := map[string]string{"target": rep.Target}
	for k, text := range rep.Sense() {
		if slices.Contains(connectionKeys, k) {
			sense[k] = text
		}
	}
	var tried []string
	for _, s := range rep.Steps {
		if s.Name == netdiag.StepTCP && s.Address != "" {
			tried = append(tried, s.Address)
		}
	}
	if len(tried) > 0 {
		slices.Sort(tried)
		sense["addresses_tried"] = joined(tried)
	}
	return sense
}

// unreachableMore adds what an operator of seed 002 is asked for: the addresses of
// both ends and the state of the links.
func (v *validation) unreachableMore(f *finding, rep *netdiag.Report) {
	if v.sole {
		f.severity = fault.Critical
	}
	f.sense["source"] = source(rep)
	links, down := linkStates()
	f.sense["links"] = links
	switch rep.Cause {
	case netdiag.NoRoute, netdiag.NoAddressV4, netdiag.NoAddressV6, netdiag.TCPHostUnreachable, netdiag.TCPNetUnreachable, netdiag.TCPTimeout:
		if down {
			f.qualifier = "link-down"
		}
	}
}

// source is the address from which this node would speak to the first address of
// the target: "none" when it has none of the family, "" when the target's is not
// known.
func source(rep *netdiag.Report) string {
	to := rep.Target
	for _, s := range rep.Steps {
		if s.Name == netdiag.StepTCP && s.Address != "" {
			to = s.Address
			break
		}
	}
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return ""
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)) // looks up the route, nothing is sent
	if err != nil {
		return "none"
	}
	defer c.Close() // nothing was sent on it
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}

// linkStates tells of every interface but loopback whether its link is up, and
// whether all are down.
func linkStates() (text string, down bool) {
	all, err := net.Interfaces()
	if err != nil {
		return "unknown", false
	}
	var names []string
	up := 0
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		state := "down"
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0 {
			state = "up"
			up++
		}
		names = append(names, i.Name+" "+state)
	}
	slices.Sort(names)
	return joined(names[:min(len(names), 32)]), len(names) > 0 && up == 0
}

// connectionRemedies are the steps that mend a cause, with the server's own names.
func connectionRemedies(s *Server, c netdiag.Cause) []fault.Remedy {
	var steps []fault.Remedy
	if c == netdiag.TLSCipher {
		steps = append(steps, fault.Remedy{
			Text:   "Give the server a certificate with an EC key. Only where that cannot be, as with an old PyKMIP server with an RSA key, set legacy_tls in the group.",
			Impact: "with legacy_tls, whoever gets the server's key can read what was recorded before",
		})
	}
	for _, r := range c.Remedies() {
		if strings.HasPrefix(r.Command, "allclear probe tls") || r.Command == "allclear verify" {
			r.Command = ""
		}
		if r.Text == "Prove the repair: climb the ladder again." {
			continue
		}
		if r.Impact == "" {
			r.Impact = "none beyond the step itself"
		}
		steps = append(steps, fault.Remedy{Text: r.Text, Impact: r.Impact, Command: r.Command})
	}
	if len(steps) == 0 {
		return nil // the catalogue knows
	}
	return append(steps, testAgain(s.Name))
}
