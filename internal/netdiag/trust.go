package netdiag

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// trust is what a server's certificate is judged by.
type trust struct {
	roots  *x509.CertPool // nil: the system's
	system *x509.CertPool // nil: the system's
	pins   [][]byte
}

func newTrust(t Target) (*trust, error) {
	var tr trust
	var err error
	if tr.roots, err = parsePool(t.Roots); err != nil {
		return nil, fmt.Errorf("root certificates: %w", err)
	}
	if tr.system, err = parsePool(t.SystemRoots); err != nil {
		return nil, fmt.Errorf("system root certificates: %w", err)
	}
	if tr.roots == nil {
		tr.roots = tr.system
	}
	for _, p := range t.Pins {
		pin, err := parsePin(p)
		if err != nil {
			return nil, err
		}
		tr.pins = append(tr.pins, pin)
	}
	return &tr, nil
}

// judgement is the verdict on a server's certificate; as an error it ends the
// handshake from within VerifyConnection.
type judgement struct {
	cause  Cause
	detail string
}

func (j *judgement) Error() string { return j.detail }

// judge returns nil when chain is good for name at now. Of several defects it
// names the one that the others follow from: a chain nobody trusts makes dates
// and names meaningless, so it comes first.
func (t *trust) judge(chain []*x509.Certificate, name string, now time.Time, ownRoots bool) *judgement {
	if len(chain) == 0 {
		return &judgement{ServerCertInvalid, "the server sent no certificate"}
	}
	leaf := chain[0]
	pinned := t.pinned(chain[:1])
	built, j := t.chain(chain, now, ownRoots)
	if j != nil && (!pinned || ownRoots || j.cause == ServerCertPurpose) {
		return j
	}
	if now.After(leaf.NotAfter) {
		return &judgement{ServerCertExpired, fmt.Sprintf("%q expired at %s", leaf.Subject, utc(leaf.NotAfter))}
	}
	if now.Before(leaf.NotBefore) {
		return &judgement{ServerCertNotYetValid, fmt.Sprintf("%q is valid from %s", leaf.Subject, utc(leaf.NotBefore))}
	}
	if err := leaf.VerifyHostname(name); err != nil {
		return &judgement{ServerCertName, fmt.Sprintf("%q is wanted; the certificate holds %s", name, namesOf(leaf))}
	}
	if len(t.pins) > 0 && !pinned && !t.pinned(built) {
		return &judgement{ServerCertPin, "no key of the chain is pinned; the leaf's is " + peerOf(leaf).SPKI}
	}
	return nil
}

// chain builds a chain to a trusted root at a time at which the leaf is valid,
// so that dates do not hide who signed. A date above the leaf counts here.
func (t *trust) chain(chain []*x509.Certificate, now time.Time, ownRoots bool) ([]*x509.Certificate, *judgement) {
	leaf := chain[0]
	at := now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	built, err := verify(chain, t.roots, at, x509.ExtKeyUsageServerAuth)
	if err == nil {
		return built, nil
	}
	presented := presentedText(chain)
	if inv, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch inv.Reason {
		case x509.Expired:
			cause := ServerCertExpired
			if at.Before(inv.Cert.NotBefore) {
				cause = ServerCertNotYetValid
			}
			return nil, &judgement{cause, fmt.Sprintf("%q above the leaf: %v", inv.Cert.Subject, err)}
		case x509.IncompatibleUsage:
			return nil, &judgement{ServerCertPurpose, "no extended key usage serverAuth; " + presented}
		}
		return nil, &judgement{ServerCertInvalid, err.Error() + "; " + presented}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		return nil, &judgement{ServerCertInvalid, err.Error() + "; " + presented}
	}
	// With roots of our own, a chain that the system trusts instead is made by
	// somebody who could install an authority there: TLS inspection.
	if ownRoots {
		if up, err := verify(chain, t.system, at, x509.ExtKeyUsageAny); err == nil {
			return nil, &judgement{ServerCertIntercepted, fmt.Sprintf("the chain ends in %q of the system's roots, not in ours; %s",
				up[len(up)-1].Subject, presented)}
		}
	}
	if len(chain) == 1 && selfSigned(leaf) {
		return nil, &judgement{ServerCertSelfSigned, presented}
	}
	return nil, &judgement{ServerCertUnknownCA, err.Error() + "; " + presented}
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, at time.Time, usage x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	built, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, err
	}
	return built[0], nil
}

// pinned reports whether a key of certs is pinned. Pins are public: no
// constant time is needed.
func (t *trust) pinned(certs []*x509.Certificate) bool {
	for _, c := range certs {
		sum := spki(c)
		if slices.ContainsFunc(t.pins, func(p []byte) bool { return slices.Equal(p, sum) }) {
			return true
		}
	}
	return false
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func namesOf(c *x509.Certificate) string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all"
	}
	if len(all) > 16 {
		all = append(all[:16], "...")
	}
	return strings.Join(all, ", ")
}

// presentedText tells the chain as it was sent: subject <- issuer.
func presentedText(chain []*x509.Certificate) string {
	var parts []string
	for _, c := range chain[:min(len(chain), 8)] {
		parts = append(parts, fmt.Sprintf("%q by %q", c.Subject, c.Issuer))
	}
	return "presented: " + strings.Join(parts, ", ")
}
