package netdiag_test

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

const day = 24 * time.Hour

// statuses lists the findings as "status severity".
func statuses(r netdiag.CertificateReport) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, string(f.Status)+" "+f.Severity)
	}
	return out
}

func TestCertificateStatuses(t *testing.T) {
	e := newEnv(t)
	now := time.Now()
	lasting := func(d time.Duration) *lab.Pair { return e.issue(lab.CertOptions{NotAfter: now.Add(d)}) }
	good := lasting(90 * day)
	mid := must(e.lab.CA().Intermediate("middle"))(e)
	chained := must(mid.Issue(lab.CertOptions{NotAfter: now.Add(90 * day)}))(e)
	foreign := must(e.foreign.Issue(lab.CertOptions{NotAfter: now.Add(90 * day)}))(e)
	self := e.issue(lab.CertOptions{SelfSigned: true, NotAfter: now.Add(90 * day)})
	roots := e.lab.CA().PEM
	crl := must(e.lab.CA().CRL(now, good.Leaf.SerialNumber))(e)
	swapped := append(bytes.Clone(mid.PEM), chained.CertPEM...)
	type in = netdiag.CertificateInput
	type opt = netdiag.CertificateOptions
	for _, c := range []struct {
		name string
		in   in
		o    opt
		want string // statuses, comma between
	}{
		{"good", in{Cert: good.CertPEM, Key: good.KeyPEM, Roots: roots}, opt{Usage: netdiag.UsageServer, Name: "lab.test"}, ""},
		{"good chain", in{Cert: chained.CertPEM, Key: chained.KeyPEM, Roots: roots}, opt{}, ""},
		{"nothing", in{Cert: []byte("\n")}, opt{}, "empty critical"},
		{"only a key", in{Cert: good.KeyPEM}, opt{}, "empty critical"},
		{"not PEM", in{Cert: good.Leaf.Raw}, opt{}, "unreadable critical"},
		{"broken", in{Cert: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, opt{}, "unreadable critical"},
		{"too big", in{Cert: bytes.Repeat([]byte("#"), 5<<20)}, opt{}, "unreadable critical"},
		{"too long", in{Cert: bytes.Repeat(self.CertPEM, 9)}, opt{}, "chain-too-long critical,chain-order warning,self-signed info"},
		{"other key", in{Cert: good.CertPEM, Key: foreign.KeyPEM}, opt{}, "key-mismatch critical"},
		{"no key", in{Cert: good.CertPEM, Key: []byte("x")}, opt{}, "key-unreadable critical"},
		{"intermediate first", in{Cert: swapped, Key: chained.KeyPEM}, opt{}, "key-mismatch critical,chain-order warning"},
		{"untrusted", in{Cert: foreign.CertPEM, Roots: roots}, opt{}, "untrusted critical"},
		{"chain without its middle", in{Cert: chained.CertPEM[:len(chained.CertPEM)-len(mid.PEM)], Roots: roots}, opt{}, "untrusted critical"},
		{"roots are garbage", in{Cert: good.CertPEM, Roots: []byte("x")}, opt{}, "untrusted critical"},
		{"self-signed", in{Cert: self.CertPEM}, opt{}, "self-signed info"},
		{"self-signed and trusted", in{Cert: self.CertPEM, Roots: self.CertPEM}, opt{}, "self-signed info"},
		{"self-signed and untrusted", in{Cert: self.CertPEM, Roots: roots}, opt{}, "self-signed info,untrusted critical"},
		{"not for clients", in{Cert: good.CertPEM}, opt{Usage: netdiag.UsageClient}, "eku critical"},
		{"other name", in{Cert: good.CertPEM}, opt{Name: "other.test"}, "san critical"},
		{"no name", in{Cert: e.client().CertPEM}, opt{Usage: netdiag.UsageServer, Warning: time.Hour, Major: time.Minute}, "eku critical,san critical"},
		{"revoked", in{Cert: good.CertPEM, Roots: roots, CRL: crl}, opt{}, "revoked critical"},
		{"not on the list", in{Cert: lasting(90 * day).CertPEM, Roots: roots, CRL: crl}, opt{}, ""},
		{"list of a stranger", in{Cert: good.CertPEM, Roots: e.foreign.PEM, CRL: crl}, opt{}, "untrusted critical,crl warning"},
		{"list is garbage", in{Cert: good.CertPEM, CRL: []byte("x")}, opt{}, "crl warning"},
		{"expired", in{Cert: lasting(-time.Second).CertPEM, Roots: roots}, opt{}, "expired critical"},
		{"of tomorrow", in{Cert: e.issue(lab.CertOptions{NotBefore: now.Add(day), NotAfter: now.Add(90 * day)}).CertPEM, Roots: roots}, opt{}, "not-yet-valid critical"},
		{"29 days left", in{Cert: lasting(29 * day).CertPEM}, opt{}, "expiring warning"},
		{"6 days left", in{Cert: lasting(6 * day).CertPEM}, opt{}, "expiring major"},
		{"6 days left and asked for 5", in{Cert: lasting(6 * day).CertPEM}, opt{Warning: 5 * day, Major: day}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := netdiag.CheckCertificate(c.in, now, c.o)
			if got := strings.Join(statuses(r), ","); got != c.want {
				t.Errorf("found %q, want %q\n%+v", got, c.want, r.Findings)
			}
			if bad := len(r.Invalid()) > 0; bad != (strings.Contains(c.want, "critical") && c.want != "expired critical") {
				t.Errorf("invalid = %t for %q", bad, c.want)
			}
		})
	}
}

