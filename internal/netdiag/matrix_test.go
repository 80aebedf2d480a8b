package netdiag_test

import (
	"encoding/json"
	"fmt"
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
	netdiag.TCPNetUnreachable:  "TestInANetworkOfItsOwn",
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
