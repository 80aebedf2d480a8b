package luks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the key socket.
const (
	maxClients   = 32               // at a time; the next wait in the kernel's queue
	answerWithin = 30 * time.Second // finding the key included
	maxVolume    = 128              // bytes of a volume's name
)

// KeySocket hands keys to systemd-cryptsetup: crypttab(5) names the socket's path in place of a key file, and the
// client's own address tells which volume it is for. Who is neither root nor this user gets nothing.
type KeySocket struct {
	path string
	open func(ctx context.Context, volume string) ([]byte, error)
	log  *slog.Logger
	ln   net.Listener
}

// ListenKeys makes the socket, whose path is absolute and in a folder closed to others. open answers the key of a
// volume; the socket clears it. A socket that a dead process left is replaced; one on which somebody listens is not.
// Clients are answered once [KeySocket.Run] is called.
func ListenKeys(
	ctx context.Context, path string, open func(ctx context.Context, volume string) ([]byte, error), log *slog.Logger,
) (*KeySocket, error) {
	if err := clearStale(path); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for systemd-cryptsetup on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close %s to others: %w", path, err), ln.Close())
	}
	return &KeySocket{path, open, log, ln}, nil
}

// Run answers clients until ctx ends, and removes the socket.
func (s *KeySocket) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.ln.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	slots := make(chan struct{}, maxClients)
	for {
		slots <- struct{}{} // each client leaves within answerWithin
		conn, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(fmt.Errorf("accept on %s: %w", s.path, err), s.ln.Close())
		}
		clients.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, conn.(*net.UnixConn))
		})
	}
}

// clearStale removes a socket on which nobody listens.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket (%v)", path, info.Mode().Type())
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("somebody else listens on %s", path), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	return nil
}

// serve answers one client: the key and nothing else, or the end of the connection.
func (s *KeySocket) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, fmt.Errorf("no key within %v", answerWithin))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	volume, err := s.answer(ctx, conn)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "no key handed out", slog.String("volume", volume), slog.Any("error", err))
		return
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "key handed out", slog.String("volume", volume))
}

func (s *KeySocket) answer(ctx context.Context, conn *net.UnixConn) (string, error) {
	if err := mayAsk(conn); err != nil {
		return "", err
	}
	name := ""
	if a, ok := conn.RemoteAddr().(*net.UnixAddr); ok {
		name = a.Name
	}
	volume, err := VolumeOf(name)
	if err != nil {
		return "", err
	}
	key, err := s.open(ctx, volume)
	defer clear(key)
	if err != nil {
		return volume, err
	}
	if _, err := conn.Write(key); err != nil {
		return volume, fmt.Errorf("send the key: %w", err)
	}
	return volume, nil
}

// mayAsk claims that the client is root or this user.
func mayAsk(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || failed != nil {
		return fmt.Errorf("ask who the client is: %w", errors.Join(err, failed))
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not ask for keys", cred.Uid)
	}
	return nil
}

// VolumeOf reads the volume out of the address of systemd-cryptsetup, as Go writes it: "@RANDOM/cryptsetup/VOLUME", an
// abstract name with alphanumeric RANDOM (crypttab(5), "AF_UNIX key files"). The addresses of the PKCS#11, FIDO2 and TPM2
// logics, which ask for something else, are refused.
func VolumeOf(address string) (string, error) {
	rest, abstract := strings.CutPrefix(address, "@")
	random, rest, ok := strings.Cut(rest, "/")
	volume, ours := strings.CutPrefix(rest, "cryptsetup/")
	switch {
	case !abstract || !ok || !ours || random == "" || strings.ContainsFunc(random, notAlphanumeric):
		return "", fmt.Errorf("the client's address %.200q is not that of systemd-cryptsetup", address)
	case volume == "" || len(volume) > maxVolume || strings.ContainsFunc(volume, notName):
		return "", fmt.Errorf("the client's address %.200q names no volume", address)
	}
	return volume, nil
}

func notAlphanumeric(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// notName claims that a name under /dev/mapper cannot have the character here.
func notName(c rune) bool { return notAlphanumeric(c) && !strings.ContainsRune("#+-.:=@_", c) }
