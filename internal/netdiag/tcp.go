package netdiag

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// try is one connect.
type try struct {
	addr  netip.AddrPort
	step  *Step
	conn  net.Conn
	cause Cause
	text  string
}

// tcp connects to every address at the same time, so that the families are
// told apart, and keeps the first one in order that stands.
func (r *run) tcp(ctx context.Context) bool {
	tries := make([]try, len(r.addrs))
	ctx, cancel := context.WithTimeout(ctx, r.t.Timeouts.TCP)
	defer cancel()
	var wg sync.WaitGroup
	for i, a := range r.addrs {
		wg.Go(func() { tries[i] = r.tryConnect(ctx, a) })
	}
	wg.Wait()
	best := -1
	for i := range tries {
		if tries[i].conn != nil && best < 0 {
			best = i
		}
	}
	for i := range tries {
		if i != best && tries[i].conn != nil {
			_ = tries[i].conn.Close() // it stood; that is all we wanted to know
		}
	}
	r.fileTries(tries, best >= 0)
	if best < 0 {
		if r.proxyURL != nil {
			// fileTries has named the connect; the proxy is what the operator knows.
			r.rep.Step, r.rep.Cause = StepProxy, ProxyUnreachable
			r.rep.Detail = fmt.Sprintf("%s: %s (%s)", r.via, r.rep.Detail, tries[0].cause)
		}
		return false
	}
	r.chosen, r.conn = tries[best].addr, newWireConn(tries[best].conn)
	return true
}

func (r *run) tryConnect(ctx context.Context, a netip.AddrPort) try {
	t := try{addr: a, step: begin(StepTCP)}
	t.step.Address, t.step.Family = a.String(), family(a.Addr())
	if t.cause, t.text = routeTo(a); t.cause != "" {
		return t
	}
	c, err := r.dial(ctx, a, 0)
	if err != nil {
		t.cause, t.text = tcpCause(err), plain(err)
		return t
	}
	t.conn, t.step.TCP = c, tcpInfo(c)
	return t
}

// fileTries files a step for each connect. When one address stands, the others
// are warnings; a family that this machine does not have is none.
func (r *run) fileTries(tries []try, stands bool) {
	bad, all := map[string][]string{}, map[string]int{}
	for _, t := range tries {
		fam := t.step.Family
		all[fam]++
		switch {
		case t.conn != nil:
			r.ok(t.step, "connected")
		case !stands:
			if t.cause.Step() == StepLocal {
				t.step.Name = StepLocal
			}
			r.fail(t.step, t.cause, t.text)
		case t.cause.Step() == StepLocal:
			all[fam]--
			r.add(t.step, NotTried, "", "not needed: "+t.text)
		default:
			bad[fam] = append(bad[fam], fmt.Sprintf("%s: %s", t.addr, t.cause))
			t.step.Outcome, t.step.Cause, t.step.Detail = Warning, t.cause, t.text
			t.step.DurationMS = float64(time.Since(t.step.Start).Microseconds()) / 1000
			r.rep.Steps = append(r.rep.Steps, *t.step)
		}
	}
	for fam, cause := range map[string]Cause{"ip6": TCPIPv6Broken, "ip4": TCPIPv4Broken} {
		switch n := len(bad[fam]); {
		case n == 0:
		case n == all[fam]:
			r.warn(StepTCP, cause, strings.Join(bad[fam], "; "))
		default:
			r.warn(StepTCP, TCPPartly, strings.Join(bad[fam], "; "))
		}
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "ip4"
	}
	return "ip6"
}

// dial connects to a. A segment above 0 clamps both directions to it
// (TCP_MAXSEG: our SYN announces it).
func (r *run) dial(ctx context.Context, a netip.AddrPort, segment int) (net.Conn, error) {
	if r.t.Permit != nil {
		if err := r.t.Permit(a.Addr()); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	if segment > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment)
			}); cerr != nil {
				return cerr
			}
			return err
		}
	}
	return d.DialContext(ctx, "tcp", a.String())
}

// tcpCause names a failed connect.
func tcpCause(err error) Cause {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return TCPRefused
	case errors.Is(err, unix.ECONNRESET):
		return TCPReset
	case errors.Is(err, unix.EHOSTUNREACH):
		return TCPHostUnreachable
	case errors.Is(err, unix.ENETUNREACH):
		return TCPNetUnreachable
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return TCPDenied
	case timedOut(err):
		return TCPTimeout
	}
	return TCPFailed
}

// tcpInfo asks the kernel about c; nil when it does not tell.
func tcpInfo(c net.Conn) *TCPInfo {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	var out *TCPInfo
	_ = raw.Control(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			out = &TCPInfo{
				RTTMicros: i.Rtt, Retransmits: i.Total_retrans, SendMSS: i.Snd_mss,
				ReceiveMSS: i.Rcv_mss, PathMTU: i.Pmtu, UnackedSegments: i.Unacked,
			}
		}
	})
	return out
}

// endsByItself connects once more and says nothing, to tell a peer that hangs
// up on everybody from one that dislikes our hello. It returns TCPReset or
// TCPClosed, or "" when the peer waits for us to speak.
func (r *run) endsByItself(ctx context.Context) Cause {
	c, err := r.open(ctx, 0)
	if errors.Is(err, unix.ECONNRESET) {
		return TCPReset // so fast that the connect itself met it
	}
	if err != nil {
		return ""
	}
	defer c.Close() // only looked at
	defer until(ctx, c, r.t.Timeouts.Retry)()
	switch _, err := c.Read(make([]byte, 1)); {
	case errors.Is(err, unix.ECONNRESET):
		return TCPReset
	case errors.Is(err, io.EOF):
		return TCPClosed
	}
	return ""
}

// open makes another connection to the goal, through the proxy if there is one.
func (r *run) open(ctx context.Context, segment int) (*wireConn, error) {
	dctx, cancel := context.WithTimeout(ctx, r.t.Timeouts.TCP)
	defer cancel()
	c, err := r.dial(dctx, r.chosen, segment)
	if err != nil {
		return nil, err
	}
	if r.proxyURL == nil {
		return newWireConn(c), nil
	}
	w, err := r.connect(ctx, newWireConn(c))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return w, nil
}

// retract takes back that the TCP step of the chosen address went well.
func (r *run) retract(cause Cause, detail string) {
	for i := range r.rep.Steps {
		if st := &r.rep.Steps[i]; st.Name == StepTCP && st.Address == r.chosen.String() {
			st.Outcome, st.Cause, st.Detail = Failed, cause, detail
		}
	}
	r.blame(StepTCP, cause, detail)
}
