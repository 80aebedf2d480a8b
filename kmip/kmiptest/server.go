package kmiptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"allclear/kmip"
)

// Server is a running key server. All its methods are safe for concurrent use.
type Server struct {
	store *store
	table map[kmip.Operation]operation // never changed
	parts parts
	log   *slog.Logger
	limit Limits
	slots chan struct{}  // one for each open connection
	wg    sync.WaitGroup // accept loops and connections

	mu     sync.Mutex // guards what follows
	o      *Options   // not changed, but replaced
	addr   string
	ln     net.Listener // nil while down
	conns  map[net.Conn]struct{}
	faults []*Fault
	seen   Seen
	closed bool

	// stop is closed by Close, down by the Down that follows the last Up: both end what a fault made wait.
	down chan struct{}
}

// Seen counts what a server has met since it was started.
type Seen struct {
	Connections int            // accepted
	Refused     int            // turned away because all places were taken
	Handshakes  int            // completed TLS handshakes
	Requests    int            // messages read
	Operations  map[string]int // batch items by operation, as the specification spells it without blanks
}

// Start makes a server and has it listen. It lives until Close, or until ctx ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	st, err := openStore(o.Dir, o.Limits.Bytes, o.Now)
	if err != nil {
		return nil, err
	}
	s := &Server{
		store: st, table: table(), log: o.Log, limit: o.Limits, o: &o, addr: o.Address,
		slots: make(chan struct{}, o.Limits.Connections),
		conns: map[net.Conn]struct{}{}, seen: Seen{Operations: map[string]int{}},
	}
	if err := s.Up(ctx); err != nil {
		return nil, errors.Join(err, st.close())
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

// Address answers host:port, the same for the server's whole life.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Up has a server listen again after Down, on the same port. It does nothing when the server is up.
func (s *Server) Up(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.ln != nil:
		return nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, err)
	}
	s.addr, s.ln, s.down = ln.Addr().String(), ln, make(chan struct{})
	s.store.setDown(time.Time{})
	down := s.down
	s.wg.Go(func() { s.accept(ln, down) })
	return nil
}

// Down stops listening and cuts every connection, as a server that was switched off: connections are refused, and its
// clones learn nothing more. What it holds stays.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return
	}
	_ = s.ln.Close()
	s.ln = nil
	close(s.down)
	s.store.setDown(s.o.Now())
	for c := range s.conns {
		_ = c.Close()
	}
}

// Close takes the server down for good and waits for its goroutines.
func (s *Server) Close() error {
	s.Down()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
	return s.store.close()
}

// Set changes options of the running server; the next request, or for TLS the next connection, finds them changed.
// Address, Dir, Limits and Now are taken at the start only.
func (s *Server) Set(change func(*Options)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := *s.o
	change(&o)
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return err
	}
	o.Now, o.Dir, o.Limits = s.o.Now, s.o.Dir, s.o.Limits
	s.o = &o
	return nil
}

// Seen answers what the server has met so far.
func (s *Server) Seen() Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	seen.Operations = make(map[string]int, len(s.seen.Operations))
	for op, n := range s.seen.Operations {
		seen.Operations[op] = n
	}
	return seen
}

func (s *Server) options() *Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o
}

func (s *Server) accept(ln net.Listener, down <-chan struct{}) {
	for {
		c, err := ln.Accept()
		if err != nil {
			select {
			case <-down:
				return
			case <-time.After(acceptPause): // out of descriptors, or a peer that gave up: others wait meanwhile
				continue
			}
		}
		if !s.admit(c) {
			_ = c.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.leave(c)
			if err := s.converse(c, down); err != nil {
				s.log.Debug("connection ended", "peer", c.RemoteAddr().String(), "cause", err.Error())
			}
		})
	}
}

// acceptPause is how long a listener rests that could not accept.
const acceptPause = 20 * time.Millisecond

// admit gives a connection a place. It is refused when all are taken or the server went down meanwhile.
func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Connections++
	if s.ln == nil {
		return false
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.seen.Refused++
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) leave(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	<-s.slots
}

// converse serves one connection until its end.
func (s *Server) converse(raw net.Conn, down <-chan struct{}) error {
	if f := s.take(atConnect, ""); f != nil {
		return spoilConnection(raw, f)
	}
	conn, client, err := s.handshake(raw)
	if err != nil {
		return err
	}
	for {
		req, err := s.read(conn, client)
		if err != nil {
			return err
		}
		if err := s.reply(conn, req, client, down); err != nil {
			return err
		}
	}
}

func (s *Server) handshake(raw net.Conn) (*tls.Conn, *client, error) {
	o := s.options()
	conn := tls.Server(raw, o.tlsConfig())
	if err := raw.SetDeadline(time.Now().Add(s.limit.Handshake)); err != nil {
		return nil, nil, err
	}
	if err := conn.Handshake(); err != nil {
		return nil, nil, fmt.Errorf("tls handshake: %w", err)
	}
	s.mu.Lock()
	s.seen.Handshakes++
	s.mu.Unlock()
	c := &client{}
	if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 {
		c.name = certs[0].Subject.CommonName
	}
	return conn, c, nil
}

// headerLen is the length of an item's tag, type and length (KMIP 1.4 section 9.1.1).
const headerLen = 8

// errNotTTLV ends a connection whose bytes are no request message: there is no way to find the next one.
var errNotTTLV = errors.New("the bytes are no KMIP request message")

// read reads one message. Its length is bounded before anything of that size is allocated. The bytes are new with each
// message: what a client registers keeps some of them.
func (s *Server) read(conn net.Conn, c *client) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(s.limit.Idle)); err != nil {
		return nil, err
	}
	head := c.head[:]
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	if !bytes.Equal(head[:4], []byte{0x42, 0x00, 0x78, 0x01}) {
		return nil, errNotTTLV
	}
	n := binary.BigEndian.Uint32(head[4:])
	if n > uint32(s.limit.Message-headerLen) || n%8 != 0 {
		return nil, fmt.Errorf("%w: a length of %d bytes, at most %d are taken", errNotTTLV, n, s.limit.Message)
	}
	if err := conn.SetReadDeadline(time.Now().Add(s.limit.Read)); err != nil {
		return nil, err
	}
	msg := make([]byte, headerLen+n)
	copy(msg, head)
	_, err := io.ReadFull(conn, msg[headerLen:])
	return msg, err
}

// send writes an answer.
func (s *Server) send(conn net.Conn, answer []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(s.limit.Write)); err != nil {
		return err
	}
	_, err := conn.Write(answer)
	return err
}

// wait waits for d, or for ever when d is not positive; it answers false when the server went down meanwhile.
func wait(d time.Duration, down <-chan struct{}) bool {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
		return true
	case <-down:
		return false
	}
}
