package netdiag

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CertStatus is one thing that is true of a certificate file.
type CertStatus string

// The statuses. Those of identity/cert-invalid in the catalogue keep its words.
const (
	CertUnreadable    CertStatus = "unreadable"     // PEM or DER is broken, too big
	CertEmpty         CertStatus = "empty"          // no certificate at all
	CertChainTooLong  CertStatus = "chain-too-long" // more certificates than MaxChain
	CertChainOrder    CertStatus = "chain-order"    // one is not signed by the next
	CertKeyUnreadable CertStatus = "key-unreadable"
	CertKeyMismatch   CertStatus = "key-mismatch"
	CertUntrusted     CertStatus = "untrusted" // no chain to the given roots
	CertSelfSigned    CertStatus = "self-signed"
	CertPurpose       CertStatus = "eku"
	CertName          CertStatus = "san" // the wanted name is not in it, or it has none
	CertRevoked       CertStatus = "revoked"
	CertCRL           CertStatus = "crl" // the revocation list cannot be used
	CertNotYetValid   CertStatus = "not-yet-valid"
	CertExpired       CertStatus = "expired"
	CertExpiring      CertStatus = "expiring" // inside a threshold
	CertChainExpiring CertStatus = "chain-expiring"
)

// The severities of a finding.
const (
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityMajor    = "major"
	SeverityCritical = "critical"
)

// CertUsage is what a certificate is for.
type CertUsage uint8

// The usages.
const (
	UsageAny CertUsage = iota
	UsageServer
	UsageClient
)

// CertificateInput is what was read from the files, PEM; the CRL may be DER.
// What is nil is not judged.
type CertificateInput struct {
	Cert  []byte // leaf first
	Key   []byte
	Roots []byte
	CRL   []byte
}

// CertificateOptions are the limits.
type CertificateOptions struct {
	Warning  time.Duration // left life below which "expiring" is a warning; 30 d when 0
	Major    time.Duration // and below which it is major; 7 d when 0
	MaxChain int           // certificates in the file; 8 when 0
	Usage    CertUsage
	Name     string // DNS name or address it must hold; not judged when empty
}

// CertificateFinding is one status with its facts.
type CertificateFinding struct {
	Status   CertStatus `json:"status"`
	Severity string     `json:"severity"`
	Detail   string     `json:"detail"`
}

// CertificateReport is what CheckCertificate found.
type CertificateReport struct {
	Leaf     *Peer                `json:"leaf,omitempty"` // nil when nothing could be read
	Chain    []Peer               `json:"chain,omitempty"`
	Findings []CertificateFinding `json:"findings,omitempty"`
	Left     time.Duration        `json:"-"`         // until NotAfter; negative after it
	LifeLeft float64              `json:"life_left"` // fraction of the whole life, 0 to 1
}

// Has reports whether status was found.
func (r CertificateReport) Has(status CertStatus) bool {
	return slices.ContainsFunc(r.Findings, func(f CertificateFinding) bool { return f.Status == status })
}

// Expired reports whether the leaf's time is over.
func (r CertificateReport) Expired() bool { return r.Has(CertExpired) }

// Expiring returns the severity of the coming end of the leaf or of one above
// it; ok is false when it is far.
func (r CertificateReport) Expiring() (severity string, ok bool) {
	for _, f := range r.Findings {
		if f.Status == CertExpiring || f.Status == CertChainExpiring {
			if f.Severity == SeverityMajor || severity == "" {
				severity = f.Severity
			}
		}
	}
	return severity, severity != ""
}

// Invalid returns what makes the certificate unusable for a reason other than
// its end: the findings of certificate/invalid.
func (r CertificateReport) Invalid() []CertificateFinding {
	var out []CertificateFinding
	for _, f := range r.Findings {
		if f.Severity == SeverityCritical && f.Status != CertExpired {
			out = append(out, f)
		}
	}
	return out
}

// certCheck is one check under way.
type certCheck struct {
	in    CertificateInput
	o     CertificateOptions
	now   time.Time
	chain []*x509.Certificate
	rep   CertificateReport
}

func (c *certCheck) find(status CertStatus, severity, format string, args ...any) {
	c.rep.Findings = append(c.rep.Findings, CertificateFinding{status, severity, fmt.Sprintf(format, args...)})
}

