package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Fault codes that a look can prove or disprove. They are plain strings here:
// the catalogue belongs to the subsystem that watches.
const (
	CodeNoCommonAlgorithm = "ssh/no-common-algorithm"
	CodeCryptoError       = "ssh/crypto-error"
	CodeNameNotResolved   = "ssh/name-not-resolved"
	CodeUnreachable       = "ssh/unreachable"
	CodeNotSSH            = "ssh/not-ssh"
	CodeHostKeyUnknown    = "ssh/host-key-unknown"
	CodeHostKeyChanged    = "ssh/host-key-changed"
	CodeAuthFailed        = "ssh/auth-failed"
)

// Codes returns the codes in the order in which a look reaches them.
func Codes() []string {
	return []string{
		CodeNameNotResolved, CodeUnreachable, CodeNotSSH, CodeNoCommonAlgorithm,
		CodeCryptoError, CodeHostKeyUnknown, CodeHostKeyChanged, CodeAuthFailed,
	}
}

// coded is met by every error of a look that has a fault code.
type coded interface {
	Fault() (code, qualifier string)
}

// Classify returns the fault code and qualifier of an error of this package,
// and "", "" for any other: an error without a code is no verdict.
func Classify(err error) (code, qualifier string) {
	var c coded
	if errors.As(err, &c) {
		return c.Fault()
	}
	return "", ""
}

// NegotiationError: no common algorithm in at least one category. Seed 000
// shows this as "End point timed out"; this error holds what is true instead.
type NegotiationError struct {
	Policy   string
	Software Software
	Gaps     []Gap
}

func (e *NegotiationError) Error() string {
	var parts []string
	for _, g := range sameWays(e.Gaps) {
		name := string(g.Category)
		if g.Direction != Both {
			name += " " + string(g.Direction)
		}
		parts = append(parts, fmt.Sprintf("%s: server offers %s", name, join(g.Offered)))
	}
	return fmt.Sprintf("no algorithm that policy %s allows in %s", e.Policy, strings.Join(parts, "; "))
}

// Fault implements the classification; the qualifier lists the categories.
func (e *NegotiationError) Fault() (code, qualifier string) {
	var names []string
	for _, c := range missing(e.Gaps) {
		names = append(names, string(c))
	}
	return CodeNoCommonAlgorithm, strings.Join(names, ",")
}

// Kinds of ConnError.
const (
	ConnNameNotResolved = "name-not-resolved"
	ConnRefused         = "refused"
	ConnTimeout         = "timeout"
	ConnNoRoute         = "no-route"
	ConnReset           = "reset"
	ConnLocal           = "local" // our own trouble: no file handles, no memory, cancelled; no verdict on the server
)

// ConnError: the name or the TCP connection failed, or a server that speaks
// SSH fell silent.
type ConnError struct {
	Kind    string // one of the Conn constants
	Step    string // "resolve", "connect", "offer", "key exchange" or "login"
	Addr    string // what was dialled
	Errno   string // e.g. "ECONNREFUSED", "" when there is none
	RCode   string // for ConnNameNotResolved: "NXDOMAIN", "SERVFAIL" or "timeout"
	Server  string // the resolver that answered, when known
	Elapsed time.Duration
	Err     error
}

