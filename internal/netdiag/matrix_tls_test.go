package netdiag_test

import (
	"crypto/tls"
	"math/big"
	"net/http"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

// packet is what a path or middlebox takes at most in one packet: less than the
// big hello, more than the small one and than a clamped segment.
const packet = 1250

var transportRows = []row{
	{name: "SSH on the port", want: netdiag.TLSNotTLS, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Manner: lab.BannerFirst, Banner: "SSH-2.0-OpenSSH_9.2\r\n"})
	}},
	{name: "HTTP on the port", want: netdiag.TLSNotTLS, world: func(e *env) netdiag.Target {
		return e.target(must(e.lab.HTTP(lab.TLSOptions{}))(e).Addr())
	}},
	{name: "three odd bytes", slow: true, want: netdiag.TLSNotTLS, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Manner: lab.Garbage, Banner: "hi\n"})
		t.Timeouts.TLS = soon
		return t
	}},
	{name: "closed after hello", slow: true, want: netdiag.TLSClosed, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Manner: lab.CloseAfterHello})
		t.Timeouts.Retry = soon
		return t
	}},
	{name: "reset after hello", slow: true, want: netdiag.TLSReset, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Manner: lab.ResetAfterHello})
		t.Timeouts.Retry = soon
		return t
	}},
	{name: "cut in the middle of the answer", want: netdiag.TLSClosed, world: func(e *env) netdiag.Target {
		return e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{CutAfter: 100}).Addr())
	}},
	{name: "reset in the middle of the answer", want: netdiag.TLSReset, world: func(e *env) netdiag.Target {
		return e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{CutAfter: 100, CutReset: true}).Addr())
	}},
	{name: "silent", slow: true, want: netdiag.TLSSilent, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Manner: lab.Silent})
		t.Timeouts.TLS, t.Timeouts.Retry = soon, soon
		return t
	}},
	{name: "answer stalls", slow: true, want: netdiag.TLSStalled, world: func(e *env) netdiag.Target {
		t := e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{Stall: true, StallAt: 100}).Addr())
		t.Timeouts.TLS, t.Timeouts.Retry = soon, soon
		return t
	}},
	{name: "path loses big packets", slow: true, want: netdiag.TLSMTU, world: func(e *env) netdiag.Target {
		t := e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{DropOver: packet}).Addr())
		t.Timeouts.TLS = soon
		return t
	}},
	{name: "path loses big answers", slow: true, want: netdiag.TLSMTU, world: func(e *env) netdiag.Target {
		chain := must(e.lab.CA().Intermediate("lab issuing authority"))(e)
		pair := must(chain.Issue(lab.CertOptions{}))(e)
		t := e.target(e.fault(e.tls(lab.TLSOptions{Pair: pair}).Addr(), lab.FaultOptions{DropOver: packet, DropReply: true}).Addr())
		t.Timeouts.TLS, t.Timeouts.Retry = soon, 5*time.Second
		return t
	}},
	{name: "middlebox cannot take a big hello", slow: true, want: netdiag.TLSBigHello, world: func(e *env) netdiag.Target {
		t := e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{DropOver: packet, DropClamped: true}).Addr())
		t.Timeouts.TLS, t.Timeouts.Retry = soon, 5*time.Second
		return t
	}},
}

var negotiationRows = []row{
	{name: "server stops at TLS 1.1", want: netdiag.TLSVersion, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	}},
	{name: "TLS 1.3 demanded of a TLS 1.2 server", want: netdiag.TLSVersion, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{MaxVersion: tls.VersionTLS12})
		t.MinTLS = tls.VersionTLS13
		return t
	}},
	{name: "no common cipher", want: netdiag.TLSCipher, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}})
	}},
	{name: "name refused", want: netdiag.TLSName, world: func(e *env) netdiag.Target { return e.served(lab.TLSOptions{RefuseSNI: true}) }},
	{name: "no common protocol", want: netdiag.TLSALPN, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{NextProtos: []string{"imap"}})
	}},
	{name: "another alert", want: netdiag.TLSAlert, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Manner: lab.Garbage, Banner: "\x15\x03\x03\x00\x02\x02\x50"})
	}},
	{name: "nonsense in a TLS record", want: netdiag.TLSProtocol, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Manner: lab.Garbage, Banner: "\x16\x03\x03\x00\x04\x63\x00\x00\x00"})
	}},
}

