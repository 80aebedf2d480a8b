package sshpolicy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// Defaults of DialOptions.
const (
	DefaultKeepAlive = 15 * time.Second
	DefaultStall     = 60 * time.Second
)

// DialOptions say how to make a session. Of Options, CheckKey is always on, a
// Login is required, and OfferOnly and Prove mean nothing.
type DialOptions struct {
	Options
	// Transport is Go when "".
	Transport Transport
	// KeepAlive is how long a server may say nothing before it is asked to; 0
	// means DefaultKeepAlive. After three times as long the session is ended
	// with ErrKeepAlive.
	KeepAlive time.Duration
	// Stall is how long an operation on files may make no progress before the
	// session is ended with *StallError; 0 means DefaultStall.
	Stall time.Duration
	// KeyFile and KeyPEM, one of them, are the private key for the OpenSSH
	// transport, which cannot use Login.Key. KeyPEM is kept in a file below Dir,
	// mode 0600, while the session lives.
	KeyFile string
	KeyPEM  []byte
	// Program is the ssh program of the OpenSSH transport; "" means the one in PATH.
	Program string
	// Dir is where the OpenSSH transport makes a folder for its files, named
	// DirPrefix and more, which goes with the session; "", or a path that ssh would
	// expand, means the system's temporary folder.
	Dir string
}

// maxFallbacks is how many key exchanges of one server may die before a
// session is given up: each is a connection, and servers punish many.
const maxFallbacks = 3

// ErrNoLogin: a session without a credential was asked for.
var ErrNoLogin = errors.New("a session needs a user and a key or a password")

// Dial makes a session under a policy: the server's offer is judged in all four
// categories, the host key must be pinned before a credential is shown, and
// what was negotiated is compared with the policy before anything else is sent.
// Nothing is ever downgraded: no policy, pin or transport replaces another.
//
// The session is nil exactly when the error is not. The result is that of a
// look with a login, whatever becomes of it. When a key exchange died and the
// next one that both sides have worked (seed 000, CSCvt27613), there is a
// session, and the result names the culprit as CodeCryptoError.
//
// ctx ends the dialling, not the session; Close does that.
func Dial(ctx context.Context, t Target, o DialOptions) (*Session, Result, error) {
	o.CheckKey, o.OfferOnly, o.Prove = true, false, false
	o.KeepAlive, o.Stall = cmp.Or(o.KeepAlive, DefaultKeepAlive), cmp.Or(o.Stall, DefaultStall)
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if err := o.complete(); err != nil {
		r := newResult(t, o.Policy)
		r.fail(err)
		return nil, r, err
	}
	if o.Transport == OpenSSH {
		return dialOpenSSH(ctx, t, o)
	}
	return dialGo(ctx, t, o)
}

func (o DialOptions) complete() error {
	switch {
	case o.Transport != "" && o.Transport != Go && o.Transport != OpenSSH:
		return fmt.Errorf("no transport %q; known: %s, %s", o.Transport, Go, OpenSSH)
	case o.Login == nil || o.Login.User == "":
		return ErrNoLogin
	case o.Transport == OpenSSH && (o.KeyFile == "") == (len(o.KeyPEM) == 0):
		return errors.New("the openssh transport needs one private key, as a file or as its content")
	case o.Transport != OpenSSH && o.Login.Key == nil && o.Login.Password == "":
		return ErrNoLogin
	}
	return nil
}

func dialGo(ctx context.Context, t Target, o DialOptions) (*Session, Result, error) {
	began := time.Now()
	var line *lifeline // of the latest connection
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		line = newLifeline(conn)
		return line, nil
	}
	p, err := newProber(o.Options)
	r := newResult(t, o.Policy)
	var client *ssh.Client
	if err == nil {
		p.buffer = sessionBuffer
		r = p.blank(t)
		client, err = p.sessionClient(ctx, &r)
	}
	r.settle(err, began, o.Policy)
	if err != nil {
		return nil, r, r.Err
	}
	return newSession(client, line, r, o), r, nil
}

// sessionClient connects, with the next common key exchange for as long as one
// dies.
func (p *prober) sessionClient(ctx context.Context, r *Result) (*ssh.Client, error) {
	left := slices.Clone(p.part.KEX)
	for {
		r.Handshake, r.HostKey, r.Auth = nil, nil, nil
		began := time.Now()
		client, err := p.look(ctx, r, left)
		if err == nil && client == nil {
			why := "no login was tried"
			if r.Handshake != nil && r.Handshake.Why != "" {
				why = r.Handshake.Why
			}
			err = &TransportError{Transport: Go, Why: why}
		}
		next, again := r.fallBack(err, left, began)
		if !again {
			return client, err
		}
		left = next
	}
}

// fallBack notes the key exchange that died and answers what is left to try; ok
// is false when there is nothing, or no reason.
func (r *Result) fallBack(err error, kex []string, began time.Time) (left []string, ok bool) {
	e, died := errors.AsType[*CryptoError](err)
	if !died || e.Step == stepPolicy || e.Negotiated.KEX == "" {
		return nil, false
	}
	left = slices.DeleteFunc(slices.Clone(kex), func(name string) bool { return name == e.Negotiated.KEX })
	if r.Culprit == nil {
		r.Culprit = e
	}
	proof := Proof{Algorithm: e.Negotiated.KEX, Outcome: ProofFailed, Why: e.Error(), GroupBits: e.GroupBits, DurationMS: time.Since(began).Milliseconds()}
	proof.Code, proof.Qualifier = e.Fault()
	r.Fallback = append(r.Fallback, proof)
	common := judgeList(r.Offer.KEX, left).Common
	return left, len(common) > 0 && len(r.Fallback) <= maxFallbacks
}

// settle completes the result of a dial. When every key exchange died, the
// first one is the fault: it is the one that the next look meets too.
func (r *Result) settle(err error, began time.Time, p Policy) {
	if _, died := errors.AsType[*CryptoError](err); died || err == nil {
		if r.Culprit != nil {
			err = r.Culprit
		}
	}
	if err != nil {
		r.fail(err)
	}
	r.OK = r.Err == nil
	r.Remedy = remedies(*r, p)
	r.DurationMS = time.Since(began).Milliseconds()
}

// TransportError: the transport cannot do what policy and server agree on. It
// is a fact about this installation and no verdict on the server.
type TransportError struct {
	Transport Transport
	Why       string
}

func (e *TransportError) Error() string { return fmt.Sprintf("transport %q: %s", e.Transport, e.Why) }

// LockOut reports whether the error means that the server refused a credential
// and may have counted it: whoever goes on trying locks the account.
func LockOut(err error) bool {
	e, ok := errors.AsType[*AuthError](err)
	return ok && len(e.Outcome.Tried) > 0
}

// RateLimited reports whether the server takes no more connections from us for
// now (OpenSSH's MaxStartups, and PerSourcePenalties since 9.8).
func RateLimited(err error) bool {
	e, ok := errors.AsType[*NotSSHError](err)
	return ok && e.Kind == NotSSHRateLimited
}
