package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA is a certificate authority of a lab: a root, or an intermediate below one.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // this authority's certificate alone

	key   crypto.Signer
	above []*x509.Certificate // this intermediate and those above it, root left out
}

// CertOptions says what a certificate shall look like. The zero value is a
// good server certificate: lab.test, localhost, 127.0.0.1 and ::1, valid from
// an hour ago for 25 hours.
type CertOptions struct {
	CommonName string   // "lab.test" when empty
	DNSNames   []string // with IPs: lab.test, localhost, 127.0.0.1 and ::1 when both are nil and Client is not set
	IPs        []net.IP
	NotBefore  time.Time // an hour ago when zero
	NotAfter   time.Time // in 24 hours when zero
	Server     bool      // extended key usage serverAuth; the default when neither is set
	Client     bool      // extended key usage clientAuth
	SelfSigned bool      // signed by its own key, not by the authority
}

// Pair is a certificate with its key.
type Pair struct {
	CertPEM []byte // leaf first, then intermediates; the root is left out
	KeyPEM  []byte // PKCS #8
	Leaf    *x509.Certificate
	TLS     tls.Certificate
}

// serialLimit bounds serial numbers to 127 bits: positive and 16 bytes, well
// inside the 20 bytes of RFC 5280 section 4.1.2.2.
var serialLimit = new(big.Int).Lsh(big.NewInt(1), 127)

func newCA(name string) (*CA, error) { return (*CA)(nil).child(name) }

// Intermediate makes an authority signed by c.
func (c *CA) Intermediate(name string) (*CA, error) { return c.child(name) }

// child makes an authority below c, or a root when c is nil.
func (c *CA) child(name string) (*CA, error) {
	now := time.Now()
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(10 * 365 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, key, err := c.sign(tmpl)
	if err != nil {
		return nil, fmt.Errorf("make authority %q: %w", name, err)
	}
	ca := &CA{Cert: cert, PEM: certPEM(cert), key: key}
	if c != nil {
		ca.above = append([]*x509.Certificate{cert}, c.above...)
	}
	return ca, nil
}

// Issue makes a key and a certificate for it.
func (c *CA) Issue(o CertOptions) (*Pair, error) {
	tmpl := o.template(time.Now())
	signer := c
	if o.SelfSigned {
		signer = nil
	}
	leaf, key, err := signer.sign(tmpl)
	if err != nil {
		return nil, fmt.Errorf("issue certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	chain := []*x509.Certificate{leaf}
	if signer != nil {
		chain = append(chain, signer.above...)
	}
	p := &Pair{Leaf: leaf, TLS: tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, cert := range chain {
		p.CertPEM = append(p.CertPEM, certPEM(cert)...)
		p.TLS.Certificate = append(p.TLS.Certificate, cert.Raw)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %q: %w", tmpl.Subject.CommonName, err)
	}
	p.KeyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return p, nil
}

func (o CertOptions) template(now time.Time) *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: o.CommonName},
		DNSNames:    o.DNSNames,
		IPAddresses: o.IPs,
		NotBefore:   o.NotBefore,
		NotAfter:    o.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
	}
	if t.Subject.CommonName == "" {
		t.Subject.CommonName = "lab.test"
	}
	if o.DNSNames == nil && o.IPs == nil && !o.Client {
		t.DNSNames = []string{"lab.test", "localhost"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = now.Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = now.Add(24 * time.Hour)
	}
	if o.Server || !o.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if o.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return t
}

// sign draws a key and a serial, and signs tmpl with c's key, or with the
// drawn key itself when c is nil.
func (c *CA) sign(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if tmpl.SerialNumber, err = rand.Int(rand.Reader, serialLimit); err != nil {
		return nil, nil, err
	}
	parent, signer := tmpl, crypto.Signer(key)
	if c != nil {
		parent, signer = c.Cert, c.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// CRL makes a revocation list, PEM, issued at now and due a day later.
func (c *CA) CRL(now time.Time, revoked ...*big.Int) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(now.Unix()), ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour)}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now.Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.Cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("make a revocation list of %q: %w", c.Cert.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
