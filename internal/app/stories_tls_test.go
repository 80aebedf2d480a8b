package app_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"allclear/internal/api/client"
	"allclear/internal/fault"
	"allclear/internal/lab"
)

// tlsCommands work real TLS and HTTP servers, proxies, resolvers and
// certificate files in a story. A server that starts puts its address into the
// variable NAME.
var tlsCommands = map[string]command{
	"labtls": cmdLabTLS, "labhttp": cmdLabHTTP, "proxy": cmdProxy, "dns": cmdDNS, "openssl": cmdOpenSSL,
	"authority": cmdAuthority, "cert": cmdCert, "await": cmdAwait,
}

// labtls NAME WORD... starts an HTTPS server of the lab, or changes one that
// runs. The words are all that is unusual about it; without any it is well and
// shows a certificate of the authority "lab".
func cmdLabTLS(ts *testscript.TestScript, neg bool, args []string) { web(ts, args, (*lab.Lab).TLS) }

// labhttp NAME WORD... is labtls for a server without TLS.
func cmdLabHTTP(ts *testscript.TestScript, neg bool, args []string) { web(ts, args, (*lab.Lab).HTTP) }

func web(ts *testscript.TestScript, args []string, start func(*lab.Lab, lab.TLSOptions) (*lab.TLSServer, error)) {
	if len(args) == 0 {
		ts.Fatalf("which server?")
	}
	name, o := args[0], tlsOptions(ts, args[1:])
	if s, runs := storyOf(ts).servers[name].(*lab.TLSServer); runs {
		s.Set(func(now *lab.TLSOptions) { *now = o })
		return
	}
	s, err := start(storyOf(ts).lab, o)
	ts.Check(err)
	keep(ts, name, s)
	publish(ts, name, s.Addr())
}

// publish sets NAME to the address and NAME_port to its port.
func publish(ts *testscript.TestScript, name, addr string) {
	_, port, err := net.SplitHostPort(addr)
	ts.Check(err)
	ts.Setenv(name, addr)
	ts.Setenv(name+"_port", port)
}

func tlsOptions(ts *testscript.TestScript, args []string) lab.TLSOptions {
	w := wordsOf(ts, args)
	o := lab.TLSOptions{
		Banner: w.take("banner"), RefuseSNI: w.take("refuse_sni") != "", ClientReset: w.take("client_reset") != "",
		ClientAlert: uint8(w.number("client_alert")), ClockOffset: w.duration("clock"),
		HTTPOptions: lab.HTTPOptions{
			Status: w.number("status"), Body: w.take("body"), Redirect: w.take("redirect"),
			Portal: w.take("portal") != "", Hang: w.take("hang") != "", Truncate: w.take("truncate") != "", Abort: w.take("abort") != "",
		},
	}
	o.Manner = pick(w, "manner", map[string]lab.Manner{
		"": lab.Serve, "close": lab.CloseAtOnce, "reset": lab.ResetAtOnce, "close-after-hello": lab.CloseAfterHello,
		"reset-after-hello": lab.ResetAfterHello, "silent": lab.Silent, "garbage": lab.Garbage, "banner-first": lab.BannerFirst,
	})
	o.Client = pick(w, "client", map[string]lab.ClientPolicy{
		"": lab.ClientNone, "request": lab.ClientRequest, "any": lab.ClientAny, "verify": lab.ClientVerify,
	})
	versions := map[string]uint16{"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	o.MinVersion, o.MaxVersion = pick(w, "min", versions), pick(w, "max", versions)
	if name := w.take("client_ca"); name != "" {
		o.ClientCAs = []*lab.CA{kept[*lab.CA](ts, name)}
	}
	if name := w.take("cert"); name != "" {
		o.Pair = pairOf(ts, name)
	}
	w.done()
	return o
}

// pairOf reads the files that cert has made.
func pairOf(ts *testscript.TestScript, name string) *lab.Pair {
	p := &lab.Pair{CertPEM: []byte(ts.ReadFile(name + ".pem")), KeyPEM: []byte(ts.ReadFile(name + ".key"))}
	var err error
	p.TLS, err = tls.X509KeyPair(p.CertPEM, p.KeyPEM)
	ts.Check(err)
	p.Leaf, err = x509.ParseCertificate(p.TLS.Certificate[0])
	ts.Check(err)
	return p
}

// proxy NAME WORD... starts a CONNECT proxy of the lab, or changes one.
func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("which proxy?")
	}
	name, w := args[0], wordsOf(ts, args[1:])
	o := lab.ProxyOptions{
		Status: w.number("status"), Scheme: w.take("scheme"), User: w.take("user"), Password: w.take("password"),
		Hang: w.take("hang") != "", Close: w.take("close") != "", Garbage: w.take("garbage"),
	}
	w.done()
	if p, runs := storyOf(ts).servers[name].(*lab.Proxy); runs {
		p.Set(func(now *lab.ProxyOptions) { *now = o })
		return
	}
	p, err := storyOf(ts).lab.Proxy(o)
	ts.Check(err)
	keep(ts, name, p)
	publish(ts, name, p.Addr())
}

