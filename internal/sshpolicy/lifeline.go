package sshpolicy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lifeline is the connection of a session. It knows when something last came
// over it, and after batch it writes from a goroutine of its own: the library
// makes three small writes of each packet, which then become one of many
// packets, and encrypts while the system copies.
type lifeline struct {
	net.Conn
	start time.Time
	heard atomic.Int64 // nanoseconds after start

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	batched bool
	pending []byte // at most maxPending and one write
	over    bool   // Close was called
	err     error  // of a write
}

// maxPending bounds what waits to be written; a writer then waits too, so that
// progress is still seen where it happens.
const maxPending = 256 << 10

func newLifeline(conn net.Conn) *lifeline {
	l := &lifeline{Conn: conn, start: time.Now()}
	l.changed.L = &l.mu
	return l
}

// Read implements net.Conn.
func (l *lifeline) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(int64(time.Since(l.start)))
	}
	return n, err
}

// silence is how long nothing has come.
func (l *lifeline) silence() time.Duration {
	return time.Since(l.start) - time.Duration(l.heard.Load())
}

// Write implements net.Conn. After batch, an error may belong to an earlier one.
func (l *lifeline) Write(p []byte) (int, error) {
	l.mu.Lock()
	if !l.batched {
		l.mu.Unlock()
		return l.Conn.Write(p)
	}
	defer l.mu.Unlock()
	for len(l.pending) >= maxPending && l.err == nil && !l.over {
		l.changed.Wait()
	}
	if l.err != nil {
		return 0, l.err
	}
	if l.over {
		return 0, net.ErrClosed
	}
	l.pending = append(l.pending, p...)
	l.changed.Broadcast()
	return len(p), nil
}

// batch writes what is pending until Close or an error.
func (l *lifeline) batch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batched = true
	var spare []byte
	for {
		for len(l.pending) == 0 && !l.over {
			l.changed.Wait()
		}
		if l.over {
			return
		}
		batch := l.pending
		l.pending = spare[:0]
		l.changed.Broadcast()
		l.mu.Unlock()
		_, err := l.Conn.Write(batch)
		l.mu.Lock()
		spare = batch
		if err != nil {
			l.err = err
			l.changed.Broadcast()
			return
		}
	}
}

// Close implements net.Conn. What is pending is not written any more.
func (l *lifeline) Close() error {
	l.mu.Lock()
	l.over = true
	l.changed.Broadcast()
	l.mu.Unlock()
	return l.Conn.Close()
}
