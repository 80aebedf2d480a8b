package netdiag_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

// row is one outcome of the table of causes and the world that has it.
type row struct {
	name  string
	slow  bool // waits for a deadline: 10 runs instead of 100
	want  netdiag.Cause
	warn  netdiag.Cause // a warning that must be there; "" demands none
	code  string        // when it is not the cause's own
	world func(*env) netdiag.Target
}

// TestEveryOutcomeIsToldApart runs every row many times at once and demands
// the exact cause each time.
func TestEveryOutcomeIsToldApart(t *testing.T) {
	seen := map[netdiag.Cause]bool{}
	for _, rows := range [][]row{localRows, dnsRows, tcpRows, proxyRows, transportRows, negotiationRows, serverRows, clientRows, httpRows} {
		for _, c := range rows {
			seen[c.want], seen[c.warn] = true, true
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
	for _, cause := range netdiag.Causes() {
		if why, ok := elsewhere[cause]; !seen[cause] && !ok {
			t.Errorf("cause %s has no row", cause)
		} else if seen[cause] && ok {
			t.Errorf("cause %s has a row, and is excused: %s", cause, why)
		}
	}
}

// elsewhere are the causes that no row can make, and where they are tested.
var elsewhere = map[netdiag.Cause]string{
	netdiag.Cancelled:          "TestCancelledLookSaysSo",
	netdiag.NoRoute:            "TestInANetworkOfItsOwn",
	netdiag.NoAddressV4:        "TestInANetworkOfItsOwn",
	netdiag.NoAddressV6:        "TestInANetworkOfItsOwn",
	netdiag.TCPDenied:          "TestInANetworkOfItsOwn",
	netdiag.TCPHostUnreachable: "TestInANetworkOfItsOwn",
	netdiag.TCPNetUnreachable:  "TestConnectErrorsAreNamed",
	netdiag.TCPFailed:          "TestConnectErrorsAreNamed",
	netdiag.TCPPartly:          "TestInANetworkOfItsOwn",
	netdiag.TCPIPv4Broken:      "TestInANetworkOfItsOwn",
}

func (c row) run(t *testing.T) {
	e := newEnv(t)
	target := c.world(e)
	runs := 100
	if c.slow && os.Getenv("ALLCLEAR_SOAK") == "" {
		runs = 10
	}
	var mu sync.Mutex
	wrong := map[string]*netdiag.Report{}
	var wg sync.WaitGroup
	for range runs {
		wg.Go(func() {
			r := netdiag.Diagnose(t.Context(), target)
			if bad := c.judge(r); bad != "" {
				mu.Lock()
				wrong[bad] = r
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for bad, r := range wrong {
		dump, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s\n%s", bad, dump)
	}
}

func (c row) judge(r *netdiag.Report) string {
	if r.Cause != c.want || r.OK != (c.want == "") {
		return fmt.Sprintf("cause = %q, want %q", r.Cause, c.want)
	}
	if c.warn == "" && len(r.Warnings) > 0 || c.warn != "" && !r.Warned(c.warn) {
		return fmt.Sprintf("warnings = %v, want %q", r.Warnings, c.warn)
	}
	code := c.code
	if code == "" {
		code = c.want.Code()
	}
	if r.Code() != code {
		return fmt.Sprintf("code = %q, want %q", r.Code(), code)
	}
	if c.want != "" && (r.Step == "" || len(r.Remedies()) == 0) {
		return fmt.Sprintf("step %q and %d remedies for %s", r.Step, len(r.Remedies()), r.Cause)
	}
	return ladder(r)
}

// ladder demands every step once at least, in order, and nothing tried above
// the failing one.
func ladder(r *netdiag.Report) string {
	i, failed := 0, false
	names := netdiag.StepNames()
	for _, st := range r.Steps {
		for i < len(names) && names[i] != st.Name {
			i++
		}
		if i == len(names) {
			return fmt.Sprintf("step %s out of order", st.Name)
		}
		if failed && st.Name != netdiag.StepProxy && st.Name != netdiag.StepTCP && st.Name != netdiag.StepClock && st.Outcome != netdiag.NotTried {
			return fmt.Sprintf("step %s is %s above a failed step", st.Name, st.Outcome)
		}
		failed = failed || st.Outcome == netdiag.Failed
	}
	if i != len(names)-1 {
		return "the ladder ends below the top"
	}
	return ""
}

func portOf(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

var localRows = []row{
	{name: "all is well", world: func(e *env) netdiag.Target { return e.asking(lab.TLSOptions{}, netdiag.HTTPCheck{ExpectStatus: 200}) }},
	{name: "address without port", want: netdiag.BadTarget, world: func(e *env) netdiag.Target { return e.target("lab.test") }},
	{name: "clock never set", want: netdiag.ClockBeforeFloor, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{})
		t.Now = func() time.Time { return time.Unix(0, 0) }
		return t
	}},
	{name: "own certificate unreadable", want: netdiag.OwnCertUnreadable, world: func(e *env) netdiag.Target {
		t := withCert(e.served(lab.TLSOptions{}), e.client())
		t.ClientCert = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		return t
	}},
	{name: "own key of another certificate", want: netdiag.OwnCertKeyMismatch, world: func(e *env) netdiag.Target {
		t := withCert(e.served(lab.TLSOptions{}), e.client())
		t.ClientKey = e.client().KeyPEM
		return t
	}},
	{name: "own certificate expired", want: netdiag.OwnCertExpired, world: func(e *env) netdiag.Target {
		return withCert(e.served(lab.TLSOptions{}), e.issue(lab.CertOptions{Client: true, NotAfter: time.Now().Add(-time.Minute)}))
	}},
	{name: "own certificate of tomorrow", want: netdiag.OwnCertNotYetValid, world: func(e *env) netdiag.Target {
		return withCert(e.served(lab.TLSOptions{}), e.issue(lab.CertOptions{Client: true, NotBefore: time.Now().Add(time.Hour)}))
	}},
}

// soon ends what a case waits for, in vain, early.
const soon = 500 * time.Millisecond

var dnsRows = []row{
	{name: "name resolves", world: func(e *env) netdiag.Target { return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4)}) }},
	{name: "answer only fits TCP", world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4), Truncate: true})
	}},
	{name: "NXDOMAIN", want: netdiag.DNSNXDomain, world: func(e *env) netdiag.Target { return e.named(lab.TLSOptions{}, lab.DNSOptions{}) }},
	{name: "NODATA", want: netdiag.DNSNoData, world: func(e *env) netdiag.Target { return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts()}) }},
	{name: "NODATA A", want: netdiag.DNSNoDataA, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v6)})
		t.Network = "tcp4"
		return t
	}},
	{name: "NODATA AAAA", want: netdiag.DNSNoDataAAAA, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4)})
		t.Network = "tcp6"
		return t
	}},
	{name: "SERVFAIL", want: netdiag.DNSServFail, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Rcode: dns.RcodeServerFailure})
	}},
	{name: "REFUSED", want: netdiag.DNSRefused, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Rcode: dns.RcodeRefused})
	}},
	{name: "resolver speaks nonsense", want: netdiag.DNSBadAnswer, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Rcode: dns.RcodeFormatError})
	}},
	{name: "resolver silent", slow: true, want: netdiag.DNSTimeout, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Silent: true})
		t.Timeouts.DNS = soon
		return t
	}},
	{name: "resolver not there", want: netdiag.DNSUnreachable, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{})
		t.Resolvers = []string{must(e.lab.RefusedAddr())(e)}
		return t
	}},
	{name: "sinkhole", want: netdiag.DNSSinkhole, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(netip.IPv4Unspecified())})
		t.Answers = netdiag.AnswersDefault
		return t
	}},
	{name: "private answer", want: netdiag.DNSPrivate, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(netip.MustParseAddr("10.1.2.3"))})
		t.Answers = netdiag.AnswersPublic
		return t
	}},
	{name: "first resolver denies", want: netdiag.DNSDisagree, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{}, lab.DNSOptions{Hosts: hosts(v4)})
	}},
	{name: "second resolver denies", warn: netdiag.DNSDisagree, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4)}, lab.DNSOptions{})
	}},
	{name: "resolvers name different hosts", warn: netdiag.DNSDisagree, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4)}, lab.DNSOptions{Hosts: hosts(netip.MustParseAddr("127.0.0.2"))})
	}},
	{name: "first resolver fails", warn: netdiag.DNSResolverFailing, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Rcode: dns.RcodeServerFailure}, lab.DNSOptions{Hosts: hosts(v4)})
	}},
}

