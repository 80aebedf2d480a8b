package sshpolicy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
)

// clientVersion is our side of the version exchange.
const clientVersion = "SSH-2.0-allclear"

// errStop ends a handshake on purpose: the server has accepted the service
// request, which proves the ciphers and MACs of both directions, and the next
// message would carry a user name. The library keeps a write error to itself
// and waits for an answer, so the connection is closed too.
var errStop = errors.New("stopped before the login")

// tap is the connection that the library talks to after we have read the
// server's offer ourselves. It gives the library what was already read, keeps
// the version line from being sent twice, and reads along while packets are
// still in the clear: what was really offered, the group, the server's reply.
type tap struct {
	net.Conn
	in io.Reader // what was read already, then the rest

	mu        sync.Mutex // guards the fields below
	sent      clearPackets
	got       clearPackets
	seen      seen
	encrypted int  // writes after our NEWKEYS
	stop      bool // refuse the write that would follow the service request
	greeted   bool // the library's version line was swallowed
}

// seen is what went over the wire in the clear.
type seen struct {
	ours        *Lists // the KEXINIT that we really sent
	gexGroup    *big.Int
	replied     bool
	hostKey     []byte   // of the reply
	theirPublic *big.Int // finite-field exchanges only
	newKeys     bool     // the server's
	sentNewKeys bool
	accepted    bool   // the library went past the service request
	stopped     bool   // by stopBeforeLogin
	disconnect  string // the server's words
	readErr     error  // the first
}

// newTap continues a connection of which o was read through buffered.
func newTap(conn net.Conn, buffered *bufio.Reader, o offer) *tap {
	return &tap{Conn: conn, in: io.MultiReader(bytes.NewReader(o.raw), buffered)}
}

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.greetedByServer(p[:n]) {
		t.got.feed(p[:n], t.received)
	}
	if err != nil && t.seen.readErr == nil {
		t.seen.readErr = err
	}
	return n, err
}

// greetedByServer skips the version line, which the library reads byte by byte.
func (t *tap) greetedByServer(p []byte) bool {
	if t.got.started {
		return false
	}
	if bytes.HasSuffix(p, []byte{'\n'}) {
		t.got.started = true
	}
	return true
}

// Write implements net.Conn. The library flushes once per packet.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	if !t.greeted {
		t.greeted, t.sent.started = true, true
		t.mu.Unlock()
		return len(p), nil // its version line; ours went out before
	}
	if t.sent.done {
		if t.encrypted++; t.encrypted > 1 {
			t.seen.accepted = true
			if t.stop {
				t.seen.stopped = true
				t.mu.Unlock()
				t.Conn.Close()
				return 0, errStop
			}
		}
	}
	t.sent.feed(p, t.wrote)
	t.mu.Unlock()
	return t.Conn.Write(p)
}

// stopBeforeLogin makes sure that nothing follows the service request.
func (t *tap) stopBeforeLogin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = true
}

func (t *tap) state() seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

func (t *tap) wrote(payload []byte) {
	switch payload[0] {
	case msgKexInit:
		if l, err := parseKexInit(payload); err == nil {
			t.seen.ours = &l
		}
	case msgNewKeys:
		t.seen.sentNewKeys = true
	}
}

func (t *tap) received(payload []byte) {
	switch payload[0] {
	case msgDisconnect:
		t.seen.disconnect = parseDisconnect(payload)
	case msgNewKeys:
		t.seen.newKeys = true
	case msgKexReply:
		if t.groupExchange() {
			t.seen.gexGroup = wireInt(payload[1:])
			return
		}
		t.reply(payload)
	case msgGexReply:
		t.reply(payload)
	}
}

// groupExchange reports whether message 31 is a group and not a reply: both
// families use the number (RFC 4419 section 5). Our list and the server's are
// not compared here: only group exchange sends a request first, and the
// library's answer to a group is message 32.
func (t *tap) groupExchange() bool {
	return t.sent.last == msgGexRequest
}

// msgGexRequest is SSH_MSG_KEX_DH_GEX_REQUEST (RFC 4419 section 5).
const msgGexRequest = 34

// reply notes the host key and the public value of a key exchange reply.
func (t *tap) reply(payload []byte) {
	key, rest, ok := wireString(payload[1:])
	if !ok {
		return
	}
	t.seen.replied, t.seen.hostKey = true, slices.Clone(key)
	t.seen.theirPublic = wireInt(rest)
}

// clearPackets cuts a stream into packets until NEWKEYS, after which it is
// encrypted.
type clearPackets struct {
	buf     []byte
	last    byte // the message number before
	started bool // the version line is over
	done    bool // NEWKEYS passed
}

func (c *clearPackets) feed(p []byte, see func(payload []byte)) {
	if c.done || len(p) == 0 {
		return
	}
	c.buf = append(c.buf, p...)
	for len(c.buf) >= 6 && !c.done {
		length, padding := int64(binary.BigEndian.Uint32(c.buf)), int64(c.buf[4])
		if length > maxPacket || length < padding+2 {
			c.done = true // the library will say what it thinks of it
			break
		}
		if int64(len(c.buf)) < 4+length {
			return
		}
		payload := c.buf[5 : 4+length-padding]
		see(payload)
		c.last = payload[0]
		c.done = payload[0] == msgNewKeys
		c.buf = c.buf[4+length:]
	}
	if c.done {
		c.buf = nil
	}
}

// wireString cuts a string off (RFC 4251 section 5).
func wireString(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(p))
	if n > uint64(len(p)-4) {
		return nil, nil, false
	}
	return p[4 : 4+n], p[4+n:], true
}

// wireInt reads an mpint (RFC 4251 section 5), nil when there is none. A curve
// point read as a number is harmless: only finite-field code asks for it.
func wireInt(p []byte) *big.Int {
	s, _, ok := wireString(p)
	if !ok {
		return nil
	}
	n := new(big.Int).SetBytes(s)
	if len(s) > 0 && s[0]&0x80 != 0 { // negative
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(s))))
	}
	return n
}

// groupBits is the size of the modulus of a fixed group, 0 for anything else.
func groupBits(kex string) int {
	for name, bits := range map[string]int{
		"group1-": 1024, "group14-": 2048, "group15-": 3072, "group16-": 4096, "group17-": 6144, "group18-": 8192,
	} {
		if strings.HasPrefix(kex, "diffie-hellman-"+name) {
			return bits
		}
	}
	return 0
}
