package netdiag

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// clampedSegment is the TCP segment size that passes every path in use: IPv6's
// minimum MTU of 1280 leaves 1220 (RFC 8200 section 5).
const clampedSegment = 1200

// tls does the handshake and sorts what came of it into four steps: transport,
// negotiation, the server's certificate and ours.
func (r *run) tls(ctx context.Context) bool {
	if r.t.Plain {
		for _, n := range []StepName{StepTransport, StepNegotiate, StepServerCert, StepClientCert} {
			r.skip(n, "not needed: TLS is not wanted")
		}
		r.app = &replayConn{Conn: r.conn}
		return true
	}
	st := begin(StepTransport)
	s := r.handshake(ctx, r.conn, shakeOptions{})
	r.shake = s
	s.wire.measure(st)
	hello := s.wire.traffic().firstOut
	st.Evidence["hello_bytes"] = fmt.Sprint(hello)
	if !r.transport(ctx, s, st) || !r.negotiation(ctx, s) || !r.serverCert(s) {
		return false
	}
	return r.clientCert(ctx, s)
}

// transport tells whether TLS records came at all.
func (r *run) transport(ctx context.Context, s *shake, st *Step) bool {
	passed := s.wire.traffic()
	in, head := passed.in, passed.head
	if s.err != nil && !looksTLS(head) {
		st.Evidence["first_bytes"], st.Evidence["speaks"] = quoteHead(head), speaks(head)
		return r.fail(st, TLSNotTLS, fmt.Sprintf("first bytes %s (%s)", quoteHead(head), speaks(head)))
	}
	if s.err == nil || s.judged != nil || remoteAlert(s.err) >= 0 || parseFlight(head).alert >= 0 {
		return r.ok(st, "")
	}
	if timedOut(s.err) {
		cause, detail := r.stalled(ctx, in)
		return r.fail(st, cause, detail)
	}
	ended, reset := hungUp(s.err)
	switch {
	case !ended || s.asked:
		return r.ok(st, "") // a later step says what is wrong
	case in > 0:
		cause := TLSClosed
		if reset {
			cause = TLSReset
		}
		return r.fail(st, cause, fmt.Sprintf("after %d bytes of its answer: %s", in, plain(s.err)))
	}
	return r.hungUpOnHello(ctx, st, reset)
}

// hungUpOnHello names a connection that ended without a byte for us.
func (r *run) hungUpOnHello(ctx context.Context, st *Step, reset bool) bool {
	if r.proxyURL == nil {
		switch r.endsByItself(ctx) {
		case TCPReset:
			r.retract(TCPReset, "reset before anything is sent")
			r.add(st, NotTried, "", "the connection ends before a hello can be sent")
			return false
		case TCPClosed:
			r.retract(TCPClosed, "closed before anything is sent")
			r.add(st, NotTried, "", "the connection ends before a hello can be sent")
			return false
		}
	}
	if reset {
		return r.fail(st, TLSReset, "reset after our hello; without one the connection stands")
	}
	return r.fail(st, TLSClosed, "closed after our hello; without one the connection stands")
}

// stalled looks again in three ways at the same time, to tell why no (whole)
// answer came: a hello that fits one packet, and both hellos in small packets.
func (r *run) stalled(ctx context.Context, in int64) (Cause, string) {
	type look struct {
		small   bool
		segment int
		through bool
	}
	looks := []look{{small: true}, {segment: clampedSegment}, {small: true, segment: clampedSegment}}
	var wg sync.WaitGroup
	for i := range looks {
		wg.Go(func() { looks[i].through = r.answers(ctx, looks[i].small, looks[i].segment) })
	}
	wg.Wait()
	small, clamped, both := looks[0].through, looks[1].through, looks[2].through
	switch {
	case small && clamped:
		return TLSMTU, fmt.Sprintf("the big hello passes in packets of %d bytes, and a small hello passes as it is", clampedSegment)
	case small:
		return TLSBigHello, fmt.Sprintf("a small hello passes; the big one does not, not even in packets of %d bytes", clampedSegment)
	case clamped || both:
		return TLSMTU, fmt.Sprintf("the server's answer passes only in packets of %d bytes", clampedSegment)
	case in > 0:
		return TLSStalled, fmt.Sprintf("%d bytes of the answer came, then nothing", in)
	}
	return TLSSilent, "not a byte came; small hellos and small packets change nothing"
}

// answers reports whether a handshake varied like this gets the server's whole
// first flight, or at least an alert.
func (r *run) answers(ctx context.Context, small bool, segment int) bool {
	w, err := r.open(ctx, segment)
	if err != nil {
		return false
	}
	defer w.Close() // only looked at
	s := r.handshake(ctx, w, shakeOptions{small: small, lookOnly: true, within: r.t.Timeouts.Retry})
	return s.chosen || remoteAlert(s.err) >= 0
}