// dns NAME WORD... starts a resolver of the lab, or changes one: HOST=ADDRESS,
// rcode=servfail|refused, silent.
func cmdDNS(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("which resolver?")
	}
	name, w := args[0], wordsOf(ts, args[1:])
	o := lab.DNSOptions{
		Silent: w.take("silent") != "", Hosts: map[string][]netip.Addr{},
		Rcode: pick(w, "rcode", map[string]int{"": dns.RcodeSuccess, "servfail": dns.RcodeServerFailure, "refused": dns.RcodeRefused}),
	}
	for host, text := range w.left {
		addr, err := netip.ParseAddr(text)
		ts.Check(err)
		o.Hosts[host] = []netip.Addr{addr}
	}
	if s, runs := storyOf(ts).servers[name].(*lab.DNSServer); runs {
		s.Set(func(now *lab.DNSOptions) { *now = o })
		return
	}
	s, err := storyOf(ts).lab.DNS(o)
	ts.Check(err)
	keep(ts, name, s)
	publish(ts, name, s.Addr())
}

// authority NAME makes a certificate authority and writes its root to NAME.pem.
// The one called lab is that of the lab's servers.
func cmdAuthority(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: authority NAME")
	}
	l, name := storyOf(ts).lab, args[0]
	ca := l.CA()
	if name != "lab" {
		var err error
		ca, err = l.NewCA(name)
		ts.Check(err)
	}
	keep(ts, name, ca)
	ts.Check(os.WriteFile(ts.MkAbs(name+".pem"), ca.PEM, 0o644))
}

// cert NAME WORD... makes NAME.pem and NAME.key: by=AUTHORITY, cn=, dns=, ip=,
// from= and until= as times from now, client, self. Without words it is a good
// server certificate of the authority "lab".
func cmdCert(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: cert NAME [WORD...]")
	}
	w := wordsOf(ts, args[1:])
	o := lab.CertOptions{
		CommonName: w.take("cn"), DNSNames: w.list("dns"), Client: w.take("client") != "", SelfSigned: w.take("self") != "",
	}
	for _, text := range w.list("ip") {
		o.IPs = append(o.IPs, net.ParseIP(text))
	}
	now := time.Now()
	if d := w.duration("from"); d != 0 {
		o.NotBefore = now.Add(d)
	}
	if d := w.duration("until"); d != 0 {
		o.NotAfter = now.Add(d)
	}
	ca := storyOf(ts).lab.CA()
	if by := w.take("by"); by != "" {
		ca = kept[*lab.CA](ts, by)
	}
	w.done()
	p, err := ca.Issue(o)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), p.CertPEM, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), p.KeyPEM, 0o600))
}

// opensslServer is a running "openssl s_server".
type opensslServer struct {
	addr string
	stop func() error
}

// openssl start|restart NAME ADDRESS FLAG... runs "openssl s_server -www" on a
// free port of ADDRESS; a restart takes the port it had. openssl stop NAME.
func cmdOpenSSL(ts *testscript.TestScript, neg bool, args []string) {
	do, name, rest := verb(ts, "openssl", args)
	accept := ""
	switch do {
	case "start":
		accept = net.JoinHostPort(rest[0], "0")
		rest = rest[1:]
	case "restart", "stop":
		s := kept[*opensslServer](ts, name)
		ts.Check(s.stop())
		if do == "stop" {
			return
		}
		accept = s.addr
	default:
		ts.Fatalf("openssl: unknown word %q", do)
	}
	s, err := startOpenSSL(ts.Getenv("WORK"), accept, rest)
	ts.Check(err)
	storyOf(ts).lab.OnClose(s.stop)
	keep(ts, name, s)
	publish(ts, name, s.addr)
}

func startOpenSSL(dir, accept string, flags []string) (*opensslServer, error) {
	cmd := exec.Command(lab.Program("openssl"), append([]string{"s_server", "-www", "-accept", accept}, flags...)...)
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &opensslServer{addr: accept}
	s.stop = sync.OnceValue(func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return err
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if addr, ok := strings.CutPrefix(lines.Text(), "ACCEPT"); ok {
			if addr != "" { // it says so when it has chosen the port
				s.addr = strings.TrimSpace(addr)
			}
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the program
			return s, nil
		}
	}
	_ = cmd.Wait() // it has ended: what it said is the error
	return nil, fmt.Errorf("openssl s_server ended at once: %s", said.String())
}

// await CODE@RESOURCE raised|cleared waits for what a look that nobody asks for
// is about to find.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await CODE@RESOURCE raised|cleared")
	}
	want := map[string]fault.Condition{"raised": fault.Active, "cleared": fault.Clear}[args[1]]
	c := client.New(storyOf(ts).socket)
	defer c.Close()
	ts.Check(await(args[0]+" to be "+args[1], func() bool {
		f, err := c.Fault(context.Background(), args[0])
		return err == nil && f.State == want
	}))
}

// pick translates the value of a word.
func pick[T any](w *words, key string, values map[string]T) T {
	text := w.take(key)
	v, ok := values[text]
	if !ok {
		w.ts.Fatalf("unknown word %s=%s", key, text)
	}
	return v
}

func (w *words) number(key string) int {
	text := w.take(key)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	w.ts.Check(err)
	return n
}

func (w *words) duration(key string) time.Duration {
	text := w.take(key)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	w.ts.Check(err)
	return d
}
