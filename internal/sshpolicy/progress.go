package sshpolicy

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// cancelGrace is how long an operation that was cancelled may take to end in
// order, before the session is ended under it: the file protocols have no way
// to take a request back.
const cancelGrace = 2 * time.Second

// lateFactor bounds a small request, in stall periods: it may wait behind the
// data of other operations, but not for ever.
const lateFactor = 10

// meter notes when bytes last moved on a channel, in either direction.
type meter struct {
	start time.Time
	moved atomic.Int64 // nanoseconds after start
}

func newMeter() *meter { return &meter{start: time.Now()} }

func (m *meter) tick() { m.moved.Store(int64(time.Since(m.start))) }

func (m *meter) last() time.Time { return m.start.Add(time.Duration(m.moved.Load())) }

// meteredWriter counts what was taken from it as progress. Big writes are cut,
// so that a slow line shows progress within one of them.
type meteredWriter struct {
	io.WriteCloser
	m *meter
}

const meteredPiece = 32 << 10

// Write implements io.Writer.
func (w meteredWriter) Write(p []byte) (int, error) {
	total := 0
	for {
		n, err := w.WriteCloser.Write(p[:min(len(p), meteredPiece)])
		total += n
		if n > 0 {
			w.m.tick()
		}
		p = p[n:]
		if err != nil || len(p) == 0 {
			return total, err
		}
	}
}

type meteredReader struct {
	io.Reader
	m *meter
}

// Read implements io.Reader.
func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.m.tick()
	}
	return n, err
}

// guard watches over one operation: the session is ended when nothing moves for
// the stall period, when a small operation is late, or when ctx ends and the
// operation does not.
type guard struct {
	s     *Session
	began time.Time
	m     *meter
	small bool

	mu      sync.Mutex // guards the fields below
	idle    *time.Timer
	grace   *time.Timer
	resting bool
	over    bool
	factor  time.Duration // of the stall period

	stop func() bool // takes the guard off its context
}

// guard begins to watch; release ends it. What waits for our own side, such as
// for a source of bytes, stands between rest and resume. small marks a request
// with a short answer.
func (s *Session) guard(ctx context.Context, m *meter, small bool) *guard {
	g := &guard{s: s, began: time.Now(), m: m, small: small, factor: 1}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = time.AfterFunc(s.options.Stall, g.look)
	g.stop = context.AfterFunc(ctx, func() { g.cancelled(context.Cause(ctx)) })
	return g
}

func (g *guard) look() {
	if g.stalled() {
		g.s.end(&StallError{After: g.s.options.Stall})
	}
}

// stalled claims that the session is to be ended; otherwise it looks again later.
func (g *guard) stalled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.resting {
		return false
	}
	stall := g.s.options.Stall * g.factor
	since := g.began
	if last := g.m.last(); last.After(since) {
		since = last
	}
	late := g.small && time.Since(g.began) >= lateFactor*stall
	if quiet := time.Since(since); quiet < stall && !late {
		g.idle.Reset(stall - quiet)
		return false
	}
	g.over = true
	return true
}

func (g *guard) cancelled(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		g.grace = time.AfterFunc(cancelGrace, func() { g.s.end(cause) })
	}
}

// rest: the operation waits for us and not for the server.
func (g *guard) rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resting = true
	g.idle.Stop()
}

// resume ends rest.
func (g *guard) resume() {
	g.m.tick()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resting = false
	if !g.over {
		g.idle.Reset(g.s.options.Stall)
	}
}

// patient multiplies the stall period from now on: a server may take long to
// write a big file through to its disk, and says nothing meanwhile.
func (g *guard) patient(factor int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.factor = time.Duration(factor)
}

// release ends the watch.
func (g *guard) release() {
	g.stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.idle.Stop()
	if g.grace != nil {
		g.grace.Stop()
	}
}
