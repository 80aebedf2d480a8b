package kmiptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// PKI is a private certificate authority that lives as long as the process: its key is never written anywhere.
type PKI struct {
	Root    *x509.Certificate
	RootPEM []byte

	key crypto.Signer
}

// CertRequest says what a certificate shall look like. The zero value is an EC certificate for both ends of a
// connection on this machine, valid from an hour ago for 25 hours.
type CertRequest struct {
	CommonName string             // "kmiptest" when empty; a server of this package knows clients by it
	DNSNames   []string           // with IPs: localhost, 127.0.0.1 and ::1 when both are nil
	IPs        []net.IP           //
	NotBefore  time.Time          // an hour ago when zero
	NotAfter   time.Time          // in 24 hours when zero
	Usage      []x509.ExtKeyUsage // server and client authentication when nil; empty, not nil, for none at all
	RSA        bool               // an RSA key of 2048 bits instead of P-256
	SelfSigned bool               // signed by its own key, unknown to the authority
}

// Identity is a certificate with its key.
type Identity struct {
	CertPEM []byte
	KeyPEM  []byte // PKCS #8
	Leaf    *x509.Certificate
	TLS     tls.Certificate
}

// serialBits keeps serial numbers positive and within 16 bytes (RFC 5280 section 4.1.2.2 allows 20).
const serialBits = 127

// NewPKI makes an authority of the given name.
func NewPKI(name string) (*PKI, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of authority %q: %w", name, err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := signCert(tmpl, tmpl, key, key)
	if err != nil {
		return nil, fmt.Errorf("make authority %q: %w", name, err)
	}
	return &PKI{Root: cert, RootPEM: pemCert(cert), key: key}, nil
}

// Pool answers a pool that holds the authority alone.
func (p *PKI) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Root)
	return pool
}

// Issue makes a key and a certificate for it.
func (p *PKI) Issue(r CertRequest) (*Identity, error) {
	tmpl := r.template(time.Now())
	key, err := r.newKey()
	if err != nil {
		return nil, fmt.Errorf("make the key of %q: %w", tmpl.Subject.CommonName, err)
	}
	parent, signer := p.Root, p.key
	if r.SelfSigned {
		parent, signer = tmpl, key
	}
	leaf, err := signCert(tmpl, parent, key, signer)
	if err != nil {
		return nil, fmt.Errorf("issue certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %q: %w", tmpl.Subject.CommonName, err)
	}
	return &Identity{
		CertPEM: pemCert(leaf),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		Leaf:    leaf,
		TLS:     tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
	}, nil
}

func (r CertRequest) newKey() (crypto.Signer, error) {
	if r.RSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (r CertRequest) template(now time.Time) *x509.Certificate {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName},
		DNSNames:              r.DNSNames,
		IPAddresses:           r.IPs,
		NotBefore:             r.NotBefore,
		NotAfter:              r.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           r.Usage,
		BasicConstraintsValid: true,
	}
	if r.RSA {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment // for suites without forward secrecy
	}
	if t.Subject.CommonName == "" {
		t.Subject.CommonName = "kmiptest"
	}
	if r.DNSNames == nil && r.IPs == nil {
		t.DNSNames = []string{"localhost"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = now.Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = now.Add(24 * time.Hour)
	}
	if r.Usage == nil {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return t
}

// signCert draws a serial and signs tmpl, which certifies key, with the parent's key.
func signCert(tmpl, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func pemCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
