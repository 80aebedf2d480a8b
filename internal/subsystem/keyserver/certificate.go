package keyserver

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/wire"
)

// The thresholds of certificates (catalogue, keyserver/cert-expiring). One that
// lives for weeks only is judged by its own life, or it would always be near its
// end.
const (
	certWarning = 60 * day
	certMajor   = 14 * day
)

// certificate is one that a connection needs, as it was seen.
type certificate struct {
	which string // server, client, ca
	peer  netdiag.Peer
	left  time.Duration // negative after its end
}

// judgeCertificates judges how long the certificates of a connection still live:
// the server's as it was shown, ours, and the authority above the server's.
func (v *validation) judgeCertificates(rep *netdiag.Report) {
	var chain []netdiag.Peer
	if rep.TLS != nil {
		chain = rep.TLS.Peers
	}
	for _, s := range rep.Steps {
		if s.Name == netdiag.StepServerCert && len(s.Peers) > 0 {
			chain = s.Peers
		}
	}
	t, err := v.server.target(v.group, nil)
	if err != nil {
		return // another finding says so
	}
	if len(chain) > 0 {
		v.judgeCertificate("server", chain[0])
		if ca, ok := above(chain, t.Roots, v.now()); ok {
			v.judgeCertificate("ca", ca)
		} else {
			v.well(verdict{code: CodeCertExpiring, sub: "cert/ca"}) // the system's: not ours to renew
		}
	}
	if ours := netdiag.CheckCertificate(netdiag.CertificateInput{Cert: t.ClientCert}, v.now(), netdiag.CertificateOptions{}); ours.Leaf != nil {
		v.judgeCertificate("client", *ours.Leaf)
	}
}

// above is the configured authority that signed the last certificate of a chain.
func above(chain []netdiag.Peer, roots []byte, now time.Time) (netdiag.Peer, bool) {
	if len(roots) == 0 {
		return netdiag.Peer{}, false
	}
	known := netdiag.CheckCertificate(netdiag.CertificateInput{Cert: roots}, now, netdiag.CertificateOptions{MaxChain: 1 << 16})
	last := chain[len(chain)-1]
	for _, ca := range known.Chain {
		if ca.Subject == last.Issuer {
			return ca, true
		}
	}
	return netdiag.Peer{}, false
}

func (v *validation) judgeCertificate(which string, p netdiag.Peer) {
	left, life := p.NotAfter.Sub(v.now()), p.NotAfter.Sub(p.NotBefore)
	v.res.certs = append(v.res.certs, certificate{which, p, left})
	sub := "cert/" + which
	severity := fault.None
	switch {
	case left < min(certMajor, life/10):
		severity = fault.Major
	case left < min(certWarning, life/3):
		severity = fault.Warning
	default:
		v.well(verdict{code: CodeCertExpiring, sub: sub})
		return
	}
	ends := "is valid until "
	if left < 0 {
		ends = "expired at "
	}
	v.res.found = append(v.res.found, finding{
		code: CodeCertExpiring, sub: sub, severity: severity, qualifier: which,
		err: fmt.Errorf("%s %s%s", certOf(which, v.server), ends, utc(p.NotAfter)),
		sense: map[string]string{
			"subject": p.Subject, "issuer": p.Issuer, "serial": p.Serial, "not_before": utc(p.NotBefore), "not_after": utc(p.NotAfter),
			"file": fileOf(which, v.server), "server": v.server.Name,
			"days_left": strconv.Itoa(daysLeft(left)), "life_left": fmt.Sprintf("%.2f", min(1, max(0, float64(left)/float64(max(life, 1))))),
		},
	})
}

func certOf(which string, s *Server) string {
	switch which {
	case "client":
		return "our certificate for " + s.Name
	case "ca":
		return "the authority of " + s.Name + "'s certificate"
	}
	return "the certificate of " + s.Name
}

func fileOf(which string, s *Server) string {
	switch which {
	case "client":
		return s.ClientCert.Where
	case "ca":
		return s.CA.Where
	}
	return ""
}

func daysLeft(left time.Duration) int { return int(math.Floor(left.Hours() / 24)) }

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// wireCertificates are the certificates for people.
func wireCertificates(all []certificate) []wire.KeyServerCertificate {
	out := make([]wire.KeyServerCertificate, 0, len(all))
	for _, c := range all {
		out = append(out, wire.KeyServerCertificate{Which: c.which, DaysLeft: daysLeft(c.left), Certificate: wireCertificate(c.peer)})
	}
	return out
}

func wireCertificate(p netdiag.Peer) wire.Certificate {
	return wire.Certificate{
		Subject: p.Subject, Issuer: p.Issuer, Serial: p.Serial, NotBefore: p.NotBefore, NotAfter: p.NotAfter,
		SHA256: p.SHA256, SPKI: p.SPKI, DNSNames: p.DNSNames,
	}
}
