package lab_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"allclear/internal/lab"
)

func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	l := newLab(t)
	path, err := l.WriteFile("secret", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", fi.Mode(), err)
	}
	if _, err := l.WriteFile("../outside", nil); err == nil {
		t.Error("a file was written outside the lab")
	}
	addrs := startAll(t, l)
	// Held open while the lab closes: Close must end them, not wait for them.
	for _, a := range addrs {
		c, err := net.Dial("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	for _, a := range addrs {
		if c, err := net.Dial("tcp", a); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s still answers: %v, %v", a, c, err)
		}
	}
	ran := false
	l.OnClose(func() error { ran = true; return nil })
	if !ran {
		t.Error("what is registered after the end is never undone")
	}
}

// startAll starts one server of each kind and returns their addresses.
func startAll(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	web, err1 := l.TLS(lab.TLSOptions{})
	silent, err2 := l.TLS(lab.TLSOptions{Manner: lab.Silent})
	plain, err3 := l.HTTP(lab.TLSOptions{})
	proxy, err4 := l.Proxy(lab.ProxyOptions{TLS: true})
	names, err5 := l.DNS(lab.DNSOptions{})
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	fault, err := l.Fault(web.Addr(), lab.FaultOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return []string{web.Addr(), silent.Addr(), plain.Addr(), proxy.Addr(), names.Addr(), fault.Addr()}
}

func TestEndOfContextClosesTheLab(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := lab.New(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-l.Done()
	if err := l.Close(); err != nil { // waits for the one that is under way
		t.Error(err)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestRunsNeverShareAName(t *testing.T) {
	a, b := newLab(t), newLab(t)
	if a.Resource("nas") == b.Resource("nas") || !strings.HasPrefix(a.Resource("nas"), "drill/"+a.Run()+"/") {
		t.Errorf("resources %s and %s", a.Resource("nas"), b.Resource("nas"))
	}
}

// get fetches from a TLS server of l, over a connection of its own.
func get(t *testing.T, l *lab.Lab, addr string) (*http.Response, string, error) {
	t.Helper()
	pair, err := l.Issue(lab.CertOptions{Client: true})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: rootsOf(l), ServerName: "lab.test", Certificates: []tls.Certificate{pair.TLS}},
		DisableKeepAlives: true,
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func rootsOf(l *lab.Lab) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(l.CA().Cert)
	return p
}

func TestSwitchesWorkWhileRunning(t *testing.T) {
	l := newLab(t)
	s, err := l.TLS(lab.TLSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		opt    lab.TLSOptions
		status int // 0: no answer
	}{
		{"healthy", lab.TLSOptions{}, 200},
		{"503", lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Status: 503}}, 503},
		{"closes", lab.TLSOptions{Manner: lab.CloseAfterHello}, 0},
		{"demands a certificate", lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{l.CA()}}, 200},
		{"refuses every certificate", lab.TLSOptions{Client: lab.ClientAny, ClientAlert: lab.AlertCertificateRevoked}, 0},
		{"truncates", lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Truncate: true}}, 0},
		{"repaired", lab.TLSOptions{}, 200},
	} {
		s.Set(func(o *lab.TLSOptions) { *o = c.opt })
		resp, _, err := get(t, l, s.Addr())
		if (c.status == 0) != (err != nil) || err == nil && resp.StatusCode != c.status {
			t.Errorf("%s: %v, %v", c.name, resp, err)
		}
	}
	if s.Seen().ClientSerial == "" || s.Seen().Requests < 5 {
		t.Errorf("seen %+v", s.Seen())
	}
}

func TestFaultProxySpoilsAsTold(t *testing.T) {
	l := newLab(t)
	s, err := l.TLS(lab.TLSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.Fault(s.Addr(), lab.FaultOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t, l, f.Addr()); err != nil {
		t.Errorf("untouched: %v", err)
	}
	f.Set(func(o *lab.FaultOptions) { o.CutAfter = 50 })
	if _, _, err := get(t, l, f.Addr()); err == nil {
		t.Error("cut after 50 bytes, and the answer came")
	}
	f.Set(func(o *lab.FaultOptions) { *o = lab.FaultOptions{Delay: 30 * time.Millisecond} })
	start := time.Now()
	if _, _, err := get(t, l, f.Addr()); err != nil || time.Since(start) < 90*time.Millisecond {
		t.Errorf("delayed: %v after %s, want three delays at least", err, time.Since(start))
	}
	f.Set(func(o *lab.FaultOptions) { *o = lab.FaultOptions{Throttle: 10_000} })
	start = time.Now()
	if _, _, err := get(t, l, f.Addr()); err != nil || time.Since(start) < 100*time.Millisecond {
		t.Errorf("throttled to 10 kB/s: %v after %s", err, time.Since(start))
	}
}

func TestBlackHoleAndRefusedPort(t *testing.T) {
	l := newLab(t)
	hole, err := l.BlackHole()
	if err != nil {
		t.Fatal(err)
	}
	_, err = net.DialTimeout("tcp", hole.Addr(), 200*time.Millisecond)
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("black hole: %v, want a timeout", err)
	}
	addr, err := l.RefusedAddr()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("refused address: %v", err)
	}
}

func TestDNSAnswersAsTold(t *testing.T) {
	l := newLab(t)
	s, err := l.DNS(lab.DNSOptions{Hosts: map[string][]netip.Addr{"lab.test": {netip.MustParseAddr("192.0.2.7")}}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(network, name string, qtype uint16) *dns.Msg {
		t.Helper()
		c := &dns.Client{Net: network}
		m, _, err := c.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, qtype), s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, network := range []string{"udp", "tcp"} {
		if m := ask(network, "LAB.test.", dns.TypeA); len(m.Answer) != 1 || m.Rcode != dns.RcodeSuccess {
			t.Errorf("%s A: %v", network, m)
		}
		if m := ask(network, "lab.test.", dns.TypeAAAA); len(m.Answer) != 0 || m.Rcode != dns.RcodeSuccess {
			t.Errorf("%s AAAA: %v, want NODATA", network, m)
		}
		if m := ask(network, "other.test.", dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Errorf("%s other: %v, want NXDOMAIN", network, m)
		}
	}
	s.Set(func(o *lab.DNSOptions) { o.Truncate = true })
	if m := ask("udp", "lab.test.", dns.TypeA); !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("truncated: %v", m)
	}
	if s.Queries() != 7 {
		t.Errorf("%d queries counted, want 7", s.Queries())
	}
}

func TestRevocationListAndChains(t *testing.T) {
	l := newLab(t)
	mid, err := l.CA().Intermediate("middle")
	if err != nil {
		t.Fatal(err)
	}
	p, err := mid.Issue(lab.CertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AddCert(mid.Cert)
	if _, err := p.Leaf.Verify(x509.VerifyOptions{Roots: rootsOf(l), Intermediates: between, DNSName: "lab.test"}); err != nil {
		t.Error(err)
	}
	if len(p.TLS.Certificate) != 2 {
		t.Errorf("%d certificates are sent, want leaf and middle", len(p.TLS.Certificate))
	}
}