// CheckCertificate judges certificate files at now. It is pure: no file, no
// clock, no network. Findings come in a fixed order: form, key, chain, purpose,
// name, revocation, dates.
func CheckCertificate(in CertificateInput, now time.Time, o CertificateOptions) CertificateReport {
	o.Warning = orDefault(o.Warning, 30*24*time.Hour)
	o.Major = orDefault(o.Major, 7*24*time.Hour)
	o.MaxChain = orDefault(o.MaxChain, 8)
	c := &certCheck{in: in, o: o, now: now}
	if !c.parse() {
		return c.rep
	}
	c.key()
	c.order()
	c.trusted()
	c.purpose()
	c.revoked()
	c.dates()
	return c.rep
}

func (c *certCheck) parse() bool {
	chain, err := parseCerts(c.in.Cert)
	switch {
	case errors.Is(err, errNoCertificate) && len(bytes.TrimSpace(c.in.Cert)) == 0:
		c.find(CertEmpty, SeverityCritical, "the file is empty")
		return false
	case errors.Is(err, errNoCertificate) && !bytes.Contains(c.in.Cert, []byte("-----BEGIN")):
		c.find(CertUnreadable, SeverityCritical, "%d bytes without a PEM block", len(c.in.Cert))
		return false
	case errors.Is(err, errNoCertificate):
		c.find(CertEmpty, SeverityCritical, "%v in %d bytes", err, len(c.in.Cert))
		return false
	case err != nil:
		c.find(CertUnreadable, SeverityCritical, "%v", err)
		return false
	}
	c.chain = chain
	leaf := peerOf(chain[0])
	c.rep.Leaf, c.rep.Chain = &leaf, peersOf(chain)
	if len(chain) > c.o.MaxChain {
		c.find(CertChainTooLong, SeverityCritical, "%d certificates, the limit is %d", len(chain), c.o.MaxChain)
		c.chain = chain[:c.o.MaxChain]
	}
	return true
}

func (c *certCheck) key() {
	if c.in.Key == nil {
		return
	}
	s, err := parseKey(c.in.Key)
	switch {
	case err != nil:
		c.find(CertKeyUnreadable, SeverityCritical, "%v", err)
	case keyMatches(c.chain[0], s):
	case slices.ContainsFunc(c.chain[1:], func(x *x509.Certificate) bool { return keyMatches(x, s) }):
		c.find(CertKeyMismatch, SeverityCritical, "the key belongs to another certificate of the file; the leaf must come first")
	default:
		c.find(CertKeyMismatch, SeverityCritical, "the key does not belong to %q", c.chain[0].Subject)
	}
}

// order demands that each certificate is signed by the next, as RFC 5246
// section 7.4.2 does; TLS 1.3 clients forgive it, many others do not.
func (c *certCheck) order() {
	for i := range len(c.chain) - 1 {
		if err := c.chain[i].CheckSignatureFrom(c.chain[i+1]); err != nil {
			c.find(CertChainOrder, SeverityWarning, "certificate %d %q is not signed by the next, %q", i+1, c.chain[i].Subject, c.chain[i+1].Subject)
			return
		}
	}
}

// trusted builds a chain to the given roots at a time when the leaf is valid,
// so that dates do not hide trust.
func (c *certCheck) trusted() {
	leaf := c.chain[0]
	self := selfSigned(leaf)
	if self {
		c.find(CertSelfSigned, SeverityInfo, "%q is signed by its own key", leaf.Subject)
	}
	if c.in.Roots == nil {
		return
	}
	roots, err := parsePool(c.in.Roots)
	if err != nil || roots == nil {
		c.find(CertUntrusted, SeverityCritical, "the roots cannot be read: %v", errors.Join(err, emptyRoots(roots)))
		return
	}
	at := c.now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	_, err = verify(c.chain, roots, at, x509.ExtKeyUsageAny)
	if inv, ok := errors.AsType[x509.CertificateInvalidError](err); ok && inv.Reason == x509.Expired &&
		slices.ContainsFunc(c.chain[1:], inv.Cert.Equal) {
		return // dates says so of each one above the leaf
	}
	if err != nil {
		c.find(CertUntrusted, SeverityCritical, "%v; %s", err, presentedText(c.chain))
	}
}

func emptyRoots(p *x509.CertPool) error {
	if p == nil {
		return errNoCertificate
	}
	return nil
}