func TestExpiredAboveTheLeafIsFound(t *testing.T) {
	e := newEnv(t)
	root := link(e, nil, authority("root"))
	leaf := link(e, root, &x509.Certificate{DNSNames: []string{"lab.test"}})
	later := time.Now().Add(30 * day)
	r := netdiag.CheckCertificate(netdiag.CertificateInput{Cert: leaf.CertPEM, Roots: root.CertPEM}, later, netdiag.CertificateOptions{})
	if got, want := statuses(r), []string{"expired critical", "untrusted critical"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if sev, soon := r.Expiring(); soon || !r.Expired() || r.Left > 0 || r.LifeLeft != 0 {
		t.Errorf("expiring %q, expired %t, left %s, %f of its life", sev, r.Expired(), r.Left, r.LifeLeft)
	}
}

func TestLeafIsTold(t *testing.T) {
	e := newEnv(t)
	now := time.Now()
	p := e.issue(lab.CertOptions{NotBefore: now.Add(-30 * day), NotAfter: now.Add(10 * day)})
	r := netdiag.CheckCertificate(netdiag.CertificateInput{Cert: p.CertPEM}, now, netdiag.CertificateOptions{})
	if r.Leaf == nil || r.Leaf.Serial != p.Leaf.SerialNumber.String() || !r.Leaf.NotAfter.Equal(p.Leaf.NotAfter) {
		t.Fatalf("leaf = %+v", r.Leaf)
	}
	if r.LifeLeft < 0.24 || r.LifeLeft > 0.26 {
		t.Errorf("%f of its life is left, want a quarter", r.LifeLeft)
	}
	if sev, soon := r.Expiring(); !soon || sev != netdiag.SeverityWarning {
		t.Errorf("expiring = %q, %t", sev, soon)
	}
}

// FuzzCheckCertificate feeds foreign bytes to every input.
func FuzzCheckCertificate(f *testing.F) {
	var seeds [][]byte
	for _, name := range []string{"cert.pem", "key.pem", "ca.pem", "crl.pem"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	f.Add(seeds[0], seeds[1], seeds[2], seeds[3])
	f.Fuzz(func(t *testing.T, cert, key, roots, crl []byte) {
		r := netdiag.CheckCertificate(netdiag.CertificateInput{Cert: cert, Key: key, Roots: roots, CRL: crl}, time.Unix(1.8e9, 0), netdiag.CertificateOptions{})
		if r.Leaf == nil && len(r.Invalid()) == 0 {
			t.Error("nothing could be read, and nothing is wrong")
		}
	})
}
