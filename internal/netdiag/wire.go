package netdiag

import (
	"bytes"
	"encoding/binary"
	"net"
	"strconv"
	"sync"
)

// headSize bounds how much of what a peer sends is kept: enough for a whole
// ServerHello, which the standard's own limits keep below 1 KiB in practice.
const headSize = 4 << 10

// wireConn counts what passes and keeps the first bytes received.
type wireConn struct {
	net.Conn

	mu       sync.Mutex // guards the fields below
	in, out  int64
	firstOut int // bytes of the first write: the ClientHello
	head     []byte
}

func newWireConn(c net.Conn) *wireConn { return &wireConn{Conn: c} }

func (w *wireConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	w.in += int64(n)
	w.head = append(w.head, p[:min(n, headSize-len(w.head))]...)
	w.mu.Unlock()
	return n, err
}

func (w *wireConn) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.mu.Lock()
	if w.out == 0 {
		w.firstOut = n
	}
	w.out += int64(n)
	w.mu.Unlock()
	return n, err
}

// traffic is what passed through a connection.
type traffic struct {
	in, out  int64
	firstOut int    // bytes of the first write
	head     []byte // the first bytes that came in
}

func (w *wireConn) traffic() traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	return traffic{w.in, w.out, w.firstOut, bytes.Clone(w.head)}
}

// measure puts the traffic and the kernel's numbers into st.
func (w *wireConn) measure(st *Step) {
	passed := w.traffic()
	st.BytesIn, st.BytesOut = passed.in, passed.out
	st.TCP = tcpInfo(w.Conn)
	st.Address = w.RemoteAddr().String()
}

// TLS record and handshake types (RFC 8446 appendix B).
const (
	recordAlert     = 21
	recordHandshake = 22
	helloServer     = 2
	extVersions     = 43
)

// looksTLS reports whether head can be the start of TLS records.
func looksTLS(head []byte) bool {
	if len(head) == 0 {
		return true // nothing that speaks against it
	}
	if head[0] != recordAlert && head[0] != recordHandshake {
		return false
	}
	return len(head) < 2 || head[1] == 3
}

// flight is what can be read in clear of a server's first bytes.
type flight struct {
	alert   int    // -1 when the first record is no alert
	version uint16 // the server's choice; 0 without a ServerHello
	cipher  uint16
}

// parseFlight reads the first TLS record of head. It never fails: what is not
// there stays zero. The record may be cut off at any byte.
func parseFlight(head []byte) flight {
	f := flight{alert: -1}
	if len(head) < 5 || !looksTLS(head) {
		return f
	}
	body := head[5:min(len(head), 5+int(binary.BigEndian.Uint16(head[3:])))]
	if head[0] == recordAlert {
		if len(body) == 2 {
			f.alert = int(body[1])
		}
		return f
	}
	// ServerHello: type 1, length 3, version 2, random 32, session id 1+n,
	// cipher 2, compression 1, extensions 2+n (RFC 8446 section 4.1.3).
	if len(body) < 39 || body[0] != helloServer {
		return f
	}
	version := binary.BigEndian.Uint16(body[4:])
	rest := body[39:]
	if sid := int(body[38]); len(rest) >= sid+3 {
		rest = rest[sid:]
		f.version, f.cipher = version, binary.BigEndian.Uint16(rest)
		f.extensions(rest[3:])
	}
	return f
}

// extensions looks for supported_versions, which overrides the version field.
func (f *flight) extensions(b []byte) {
	if len(b) < 2 {
		return
	}
	for b = b[2:]; len(b) >= 4; {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return
		}
		if kind == extVersions && n == 2 {
			f.version = binary.BigEndian.Uint16(b[4:])
			return
		}
		b = b[4+n:]
	}
}

// speaks guesses what a peer that is not TLS speaks, from its first bytes.
func speaks(head []byte) string {
	for _, g := range []struct{ prefix, name string }{
		{"SSH-", "SSH"},
		{"HTTP/", "HTTP without TLS"},
		{"220 ", "SMTP or FTP"},
		{"220-", "SMTP or FTP"},
		{"* OK", "IMAP"},
		{"+OK", "POP3"},
		{"RFB ", "VNC"},
	} {
		if bytes.HasPrefix(head, []byte(g.prefix)) {
			return g.name
		}
	}
	return "unknown"
}

// quoteHead shows the first bytes of a peer, at most 64, as a quoted string.
func quoteHead(head []byte) string { return strconv.QuoteToASCII(string(head[:min(len(head), 64)])) }