func (e *ConnError) Error() string {
	if e.Kind == ConnNameNotResolved {
		return fmt.Sprintf("resolve %s: %s", e.Addr, e.RCode)
	}
	if e.Kind == ConnTimeout {
		return fmt.Sprintf("%s %s: no answer within %s", e.Step, e.Addr, e.Elapsed.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s %s: %v", e.Step, e.Addr, rootCause(e.Err))
}

// Unwrap returns the error of the connection.
func (e *ConnError) Unwrap() error { return e.Err }

// Fault implements the classification.
func (e *ConnError) Fault() (code, qualifier string) {
	switch e.Kind {
	case ConnLocal:
		return "", ""
	case ConnNameNotResolved:
		return CodeNameNotResolved, e.RCode
	}
	return CodeUnreachable, e.Kind
}

// Kinds of NotSSHError.
const (
	NotSSHBanner      = "banner"       // something else came where the version line belongs
	NotSSHSilent      = "silent"       // nothing came, and the connection stays open
	NotSSHClosed      = "closed"       // closed or reset before the key exchange
	NotSSHRateLimited = "rate-limited" // the server said that it takes no more connections from us
)

// NotSSHError: connected, but no SSH server spoke.
type NotSSHError struct {
	Kind    string // one of the NotSSH constants
	Why     string
	Version string // the version line, when one came
	First   []byte // at most the first 64 bytes
	Guess   string // what it seems to be instead, or ""
}

func (e *NotSSHError) Error() string {
	if e.Guess != "" && e.Kind == NotSSHBanner {
		return fmt.Sprintf("not an SSH server: %s; it looks like %s", e.Why, e.Guess)
	}
	if e.Kind == NotSSHBanner {
		return "not an SSH server: " + e.Why
	}
	return e.Why
}

// Fault implements the classification.
func (e *NotSSHError) Fault() (code, qualifier string) { return CodeNotSSH, e.Kind }

// Kinds of CryptoError.
const (
	CryptoBadSignature = "bad-signature" // the host key did not sign this key exchange (seed 000: CSCvs62849)
	CryptoDHGroup      = "dh-group"      // the server's group or public value is unusable
	CryptoLibrary      = "library"       // a side gave up in the middle (seed 000: CSCvr51157, CSCvt27613)
	CryptoFIPS         = "fips"          // this process runs in FIPS 140 mode and refused
)

// CryptoError: the algorithms were agreed, then the key exchange failed. That
// is no negotiation failure and no change of policy mends it.
type CryptoError struct {
	Kind       string // one of the Crypto constants
	Step       string // "group", "reply", "signature", "new keys" or "service"
	Negotiated Negotiated
	GroupBits  int    // Diffie-Hellman modulus, 0 when there was none
	Server     string // what the server said when it disconnected
	FIPS       bool   // FIPS 140 mode of this process
	Err        error
}

func (e *CryptoError) Error() string {
	text := fmt.Sprintf("key exchange %s died at %s", e.Negotiated.KEX, e.Step)
	if e.GroupBits > 0 {
		text += fmt.Sprintf(" (modulus of %d bits)", e.GroupBits)
	}
	if e.Server != "" {
		return text + ": the server said " + e.Server
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the library's error.
func (e *CryptoError) Unwrap() error { return e.Err }

// Fault implements the classification.
func (e *CryptoError) Fault() (code, qualifier string) { return CodeCryptoError, e.Kind }

// HostKeyError: the server has proved a key, but not one that we trust.
type HostKeyError struct {
	Kind string // "unknown" or "changed"
	Key  ServerKey
	Pins []string // what was expected, as written
}

func (e *HostKeyError) Error() string {
	if e.Kind == string(PinUnknown) {
		return fmt.Sprintf("no pinned host key; the server has %s %s", e.Key.Type, e.Key.Fingerprint)
	}
	return fmt.Sprintf("host key changed: the server has %s %s, pinned is %s", e.Key.Type, e.Key.Fingerprint, join(e.Pins))
}

// Fault implements the classification.
func (e *HostKeyError) Fault() (code, qualifier string) {
	if e.Kind == string(PinUnknown) {
		return CodeHostKeyUnknown, ""
	}
	return CodeHostKeyChanged, ""
}

// Kinds of AuthError.
const (
	AuthPassword  = "password"
	AuthPublicKey = "publickey"
	AuthExpired   = "expired" // the server asks for a new password
	AuthMFA       = "mfa"     // the credential is good, another factor is wanted
)

// AuthError: every method that we could try was refused.
type AuthError struct {
	Kind    string // one of the Auth constants
	Outcome AuthOutcome
	Err     error
}

func (e *AuthError) Error() string {
	text := fmt.Sprintf("login as %s refused (%s): server offers %s, tried %s", e.Outcome.User, e.Kind, join(e.Outcome.Offered), join(e.Outcome.Tried))
	if e.Outcome.Message != "" {
		text += ": " + e.Outcome.Message
	}
	return text
}

// Unwrap returns the library's error.
func (e *AuthError) Unwrap() error { return e.Err }

// Fault implements the classification.
func (e *AuthError) Fault() (code, qualifier string) { return CodeAuthFailed, e.Kind }

// connError says why a connection could not be made or went silent. ctx is the
// caller's, without the look's own deadline.
func connError(ctx context.Context, step, addr string, began time.Time, err error) *ConnError {
	e := &ConnError{Kind: ConnTimeout, Step: step, Addr: addr, Elapsed: time.Since(began), Err: err}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		e.Errno = errnoName(errno)
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case ctx.Err() != nil:
		e.Kind = ConnLocal // the caller gave up, not the server
	case isDNS:
		e.Kind, e.Step, e.Server, e.RCode = ConnNameNotResolved, "resolve", dns.Server, rcode(dns)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind = ConnRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ENETDOWN),
		errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM): // the last two: a packet filter here
		e.Kind = ConnNoRoute
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF):
		e.Kind = ConnReset
	case isTimeout(err), errors.Is(err, syscall.ETIMEDOUT):
	default:
		e.Kind = ConnLocal
	}
	return e
}

// rcode names the resolver's answer. The system resolver tells a missing name,
// a timeout and "something else" apart, and no more.
func rcode(e *net.DNSError) string {
	switch {
	case e.IsNotFound:
		return "NXDOMAIN"
	case e.IsTimeout:
		return "timeout"
	}
	return "SERVFAIL"
}

func errnoName(e syscall.Errno) string {
	for name, n := range map[string]syscall.Errno{
		"ECONNREFUSED": syscall.ECONNREFUSED, "ECONNRESET": syscall.ECONNRESET, "ECONNABORTED": syscall.ECONNABORTED,
		"EHOSTUNREACH": syscall.EHOSTUNREACH, "ENETUNREACH": syscall.ENETUNREACH, "ETIMEDOUT": syscall.ETIMEDOUT,
		"EPIPE": syscall.EPIPE, "EMFILE": syscall.EMFILE, "ENFILE": syscall.ENFILE, "EADDRNOTAVAIL": syscall.EADDRNOTAVAIL,
		"EACCES": syscall.EACCES, "EPERM": syscall.EPERM, "EHOSTDOWN": syscall.EHOSTDOWN, "ENETDOWN": syscall.ENETDOWN,
	} {
		if n == e {
			return name
		}
	}
	return fmt.Sprintf("errno %d", int(e))
}

// isTimeout reports whether a deadline passed.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// isEnd reports whether the other side ended the connection.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// rootCause is the last link of the chain, which names the fact.
func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
