package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
)

// Intervals of a drilled check. The drill asks for its looks; the timer must not
// come between.
const (
	drillEvery   = time.Hour
	drillTimeout = 10 * time.Second // of a connection to this machine
)

// Drills implements subsystem.Driller: one for each code. All run without
// privileges, network or installed programs, on servers of the lab.
func (w *Watch) Drills() []subsystem.Drill {
	var all []subsystem.Drill
	all = append(all, sshDrills()...)
	all = append(all, tlsDrills()...)
	return append(all, certificateDrills()...)
}

// rig is a healthy thing in a lab with the check on it and a way to break it.
type rig struct {
	check         check.Check
	broken, whole func(ctx context.Context) error
}

// drillOf makes a drill of a function that builds a rig. The rig lives from
// Prepare on; the lab ends what belongs to it.
func drillOf(code fault.Code, build func(ctx context.Context, l *lab.Lab) (rig, error)) subsystem.Drill {
	var r rig
	return subsystem.Drill{
		Code: code,
		Prepare: func(ctx context.Context, l *lab.Lab) (_ check.Check, err error) {
			r, err = build(ctx, l)
			// The lab's servers punish nobody for looking often. A look at the causes,
			// which a raise starts, might see the repair before the drill does.
			r.check.Gap, r.check.Causes = 0, nil
			return r.check, err
		},
		Break:  func(ctx context.Context, _ *lab.Lab) error { return r.broken(ctx) },
		Repair: func(ctx context.Context, _ *lab.Lab) error { return r.whole(ctx) },
	}
}

// atOnce turns a switch that cannot fail into a step of a drill.
func atOnce(f func()) func(context.Context) error {
	return func(context.Context) error { f(); return nil }
}

// door is a TCP port in front of a server of the lab. Shut, nothing listens on
// the port and the kernel refuses connections; it opens again at the same port.
type door struct {
	server, addr string

	mu    sync.Mutex // guards ln
	ln    net.Listener
	conns sync.WaitGroup
}

// newDoor opens a door in front of server that ends with the lab.
func newDoor(ctx context.Context, l *lab.Lab, server string) (*door, error) {
	d := &door{server: server, addr: "127.0.0.1:0"}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	l.OnClose(func() error { return d.shut(context.WithoutCancel(ctx)) })
	return d, nil
}

func (d *door) open(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", d.addr)
	if err != nil {
		return fmt.Errorf("open the port of the drill: %w", err)
	}
	d.ln, d.addr = ln, ln.Addr().String()
	d.conns.Go(func() { d.accept(ln) })
	return nil
}

// shut closes the port and waits for the connections through it to end.
func (d *door) shut(context.Context) error {
	d.mu.Lock()
	ln := d.ln
	d.ln = nil
	d.mu.Unlock()
	if ln == nil {
		return nil
	}
	err := ln.Close()
	d.conns.Wait()
	return err
}

func (d *door) accept(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the peer gave up while in the backlog
		}
		d.conns.Go(func() { d.pass(in) })
	}
}

// pass joins a connection with one to the server until either end closes or
// the time of a look is over.
func (d *door) pass(in net.Conn) {
	defer in.Close() // nothing of worth is left on it
	out, err := net.DialTimeout("tcp", d.server, drillTimeout)
	if err != nil {
		return // the lab is closing
	}
	defer out.Close() // likewise
	end := time.Now().Add(drillTimeout)
	if in.SetDeadline(end) != nil || out.SetDeadline(end) != nil {
		return // closed already
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out) // the end of either side is no matter of the door
		_ = in.Close()
	})
	_, _ = io.Copy(out, in)
	_ = out.Close()
	back.Wait()
}
