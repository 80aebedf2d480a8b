package lab

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// Manner is how a server treats a new connection.
type Manner uint8

// The manners of a TLS or HTTP server.
const (
	Serve           Manner = iota // work
	CloseAtOnce                   // FIN as soon as connected, nothing read
	ResetAtOnce                   // RST as soon as connected, nothing read
	CloseAfterHello               // read the first flight, then FIN
	ResetAfterHello               // read the first flight, then RST
	Silent                        // read and never answer
	Garbage                       // answer the first flight with TLSOptions.Banner
	BannerFirst                   // send TLSOptions.Banner before anything is read
)

// ClientPolicy is what a TLS server wants of client certificates.
type ClientPolicy uint8

// The client certificate policies.
const (
	ClientNone    ClientPolicy = iota
	ClientRequest              // ask, take any or none
	ClientAny                  // demand one, do not verify
	ClientVerify               // demand one from ClientCAs; their names go out as the issuer list
)

// TLSOptions are the switches of a TLS or HTTP server. The zero value is a
// healthy server with a certificate of the lab's authority that answers 200.
type TLSOptions struct {
	Manner Manner
	Banner string // for Garbage and BannerFirst

	Pair         *Pair // nil: issued by the lab's authority for lab.test, localhost and loopback
	MinVersion   uint16
	MaxVersion   uint16
	CipherSuites []uint16 // TLS 1.2 and below
	NextProtos   []string // nil: h2 and http/1.1
	RefuseSNI    bool     // alert unrecognized_name for every name
	NoTickets    bool

	Client      ClientPolicy
	ClientCAs   []*CA
	IssuerList  []*CA         // with ClientRequest or ClientAny: names to list; nil: ClientCAs
	ClientAlert uint8         // refuse every client certificate with this TLS alert number (RFC 8446 section 6); 0: judge it
	ClientReset bool          // refuse every client certificate by closing without an alert
	Revoked     []*big.Int    // serials refused with certificate_revoked
	ClockOffset time.Duration // the server's clock: verification of client certificates and the Date header
	HTTPOptions               // how requests are answered
	AfterHello  func()        // called when the first flight of a connection has been read in a manner other than Serve
}

// ServerSeen is what a server has met since it started.
type ServerSeen struct {
	Connections  int
	Requests     int
	ClientSerial string // of the last accepted client certificate, decimal
}

// TLSServer is a running TLS or HTTP server.
type TLSServer struct {
	srv *server
	own *Pair // served when the options name no pair
	opt switches[TLSOptions]

	mu   sync.Mutex // guards seen
	seen ServerSeen
}

// TLS starts an HTTPS server.
func (l *Lab) TLS(o TLSOptions) (*TLSServer, error) { return l.web(o, true) }

// HTTP starts a server without TLS; the switches about TLS mean nothing to it.
func (l *Lab) HTTP(o TLSOptions) (*TLSServer, error) { return l.web(o, false) }

func (l *Lab) web(o TLSOptions, overTLS bool) (*TLSServer, error) {
	own, err := l.Issue(CertOptions{})
	if err != nil {
		return nil, err
	}
	srv, err := l.listen()
	if err != nil {
		return nil, err
	}
	s := &TLSServer{srv: srv, own: own}
	s.opt.now = o
	ready := newHandover(srv.ln.Addr())
	hs := &http.Server{
		Handler:           http.HandlerFunc(s.answer),
		ErrorLog:          log.New(io.Discard, "", 0), // what goes wrong is what is tested
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         s.baseConfig(),
	}
	srv.start(func(c net.Conn) { s.handle(c, ready) })
	var wg sync.WaitGroup
	wg.Go(func() {
		// Serve returns when the listener is closed; nothing else ends it.
		if overTLS {
			_ = hs.ServeTLS(ready, "", "")
			return
		}
		_ = hs.Serve(ready)
	})
	l.OnClose(func() error {
		_ = ready.Close() // before the connections, or handle would wait for ever
		err := hs.Close()
		wg.Wait()
		return err
	})
	return s, nil
}

// Addr is host:port.
func (s *TLSServer) Addr() string { return s.srv.addr() }

// Set changes the switches; it takes effect with the next connection or request.
func (s *TLSServer) Set(change func(*TLSOptions)) { s.opt.set(change) }

// Seen tells what the server has met so far.
func (s *TLSServer) Seen() ServerSeen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *TLSServer) note(change func(*ServerSeen)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.seen)
}

// handle treats one connection as the manner says.
func (s *TLSServer) handle(c net.Conn, ready *handover) {
	s.note(func(n *ServerSeen) { n.Connections++ })
	o := s.opt.get()
	switch o.Manner {
	case Serve:
		ready.give(c)
		return
	case CloseAtOnce:
		return
	case ResetAtOnce:
		resetOnClose(c)
		return
	case BannerFirst:
		if _, err := io.WriteString(c, o.Banner); err != nil {
			return
		}
		drain(c)
		return
	}
	first := make([]byte, 16<<10)
	if _, err := c.Read(first); err != nil {
		return
	}
	if o.AfterHello != nil {
		o.AfterHello()
	}
	switch o.Manner {
	case ResetAfterHello:
		resetOnClose(c)
	case Silent:
		drain(c)
	case Garbage:
		if _, err := io.WriteString(c, o.Banner); err == nil {
			drain(c)
		}
	}
}

// drain reads until the peer or the lab ends the connection.
func drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// baseConfig defers everything to the switches as they are when a hello comes.
func (s *TLSServer) baseConfig() *tls.Config {
	return &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.config(s.opt.get(), hello.Conn), nil
		},
	}
}

// config turns the switches into the configuration of one connection.
func (s *TLSServer) config(o TLSOptions, raw net.Conn) *tls.Config {
	pair := o.Pair
	if pair == nil {
		pair = s.own
	}
	c := &tls.Config{
		MinVersion:             tls.VersionTLS10, // a lab server may be as old as the drill wants
		MaxVersion:             o.MaxVersion,
		CipherSuites:           o.CipherSuites,
		NextProtos:             o.NextProtos,
		SessionTicketsDisabled: o.NoTickets,
		Time:                   func() time.Time { return time.Now().Add(o.ClockOffset) },
	}
	if o.MinVersion != 0 {
		c.MinVersion = o.MinVersion
	}
	if o.NextProtos == nil {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if o.RefuseSNI {
			return nil, nil // crypto/tls answers unrecognized_name
		}
		return &pair.TLS, nil
	}
	if !o.RefuseSNI {
		c.Certificates = []tls.Certificate{pair.TLS} // for a hello without a name
	}
	s.clientPolicy(c, o, raw)
	return c
}

func pool(cas []*CA) *x509.CertPool {
	p := x509.NewCertPool()
	for _, ca := range cas {
		p.AddCert(ca.Cert)
	}
	return p
}

// handover is the listener through which handle gives connections to net/http.
type handover struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give hands c over and returns when net/http has closed it, so that the
// connection stays tracked while it lives.
func (h *handover) give(c net.Conn) {
	g := &given{Conn: c, closed: make(chan struct{})}
	select {
	case h.conns <- g:
	case <-h.done:
		return
	}
	<-g.closed
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.addr }

// given tells when its connection was closed.
type given struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (g *given) Close() error {
	err := g.Conn.Close()
	g.once.Do(func() { close(g.closed) })
	return err
}
