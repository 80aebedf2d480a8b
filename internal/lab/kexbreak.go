package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// KexBreaker stands in front of an SSH server and ends every connection whose
// key exchange is one of Broken, when its first message arrives: a server that
// offers what it then cannot do (seed 000, CSCvt27613), but is whole otherwise.
type KexBreaker struct {
	srv      *server
	upstream string
	broken   switches[[]string]
}

// BreakKex starts a KexBreaker in front of upstream (host:port).
func (l *Lab) BreakKex(upstream string, broken ...string) (*KexBreaker, error) {
	srv, err := l.listen()
	if err != nil {
		return nil, err
	}
	k := &KexBreaker{srv: srv, upstream: upstream}
	k.broken.now = broken
	srv.start(k.handle)
	return k, nil
}

// Addr is host:port.
func (k *KexBreaker) Addr() string { return k.srv.addr() }

// Break changes what is broken, for connections from now on.
func (k *KexBreaker) Break(broken ...string) {
	k.broken.set(func(now *[]string) { *now = broken })
}

func (k *KexBreaker) handle(c net.Conn) {
	up, err := net.DialTimeout("tcp", k.upstream, 5*time.Second)
	if err != nil {
		resetOnClose(c)
		return
	}
	if !k.srv.track(up) {
		_ = up.Close()
		return
	}
	defer k.srv.forget(up)
	fromClient, fromServer := bufio.NewReaderSize(c, 64<<10), bufio.NewReaderSize(up, 64<<10)
	var wg sync.WaitGroup
	var ours, theirs []string
	var seen, seenToo error
	wg.Go(func() { ours, seen = passOffer(up, fromClient) })
	theirs, seenToo = passOffer(c, fromServer)
	if seenToo != nil {
		_ = c.Close()
		_ = up.Close()
	}
	wg.Wait()
	i := slices.IndexFunc(ours, func(name string) bool { return slices.Contains(theirs, name) })
	if seen == nil && seenToo == nil && (i < 0 || !slices.Contains(k.broken.get(), ours[i])) {
		splice(k.srv, c, fromClient, fullConn{up, fromServer})
		return
	}
	_, _ = fromClient.ReadByte() // the first message of the key exchange
}

// fullConn is a connection of which a part was read already.
type fullConn struct {
	net.Conn
	in io.Reader
}

// Read implements net.Conn.
func (f fullConn) Read(p []byte) (int, error) { return f.in.Read(p) }

var errNoKexInit = errors.New("no KEXINIT")

// passOffer passes the version line and KEXINIT on and returns the names of its
// first list, the key exchanges (RFC 4253 sections 4.2, 6 and 7.1).
func passOffer(to io.Writer, from *bufio.Reader) ([]string, error) {
	version, err := from.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if _, err := to.Write(version); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 22 || size > 60<<10 {
		return nil, errNoKexInit
	}
	packet := make([]byte, size)
	if _, err := io.ReadFull(from, packet); err != nil {
		return nil, err
	}
	if _, err := to.Write(append(head[:], packet...)); err != nil {
		return nil, err
	}
	list := packet[22:] // after padding length, message number, cookie and the list's own length
	if n := binary.BigEndian.Uint32(packet[18:]); packet[1] == 20 && uint64(n) <= uint64(len(list)) {
		return strings.Split(string(bytes.TrimSpace(list[:n])), ","), nil
	}
	return nil, errNoKexInit
}
