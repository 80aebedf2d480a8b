package kmip_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"allclear/kmip"
)

// fakeServer answers what its answer function says, over TLS with certificates of both sides.
type fakeServer struct {
	addr   string
	client *tls.Config

	mu     sync.Mutex // guards what follows
	conns  int
	asked  []kmip.Operation
	answer func(conn int, r *kmip.Request) []byte // nil: hang up
}

// good is an answer to every item of a request.
func good(r *kmip.Request, payloads ...kmip.Payload) []byte {
	a := kmip.Response{Header: kmip.ResponseHeader{Version: r.Header.Version, TimeStamp: time.Now()}}
	for i, p := range payloads {
		a.Items = append(a.Items, kmip.ResponseItem{Operation: r.Items[i].Operation, ID: r.Items[i].ID, Payload: p})
	}
	return a.Encode()
}

// refused is an answer that one operation failed.
func refused(r *kmip.Request, reason kmip.ResultReason, message string) []byte {
	a := kmip.Response{
		Header: kmip.ResponseHeader{Version: r.Header.Version, TimeStamp: time.Now()},
		Items: []kmip.ResponseItem{{
			Operation: r.Items[0].Operation, Status: kmip.ResultStatusOperationFailed, Reason: reason, Message: message,
		}},
	}
	return a.Encode()
}

func newFake(t testing.TB, answer func(conn int, r *kmip.Request) []byte) *fakeServer {
	t.Helper()
	s := &fakeServer{answer: answer}
	server, client := certificates(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	s.addr, s.client = l.Addr().String(), client
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			wg.Go(func() { s.serve(n, conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		wg.Wait()
	})
	return s
}

func (s *fakeServer) serve(n int, conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	for {
		b, err := kmip.ReadMessage(conn, 0)
		if err != nil {
			return
		}
		var r kmip.Request
		if err := r.Decode(b); err != nil {
			return
		}
		s.mu.Lock()
		for _, it := range r.Items {
			s.asked = append(s.asked, it.Operation)
		}
		answer := s.answer
		s.mu.Unlock()
		a := answer(n, &r)
		if a == nil {
			return
		}
		if _, err := conn.Write(a); err != nil {
			return
		}
	}
}

// times is how often an operation was asked for; 0 stands for any.
func (s *fakeServer) times(op kmip.Operation) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, o := range s.asked {
		if op == 0 || o == op {
			n++
		}
	}
	return n
}

// connections is how many were accepted.
func (s *fakeServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// dial connects in KMIP 1.4, without a negotiation.
func (s *fakeServer) dial(t testing.TB, timeout time.Duration) *kmip.Client {
	t.Helper()
	redial := func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: s.client}).DialContext(ctx, "tcp", s.addr)
	}
	conn, err := redial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := kmip.NewClient(conn, kmip.Options{Timeout: timeout, Redial: redial})
	t.Cleanup(func() { c.Close() })
	return c
}

// certificates makes an authority and the configurations of a server at 127.0.0.1 and a client.
func certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	var pair [2]tls.Certificate
	pool := x509.NewCertPool()
	for i := range pair {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "test"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(leaf)
		pair[i] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	server = &tls.Config{Certificates: pair[:1], ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	return server, &tls.Config{Certificates: pair[1:], RootCAs: pool}
}
