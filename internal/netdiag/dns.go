package netdiag

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// dns finds the addresses of what is connected to: the goal, or the proxy.
func (r *run) dns(ctx context.Context) bool {
	if a, err := netip.ParseAddr(r.via.host); err == nil {
		r.addrs = []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), r.via.port)}
		r.skip(StepDNS, "not needed: the host is an address")
		return true
	}
	st := begin(StepDNS)
	if addrs, how := r.localName(); len(addrs) > 0 {
		r.use(addrs)
		st.Evidence["source"] = how
		return r.ok(st, joinAddrs(addrs))
	}
	cfg, err := r.resolvers()
	if err != nil {
		return r.lost(st, DNSUnreachable, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, r.t.Timeouts.DNS)
	defer cancel()
	var views []view
	for _, name := range cfg.NameList(r.via.host) {
		st.Evidence["name"] = name
		views = r.askAll(ctx, cfg.Servers, name)
		if !slices.ContainsFunc(views, func(v view) bool { return v.cause == DNSNXDomain }) {
			break // only NXDOMAIN sends us on along the search list
		}
	}
	for _, v := range views {
		st.Evidence["resolver "+v.server] = v.text()
	}
	return r.decide(st, views)
}

// lost files a failed look-up; of a proxy's name it is the proxy's failure.
func (r *run) lost(st *Step, cause Cause, detail string) bool {
	if r.proxyURL == nil {
		return r.fail(st, cause, detail)
	}
	r.blame(StepProxy, ProxyUnreachable, fmt.Sprintf("%s: %s", r.via, detail))
	return r.fail(st, cause, detail)
}

// view is what one resolver says.
type view struct {
	server string
	addrs  []netip.Addr
	cause  Cause // "" when there are addresses
	detail string
}

func (v view) text() string {
	if v.cause == "" {
		return joinAddrs(v.addrs)
	}
	return string(v.cause) + " " + v.detail
}

// negative reports a firm "there is no address".
func (v view) negative() bool {
	switch v.cause {
	case DNSNXDomain, DNSNoData, DNSNoDataA, DNSNoDataAAAA:
		return true
	}
	return false
}

// decide draws the sum of all views. The first resolver with a firm answer
// counts, as it does for the system's resolver; the others are compared.
func (r *run) decide(st *Step, views []view) bool {
	first := slices.IndexFunc(views, func(v view) bool { return v.cause == "" || v.negative() })
	if first < 0 {
		v := views[0]
		return r.lost(st, v.cause, v.server+": "+v.detail)
	}
	v := views[first]
	other := slices.IndexFunc(views, func(o view) bool { return contradicts(v, o) })
	if v.negative() {
		if other >= 0 {
			return r.lost(st, DNSDisagree, disagreement(v, views[other]))
		}
		return r.lost(st, v.cause, v.server+": "+v.detail)
	}
	if cause, detail := r.believable(v); cause != "" {
		return r.lost(st, cause, detail)
	}
	r.use(v.addrs)
	if other >= 0 {
		r.add(st, Warning, DNSDisagree, disagreement(v, views[other]))
		return true
	}
	if bad := slices.IndexFunc(views, func(o view) bool { return o.cause != "" && !o.negative() }); bad >= 0 {
		r.add(st, Warning, DNSResolverFailing, views[bad].server+": "+views[bad].text())
		return true
	}
	return r.ok(st, joinAddrs(v.addrs))
}

// contradicts reports whether two firm answers cannot both be right: one has
// addresses and the other has none, or they have none in common.
func contradicts(a, b view) bool {
	if b.cause != "" && !b.negative() {
		return false
	}
	if a.negative() || b.negative() {
		return a.negative() != b.negative()
	}
	return !slices.ContainsFunc(a.addrs, func(x netip.Addr) bool { return slices.Contains(b.addrs, x) })
}

func disagreement(a, b view) string {
	return fmt.Sprintf("%s says %s, %s says %s", a.server, a.text(), b.server, b.text())
}

// blockPages are addresses that public DNS filters answer with instead of the
// name's own.
var blockPages = []netip.Prefix{
	netip.MustParsePrefix("146.112.61.104/29"), // OpenDNS block pages
}

// believable judges v's addresses by the target's answer policy.
func (r *run) believable(v view) (Cause, string) {
	if r.t.Answers == AnswersAny {
		return "", ""
	}
	for _, a := range v.addrs {
		blocked := slices.ContainsFunc(blockPages, func(p netip.Prefix) bool { return p.Contains(a) })
		if a.IsUnspecified() || a.IsLoopback() || blocked {
			return DNSSinkhole, fmt.Sprintf("%s answers %s", v.server, a)
		}
		if r.t.Answers == AnswersPublic && (a.IsPrivate() || a.IsLinkLocalUnicast()) {
			return DNSPrivate, fmt.Sprintf("%s answers %s", v.server, a)
		}
	}
	return "", ""
}

// use takes addrs to connect to, IPv6 first, at most 4 of a family.
func (r *run) use(addrs []netip.Addr) {
	for _, v4 := range []bool{false, true} {
		n := 0
		for _, a := range addrs {
			if a.Is4() == v4 && n < 4 {
				r.addrs = append(r.addrs, netip.AddrPortFrom(a, r.via.port))
				n++
			}
		}
	}
}