var serverRows = []row{
	{name: "expired", want: netdiag.ServerCertExpired, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{NotAfter: time.Now().Add(-time.Minute)})})
	}},
	{name: "of tomorrow", want: netdiag.ServerCertNotYetValid, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{NotBefore: time.Now().Add(time.Hour)})})
	}},
	{name: "unknown authority", want: netdiag.ServerCertUnknownCA, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Pair: must(e.foreign.Issue(lab.CertOptions{}))(e)})
		t.SystemRoots = e.lab.CA().PEM
		return t
	}},
	{name: "expired and of an unknown authority", want: netdiag.ServerCertUnknownCA, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{Pair: must(e.foreign.Issue(lab.CertOptions{NotAfter: time.Now().Add(-time.Minute)}))(e)})
		t.SystemRoots = e.lab.CA().PEM
		return t
	}},
	{name: "self-signed", want: netdiag.ServerCertSelfSigned, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{SelfSigned: true})})
	}},
	{name: "self-signed and pinned", world: func(e *env) netdiag.Target {
		pair := e.issue(lab.CertOptions{SelfSigned: true})
		t := e.served(lab.TLSOptions{Pair: pair})
		t.Roots, t.Pins = nil, []string{spkiPin(pair)}
		return t
	}},
	{name: "another name", want: netdiag.ServerCertName, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{DNSNames: []string{"other.test"}})})
	}},
	{name: "for clients only", want: netdiag.ServerCertPurpose, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{Client: true, DNSNames: []string{"lab.test"}})})
	}},
	{name: "other pin", want: netdiag.ServerCertPin, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{})
		t.Pins = []string{spkiPin(e.issue(lab.CertOptions{}))}
		return t
	}},
	{name: "intercepted", want: netdiag.ServerCertIntercepted, world: func(e *env) netdiag.Target {
		return e.served(lab.TLSOptions{Pair: must(e.foreign.Issue(lab.CertOptions{}))(e)})
	}},
	{name: "chain deeper than allowed", want: netdiag.ServerCertInvalid, world: tooDeep},
}

// refusing is a server that demands client certificates and how it treats them.
func (e *env) refusing(version uint16, o lab.TLSOptions) netdiag.Target {
	o.MaxVersion = version
	if o.Client == lab.ClientNone {
		o.Client = lab.ClientAny
	}
	return withCert(e.asking(o, netdiag.HTTPCheck{}), e.client())
}

