package lab

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// loopback is where every server of a lab listens: any free port of 127.0.0.1.
const loopback = "127.0.0.1:0"

// server accepts connections, keeps count of them and can end them all.
type server struct {
	ln net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	conns  map[net.Conn]struct{}
	closed bool
}

// listen takes a free port of loopback. Nothing is accepted before start.
func (l *Lab) listen() (*server, error) {
	ln, err := net.Listen("tcp", loopback)
	if err != nil {
		return nil, fmt.Errorf("listen for a lab server: %w", err)
	}
	s := &server{ln: ln, conns: make(map[net.Conn]struct{})}
	l.OnClose(s.close)
	return s, nil
}

// start runs handle for each connection in its own goroutine. The connection
// is closed when handle returns. Close of the lab ends the listener and every
// connection, and waits.
func (s *server) start(handle func(net.Conn)) {
	s.wg.Go(func() { s.accept(handle) })
}

func (s *server) accept(handle func(net.Conn)) {
	for {
		c, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the peer gave up while in the backlog
		}
		if !s.track(c) {
			_ = c.Close() // the server is closing
			return
		}
		s.wg.Go(func() {
			defer s.forget(c)
			handle(c)
		})
	}
}

// track takes note of c so that close can end it; false when already closing.
func (s *server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *server) forget(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	_ = c.Close() // a peer that is gone already is no concern of ours
}

func (s *server) close() error {
	s.mu.Lock()
	s.closed = true
	err := s.ln.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *server) addr() string { return s.ln.Addr().String() }

// switches holds the options of a running server.
type switches[T any] struct {
	mu  sync.Mutex // guards now
	now T
}

func (s *switches[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *switches[T]) set(change func(*T)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

// resetOnClose makes Close of c send RST instead of FIN.
func resetOnClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // refused only when the connection is gone
	}
}