// negotiation tells whether version, cipher, name and protocol were agreed.
func (r *run) negotiation(ctx context.Context, s *shake) bool {
	st := begin(StepNegotiate)
	head := s.wire.traffic().head
	seen := parseFlight(head)
	if s.chosen {
		r.rep.TLS = tlsInfo(s)
		st.Evidence["version"], st.Evidence["cipher"] = r.rep.TLS.Version, r.rep.TLS.Cipher
		return r.ok(st, fmt.Sprintf("TLS %s, %s", r.rep.TLS.Version, r.rep.TLS.Cipher))
	}
	alert := remoteAlert(s.err)
	if alert < 0 {
		alert = seen.alert
	}
	if alert < 0 {
		if seen.version != 0 && (seen.version < r.t.MinTLS || seen.version > r.t.MaxTLS) {
			st.Evidence["server_version"] = VersionName(seen.version)
			return r.fail(st, TLSVersion, fmt.Sprintf("the server chose TLS %s; we take %s to %s",
				VersionName(seen.version), VersionName(r.t.MinTLS), VersionName(r.t.MaxTLS)))
		}
		return r.fail(st, TLSProtocol, plain(s.err))
	}
	st.Evidence["alert"] = alertText(alert)
	cause := negotiationCause(alert)
	if cause == TLSVersion || cause == TLSCipher {
		cause = r.widen(ctx, st, cause)
	}
	return r.fail(st, cause, "the server answers alert "+alertText(alert)+suffix(st.Evidence["server_speaks"], "; it speaks "))
}

func suffix(s, with string) string {
	if s == "" {
		return ""
	}
	return with + s
}

// widen asks again with every version and cipher suite this program knows, to
// say what the server would speak. handshake_failure is all that some servers
// say about a version, so the answer corrects the cause too.
func (r *run) widen(ctx context.Context, st *Step, cause Cause) Cause {
	s := r.lookWide(ctx, tls.VersionTLS10)
	if s == nil || !s.chosen {
		return cause
	}
	st.Evidence["server_speaks"] = "TLS " + VersionName(s.state.Version) + ", " + tls.CipherSuiteName(s.state.CipherSuite)
	if s.state.Version < r.t.MinTLS || s.state.Version > r.t.MaxTLS {
		return TLSVersion
	}
	return cause
}

// lookWide does a handshake with any version from min up and every suite, and
// ends it when the server's choice is known. Nothing is sent over it.
func (r *run) lookWide(ctx context.Context, low uint16) *shake {
	w, err := r.open(ctx, 0)
	if err != nil {
		return nil
	}
	defer w.Close() // only looked at
	var all []uint16
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		all = append(all, c.ID)
	}
	return r.handshake(ctx, w, shakeOptions{
		min: low, max: tls.VersionTLS13, ciphers: all, lookOnly: true, within: r.t.Timeouts.Retry,
	})
}

// serverCert files the verdict of VerifyConnection.
func (r *run) serverCert(s *shake) bool {
	st := begin(StepServerCert)
	st.Peers = peersOf(s.state.PeerCertificates)
	if s.judged != nil {
		return r.fail(st, s.judged.cause, s.judged.detail)
	}
	return r.ok(st, "")
}

func tlsInfo(s *shake) *TLSInfo {
	cs := s.state
	return &TLSInfo{
		Version: VersionName(cs.Version), Cipher: tls.CipherSuiteName(cs.CipherSuite), Group: cs.CurveID.String(),
		ALPN: cs.NegotiatedProtocol, Peers: peersOf(cs.PeerCertificates),
		ClientCertAsked: s.asked, ClientCertSent: s.sent, AcceptedIssuers: s.issuer,
	}
}

// VersionName is "1.3" for tls.VersionTLS13, and so on; hex for a number that
// is no version.
func VersionName(v uint16) string {
	if v >= tls.VersionTLS10 && v <= tls.VersionTLS13 {
		return fmt.Sprintf("1.%d", v-tls.VersionTLS10)
	}
	if v == 0x0300 {
		return "SSL 3.0"
	}
	return fmt.Sprintf("%#04x", v)
}

// ParseTLSVersion reads "1.0" to "1.3", with or without "TLS" before it.
func ParseTLSVersion(s string) (uint16, error) {
	text := strings.TrimLeft(strings.TrimPrefix(strings.ToUpper(s), "TLS"), " V")
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		if text == VersionName(v) {
			return v, nil
		}
	}
	return 0, fmt.Errorf("TLS version %q is none of 1.0, 1.1, 1.2, 1.3", s)
}

// nameText reads a distinguished name in DER.
func nameText(der []byte) string {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 {
		return fmt.Sprintf("%x", der[:min(len(der), 32)])
	}
	var n pkix.Name
	n.FillFromRDNSequence(&seq)
	return n.String()
}

func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNABORTED)
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
