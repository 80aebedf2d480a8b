package netdiag

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of what is read from PEM files: a system's whole bundle is some
// 250 KB and 150 certificates.
const (
	maxPEM   = 4 << 20
	maxCerts = 2000
)

var errNoCertificate = errors.New("no CERTIFICATE block")

// parseCerts reads every CERTIFICATE block of data, at least one.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%d bytes of PEM, the limit is %d", len(data), maxPEM)
	}
	var out []*x509.Certificate
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		if len(out) == maxCerts {
			return nil, fmt.Errorf("more than %d certificates", maxCerts)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errNoCertificate
	}
	return out, nil
}

// parsePool makes a pool of every certificate of data; nil for empty data.
func parsePool(data []byte) (*x509.CertPool, error) {
	if len(data) == 0 {
		return nil, nil
	}
	certs, err := parseCerts(data)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p, nil
}

// parseKey reads the first private key of data: PKCS #8, PKCS #1 or SEC 1.
func parseKey(data []byte) (crypto.Signer, error) {
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%d bytes of PEM, the limit is %d", len(data), maxPEM)
	}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return nil, errors.New("no PRIVATE KEY block")
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the key is encrypted with a password")
		}
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		return decodeKey(b)
	}
}

func decodeKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, err
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return s, nil
}

// keyMatches reports whether s is the private half of c's key.
func keyMatches(c *x509.Certificate, s crypto.Signer) bool {
	pub, err := x509.MarshalPKIXPublicKey(s.Public())
	return err == nil && bytes.Equal(pub, c.RawSubjectPublicKeyInfo)
}

// Peer is what is told of a certificate.
type Peer struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"` // decimal
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // hex, of the whole certificate
	SPKI      string    `json:"spki"`   // "sha256:" and base64, as Target.Pins takes it
	DNSNames  []string  `json:"dns_names,omitempty"`
	IPs       []string  `json:"ips,omitempty"`
	CA        bool      `json:"ca,omitempty"`
}

func peerOf(c *x509.Certificate) Peer {
	sum := sha256.Sum256(c.Raw)
	p := Peer{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.String(),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		SHA256: hex.EncodeToString(sum[:]), SPKI: "sha256:" + base64.StdEncoding.EncodeToString(spki(c)),
		DNSNames: c.DNSNames[:min(len(c.DNSNames), 32)], CA: c.IsCA,
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), 32)] {
		p.IPs = append(p.IPs, ip.String())
	}
	return p
}

func peersOf(chain []*x509.Certificate) []Peer {
	var out []Peer
	for _, c := range chain[:min(len(chain), 16)] {
		out = append(out, peerOf(c))
	}
	return out
}

func spki(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return sum[:]
}

// parsePin reads "sha256:" and 32 bytes in base64 (with or without padding) or hex.
func parsePin(s string) ([]byte, error) {
	code, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return nil, fmt.Errorf("pin %q has no sha256: in front", s)
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
	} {
		if b, err := decode(code); err == nil && len(b) == sha256.Size {
			return b, nil
		}
	}
	return nil, fmt.Errorf("pin %q is not 32 bytes in hex or base64", s)
}

// selfSigned reports whether c is signed with its own key.
func selfSigned(c *x509.Certificate) bool {
	if !bytes.Equal(c.RawIssuer, c.RawSubject) {
		return false
	}
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
