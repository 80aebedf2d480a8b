package keyserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

// bench is an authority, a server and the options that probe it well.
type bench struct {
	t       *testing.T
	pki     *kmiptest.PKI
	foreign *kmiptest.PKI
	server  *kmiptest.Server
	probe   keyserver.ProbeOptions
}

// patient is so long that only a case that means it runs into it, however busy the
// machine is.
const patient = 2 * time.Minute

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, pki: must(kmiptest.NewPKI("our authority"))(t), foreign: must(kmiptest.NewPKI("a foreign authority"))(t)}
	b.server = must(kmiptest.Start(t.Context(), kmiptest.Options{
		Certificate: b.issue(b.pki, kmiptest.CertRequest{}).TLS, ClientCAs: b.pki.Pool(), Role: kmiptest.Master,
	}))(t)
	t.Cleanup(func() { b.server.Close() })
	ours := b.issue(b.pki, kmiptest.CertRequest{CommonName: "node1"})
	b.probe = keyserver.ProbeOptions{
		Address: b.server.Address(), CA: b.pki.RootPEM, Cert: ours.CertPEM, Key: ours.KeyPEM, Timeout: patient, Slow: patient,
	}
	return b
}

func (b *bench) issue(pki *kmiptest.PKI, r kmiptest.CertRequest) *kmiptest.Identity {
	b.t.Helper()
	if r.NotAfter.IsZero() {
		r.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	return must(pki.Issue(r))(b.t)
}

func (b *bench) become(change func(*kmiptest.Options)) {
	b.t.Helper()
	if err := b.server.Set(change); err != nil {
		b.t.Fatal(err)
	}
}

// shows has the server show this certificate.
func (b *bench) shows(id *kmiptest.Identity) {
	b.become(func(o *kmiptest.Options) { o.Certificate = id.TLS })
}

// speaks changes the server's TLS.
func (b *bench) speaks(change func(*tls.Config)) {
	b.become(func(o *kmiptest.Options) { o.TLS = change })
}

// isNow makes this certificate ours.
func (b *bench) isNow(id *kmiptest.Identity) { b.probe.Cert, b.probe.Key = id.CertPEM, id.KeyPEM }

// causeRow is one of the causes that must be told apart.
type causeRow struct {
	name      string
	world     func(*bench)
	code      fault.Code
	qualifier string
	cause     string
	step      string
	says      []string // what the report must name
}

// lately is within the life of an authority that was made now.
var tomorrow, yesterday, lately = time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, -1), time.Now().Add(-time.Minute)

func causeRows() []causeRow {
	return append(append(negotiationRows(), serverRows()...), clientRows()...)
}

