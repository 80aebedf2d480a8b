package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNSOptions are the switches of a DNS server. A name that is in no map does
// not exist (NXDOMAIN); one that is there without an address of the family
// asked for has no such data (NODATA).
type DNSOptions struct {
	Hosts  map[string][]netip.Addr // name without the last dot -> addresses
	Rcode  int                     // answer everything with this response code, such as dns.RcodeServerFailure
	Silent bool                    // take the question, never answer
	Delay  time.Duration
	// Truncate answers over UDP with the TC bit and no records, so that the
	// question must be asked again over TCP.
	Truncate bool
}

// DNSServer is a running DNS server, UDP and TCP on the same port.
type DNSServer struct {
	addr string
	opt  switches[DNSOptions]
	done <-chan struct{}

	mu      sync.Mutex // guards queries
	queries int
}

// DNS starts a DNS server.
func (l *Lab) DNS(o DNSOptions) (*DNSServer, error) {
	ln, pc, err := listenBoth()
	if err != nil {
		return nil, err
	}
	s := &DNSServer{addr: ln.Addr().String(), done: l.done}
	s.opt.now = o
	var wg sync.WaitGroup
	servers := []*dns.Server{
		{Listener: ln, Handler: dns.HandlerFunc(s.answer)},
		{PacketConn: pc, Handler: dns.HandlerFunc(s.answer)},
	}
	for _, srv := range servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		failed := make(chan error, 1)
		wg.Go(func() { failed <- srv.ActivateAndServe() })
		select {
		case <-started:
		case err := <-failed:
			return nil, errors.Join(fmt.Errorf("serve DNS on %s: %w", s.addr, err), ln.Close(), pc.Close())
		}
	}
	l.OnClose(func() error {
		var errs []error
		for _, srv := range servers {
			errs = append(errs, srv.Shutdown())
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	return s, nil
}

// listenBoth finds a port that is free for both TCP and UDP.
func listenBoth() (net.Listener, net.PacketConn, error) {
	var last error
	for range 16 {
		ln, err := net.Listen("tcp", loopback)
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS: %w", err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return ln, pc, nil
		}
		last = errors.Join(err, ln.Close())
	}
	return nil, nil, fmt.Errorf("find a port free for TCP and UDP in 16 tries: %w", last)
}

// Addr is host:port.
func (s *DNSServer) Addr() string { return s.addr }

// Set changes the switches from the next question on.
func (s *DNSServer) Set(change func(*DNSOptions)) { s.opt.set(change) }

// Queries tells how many questions have come so far.
func (s *DNSServer) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

func (s *DNSServer) answer(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	s.queries++
	s.mu.Unlock()
	o := s.opt.get()
	if o.Silent || len(q.Question) != 1 {
		return
	}
	if o.Delay > 0 {
		t := time.NewTimer(o.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.done:
			return
		}
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	switch {
	case o.Rcode != dns.RcodeSuccess:
		m.Rcode = o.Rcode
	case o.Truncate && udp:
		m.Truncated = true
	default:
		o.fill(m, q.Question[0])
	}
	_ = w.WriteMsg(m) // a client that left does not want to know
}

// fill puts the records for q into m.
func (o DNSOptions) fill(m *dns.Msg, q dns.Question) {
	addrs, ok := o.Hosts[strings.ToLower(strings.TrimSuffix(q.Name, "."))]
	if !ok {
		m.Rcode = dns.RcodeNameError
		return
	}
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
	for _, a := range addrs {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
}
