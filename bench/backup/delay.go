package main

import (
	"net"
	"sync"
	"time"
)

// way passes TCP connections to an address, everything later by half a round
// trip: a long way, not a narrow one.
type way struct {
	ln   net.Listener
	to   string
	late time.Duration
	wg   sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newWay(to string, rtt time.Duration) (*way, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &way{ln: ln, to: to, late: rtt / 2}
	w.wg.Go(w.serve)
	return w, nil
}

func (w *way) addr() string { return w.ln.Addr().String() }

// close ends all connections and waits.
func (w *way) close() error {
	err := w.ln.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
	return err
}

func (w *way) serve() {
	for {
		from, err := w.ln.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", w.to)
		if err != nil {
			from.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, from, to)
		w.mu.Unlock()
		w.wg.Go(func() { w.pass(to, from) })
		w.wg.Go(func() { w.pass(from, to) })
	}
}

type piece struct {
	data []byte
	due  time.Time
}

// onTheWay bounds the pieces under way; of 64 KiB they are far more than any
// window, so that only the time is spent.
const onTheWay = 1024

// pass carries one direction, in order.
func (w *way) pass(to, from net.Conn) {
	pieces := make(chan piece, onTheWay)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(pieces)
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{append([]byte(nil), buf[:n]...), time.Now().Add(w.late)}
			}
			if err != nil {
				return
			}
		}
	})
	broken := false
	for p := range pieces {
		if broken {
			continue // the reader must not wait for ever
		}
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			broken = true
			from.Close()
		}
	}
	reading.Wait()
	to.Close()
}
