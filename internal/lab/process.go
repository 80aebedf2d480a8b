package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a foreign server program that we started and will end, by its own
// process id.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	once   sync.Once
	// unwatch takes the process off its context; set before startProcess returns.
	unwatch func() bool

	mu  sync.Mutex // guards out
	out strings.Builder
}

// maxProcessLog bounds what is kept of a program's words.
const maxProcessLog = 1 << 20

// startTimeout is how long a program may take until it listens.
const startTimeout = 15 * time.Second

// errExited: the program ended before it listened.
var errExited = errors.New("the program ended at once")

// startProcess runs a program and waits until a line of its standard error
// holds ready. The end of ctx ends it.
func startProcess(ctx context.Context, ready, program string, args ...string) (*process, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p := &process{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = in, in
	// Should this process be killed, its servers go too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = p.cmd.Start()
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", program, err), out.Close())
	}
	listens := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		var once sync.Once
		scanLines(out, func(line string) {
			p.keep(line)
			if strings.Contains(line, ready) {
				once.Do(func() { close(listens) })
			}
		})
	})
	go func() { // ends with the program, which stop waits for
		_ = p.cmd.Wait() // how it ended does not matter to anybody
		_ = out.Close()  // children that live on must not keep the reader
		reading.Wait()
		close(p.exited)
	}()
	p.unwatch = context.AfterFunc(ctx, p.kill)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-listens:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%w: %s", errExited, lastLine(p.log()))
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), p.stop())
	case <-timeout.C:
		return nil, errors.Join(fmt.Errorf("%s does not listen after %s: %s", program, startTimeout, lastLine(p.log())), p.stop())
	}
}

// listening waits until the program takes connections at addr: some say that
// they run before they listen.
func (p *process) listening(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case <-p.exited:
			return fmt.Errorf("%w: %s", errExited, lastLine(p.log()))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not listen at %s: %w", p.cmd.Path, addr, err), p.stop())
		}
	}
}

func (p *process) keep(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.Len() < maxProcessLog {
		p.out.WriteString(line + "\n")
	}
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// stop ends the program and waits; more calls wait as well.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	p.unwatch()
	p.kill()
	<-p.exited
	return nil
}

func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p.cmd.Path, err)
	}
	return nil
}

func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() }) // an error means that it has ended
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// startOnFreePort runs start with a free loopback port. The port is free when
// it is chosen and may be taken a moment later, so a few are tried.
func startOnFreePort(start func(port int) error) (int, error) {
	var err error
	for range 5 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", loopback); err != nil {
			return 0, err
		}
		port := ln.Addr().(*net.TCPAddr).Port
		if err = ln.Close(); err != nil {
			return 0, err
		}
		if err = start(port); err == nil {
			return port, nil
		}
		if !errors.Is(err, errExited) {
			break
		}
	}
	return 0, err
}