func negotiationRows() []causeRow {
	return []causeRow{
		{
			"no common TLS version", func(b *bench) {
				b.speaks(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
			},
			keyserver.CodeTLSFailed, "version", "tls-version", "tls",
			[]string{"TLS 1.1"},
		},
		{
			"TLS 1.3 demanded of a server that stops at 1.2", func(b *bench) {
				b.speaks(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
				b.probe.MinTLS = tls.VersionTLS13
			},
			keyserver.CodeTLSFailed, "version", "tls-version", "tls",
			[]string{"TLS 1.2"},
		},
		{
			"no common cipher suite", rsaOnly, keyserver.CodeTLSFailed, "cipher", "tls-cipher", "tls",
			[]string{"TLS_RSA_WITH_AES_128_CBC_SHA", "legacy_tls"},
		},
		{"a suite without forward secrecy that is allowed", func(b *bench) {
			rsaOnly(b)
			b.probe.LegacyTLS = true
		}, "", "", "", "", nil},
		{
			"no certificate asked", func(b *bench) { b.become(func(o *kmiptest.Options) { o.ClientCAs = nil }) },
			keyserver.CodeTLSFailed, "not-asked", "client-cert-not-asked", "client-certificate",
			[]string{"keys to anybody"},
		},
	}
}

// rsaOnly is what a PyKMIP server with an RSA key speaks.
func rsaOnly(b *bench) {
	b.shows(b.issue(b.pki, kmiptest.CertRequest{RSA: true}))
	b.speaks(func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	})
}

func serverRows() []causeRow {
	return []causeRow{
		{
			"theirs expired", func(b *bench) {
				b.shows(b.issue(b.pki, kmiptest.CertRequest{NotBefore: lately.Add(-time.Minute), NotAfter: lately}))
			},
			keyserver.CodeTLSFailed, "server-expired", "server-cert-expired", "certificate",
			[]string{lately.UTC().Format(time.RFC3339)},
		},
		{
			"theirs not yet valid", func(b *bench) { b.shows(b.issue(b.pki, kmiptest.CertRequest{NotBefore: tomorrow})) },
			keyserver.CodeTLSFailed, "not-yet-valid", "server-cert-not-yet-valid", "certificate",
			[]string{tomorrow.UTC().Format("2006-01-02")},
		},
		{
			"theirs for another name", func(b *bench) { b.shows(b.issue(b.pki, kmiptest.CertRequest{DNSNames: []string{"other.example"}})) },
			keyserver.CodeTLSFailed, "name", "server-cert-name", "certificate",
			[]string{"other.example", "127.0.0.1"},
		},
		{
			"theirs untrusted", func(b *bench) { b.shows(b.issue(b.foreign, kmiptest.CertRequest{CommonName: "stranger"})) },
			keyserver.CodeTLSFailed, "untrusted", "server-cert-unknown-ca", "certificate",
			[]string{"CN=stranger", "CN=a foreign authority"},
		},
		{
			"theirs signed by itself", func(b *bench) { b.shows(b.issue(b.pki, kmiptest.CertRequest{SelfSigned: true})) },
			keyserver.CodeTLSFailed, "self-signed", "server-cert-self-signed", "certificate", nil,
		},
		{
			"theirs not for servers", func(b *bench) {
				b.shows(b.issue(b.pki, kmiptest.CertRequest{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))
			},
			keyserver.CodeTLSFailed, "purpose", "server-cert-purpose", "certificate",
			[]string{"serverAuth"},
		},
		{
			"not the pinned key", func(b *bench) { b.probe.Pin = "SHA256:" + strings.Repeat("A", 43) + "=" },
			keyserver.CodeTLSFailed, "pin", "server-cert-pin", "certificate", nil,
		},
		{
			"our authority is no PEM", func(b *bench) { b.probe.CA = []byte("not a certificate") },
			keyserver.CodeTLSFailed, "not-pem", "bad-target", "certificate", nil,
		},
	}
}

func clientRows() []causeRow {
	return []causeRow{
		{
			"ours of an authority that it does not accept", func(b *bench) { b.isNow(b.issue(b.foreign, kmiptest.CertRequest{CommonName: "node1"})) },
			keyserver.CodeClientNotAccepted, "issuer-not-accepted", string(netdiag.ClientCertIssuer), "client-certificate",
			[]string{"CN=our authority", "CN=a foreign authority"},
		},
		{
			"none sent", func(b *bench) { b.probe.Cert, b.probe.Key = nil, nil },
			keyserver.CodeClientNotAccepted, "required", string(netdiag.ClientCertRequired), "client-certificate", nil,
		},
		{
			"ours expired", func(b *bench) {
				b.isNow(b.issue(b.pki, kmiptest.CertRequest{CommonName: "node1", NotBefore: yesterday.AddDate(0, 0, -9), NotAfter: yesterday}))
			},
			keyserver.CodeClientNotAccepted, "expired", string(netdiag.OwnCertExpired), "client-certificate",
			[]string{yesterday.UTC().Format("2006-01-02")},
		},
		{
			"ours without the right extended key usage", func(b *bench) {
				b.isNow(b.issue(b.pki, kmiptest.CertRequest{CommonName: "node1", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
			},
			keyserver.CodeClientNotAccepted, "eku", string(netdiag.ClientCertPurpose), "client-certificate",
			[]string{"clientAuth"},
		},
		{
			"our key is another certificate's", func(b *bench) { b.probe.Key = b.issue(b.pki, kmiptest.CertRequest{}).KeyPEM },
			keyserver.CodeClientNotAccepted, "key-mismatch", string(netdiag.OwnCertKeyMismatch), "client-certificate", nil,
		},
		{
			"ours is no PEM", func(b *bench) { b.probe.Cert = []byte("nothing") },
			keyserver.CodeClientNotAccepted, "unreadable", string(netdiag.OwnCertUnreadable), "client-certificate", nil,
		},
		{
			"refused in the handshake of TLS 1.2", func(b *bench) {
				b.speaks(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; refuse(c) })
			},
			keyserver.CodeClientNotAccepted, "rejected", string(netdiag.ClientCertRejected), "client-certificate",
			[]string{"bad_certificate"},
		},
		{
			"refused at the first read of TLS 1.3", func(b *bench) {
				b.speaks(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13; refuse(c) })
			},
			keyserver.CodeClientNotAccepted, "rejected", string(netdiag.ClientCertRejected), "client-certificate",
			[]string{"bad_certificate"},
		},
		{"accepted under TLS 1.2", func(b *bench) {
			b.speaks(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
		}, "", "", "", "", nil},
		{"accepted under TLS 1.3", func(b *bench) { b.speaks(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }) }, "", "", "", "", nil},
	}
}

// refuse makes a server dislike every certificate once it has read it.
func refuse(c *tls.Config) {
	c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("not on the list") }
}

// runs is how often each cause is made, all at the same time.
const runs = 100

func TestTheCausesOfTLSAreToldApart(t *testing.T) {
	for _, row := range causeRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			row.world(b)
			var wg sync.WaitGroup
			var mu sync.Mutex // guards wrong
			wrong := map[string]wire.KMIPProbe{}
			for range runs {
				wg.Go(func() {
					p := keyserver.Probe(t.Context(), b.probe)
					if why := row.differs(p); why != "" {
						mu.Lock()
						wrong[why] = p
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			for why, p := range wrong {
				dump := must(json.MarshalIndent(p, "", " "))(t)
				t.Errorf("%s\n%s", why, dump)
			}
		})
	}
}

// differs says in what a report is not what the row demands.
func (row *causeRow) differs(p wire.KMIPProbe) string {
	if p.OK != (row.code == "") || p.Code != string(row.code) || p.Qualifier != row.qualifier || p.Cause != row.cause || p.Step != row.step {
		return "found " + p.Code + " " + p.Qualifier + " " + p.Cause + " at " + p.Step + ": " + p.Error
	}
	var text strings.Builder
	text.WriteString(p.Error)
	if p.TLS != nil {
		text.WriteString(strings.Join(p.TLS.AcceptedIssuers, " "))
	}
	for _, r := range p.Remedy {
		text.WriteString(r.Text)
	}
	for _, want := range row.says {
		if !strings.Contains(text.String(), want) {
			return "does not name " + want + ": " + text.String()
		}
	}
	if !p.OK && len(p.Remedy) == 0 {
		return "no remedy"
	}
	return ""
}

func TestACancelledProbeBlamesNobody(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p := keyserver.Probe(ctx, b.probe); p.Code != "" || p.OK {
		t.Errorf("found %s, OK %v", p.Code, p.OK)
	}
}
