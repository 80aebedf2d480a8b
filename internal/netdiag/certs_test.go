package netdiag_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

func spkiPin(p *lab.Pair) string {
	sum := sha256.Sum256(p.Leaf.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// link is a certificate under construction: a template and who signs it.
func link(e *env, parent *lab.Pair, tmpl *x509.Certificate) *lab.Pair {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(e)
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer, above := any(key), tmpl
	if parent != nil {
		signer, above = parent.TLS.PrivateKey, parent.Leaf
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, above, key.Public(), signer))(e)
	p := &lab.Pair{Leaf: must(x509.ParseCertificate(der))(e), CertPEM: pemOf("CERTIFICATE", der)}
	p.TLS = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: p.Leaf}
	if parent != nil {
		p.TLS.Certificate = append(p.TLS.Certificate, parent.TLS.Certificate...)
		p.CertPEM = append(p.CertPEM, parent.CertPEM...)
	}
	return p
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1,
		KeyUsage: x509.KeyUsageCertSign,
	}
}

// tooDeep is a target whose root allows no authority between itself and the leaf.
func tooDeep(e *env) netdiag.Target {
	top := authority("shallow root")
	top.MaxPathLen, top.MaxPathLenZero = 0, true
	root := link(e, nil, top)
	leaf := link(e, link(e, root, authority("one too many")), &x509.Certificate{
		Subject: pkix.Name{CommonName: "lab.test"}, DNSNames: []string{"lab.test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	t := e.served(lab.TLSOptions{Pair: leaf})
	t.Roots = root.CertPEM
	return t
}

// ed25519Client is a target whose client key a TLS 1.2 server on old
// algorithms does not take.
func ed25519Client(e *env) netdiag.Target {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(78), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key))(e)
	t := e.asking(lab.TLSOptions{Client: lab.ClientAny, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, netdiag.HTTPCheck{})
	t.MinTLS = tls.VersionTLS10
	t.ClientCert = pemOf("CERTIFICATE", der)
	t.ClientKey = pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(e))
	return t
}
