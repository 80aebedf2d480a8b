package netdiag

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"reflect"
	"slices"
	"sync/atomic"
	"time"
)

// shakeOptions vary a handshake.
type shakeOptions struct {
	small    bool // the small hello: no post-quantum key share (282 instead of 1514 bytes)
	min, max uint16
	ciphers  []uint16 // TLS 1.2 and below; nil: the defaults
	lookOnly bool     // end as soon as the server's choice is known; judge nothing, send no certificate
	within   time.Duration
}

// shake is one handshake and all that was seen of it.
type shake struct {
	conn   *tls.Conn
	wire   *wireConn
	state  tls.ConnectionState
	judged *judgement // nil: the server's certificate is good, or was not seen
	err    error

	chosen bool // the server's choice and certificate were seen
	asked  bool // the server asked for a client certificate
	sent   bool // and got one
	held   Cause
	why    string   // why none was sent, with held
	issuer []string // issuers the server accepts

	ticket     atomic.Bool // a TLS 1.3 session ticket came
	quiet      atomic.Bool // the quiet read is on; a ticket ends it
	acceptance string
}

// errEnough ends a handshake that was only looked at.
var errEnough = errors.New("enough seen")

// handshake does one TLS handshake over w.
func (r *run) handshake(ctx context.Context, w *wireConn, o shakeOptions) *shake {
	s := &shake{wire: w}
	if o.ciphers == nil {
		o.ciphers = r.t.Ciphers
	}
	cfg := &tls.Config{
		ServerName:   r.name,
		MinVersion:   orDefault(o.min, r.t.MinTLS),
		MaxVersion:   orDefault(o.max, r.t.MaxTLS),
		CipherSuites: o.ciphers,
		NextProtos:   r.t.ALPN,
		Time:         r.t.Now,
		// The standard verification is off because VerifyConnection below judges
		// the chain itself, to name the exact defect. It runs on every handshake
		// and before our certificate or any data is sent; nothing gets past it
		// but a chain that is good by the target's roots, pins and name.
		InsecureSkipVerify:   true,
		ClientSessionCache:   &ticketWatch{s: s},
		GetClientCertificate: func(q *tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.present(s, q), nil },
	}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		s.state, s.chosen = cs, true
		if o.lookOnly {
			return errEnough
		}
		if s.judged = r.trust.judge(cs.PeerCertificates, r.name, r.t.Now(), len(r.t.Roots) > 0); s.judged != nil {
			return s.judged
		}
		return nil
	}
	if o.small {
		cfg.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	}
	s.conn = tls.Client(w, cfg)
	defer until(ctx, w, orDefault(o.within, r.t.Timeouts.TLS))()
	// Not HandshakeContext: it closes the connection when ctx ends, and what
	// the peer said could no longer be read. until bounds this one.
	if s.err = s.conn.Handshake(); s.err == nil {
		s.state = s.conn.ConnectionState()
	} else if w.traffic().in == 0 && !timedOut(s.err) {
		s.rescue(ctx)
	}
	return s
}

// rescue reads what is left after a write that failed: the peer may have
// said why before it hung up.
func (s *shake) rescue(ctx context.Context) {
	lift := until(ctx, s.wire, 200*time.Millisecond)
	defer lift()
	_, _ = s.wire.Read(make([]byte, headSize)) // kept by wire
}

// present picks our certificate for the server's request, as an ordinary
// client does, and keeps what an ordinary client loses: that it was asked, for
// which issuers, and why nothing was sent.
func (r *run) present(s *shake, q *tls.CertificateRequestInfo) *tls.Certificate {
	s.asked = true
	for _, der := range q.AcceptableCAs[:min(len(q.AcceptableCAs), 32)] {
		s.issuer = append(s.issuer, nameText(der))
	}
	none := &tls.Certificate{}
	if r.own == nil {
		return none
	}
	if !issuedByOne(&r.own.tls, q.AcceptableCAs) {
		s.held, s.why = ClientCertIssuer, "our certificate is issued by "+r.own.leaf.Issuer.String()
		return none
	}
	if err := q.SupportsCertificate(&r.own.tls); err != nil {
		s.held, s.why = ClientCertAlgorithm, err.Error()
		return none
	}
	s.sent = true
	return &r.own.tls
}

// issuedByOne reports whether any certificate of c's chain was issued by one
// of the names; an empty list accepts all (RFC 8446 section 4.2.4).
func issuedByOne(c *tls.Certificate, names [][]byte) bool {
	if len(names) == 0 {
		return true
	}
	for _, der := range c.Certificate {
		x, err := x509.ParseCertificate(der)
		if err == nil && slices.ContainsFunc(names, func(n []byte) bool { return bytes.Equal(n, x.RawIssuer) }) {
			return true
		}
	}
	return false
}

// ticketWatch is a session cache that keeps nothing: it makes the server send
// tickets and notes that one came. A TLS 1.3 server that asked for a client
// certificate sends them only after it has dealt with ours (RFC 8446 section
// 4.6.1), so a ticket proves acceptance and ends the quiet read.
type ticketWatch struct{ s *shake }

func (t *ticketWatch) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (t *ticketWatch) Put(_ string, cs *tls.ClientSessionState) {
	if cs == nil || t.s.state.Version != tls.VersionTLS13 {
		return
	}
	t.s.ticket.Store(true)
	if t.s.quiet.Load() {
		_ = t.s.wire.SetReadDeadline(time.Unix(1, 0))
	}
}

// remoteAlert returns the number of the alert the peer sent, -1 if none. Go
// reports it as *net.OpError{Op: "remote error"} around an unexported type
// whose kind is uint8; tls.AlertError is for QUIC alone.
func remoteAlert(err error) int {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return -1
	}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		return int(v.Uint())
	}
	return -1
}

// hungUp reports whether err is the peer's end of the connection, and whether
// by reset.
func hungUp(err error) (ended, reset bool) {
	reset = isReset(err)
	return reset || isEOF(err), reset
}