var clientRows = bothVersions([]row{
	{name: "accepted", world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}})
	}},
	{name: "issuer not listed, demanded", want: netdiag.ClientCertIssuer, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.foreign}})
	}},
	{name: "issuer not listed, optional", warn: netdiag.ClientCertIssuer, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{Client: lab.ClientRequest, IssuerList: []*lab.CA{e.foreign}})
	}},
	{name: "issuer not listed, then 403", want: netdiag.ClientCertIssuer, warn: netdiag.ClientCertIssuer, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{Client: lab.ClientRequest, IssuerList: []*lab.CA{e.foreign}, HTTPOptions: lab.HTTPOptions{Status: 403}})
	}},
	{name: "demanded, none configured", want: netdiag.ClientCertRequired, world: func(e *env) netdiag.Target {
		return e.asking(lab.TLSOptions{Client: lab.ClientAny}, netdiag.HTTPCheck{})
	}},
	{name: "asked for, none configured", world: func(e *env) netdiag.Target {
		return e.asking(lab.TLSOptions{Client: lab.ClientRequest}, netdiag.HTTPCheck{})
	}},
	{name: "expired by the server's clock", want: netdiag.ClientCertExpired, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}, ClockOffset: 48 * time.Hour})
	}},
	{name: "unknown authority", want: netdiag.ClientCertUnknownCA, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{ClientAlert: lab.AlertUnknownCA})
	}},
	{name: "revoked", want: netdiag.ClientCertRevoked, world: func(e *env) netdiag.Target {
		pair := e.client()
		t := e.refusing(0, lab.TLSOptions{Revoked: []*big.Int{pair.Leaf.SerialNumber}})
		return withCert(t, pair)
	}},
	{name: "for servers only", want: netdiag.ClientCertPurpose, world: func(e *env) netdiag.Target {
		t := e.refusing(0, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}})
		return withCert(t, e.issue(lab.CertOptions{}))
	}},
	{name: "unsupported", want: netdiag.ClientCertPurpose, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{ClientAlert: lab.AlertUnsupportedCertificate})
	}},
	{name: "just begun to be valid", want: netdiag.ClientCertNotYetValid, world: func(e *env) netdiag.Target {
		t := e.refusing(0, lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}, ClockOffset: -10 * time.Minute})
		now := time.Now()
		t.Now = func() time.Time { return now }
		return withCert(t, e.issue(lab.CertOptions{Client: true, NotBefore: now.Add(-time.Minute)}))
	}},
	{name: "refused without a reason", want: netdiag.ClientCertRejected, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{ClientAlert: lab.AlertAccessDenied})
	}},
	{name: "hung up on", want: netdiag.ClientCertClosed, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{ClientReset: true})
	}},
	{name: "refused by nginx", want: netdiag.ClientCertStatus, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{HTTPOptions: lab.HTTPOptions{
			Status: 400, Body: "<html><head><title>400 The SSL certificate error</title></head></html>",
		}})
	}},
	{name: "missed by nginx", want: netdiag.ClientCertRequired, world: func(e *env) netdiag.Target {
		return e.asking(lab.TLSOptions{Client: lab.ClientRequest, HTTPOptions: lab.HTTPOptions{
			Status: 400, Body: "<html><head><title>400 No required SSL certificate was sent</title></head></html>",
		}}, netdiag.HTTPCheck{})
	}},
	{name: "403 for our certificate", want: netdiag.HTTPForbidden, code: netdiag.CodeClientCert, world: func(e *env) netdiag.Target {
		return e.refusing(0, lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Status: 403}})
	}},
})

// bothVersions doubles rows: the verdict on a client certificate takes another
// road in TLS 1.2 than in TLS 1.3.
func bothVersions(rows []row) []row {
	var out []row
	for _, c := range rows {
		for v, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
			d := c
			d.name = "client certificate " + c.name + ", TLS " + name
			d.world = func(e *env) netdiag.Target {
				t := c.world(e)
				t.MaxTLS = v
				return t
			}
			out = append(out, d)
		}
	}
	return append(out, row{
		name: "client key of another algorithm", want: netdiag.ClientCertAlgorithm,
		world: func(e *env) netdiag.Target { return ed25519Client(e) },
	})
}

// speaking doubles rows over HTTP/1.1 and HTTP/2.
func speaking(rows []row) []row {
	var out []row
	for _, c := range rows {
		for _, proto := range []string{"http/1.1", "h2"} {
			d := c
			d.name = c.name + ", " + proto
			d.world = func(e *env) netdiag.Target {
				t := c.world(e)
				t.ALPN = []string{proto}
				return t
			}
			out = append(out, d)
		}
	}
	return out
}

func answers(o lab.HTTPOptions) func(*env) netdiag.Target {
	return func(e *env) netdiag.Target {
		return e.asking(lab.TLSOptions{HTTPOptions: o}, netdiag.HTTPCheck{ExpectType: "application/json"})
	}
}

func status(n int) func(*env) netdiag.Target { return answers(lab.HTTPOptions{Status: n}) }

func rpc(o lab.HTTPOptions) func(*env) netdiag.Target {
	return func(e *env) netdiag.Target {
		return e.asking(lab.TLSOptions{HTTPOptions: o}, netdiag.HTTPCheck{GRPC: "/lab.Licence/Check"})
	}
}

