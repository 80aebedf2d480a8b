package netdiag

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// clientCert finds out what the server thinks of our certificate. In TLS 1.3
// our handshake is complete before the server has even read it: a client that
// writes its request at once often loses the alert to a reset. So nothing is
// written until the server had its say.
func (r *run) clientCert(ctx context.Context, s *shake) bool {
	st := begin(StepClientCert)
	if !s.asked {
		if s.err != nil {
			return r.fail(st, TLSProtocol, plain(s.err)) // the server's certificate was good and the handshake still failed
		}
		r.app = &replayConn{Conn: s.conn}
		r.skip(StepClientCert, "not needed: the server did not ask for one")
		return true
	}
	err, early := s.err, []byte(nil)
	switch {
	case err != nil:
	case r.eager && s.state.Version >= tls.VersionTLS13:
		s.acceptance = "first-read"
	default:
		early, err = r.quietRead(ctx, s, r.t.Timeouts.Quiet)
	}
	s.wire.measure(st)
	r.clientEvidence(st, s)
	if err != nil {
		cause, detail := r.clientVerdict(st, s, err)
		return r.fail(st, cause, detail)
	}
	r.rep.TLS.Acceptance = s.acceptance
	st.Evidence["acceptance"] = s.acceptance
	r.app = &replayConn{Conn: s.conn, early: early}
	if s.held != "" {
		r.add(st, Warning, s.held, s.why+"; the server goes on without one")
		return true
	}
	if !s.sent {
		return r.ok(st, "asked for, but not demanded; none is configured")
	}
	return r.ok(st, "accepted, shown by "+s.acceptance)
}

func (r *run) clientEvidence(st *Step, s *shake) {
	st.Evidence["sent"] = fmt.Sprint(s.sent)
	if r.own != nil {
		st.Evidence["client_serial"] = r.own.leaf.SerialNumber.String()
		st.Evidence["client_not_after"] = utc(r.own.leaf.NotAfter)
	}
}

// quietRead waits for the server's word on our certificate. An error is a
// refusal; otherwise s.acceptance says what proved acceptance and the result
// is what the server already sent.
func (r *run) quietRead(ctx context.Context, s *shake, d time.Duration) ([]byte, error) {
	if s.state.Version < tls.VersionTLS13 {
		s.acceptance = "handshake" // the server's Finished came after our certificate
		return nil, nil
	}
	if s.ticket.Load() {
		s.acceptance = "ticket"
		return nil, nil
	}
	lift := until(ctx, s.wire, d)
	s.quiet.Store(true)
	buf := make([]byte, 4<<10)
	n, err := s.conn.Read(buf)
	s.quiet.Store(false)
	lift()
	switch {
	case n > 0:
		s.acceptance = "data"
		if s.state.NegotiatedProtocol == "h2" && n >= 9 && buf[3] == 4 { // a SETTINGS frame (RFC 9113 section 6.5)
			s.acceptance = "settings"
		}
		return buf[:n], nil
	case s.ticket.Load():
		s.acceptance = "ticket"
		return nil, nil
	case timedOut(err):
		s.acceptance = "silence"
		return nil, nil
	}
	return nil, err
}

// clientVerdict names a refusal that came after the server had asked for our
// certificate.
func (r *run) clientVerdict(st *Step, s *shake, err error) (Cause, string) {
	alert := remoteAlert(err)
	if alert < 0 {
		if ended, _ := hungUp(err); !ended {
			return TLSProtocol, plain(err)
		}
	} else {
		st.Evidence["alert"] = alertText(alert)
	}
	said := "the server hangs up without an alert"
	if alert >= 0 {
		said = "the server answers alert " + alertText(alert)
	}
	switch {
	case s.held != "":
		return s.held, s.why + "; " + said
	case !s.sent:
		return ClientCertRequired, said
	case alert < 0:
		return ClientCertClosed, said
	}
	return r.refusalCause(alert), said + " to our serial " + r.own.leaf.SerialNumber.String()
}

// refusalCause names the alert that answers our certificate. bad_certificate
// is all that many servers say: then our own certificate tells the rest.
func (r *run) refusalCause(alert int) Cause {
	switch alert {
	case alertUnknownCA:
		return ClientCertUnknownCA
	case alertCertificateRevoked:
		return ClientCertRevoked
	case alertCertificateExpired: // Go's server says so on both sides of the life
		if r.justBegun() {
			return ClientCertNotYetValid
		}
		return ClientCertExpired
	case alertCertificateRequired:
		return ClientCertRequired
	case alertUnsupportedCert, alertBadCertificate, alertCertificateUnknown:
		if !forClients(r.own.leaf) {
			return ClientCertPurpose
		}
		if r.justBegun() {
			return ClientCertNotYetValid
		}
		if alert == alertUnsupportedCert {
			return ClientCertPurpose
		}
	}
	return ClientCertRejected
}

// justBegun reports whether a server whose clock is somewhat behind would find
// our certificate not yet valid, and one whose clock is as much ahead would not
// find it expired.
func (r *run) justBegun() bool {
	now := r.t.Now()
	age := now.Sub(r.own.leaf.NotBefore)
	return age < 5*time.Minute && age < r.own.leaf.NotAfter.Sub(now)
}

// forClients reports whether c's extended key usages allow client
// authentication; a certificate without any allows all (RFC 5280 section
// 4.2.1.12).
func forClients(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// secondVerdict asks again about our certificate after a request that was cut
// off with nothing but silence before it: the alert may have come after the
// quiet read and been lost to the reset. Only the waiting is longer.
func (r *run) secondVerdict(ctx context.Context) bool {
	if r.shake == nil || !r.shake.asked || r.shake.acceptance != "silence" {
		return false
	}
	w, err := r.open(ctx, 0)
	if err != nil {
		return false
	}
	defer w.Close() // only looked at
	st := begin(StepClientCert)
	s := r.handshake(ctx, w, shakeOptions{})
	if err = s.err; err == nil {
		_, err = r.quietRead(ctx, s, r.t.Timeouts.HTTP)
	}
	if err == nil || s.judged != nil || !s.asked {
		return false
	}
	s.wire.measure(st)
	r.clientEvidence(st, s)
	cause, detail := r.clientVerdict(st, s, err)
	r.dropStep(StepClientCert)
	return !r.fail(st, cause, detail)
}

// dropStep removes what was filed under name, for a better look to replace it.
func (r *run) dropStep(name StepName) {
	r.rep.Steps = slices.DeleteFunc(r.rep.Steps, func(st Step) bool { return st.Name == name })
}