var tcpRows = []row{
	{name: "refused", want: netdiag.TCPRefused, world: func(e *env) netdiag.Target { return e.target(must(e.lab.RefusedAddr())(e)) }},
	{name: "black hole", slow: true, want: netdiag.TCPTimeout, world: func(e *env) netdiag.Target {
		t := e.target(must(e.lab.BlackHole())(e).Addr())
		t.Timeouts.TCP = soon
		return t
	}},
	{name: "reset at once", want: netdiag.TCPReset, world: func(e *env) netdiag.Target { return e.served(lab.TLSOptions{Manner: lab.ResetAtOnce}) }},
	{name: "closed at once", want: netdiag.TCPClosed, world: func(e *env) netdiag.Target { return e.served(lab.TLSOptions{Manner: lab.CloseAtOnce}) }},
	{name: "IPv6 broken while IPv4 works", warn: netdiag.TCPIPv6Broken, world: func(e *env) netdiag.Target {
		return e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4, v6)})
	}},
}

var proxyRows = []row{
	{name: "through a proxy", world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{}) }},
	{name: "through a TLS proxy", world: func(e *env) netdiag.Target { return e.proxied("https", lab.ProxyOptions{TLS: true}) }},
	{name: "proxy refused", want: netdiag.ProxyUnreachable, world: func(e *env) netdiag.Target {
		t := e.served(lab.TLSOptions{})
		t.Proxy = "http://" + must(e.lab.RefusedAddr())(e)
		return t
	}},
	{name: "proxy name unknown", want: netdiag.ProxyUnreachable, world: func(e *env) netdiag.Target {
		t := e.named(lab.TLSOptions{}, lab.DNSOptions{Hosts: hosts(v4)})
		t.Proxy = "http://proxy.test:3128"
		return t
	}},
	{name: "proxy 407", want: netdiag.ProxyAuth, world: func(e *env) netdiag.Target {
		return e.proxied("http", lab.ProxyOptions{Status: 407, Scheme: "Negotiate"})
	}},
	{name: "proxy wants a password", want: netdiag.ProxyAuth, world: func(e *env) netdiag.Target {
		return e.proxied("http", lab.ProxyOptions{User: "u", Password: "p"})
	}},
	{name: "proxy 403", want: netdiag.ProxyForbidden, world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{Status: 403}) }},
	{name: "proxy 502", want: netdiag.ProxyBadGateway, world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{Status: 502}) }},
	{name: "proxy 504", want: netdiag.ProxyTimeout, world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{Status: 504}) }},
	{name: "proxy 418", want: netdiag.ProxyStatus, world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{Status: 418}) }},
	{name: "proxy hangs", slow: true, want: netdiag.ProxyHang, world: func(e *env) netdiag.Target {
		t := e.proxied("http", lab.ProxyOptions{Hang: true})
		t.Timeouts.Proxy = soon
		return t
	}},
	{name: "proxy hangs up", want: netdiag.ProxyClosed, world: func(e *env) netdiag.Target { return e.proxied("http", lab.ProxyOptions{Close: true}) }},
	{name: "proxy is something else", want: netdiag.ProxyNotHTTP, world: func(e *env) netdiag.Target {
		return e.proxied("http", lab.ProxyOptions{Garbage: "SSH-2.0-OpenSSH_9.2\r\n"})
	}},
	{name: "TLS to a plain proxy", want: netdiag.ProxyTLS, world: func(e *env) netdiag.Target { return e.proxied("https", lab.ProxyOptions{}) }},
	{name: "proxy certificate not trusted", want: netdiag.ProxyTLS, world: func(e *env) netdiag.Target {
		t := e.proxied("https", lab.ProxyOptions{TLS: true})
		t.ProxyRoots = e.foreign.PEM
		return t
	}},
	{name: "expired server behind a proxy", want: netdiag.ServerCertExpired, world: func(e *env) netdiag.Target {
		t := e.proxied("http", lab.ProxyOptions{})
		t.Address = e.tls(lab.TLSOptions{Pair: e.issue(lab.CertOptions{NotAfter: time.Now().Add(-time.Minute)})}).Addr()
		return t
	}},
}

func (e *env) proxied(scheme string, o lab.ProxyOptions) netdiag.Target {
	t := e.served(lab.TLSOptions{})
	t.Proxy = scheme + "://" + e.proxy(o).Addr()
	t.ProxyRoots = e.lab.CA().PEM
	return t
}

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
