package netdiag

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Target is an endpoint and what is expected of it. Only Address is needed.
type Target struct {
	Address    string // host:port; the host is a name, an IPv4 address or an IPv6 address in brackets
	ServerName string // for SNI, the certificate's name and the Host header; the host of Address when empty
	Network    string // "tcp" (either family, the default), "tcp4" or "tcp6"
	Plain      bool   // HTTP without TLS

	Resolvers []string     // "ip" or "ip:port", at most 3 are asked; /etc/resolv.conf when empty
	HostsFile string       // read before DNS; /etc/hosts when empty, "-" for none
	Answers   AnswerPolicy // which DNS answers are believed

	Roots       []byte   // PEM; the system's when empty
	SystemRoots []byte   // PEM; where an interceptor's authority would be installed; the system's when empty
	Pins        []string // "sha256:" and base64 or hex of a SubjectPublicKeyInfo; at least one must be in the chain. Without Roots a pinned leaf needs no chain
	ClientCert  []byte   // PEM, leaf first
	ClientKey   []byte   // PEM
	MinTLS      uint16   // tls.VersionTLS12 when 0
	MaxTLS      uint16   // tls.VersionTLS13 when 0
	ALPN        []string // h2 and http/1.1 when nil
	Ciphers     []uint16 // of TLS 1.2; Go's defaults when nil

	Proxy      string // "http://[user:password@]host:port" or "https://..."; none when empty
	ProxyRoots []byte // PEM, for an https proxy; the system's when empty

	// Permit refuses addresses that must not be connected to, whatever a name
	// resolved to; nil permits all.
	Permit func(netip.Addr) error

	HTTP     *HTTPCheck // nil: the ladder ends with the client certificate
	Timeouts Timeouts

	ClockFloor time.Time        // an earlier clock is certainly wrong; 2026-01-01 when zero
	Now        func() time.Time // the clock that certificates and Date are judged by; time.Now when nil
}

// HTTPCheck is the request to send and the answer to expect.
type HTTPCheck struct {
	Method       string      // GET when empty
	Path         string      // "/" when empty
	Header       http.Header // sent in addition
	ExpectStatus int         // any 2xx, or a redirect within the host, when 0
	ExpectType   string      // prefix of the Content-Type; HTML instead of it is a portal
	GRPC         string      // "/package.Service/Method": call it with an empty message instead
	MaxBody      int64       // bytes of the body to read; 1 MiB when 0
}

// Timeouts bound each step; zero fields take the defaults, which keep a dead
// target below Total.
type Timeouts struct {
	Total time.Duration // the whole ladder; 5 s
	DNS   time.Duration // all questions; 1.5 s
	TCP   time.Duration // all connects; 2 s (the kernel repeats a SYN after 1 s)
	Proxy time.Duration // CONNECT; 2 s
	TLS   time.Duration // the handshake; 1.5 s
	Retry time.Duration // each second look that tells two causes apart; 1 s
	Quiet time.Duration // the quiet read after a TLS 1.3 handshake; 1 s, but a proof of acceptance ends it
	HTTP  time.Duration // request and answer; 2 s
}

// AnswerPolicy says which addresses a name may resolve to.
type AnswerPolicy uint8

// The answer policies.
const (
	AnswersDefault AnswerPolicy = iota // anything but a sinkhole (unspecified, loopback, known block pages)
	AnswersPublic                      // private addresses are refused too
	AnswersAny
)

// maxResolvers bounds how many resolvers are asked, as in glibc (MAXNS).
const maxResolvers = 3

// earliestClock is before every release of this program: a clock that shows an
// earlier time was never set.
var earliestClock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Total: orDefault(t.Total, 5*time.Second),
		DNS:   orDefault(t.DNS, 1500*time.Millisecond),
		TCP:   orDefault(t.TCP, 2*time.Second),
		Proxy: orDefault(t.Proxy, 2*time.Second),
		TLS:   orDefault(t.TLS, 1500*time.Millisecond),
		Retry: orDefault(t.Retry, time.Second),
		Quiet: orDefault(t.Quiet, time.Second),
		HTTP:  orDefault(t.HTTP, 2*time.Second),
	}
}

// withDefaults fills what was left empty.
func (t Target) withDefaults() Target {
	t.Network = orDefault(t.Network, "tcp")
	t.HostsFile = orDefault(t.HostsFile, "/etc/hosts")
	t.MinTLS = orDefault(t.MinTLS, tls.VersionTLS12)
	t.MaxTLS = max(orDefault(t.MaxTLS, tls.VersionTLS13), t.MinTLS)
	if t.ALPN == nil {
		t.ALPN = []string{"h2", "http/1.1"}
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.ClockFloor.IsZero() {
		t.ClockFloor = earliestClock
	}
	if t.HTTP != nil {
		h := *t.HTTP
		h.Method = orDefault(h.Method, http.MethodGet)
		h.Path = orDefault(h.Path, "/")
		h.MaxBody = orDefault(h.MaxBody, 1<<20)
		t.HTTP = &h
	}
	t.Timeouts = t.Timeouts.withDefaults()
	return t
}

// hop is a host and port to connect to.
type hop struct {
	host string
	port uint16
}

func (h hop) String() string { return net.JoinHostPort(h.host, strconv.Itoa(int(h.port))) }

func parseHop(address string) (hop, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return hop{}, fmt.Errorf("address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return hop{}, fmt.Errorf("address %q: port %q is not 1 to 65535", address, port)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isName(host) {
		return hop{}, fmt.Errorf("address %q: %q is neither an address nor a host name", address, host)
	}
	return hop{host: host, port: uint16(n)}, nil
}

// isName reports whether s can be asked of DNS (RFC 1035 section 2.3.4 lengths;
// underscores are common in the wild).
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

// parseProxy reads Target.Proxy; nil when there is none.
func parseProxy(s string) (*url.URL, hop, error) {
	if s == "" {
		return nil, hop{}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, hop{}, errors.New("proxy is not a URL") // the text would quote a password
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, hop{}, fmt.Errorf("proxy scheme %q is neither http nor https", u.Scheme)
	}
	h, err := parseHop(u.Host)
	return u, h, err
}