var httpRows = append(speaking([]row{
	{name: "200", world: status(200)},
	{name: "portal", want: netdiag.HTTPPortal, world: answers(lab.HTTPOptions{Portal: true})},
	{name: "511", want: netdiag.HTTPPortal, world: status(511)},
	{name: "redirect to a foreign host", want: netdiag.HTTPForeignRedirect, world: answers(lab.HTTPOptions{Redirect: "https://portal.test/login"})},
	{name: "redirect within the host", world: answers(lab.HTTPOptions{Redirect: "/login"})},
	{name: "401", want: netdiag.HTTPUnauthorized, world: status(401)},
	{name: "403", want: netdiag.HTTPForbidden, world: status(403)},
	{name: "404", want: netdiag.HTTPNotFound, world: status(404)},
	{name: "407", want: netdiag.HTTPProxyAuth, world: status(407)},
	{name: "429", want: netdiag.HTTPRateLimited, world: answers(lab.HTTPOptions{Status: 429, Header: http.Header{"Retry-After": {"120"}}})},
	{name: "500", want: netdiag.HTTPServerError, world: status(500)},
	{name: "503", want: netdiag.HTTPServerError, world: status(503)},
	{name: "418", want: netdiag.HTTPStatus, world: status(418)},
	{name: "another type", want: netdiag.HTTPType, world: answers(lab.HTTPOptions{Header: http.Header{"Content-Type": {"text/plain"}}})},
	{name: "truncated", want: netdiag.HTTPTruncated, world: answers(lab.HTTPOptions{Truncate: true})},
	{name: "no answer in time", slow: true, want: netdiag.HTTPTimeout, world: func(e *env) netdiag.Target {
		t := answers(lab.HTTPOptions{Hang: true})(e)
		t.Timeouts.HTTP = soon
		return t
	}},
	{name: "clock 2 minutes off", warn: netdiag.ClockSkew, world: answers(lab.HTTPOptions{DateOffset: 2 * time.Minute})},
	{name: "clock 2 hours off", want: netdiag.ClockWrong, world: answers(lab.HTTPOptions{DateOffset: -2 * time.Hour})},
	{name: "no Date", world: answers(lab.HTTPOptions{NoDate: true})},
}),
	row{name: "hung up on the request", want: netdiag.HTTPClosed, world: func(e *env) netdiag.Target {
		t := answers(lab.HTTPOptions{Abort: true})(e)
		t.ALPN = []string{"http/1.1"}
		return t
	}},
	row{name: "request reset", want: netdiag.HTTPReset, world: func(e *env) netdiag.Target {
		t := answers(lab.HTTPOptions{Abort: true})(e)
		t.ALPN = []string{"h2"}
		return t
	}},
	row{name: "answer is not HTTP", want: netdiag.HTTPMalformed, world: func(e *env) netdiag.Target {
		t := e.target(e.tls(lab.TLSOptions{Manner: lab.Garbage, Banner: "hello there, what can I do for you?\r\n\r\n"}).Addr())
		t.Plain, t.HTTP = true, &netdiag.HTTPCheck{}
		return t
	}},
	row{name: "plain HTTP", world: func(e *env) netdiag.Target {
		t := e.target(must(e.lab.HTTP(lab.TLSOptions{}))(e).Addr())
		t.Plain, t.HTTP = true, &netdiag.HTTPCheck{ExpectStatus: 200}
		return t
	}},
	row{name: "gRPC works", world: rpc(lab.HTTPOptions{})},
	row{name: "gRPC not licensed", want: netdiag.GRPCUnimplemented, world: rpc(lab.HTTPOptions{GRPCStatus: 12})},
	row{name: "gRPC unavailable", want: netdiag.GRPCError, world: rpc(lab.HTTPOptions{GRPCStatus: 14})},
	row{name: "gRPC without HTTP/2", want: netdiag.GRPCNoH2, world: func(e *env) netdiag.Target {
		t := rpc(lab.HTTPOptions{})(e)
		t.ALPN = []string{"http/1.1"}
		return t
	}},
)