// localName resolves what needs no resolver: localhost (RFC 6761 section 6.3)
// and the hosts file.
func (r *run) localName() (addrs []netip.Addr, how string) {
	name := strings.ToLower(strings.TrimSuffix(r.via.host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return r.wanted([]netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}), "RFC 6761"
	}
	if r.t.HostsFile == "-" {
		return nil, ""
	}
	f, err := os.Open(r.t.HostsFile)
	if err != nil {
		return nil, "" // no hosts file, no names in it
	}
	defer f.Close() // read only: nothing to lose
	sc := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.ContainsFunc(fields[1:], func(s string) bool { return strings.EqualFold(s, name) }) {
			continue
		}
		if a, err := netip.ParseAddr(fields[0]); err == nil {
			addrs = append(addrs, a.Unmap())
		}
	}
	return r.wanted(addrs), r.t.HostsFile
}

// wanted keeps the addresses of the target's network.
func (r *run) wanted(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return r.t.Network == "tcp4" && !a.Is4() || r.t.Network == "tcp6" && a.Is4()
	})
}

// resolvers is the target's own list, or the system's.
func (r *run) resolvers() (*dns.ClientConfig, error) {
	cfg := &dns.ClientConfig{Port: "53", Ndots: 1}
	servers := r.t.Resolvers
	if len(servers) == 0 {
		f, err := os.Open("/etc/resolv.conf")
		if err != nil {
			return nil, err
		}
		defer f.Close() // read only: nothing to lose
		if cfg, err = dns.ClientConfigFromReader(io.LimitReader(f, 1<<16)); err != nil {
			return nil, fmt.Errorf("/etc/resolv.conf: %w", err)
		}
		servers = cfg.Servers
	}
	if len(servers) == 0 {
		return nil, errors.New("/etc/resolv.conf names no resolver")
	}
	cfg.Servers = nil
	for _, s := range servers[:min(len(servers), maxResolvers)] {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(s, cfg.Port)
		}
		cfg.Servers = append(cfg.Servers, s)
	}
	return cfg, nil
}

// askAll asks every resolver at the same time.
func (r *run) askAll(ctx context.Context, servers []string, name string) []view {
	views := make([]view, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { views[i] = r.ask(ctx, s, name) })
	}
	wg.Wait()
	return views
}

// ask asks one resolver for both families at the same time.
func (r *run) ask(ctx context.Context, server, name string) view {
	var types []uint16
	if r.t.Network != "tcp6" {
		types = append(types, dns.TypeA)
	}
	if r.t.Network != "tcp4" {
		types = append(types, dns.TypeAAAA)
	}
	replies := make([]view, len(types))
	var wg sync.WaitGroup
	for i, qt := range types {
		wg.Go(func() { replies[i] = r.question(ctx, server, name, qt) })
	}
	wg.Wait()
	sum := view{server: server}
	for _, one := range replies {
		sum.addrs = append(sum.addrs, one.addrs...)
		if sum.cause == "" || sum.negative() && !one.negative() && one.cause != "" {
			sum.cause, sum.detail = one.cause, one.detail
		}
	}
	switch {
	case len(sum.addrs) > 0:
		sum.cause, sum.detail = "", ""
	case sum.cause == DNSNoDataA && len(types) == 2:
		sum.cause, sum.detail = DNSNoData, "neither an A nor an AAAA record"
	}
	return sum
}

// question asks one question, twice if there is no answer, over TCP if the
// answer does not fit.
func (r *run) question(ctx context.Context, server, name string, qtype uint16) view {
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.SetEdns0(1232, false) // the size that fits every path (DNS flag day 2020)
	var m *dns.Msg
	var err error
	for range 2 {
		udp := &dns.Client{Net: "udp", UDPSize: 1232, Timeout: r.t.Timeouts.DNS / 2}
		if m, _, err = udp.ExchangeContext(ctx, q, server); err == nil || !timedOut(err) || ctx.Err() != nil {
			break
		}
	}
	if err == nil && m.Truncated {
		tcp := &dns.Client{Net: "tcp", Timeout: r.t.Timeouts.DNS / 2}
		m, _, err = tcp.ExchangeContext(ctx, q, server)
	}
	v := view{server: server}
	if err != nil {
		v.cause, v.detail = dnsError(err), plain(err)
		return v
	}
	v.cause, v.detail = dnsCause(m, qtype)
	for _, rr := range m.Answer[:min(len(m.Answer), 64)] {
		switch rec := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rec.A); ok {
				v.addrs = append(v.addrs, a.Unmap())
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rec.AAAA); ok {
				v.addrs = append(v.addrs, a)
			}
		}
	}
	if len(v.addrs) > 0 && m.Rcode == dns.RcodeSuccess {
		v.cause, v.detail = "", ""
	}
	return v
}

// dnsCause names an answer without addresses.
func dnsCause(m *dns.Msg, qtype uint16) (Cause, string) {
	rcode := dns.RcodeToString[m.Rcode]
	switch m.Rcode {
	case dns.RcodeSuccess:
		if qtype == dns.TypeA {
			return DNSNoDataA, "no A record"
		}
		return DNSNoDataAAAA, "no AAAA record"
	case dns.RcodeNameError:
		return DNSNXDomain, rcode
	case dns.RcodeServerFailure:
		return DNSServFail, rcode
	case dns.RcodeRefused:
		return DNSRefused, rcode
	}
	return DNSBadAnswer, fmt.Sprintf("response code %d %s", m.Rcode, rcode)
}

func dnsError(err error) Cause {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH),
		errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
		return DNSUnreachable
	case timedOut(err):
		return DNSTimeout
	}
	return DNSBadAnswer
}

func joinAddrs(addrs []netip.Addr) string {
	var parts []string
	for _, a := range addrs[:min(len(addrs), 16)] {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}
