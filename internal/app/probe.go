package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

// UsageError is a mistake in how something was asked for; nothing was done.
type UsageError struct {
	Message string
	Hint    string // may be empty
}

func (e *UsageError) Error() string { return e.Message }

func usagef(hint, format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...), hint}
}

// SSHProbe says how to probe SSH servers.
type SSHProbe struct {
	Policy  string        // a built-in one; "" is the default
	Jobs    int           // connections at a time; <= 0: as many as make sense
	Timeout time.Duration // of each connection; 0: the default
	Prove   bool          // try every common key exchange on its own
	// Permit, if set, is asked before each connection, whatever a name resolved to.
	Permit func(netip.Addr) error
}

// ProbeSSH looks at SSH servers without an agent, a configuration or
// credentials, and tells of each as it is done, with its place in targets. It
// fails with *[UsageError] before it looks at any.
func ProbeSSH(ctx context.Context, targets []string, o SSHProbe, tell func(i int, p wire.SSHProbe)) error {
	if o.Policy == "" {
		o.Policy = sshpolicy.DefaultPolicy
	}
	policy, err := sshpolicy.Builtin(o.Policy)
	if err != nil {
		return usagef("the policies are "+strings.Join(Policies(), ", "), "%v", err)
	}
	parsed := make([]sshpolicy.Target, len(targets))
	for i, text := range targets {
		if parsed[i], err = sshpolicy.ParseTarget(text); err != nil {
			return usagef("", "%v", err)
		}
	}
	for i, r := range sshpolicy.ProbeAll(ctx, parsed, o.Jobs, sshpolicy.Options{Policy: policy, Timeout: o.Timeout, Prove: o.Prove, Dial: permitted(o.Permit)}) {
		tell(i, wireSSH(r))
	}
	return context.Cause(ctx)
}

// EndpointProbe says how to probe TLS and HTTP endpoints. Files are PEM.
type EndpointProbe struct {
	HTTP         bool // targets are URLs, and a request is sent
	ServerName   string
	CA           string // file of the roots; "" is the system's
	Cert, Key    string // files of a client certificate
	MinTLS       string // "1.2" when empty
	Proxy        string
	Method       string // GET when empty
	ExpectStatus int    // any good one when 0
	Jobs         int    // targets at a time; <= 0: 64
	Timeout      time.Duration
	// Permit, if set, is asked before each connection, whatever a name resolved to.
	Permit func(netip.Addr) error
}

const endpointJobs = 64

// ProbeEndpoints climbs the ladder to each endpoint, without an agent or a
// configuration, and tells of each as it is done, with its place in targets.
// tell is never called twice at a time. It fails with *[UsageError] before it
// looks at any.
func ProbeEndpoints(ctx context.Context, targets []string, o EndpointProbe, tell func(i int, p wire.EndpointProbe)) error {
	common, err := o.target()
	if err != nil {
		return err
	}
	all := make([]netdiag.Target, len(targets))
	for i, text := range targets {
		if all[i], err = o.parse(common, text); err != nil {
			return err
		}
		all[i].Permit = o.Permit
	}
	return probeEach(ctx, len(all), o.Jobs, func(i int) wire.EndpointProbe {
		return wireEndpoint(targets[i], netdiag.Diagnose(ctx, all[i]))
	}, tell)
}

// probeEach looks at n targets, so many at a time, and tells of each as it is
// done. tell is never called twice at a time.
func probeEach[T any](ctx context.Context, n, jobs int, look func(i int) T, tell func(i int, p T)) error {
	if jobs <= 0 {
		jobs = endpointJobs
	}
	type numbered struct {
		i int
		p T
	}
	done := make(chan numbered)
	var g errgroup.Group
	g.Go(func() error {
		defer close(done)
		var looks errgroup.Group
		looks.SetLimit(jobs)
		for i := range n {
			looks.Go(func() error {
				done <- numbered{i, look(i)}
				return nil
			})
		}
		return looks.Wait()
	})
	for d := range done {
		tell(d.i, d.p)
	}
	return errors.Join(g.Wait(), context.Cause(ctx))
}

// target is what all targets have in common.
func (o EndpointProbe) target() (t netdiag.Target, err error) {
	t = netdiag.Target{ServerName: o.ServerName, Proxy: o.Proxy, Answers: netdiag.AnswersAny}
	t.Timeouts.Total = o.Timeout
	if o.MinTLS != "" {
		if t.MinTLS, err = netdiag.ParseTLSVersion(o.MinTLS); err != nil {
			return t, usagef("--min-tls takes 1.2 or 1.3", "%v", err)
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return t, usagef("give both --cert and --key", "a client certificate needs its key, and a key its certificate")
	}
	for _, f := range []struct {
		file string
		into *[]byte
	}{{o.CA, &t.Roots}, {o.Cert, &t.ClientCert}, {o.Key, &t.ClientKey}} {
		if f.file == "" {
			continue
		}
		if *f.into, err = readPEM(f.file); err != nil {
			return t, usagef("", "%v", err)
		}
	}
	return t, nil
}

const maxPEM = 1 << 20 // bytes

func readPEM(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(b) > maxPEM {
		return nil, fmt.Errorf("%s is longer than %d bytes", file, maxPEM)
	}
	return b, nil
}

// parse reads "host", "host:port", or with HTTP also a URL.
func (o EndpointProbe) parse(t netdiag.Target, text string) (netdiag.Target, error) {
	path := ""
	address := text
	port := "443"
	if o.HTTP {
		if !strings.Contains(text, "://") {
			text = "https://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return t, usagef("write https://HOST[:PORT]/PATH, without a user", "target %q is no http or https URL", text)
		}
		address, path = u.Host, u.RequestURI()
		if t.Plain = u.Scheme == "http"; t.Plain {
			port = "80"
		}
		t.HTTP = &netdiag.HTTPCheck{Method: o.Method, Path: path, ExpectStatus: o.ExpectStatus}
	}
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		host, p = strings.Trim(address, "[]"), port
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return t, usagef("write HOST, HOST:PORT or [ADDRESS]:PORT", "target %q: %v", text, err)
		}
	}
	if host == "" || strings.ContainsAny(host, "/ ") {
		return t, usagef("write HOST, HOST:PORT or [ADDRESS]:PORT", "target %q names no host", text)
	}
	if n, err := net.LookupPort("tcp", p); err != nil || n == 0 {
		return t, usagef("", "target %q: port %q is not between 1 and 65535", text, p)
	}
	t.Address = net.JoinHostPort(host, p)
	return t, nil
}

func wireRemedies[R any](all []R, one func(R) fault.Remedy) []fault.Remedy {
	steps := make([]fault.Remedy, 0, len(all))
	for _, r := range all {
		steps = append(steps, one(r))
	}
	return steps
}

// permitted is a dialer that asks before each connection; nil for the usual one.
func permitted(permit func(netip.Addr) error) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if permit == nil {
		return nil
	}
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return permit(a.Addr().Unmap())
	}}
	return d.DialContext
}
