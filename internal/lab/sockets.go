package lab

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// BlackHole is an address at which the kernel drops every SYN: a socket that
// listens with a full queue and never accepts. Connecting to it times out.
type BlackHole struct{ addr string }

// Addr is host:port.
func (b *BlackHole) Addr() string { return b.addr }

// BlackHole makes an address whose connects time out, without any privilege.
func (l *Lab) BlackHole() (*BlackHole, error) {
	fd, addr, err := boundSocket()
	if err != nil {
		return nil, err
	}
	l.OnClose(func() error { return unix.Close(fd) })
	if err := unix.Listen(fd, 0); err != nil {
		return nil, fmt.Errorf("listen on %s with an empty queue: %w", addr, err)
	}
	// One connection fills a queue of length 0; a second proves that it is full.
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return &BlackHole{addr: addr}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("fill the queue of %s: %w", addr, err)
		}
		l.OnClose(c.Close)
	}
	return nil, fmt.Errorf("the queue of %s took 8 connections and is still not full", addr)
}

// RefusedAddr is an address that refuses connections: bound, so that nobody
// else gets the port while the lab lives, but not listening.
func (l *Lab) RefusedAddr() (string, error) {
	fd, addr, err := boundSocket()
	if err != nil {
		return "", err
	}
	l.OnClose(func() error { return unix.Close(fd) })
	return addr, nil
}

// boundSocket binds a TCP socket to a free port of 127.0.0.1.
func boundSocket() (fd int, addr string, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, "", fmt.Errorf("make a socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(fd); err == nil {
			return fd, net.JoinHostPort("127.0.0.1", strconv.Itoa(sa.(*unix.SockaddrInet4).Port)), nil
		}
	}
	return -1, "", errors.Join(fmt.Errorf("bind a socket to 127.0.0.1: %w", err), unix.Close(fd))
}
