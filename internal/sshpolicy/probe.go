package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// DefaultTimeout is how long one connection may take from the name to the end.
const DefaultTimeout = 10 * time.Second

// Options say how to look.
type Options struct {
	Policy Policy
	// Pins are the host keys that we trust, from the configuration and from a
	// Store together. Keys of a pinned type are asked for first.
	Pins []Pin
	// TypeHints are key types to ask for after those of the pins: what a Store
	// remembers about bare fingerprints.
	TypeHints []string
	// CheckKey makes the host key part of the judgement: no pin is "unknown".
	// Without it the key is only reported.
	CheckKey bool
	// TrustFirst accepts the first key seen where nothing is pinned; the caller
	// remembers it (PinFirstSeen).
	TrustFirst bool
	// Login, when set, is tried after the host key matched, and never before.
	Login *Login
	// OfferOnly stops after the server's offer: no key exchange, no host key.
	OfferOnly bool
	// Prove tries every key exchange in common on its own, one further
	// connection each (see ProvePlan).
	Prove bool
	// Timeout bounds each connection; 0 means DefaultTimeout.
	Timeout time.Duration
	// Dial replaces net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Probe looks at one server: it reads the offer, judges all four categories,
// completes the key exchange where the library can, compares the host key with
// the pins, and logs in when told to. It makes one connection, except that a
// bare fingerprint is compared with each key type of the server until one
// matches, and for Prove.
//
// Without a login no credential and no user name is sent.
func Probe(ctx context.Context, t Target, o Options) Result {
	p, err := newProber(o)
	if err != nil {
		r := newResult(t, o.Policy)
		r.fail(err)
		return r
	}
	return p.probe(ctx, t)
}

// prober is Options, checked once for many targets.
type prober struct {
	Options
	part   Policy // of the policy, what the library can do
	buffer int    // bytes; 0 means lookBuffer
}

func newProber(o Options) (*prober, error) {
	part, err := o.Policy.For(Go)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return &prober{Options: o, part: part}, nil
}

func newResult(t Target, p Policy) Result {
	return Result{Target: t.Name, Address: t.Addr, Policy: p.Name, Missing: []Category{}, MissingDetail: []Gap{}, Remedy: []Remedy{}}
}

func (p *prober) probe(ctx context.Context, t Target) Result {
	began := time.Now()
	r := p.blank(t)
	client, err := p.look(ctx, &r, p.part.KEX)
	if client != nil {
		client.Close() // the login was all that was asked for
	}
	if err != nil {
		r.fail(err)
	}
	r.OK = r.Err == nil
	if p.Prove && r.Offer != nil {
		p.prove(ctx, t, &r)
	}
	r.Remedy = remedies(r, p.Policy)
	r.DurationMS = time.Since(began).Milliseconds()
	return r
}

// blank is the result of a look that has seen nothing yet.
func (p *prober) blank(t Target) Result {
	r := newResult(t, p.Policy)
	r.Categories, _ = Judge(Lists{}, p.Policy)
	r.LoginWanted = p.Login != nil
	return r
}

// look connects, again for each type of host key while a bare fingerprint fits
// none, and judges the key. The client is nil unless a login succeeded.
func (p *prober) look(ctx context.Context, r *Result, kex []string) (*ssh.Client, error) {
	types := pinnedTypes(p.Pins, p.TypeHints)
	client, err := p.connect(ctx, r, p.asking(types, kex))
	for p.bareFingerprint() && err == nil && r.HostKey != nil && r.HostKey.Pin == PinChanged {
		tried := append(types, r.HostKey.Type)
		next := otherType(r.Offer.HostKey, p.part.HostKeys, tried)
		if next == "" {
			break
		}
		types = append([]string{next}, tried...)
		client, err = p.connect(ctx, r, p.asking(types, kex))
	}
	if err == nil {
		err = p.judgeHostKey(r)
	}
	return client, err
}

// asking is the library's part of the policy with the host keys of these types
// in front and only these key exchanges.
func (p *prober) asking(types, kex []string) Policy {
	part := p.part
	part.KEX = kex
	part.HostKeys = askFirst(part.HostKeys, types)
	return part
}

// bareFingerprint reports whether a pin does not say its type and nothing was
// remembered about it.
func (p *prober) bareFingerprint() bool {
	return len(p.TypeHints) == 0 && slices.ContainsFunc(p.Pins, func(pin Pin) bool { return pin.Type == "" })
}

// otherType is a key type that server and policy have and that was not tried.
func otherType(offered, allowed, tried []string) string {
	for _, algorithm := range allowed {
		t := keyTypeOf(algorithm)
		if slices.Contains(offered, algorithm) && !slices.Contains(tried, t) && !isCertificate(algorithm) {
			return t
		}
	}
	return ""
}

// judgeHostKey makes the pin part of the verdict.
func (p *prober) judgeHostKey(r *Result) error {
	if !p.CheckKey || r.HostKey == nil {
		return nil
	}
	switch state := r.HostKey.Pin; state {
	case PinUnknown, PinChanged:
		e := &HostKeyError{Kind: string(state), Key: *r.HostKey}
		for _, pin := range p.Pins {
			e.Pins = append(e.Pins, pin.String())
		}
		return e
	}
	return nil
}

// pinState compares a proved key with the pins.
func (p *prober) pinState(key ssh.PublicKey) PinState {
	state := judgeKey(key, p.Pins)
	switch {
	case state == PinUnknown && p.TrustFirst:
		return PinFirstSeen
	case state == PinUnknown && !p.CheckKey && p.Login == nil:
		return PinNotChecked
	}
	return state
}

// errLookTimeout is the cause of a context that ended by our own deadline.
var errLookTimeout = errors.New("the look took too long")

// connect makes one connection and fills the result as far as it comes. The
// client is nil unless a login succeeded; it then has no deadline any more and
// outlives parent.
func (p *prober) connect(parent context.Context, r *Result, part Policy) (*ssh.Client, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(parent, p.Timeout, errLookTimeout)
	defer cancel()
	r.Connections++
	conn, err := p.Dial(ctx, "tcp", r.Address)
	if err != nil {
		return nil, connError(parent, "connect", r.Address, began, err)
	}
	r.Reachable = true
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, connError(parent, "connect", r.Address, began, err)
	}
	// The deadline above ends a look that takes too long, and says so; only the
	// caller's own end closes the connection under it.
	stop := context.AfterFunc(parent, func() { conn.Close() })
	client, err := p.converse(parent, r, conn, part, began)
	if !stop() && err == nil {
		err = connError(parent, "login", r.Address, began, context.Cause(parent))
	}
	if client != nil && err == nil {
		if err = conn.SetDeadline(time.Time{}); err == nil {
			return client, nil
		}
	}
	conn.Close()
	return nil, err
}

