package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FaultOptions are the switches of a TCP fault proxy. The zero value passes
// everything on.
type FaultOptions struct {
	Delay    time.Duration // before each chunk, in both directions
	Throttle int           // bytes a second and direction; 0: no limit
	CutAfter int64         // end the connection after this many bytes from the server; 0: never
	CutReset bool          // end it with RST
	Stall    bool          // after StallAt bytes from the server, pass nothing more of it
	StallAt  int64
	// CutSent and StallSent do the same after so many bytes from the client; 0: never.
	CutSent, StallSent int64
	// DropOver loses every chunk over this many bytes and all that follows it,
	// in both directions, like a path whose MTU is smaller than anyone says.
	// A connection whose segments are clamped (TCP_MAXSEG) below it passes,
	// unless DropClamped is set: then it is a middlebox that cannot take a
	// ClientHello of more than one segment.
	DropOver    int
	DropClamped bool
	// DropReply makes DropOver count only what the server sends.
	DropReply bool
}

// FaultProxy passes TCP connections on to an upstream address and spoils them
// as its switches say.
type FaultProxy struct {
	srv      *server
	upstream string
	opt      switches[FaultOptions]
	done     <-chan struct{}
}

// Fault starts a TCP fault proxy in front of upstream (host:port).
func (l *Lab) Fault(upstream string, o FaultOptions) (*FaultProxy, error) {
	srv, err := l.listen()
	if err != nil {
		return nil, err
	}
	f := &FaultProxy{srv: srv, upstream: upstream, done: l.done}
	f.opt.now = o
	srv.start(f.handle)
	return f, nil
}

// Addr is host:port.
func (f *FaultProxy) Addr() string { return f.srv.addr() }

// Set changes the switches from the next connection on.
func (f *FaultProxy) Set(change func(*FaultOptions)) { f.opt.set(change) }

func (f *FaultProxy) handle(c net.Conn) {
	up, err := net.DialTimeout("tcp", f.upstream, 5*time.Second)
	if err != nil {
		resetOnClose(c)
		return
	}
	if !f.srv.track(up) {
		_ = up.Close()
		return
	}
	defer f.srv.forget(up)
	o := f.opt.get()
	p := &pipe{o: o, done: f.done, clamped: o.DropOver > 0 && segment(c) <= o.DropOver}
	var wg sync.WaitGroup
	wg.Go(func() {
		p.copy(up, c, false)
		if o.CutSent > 0 && o.CutReset {
			resetOnClose(c)
			_ = c.Close()
		}
		_ = up.Close()
	})
	p.copy(c, up, true)
	if o.CutReset {
		resetOnClose(c)
	}
	_ = c.Close()
	wg.Wait()
}

// segment is the biggest segment c sends, in bytes; the peer's own clamp
// arrives with its SYN and bounds it too.
func segment(c net.Conn) int {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return 1 << 16
	}
	size := 1 << 16
	rc, err := t.SyscallConn()
	if err != nil {
		return size
	}
	_ = rc.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG); err == nil {
			size = n
		}
	})
	return size
}

var errLost = errors.New("lost on the way")

// pipe is one spoilt connection.
type pipe struct {
	o       FaultOptions
	done    <-chan struct{}
	clamped bool
}

// copy passes chunks from src to dst until an end or a cut; after a loss it
// reads on and passes nothing, as a real black hole lets the sender retry.
func (p *pipe) copy(dst io.Writer, src io.Reader, reply bool) {
	buf := make([]byte, 64<<10)
	var passed int64
	for {
		n, err := src.Read(buf)
		if n > 0 {
			chunk := buf[:n]
			out, spoilt := p.spoil(chunk, passed, reply)
			if _, werr := p.write(dst, out); werr != nil {
				return
			}
			passed += int64(len(out))
			if errors.Is(spoilt, errLost) {
				_, _ = io.Copy(io.Discard, src)
				return
			}
			if spoilt != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// spoil cuts chunk down to what may pass; errLost: nothing more passes.
func (p *pipe) spoil(chunk []byte, passed int64, reply bool) ([]byte, error) {
	if p.o.DropOver > 0 && len(chunk) > p.o.DropOver && (reply || !p.o.DropReply) && (!p.clamped || p.o.DropClamped) {
		return nil, errLost
	}
	if p.o.Stall && reply && passed+int64(len(chunk)) > p.o.StallAt {
		return chunk[:max(0, p.o.StallAt-passed)], errLost
	}
	if !reply && p.o.StallSent > 0 && passed+int64(len(chunk)) > p.o.StallSent {
		return chunk[:max(0, p.o.StallSent-passed)], errLost
	}
	if !reply && p.o.CutSent > 0 && passed+int64(len(chunk)) >= p.o.CutSent {
		return chunk[:max(0, p.o.CutSent-passed)], fmt.Errorf("cut after %d bytes", p.o.CutSent)
	}
	if reply && p.o.CutAfter > 0 && passed+int64(len(chunk)) >= p.o.CutAfter {
		return chunk[:max(0, p.o.CutAfter-passed)], fmt.Errorf("cut after %d bytes", p.o.CutAfter)
	}
	return chunk, nil
}

// write passes chunk on with the delay and at the rate of the switches.
func (p *pipe) write(dst io.Writer, chunk []byte) (int, error) {
	if !p.wait(p.o.Delay) {
		return 0, net.ErrClosed
	}
	if p.o.Throttle <= 0 {
		return dst.Write(chunk)
	}
	step := max(1, p.o.Throttle/20) // twenty steps a second
	total := 0
	for len(chunk) > 0 {
		n, err := dst.Write(chunk[:min(step, len(chunk))])
		total += n
		if err != nil {
			return total, err
		}
		chunk = chunk[n:]
		if !p.wait(time.Duration(n) * time.Second / time.Duration(p.o.Throttle)) {
			return total, net.ErrClosed
		}
	}
	return total, nil
}

// wait lets d pass; false when the lab closes meanwhile.
func (p *pipe) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}
