package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InUseError says that a living agent has the socket.
type InUseError struct{ Path string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("another agent answers on socket %s", e.Path)
}

// listenUnix makes the socket: mode 0660, of the group where there is one. The
// file of a dead agent is replaced. The lock beside it, held as long as the
// listener lives, keeps two agents that start together from replacing each
// other's.
func listenUnix(path string, group int) (net.Listener, error) {
	if err := socketDir(filepath.Dir(path), group); err != nil {
		return nil, err
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	ln, err := bind(path)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := permit(path, group, 0o660); err != nil {
		return nil, errors.Join(err, ln.Close(), lock.Close())
	}
	return &lockedListener{Listener: ln, lock: lock}, nil
}

// lockedListener gives the lock back with the socket.
type lockedListener struct {
	net.Listener
	lock *os.File
}

func (l *lockedListener) Close() error {
	return errors.Join(l.Listener.Close(), l.lock.Close())
}

// socketDir makes the directory if it is missing: 0700, or 0750 for the group.
// One that is there must not let strangers replace the socket.
func socketDir(dir string, group int) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the socket's directory: %w", err)
		}
		return permit(dir, group, 0o750)
	}
	if err != nil {
		return fmt.Errorf("socket directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("socket directory %s is not a directory", dir)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("socket directory %s may be written by everybody (mode %04o): any user could replace the socket", dir, info.Mode().Perm())
	}
	return nil
}

// permit hands path to the group when this process may; mode is what the group
// then gets. Without a group nobody but the owner gains by the mode.
func permit(path string, group int, mode fs.FileMode) error {
	if group >= 0 {
		if err := os.Lchown(path, -1, group); err == nil {
			return os.Chmod(path, mode)
		}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return os.Chmod(path, 0o700)
	}
	return os.Chmod(path, mode)
}

// lockSocket takes the lock PATH.lock. The file stays behind: removing it would
// let a third agent lock a new file of the same name.
func lockSocket(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the socket: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&InUseError{path}, f.Close())
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// dialWait bounds the question whether somebody lives behind a socket file.
const dialWait = time.Second

func bind(path string) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	info, statErr := os.Lstat(path)
	if statErr != nil || info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen: %s is there and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, dialWait)
	if err == nil {
		return nil, errors.Join(&InUseError{path}, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("socket %s is there and does not tell whether an agent lives: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("remove the socket of a dead agent: %w", err)
	}
	return net.Listen("unix", path)
}

// NotLoopbackError says that the TCP door was to open to other hosts.
type NotLoopbackError struct{ Addr string }

func (e *NotLoopbackError) Error() string {
	return fmt.Sprintf("listen address %s is not on loopback; metrics and health are served to this host only", e.Addr)
}

// listenTCP opens the TCP door on a loopback address, or none for "".
func listenTCP(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, &NotLoopbackError{addr}
	}
	return net.Listen("tcp", net.JoinHostPort(host, port))
}