// converse speaks SSH on a connection as far as the options want it.
func (p *prober) converse(parent context.Context, r *Result, conn net.Conn, part Policy, began time.Time) (*ssh.Client, error) {
	in := newReader(conn, max(p.buffer, lookBuffer))
	// A server that turns us away may have closed already; what it said is still
	// to be read, so a failed write is no verdict.
	_, _ = conn.Write([]byte(clientVersion + "\r\n"))
	o, err := in.read()
	r.Banner, r.Server = o.version, ParseSoftware(o.version)
	r.Software = r.Server.Name
	if err != nil {
		return nil, p.offerError(parent, r, began, err)
	}
	gaps := p.judge(r, o.lists)
	if len(gaps) > 0 {
		return nil, &NegotiationError{Policy: p.Policy.Name, Software: r.Server, Gaps: gaps}
	}
	if p.OfferOnly {
		return nil, nil
	}
	if why := p.cannotTry(o.lists, part); why != "" {
		r.Handshake = &Handshake{Why: why}
		return nil, nil
	}
	s := &exchange{
		tap: newTap(conn, in.in, o), offered: o.lists, policy: p.Policy, part: part,
		addr: r.Address, began: began, accepted: p.pinState,
	}
	return p.exchange(parent, r, s)
}

// exchange runs the key exchange, and the login if there is one.
func (p *prober) exchange(parent context.Context, r *Result, s *exchange) (*ssh.Client, error) {
	if p.Login != nil {
		s.login = newLogin(*p.Login)
	}
	client, err := s.run(parent, r)
	if s.login != nil && (s.login.outcome.OK || len(s.login.outcome.Offered) > 0) {
		r.Auth = &s.login.outcome
	}
	return client, err
}

// offerError completes an error from before the key exchange.
func (p *prober) offerError(parent context.Context, r *Result, began time.Time, err error) error {
	if _, ok := errors.AsType[*NotSSHError](err); ok && parent.Err() == nil {
		return err
	}
	return connError(parent, "offer", r.Address, began, err)
}

// judge fills the result with the offer and its judgement.
func (p *prober) judge(r *Result, l Lists) []Gap {
	r.Offer = &l
	verdicts, gaps := Judge(l, p.Policy)
	for i := range gaps {
		gaps[i].Smallest = smallestAddition(gaps[i], r.Server)
	}
	r.Categories, r.Missing = verdicts, missing(gaps)
	r.MissingDetail = append([]Gap{}, gaps...)
	return gaps
}

// cannotTry says why the library cannot complete a key exchange that the policy
// and the server could, or "".
func (p *prober) cannotTry(l Lists, part Policy) string {
	if _, gaps := Judge(l, part); len(gaps) > 0 {
		g := gaps[0]
		common := judgeList(g.Offered, p.Policy.List(g.Category)).Common
		return fmt.Sprintf("the built-in transport cannot do %s, which is all that policy and server have in common for %s", join(common), g.Category)
	}
	if !slices.Contains(l.CompressionC2S, "none") || !slices.Contains(l.CompressionS2C, "none") {
		return "the server insists on compression, which the built-in transport cannot do"
	}
	return ""
}

func isCertificate(algorithm string) bool {
	return len(algorithm) > 21 && algorithm[len(algorithm)-21:] == "-cert-v01@openssh.com"
}
