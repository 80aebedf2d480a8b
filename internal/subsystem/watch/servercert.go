package watch

import (
	"fmt"
	"math"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// serverCertificate is the sub-resource of a TLS endpoint that stands for the
// certificate it shows.
const serverCertificate = "certificate"

// The thresholds for a certificate that an endpoint shows. Automatic renewal
// replaces a certificate when a third of its life is left; a certificate that
// lives for days only is judged by its own life, or it would always be near its
// end.
const (
	serverCertWarning = 30 * day
	serverCertMajor   = 7 * day
)

// judgeServerCertificate judges the life of the certificate that the endpoint
// has shown, if the ladder came so far; whether it is trusted and names the
// server is connectivity/tls-failed.
func judgeServerCertificate(r *check.Report, rep *netdiag.Report, plain bool) {
	codes := []fault.Code{CodeCertExpired, CodeCertExpiring}
	leaf := shownLeaf(rep)
	if leaf == nil {
		for _, code := range codes {
			if plain {
				r.NotApplicable(code, "the endpoint is watched without TLS")
				continue
			}
			r.Unknown(code, "no certificate was seen: "+rep.Cause.Text())
		}
		return
	}
	left, life := leaf.NotAfter.Sub(rep.Start), leaf.NotAfter.Sub(leaf.NotBefore)
	until := leaf.NotAfter.UTC().Format(time.RFC3339)
	sense := peerSense(leaf, left, life)
	sense["address"] = rep.Target
	if left < 0 {
		r.Present(CodeCertExpired, fmt.Errorf("the certificate that %s shows expired at %s", rep.Target, until), sense)
		return // "expiring" is over, not disproved
	}
	r.Absent(CodeCertExpired)
	severity := fault.None
	switch {
	case left < min(serverCertMajor, life/10):
		severity = fault.Major
	case left < min(serverCertWarning, life/3):
		severity = fault.Warning
	default:
		r.Absent(CodeCertExpiring)
		return
	}
	r.PresentAt(severity, CodeCertExpiring, fmt.Errorf("the certificate that %s shows is valid until %s", rep.Target, until), sense)
}

// shownLeaf is the server's own certificate; nil when none was seen.
func shownLeaf(rep *netdiag.Report) *netdiag.Peer {
	if rep.TLS != nil && len(rep.TLS.Peers) > 0 {
		return &rep.TLS.Peers[0]
	}
	for _, s := range rep.Steps {
		if s.Name == netdiag.StepServerCert && len(s.Peers) > 0 {
			return &s.Peers[0]
		}
	}
	return nil
}

// peerSense is what is told of a certificate, with how much of its life is left.
func peerSense(p *netdiag.Peer, left, life time.Duration) map[string]string {
	sense := map[string]string{
		"subject": p.Subject, "issuer": p.Issuer, "serial": p.Serial,
		"not_before": p.NotBefore.UTC().Format(time.RFC3339),
		"not_after":  p.NotAfter.UTC().Format(time.RFC3339),
		"days_left":  fmt.Sprintf("%.0f", math.Floor(left.Hours()/24)),
	}
	if life > 0 {
		sense["life_left"] = fmt.Sprintf("%.2f", min(1, max(0, float64(left)/float64(life))))
	}
	return sense
}
