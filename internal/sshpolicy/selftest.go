package sshpolicy

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// handshakeInMemory lets the library's client and server meet over a pipe with
// one key exchange. Exponents are short, so that even 8192 bits cost about a
// millisecond; the host key and the bytes are fixed and leave this function in
// no form.
func handshakeInMemory(kex string) error {
	hostKey, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		return err
	}
	common := ssh.Config{
		Rand:         shortExponents{},
		KeyExchanges: []string{kex},
		Ciphers:      []string{ssh.CipherAES128CTR},
		MACs:         []string{ssh.HMACSHA256},
	}
	server := &ssh.ServerConfig{Config: common, NoClientAuth: true}
	server.AddHostKey(hostKey)
	client := &ssh.ClientConfig{
		Config:            common,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback:   ssh.FixedHostKey(hostKey.PublicKey()),
	}
	near, far := memoryConns()
	defer near.Close()

	var served error
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _, _, served = ssh.NewServerConn(far, server)
		if served != nil {
			far.Close()
		}
	})
	conn, _, _, err := ssh.NewClientConn(near, "memory", client)
	wg.Wait()
	if err != nil {
		return err
	}
	defer conn.Close()
	if served != nil {
		return served
	}
	if got := conn.(ssh.AlgorithmsConnMetadata).Algorithms().KeyExchange; got != kex {
		return fmt.Errorf("negotiated %s", got)
	}
	return nil
}

// shortExponents is a source of numbers below 2^24 for the self-test only.
type shortExponents struct{}

func (shortExponents) Read(p []byte) (int, error) {
	clear(p)
	for i := max(0, len(p)-3); i < len(p); i++ {
		p[i] = 0xA5
	}
	return len(p), nil
}

// memoryConns returns the two ends of a connection in memory. Unlike net.Pipe
// a write never waits for a read: both sides of SSH speak first.
func memoryConns() (near, far net.Conn) {
	up, down := newMemoryBuffer(), newMemoryBuffer()
	return memoryConn{read: down, write: up}, memoryConn{read: up, write: down}
}

type memoryConn struct{ read, write *memoryBuffer }

func (c memoryConn) Read(p []byte) (int, error)       { return c.read.Read(p) }
func (c memoryConn) Write(p []byte) (int, error)      { return c.write.Write(p) }
func (c memoryConn) Close() error                     { c.read.Close(); c.write.Close(); return nil }
func (memoryConn) LocalAddr() net.Addr                { return memoryAddr{} }
func (memoryConn) RemoteAddr() net.Addr               { return memoryAddr{} }
func (memoryConn) SetDeadline(time.Time) error        { return os.ErrNoDeadline }
func (memoryConn) SetReadDeadline(time.Time) error    { return os.ErrNoDeadline }
func (memoryConn) SetWriteDeadline(t time.Time) error { return os.ErrNoDeadline }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

type memoryBuffer struct {
	mu     sync.Mutex // guards the fields below
	ready  *sync.Cond
	data   bytes.Buffer
	closed bool
}

func newMemoryBuffer() *memoryBuffer {
	b := &memoryBuffer{}
	b.ready = sync.NewCond(&b.mu)
	return b
}

func (b *memoryBuffer) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.data.Len() == 0 {
		if b.closed {
			return 0, io.EOF
		}
		b.ready.Wait()
	}
	return b.data.Read(p)
}

func (b *memoryBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.ready.Broadcast()
	return b.data.Write(p)
}

func (b *memoryBuffer) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.ready.Broadcast()
}