func (c *certCheck) purpose() {
	leaf := c.chain[0]
	want, text := x509.ExtKeyUsageServerAuth, "serverAuth"
	if c.o.Usage == UsageClient {
		want, text = x509.ExtKeyUsageClientAuth, "clientAuth"
	}
	free := len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0
	if c.o.Usage != UsageAny && !free && !slices.Contains(leaf.ExtKeyUsage, want) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		c.find(CertPurpose, SeverityCritical, "no extended key usage %s", text)
	}
	if c.o.Name != "" {
		if err := leaf.VerifyHostname(c.o.Name); err != nil {
			c.find(CertName, SeverityCritical, "%q is wanted; the certificate holds %s", c.o.Name, namesOf(leaf))
		}
	} else if c.o.Usage == UsageServer && len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		c.find(CertName, SeverityCritical, "no subject alternative name; clients ignore the common name (RFC 9525)")
	}
}

// revoked looks for the chain's certificates in the list, which counts only
// for what its own issuer has signed.
func (c *certCheck) revoked() {
	if c.in.CRL == nil {
		return
	}
	der := c.in.CRL
	if b, _ := pem.Decode(der); b != nil {
		der = b.Bytes
	}
	if len(der) > maxPEM {
		c.find(CertCRL, SeverityWarning, "%d bytes, the limit is %d", len(der), maxPEM)
		return
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		c.find(CertCRL, SeverityWarning, "the revocation list cannot be read: %v", err)
		return
	}
	if !c.listSigned(list) {
		c.find(CertCRL, SeverityWarning, "the revocation list of %q is not signed by an authority we have", list.Issuer)
		return
	}
	if !list.NextUpdate.IsZero() && c.now.After(list.NextUpdate) {
		c.find(CertCRL, SeverityWarning, "the revocation list was due for replacement at %s", utc(list.NextUpdate))
	}
	for _, x := range c.chain {
		if !bytes.Equal(x.RawIssuer, list.RawIssuer) {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(x.SerialNumber) == 0 && !c.now.Before(e.RevocationTime) {
				c.find(CertRevoked, SeverityCritical, "%q, serial %s, is revoked since %s", x.Subject, x.SerialNumber, utc(e.RevocationTime))
			}
		}
	}
}

// listSigned looks for the list's signer in the chain and the roots.
func (c *certCheck) listSigned(list *x509.RevocationList) bool {
	signers := slices.Clone(c.chain)
	if roots, err := parseCerts(c.in.Roots); err == nil {
		signers = append(signers, roots...)
	}
	return slices.ContainsFunc(signers, func(x *x509.Certificate) bool {
		return bytes.Equal(x.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(x) == nil
	})
}

func (c *certCheck) dates() {
	leaf := c.chain[0]
	c.rep.Left = leaf.NotAfter.Sub(c.now)
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 0 {
		c.rep.LifeLeft = min(1, max(0, float64(c.rep.Left)/float64(life)))
	}
	switch {
	case c.now.After(leaf.NotAfter):
		c.find(CertExpired, SeverityCritical, "expired at %s", utc(leaf.NotAfter))
	case c.now.Before(leaf.NotBefore):
		c.find(CertNotYetValid, SeverityCritical, "valid from %s", utc(leaf.NotBefore))
	case c.rep.Left < c.o.Major:
		c.find(CertExpiring, SeverityMajor, "%s left, until %s", days(c.rep.Left), utc(leaf.NotAfter))
	case c.rep.Left < c.o.Warning:
		c.find(CertExpiring, SeverityWarning, "%s left, until %s", days(c.rep.Left), utc(leaf.NotAfter))
	}
	for _, x := range c.chain[1:] {
		c.above(x)
	}
}

// above judges the dates of a certificate above the leaf.
func (c *certCheck) above(x *x509.Certificate) {
	left := x.NotAfter.Sub(c.now)
	switch {
	case left < 0:
		c.find(CertUntrusted, SeverityCritical, "%q above the leaf expired at %s", x.Subject, utc(x.NotAfter))
	case c.now.Before(x.NotBefore):
		c.find(CertUntrusted, SeverityCritical, "%q above the leaf is valid from %s", x.Subject, utc(x.NotBefore))
	case left < c.o.Major:
		c.find(CertChainExpiring, SeverityMajor, "%q above the leaf: %s left, until %s", x.Subject, days(left), utc(x.NotAfter))
	case left < c.o.Warning:
		c.find(CertChainExpiring, SeverityWarning, "%q above the leaf: %s left, until %s", x.Subject, days(left), utc(x.NotAfter))
	}
}

// days shows whole days, hours below two days.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}
