package sshpolicy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Bounds on what a foreign server may send before we believe it to be SSH.
const (
	maxPreBanner  = 64 << 10  // bytes before the version line (RFC 4253 section 4.2 allows text there)
	maxVersion    = 255       // bytes of the version line with its end (RFC 4253 section 4.2)
	maxPacket     = 256 << 10 // bytes; RFC 4253 section 6.1 asks for 35000, OpenSSH takes 256 KiB
	maxEarly      = 16        // packets before KEXINIT
	maxNames      = 1024      // names in one list
	maxNameLength = 256       // bytes; RFC 4251 section 6 says 64
	firstBytes    = 64        // kept of a server that is not SSH
)

// Message numbers of RFC 4250 section 4.1.2.
const (
	msgDisconnect    = 1
	msgIgnore        = 2
	msgUnimplemented = 3
	msgDebug         = 4
	msgKexInit       = 20
	msgNewKeys       = 21
	msgKexReply      = 31 // KEXDH_REPLY and KEX_ECDH_REPLY; for group exchange: KEX_DH_GEX_GROUP
	msgGexReply      = 33 // KEX_DH_GEX_REPLY
)

// Lists are the ten name-lists of a KEXINIT message (RFC 4253 section 7.1),
// both directions apart, as sent but for empty names, doubles and names that
// are no algorithm.
type Lists struct {
	KEX            []string `json:"kex"`
	HostKey        []string `json:"host_key"`
	CipherC2S      []string `json:"cipher_c2s"`
	CipherS2C      []string `json:"cipher_s2c"`
	MACC2S         []string `json:"mac_c2s"`
	MACS2C         []string `json:"mac_s2c"`
	CompressionC2S []string `json:"compression_c2s"`
	CompressionS2C []string `json:"compression_s2c"`
	LanguageC2S    []string `json:"language_c2s"`
	LanguageS2C    []string `json:"language_s2c"`
	// Extensions are the pseudo-algorithms that stood among the key exchanges
	// (RFC 8308 ext-info, strict key exchange, first-guess marks).
	Extensions []string `json:"extensions"`
}

// offer is what a server says before the key exchange.
type offer struct {
	version string   // "SSH-2.0-..." without the line end
	before  []string // lines before it, printable
	lists   Lists
	raw     []byte // the version line and every packet up to KEXINIT, as read
}

// reader reads an offer within the bounds and remembers how the stream began.
type reader struct {
	in    *bufio.Reader
	first []byte // the first bytes of the stream, at most firstBytes
	offer offer
}

func newReader(r io.Reader, buffer int) *reader { return &reader{in: bufio.NewReaderSize(r, buffer)} }

// Sizes of a connection's read buffer, in bytes: a look reads little, and there
// may be a thousand; a session reads files, and each read is a system call.
const (
	lookBuffer    = 4 << 10
	sessionBuffer = 256 << 10
)

// read reads the version line and the server's KEXINIT. Every error is a
// *NotSSHError or comes from the connection.
func (r *reader) read() (offer, error) {
	if err := r.readVersion(); err != nil {
		return r.offer, err
	}
	for range maxEarly {
		payload, err := r.readPacket()
		if err != nil {
			return r.offer, err
		}
		switch payload[0] {
		case msgKexInit:
			lists, err := parseKexInit(payload)
			if err != nil {
				return r.offer, r.notSSH(NotSSHBanner, err.Error())
			}
			r.offer.lists = lists
			return r.offer, nil
		case msgIgnore, msgDebug, msgUnimplemented:
		case msgDisconnect:
			text := parseDisconnect(payload)
			return r.offer, r.notSSH(closedOrLimited(text), "the server disconnected before the key exchange: "+text)
		default:
			return r.offer, r.notSSH(NotSSHBanner, fmt.Sprintf("message %d where KEXINIT belongs", payload[0]))
		}
	}
	return r.offer, r.notSSH(NotSSHBanner, fmt.Sprintf("%d messages and no KEXINIT among them", maxEarly))
}

// readVersion reads lines until one begins with "SSH-".
func (r *reader) readVersion() error {
	total := 0
	for {
		line, err := r.readLine(maxPreBanner - total)
		total += len(line)
		if err != nil {
			return r.endedBeforeVersion(err)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if !strings.HasPrefix(text, "SSH-") {
			if len(r.offer.before) < 32 {
				r.offer.before = append(r.offer.before, printable(text, 256))
			}
			continue
		}
		if len(line) > maxVersion {
			return r.notSSH(NotSSHBanner, fmt.Sprintf("version line of %d bytes, at most %d are allowed", len(line), maxVersion))
		}
		r.offer.version = printable(text, maxVersion)
		if !strings.HasPrefix(text, "SSH-2.0-") && !strings.HasPrefix(text, "SSH-1.99-") {
			return r.notSSH(NotSSHBanner, "the server speaks "+strings.Join(strings.SplitN(r.offer.version, "-", 3)[:2], "-")+", not SSH-2.0")
		}
		r.offer.raw = append(r.offer.raw, line...)
		return nil
	}
}

// errTooLong: no line end within the bound.
var errTooLong = errors.New("too long")

// readLine reads up to and including '\n', at most limit bytes. The result is
// valid until the next read.
func (r *reader) readLine(limit int) ([]byte, error) {
	var line []byte
	for {
		chunk, err := r.in.ReadSlice('\n')
		r.note(chunk)
		if len(line)+len(chunk) > limit {
			return line, errTooLong
		}
		if err == nil && line == nil {
			return chunk, nil
		}
		line = append(line, chunk...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (r *reader) note(p []byte) {
	if room := firstBytes - len(r.first); room > 0 {
		r.first = append(r.first, p[:min(room, len(p))]...)
	}
}

// endedBeforeVersion turns the end of the stream into its reason.
func (r *reader) endedBeforeVersion(err error) error {
	all := strings.Join(r.offer.before, " ")
	if all == "" { // a text without a line's end
		all = printable(string(r.first), firstBytes)
	}
	switch {
	case errors.Is(err, errTooLong):
		return r.notSSH(NotSSHBanner, fmt.Sprintf("%d bytes and no version line among them", maxPreBanner))
	case closedOrLimited(all) == NotSSHRateLimited:
		return r.notSSH(NotSSHRateLimited, all)
	case isTimeout(err) && len(r.first) == 0:
		return r.notSSH(NotSSHSilent, "connected, but the server said nothing")
	case isTimeout(err):
		return r.notSSH(NotSSHBanner, "text, but no version line")
	case !isEnd(err):
		return err
	case len(r.first) == 0 && errors.Is(err, syscall.ECONNRESET):
		return r.notSSH(NotSSHClosed, "the connection was reset before the server said a word")
	case len(r.first) == 0:
		return r.notSSH(NotSSHClosed, "the server closed the connection without a word")
	default:
		return r.notSSH(NotSSHBanner, "the server closed the connection without a version line")
	}
}

// readPacket reads one unencrypted packet (RFC 4253 section 6) and returns its
// payload, which is never empty.
func (r *reader) readPacket() ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return nil, r.endedInPacket(err)
	}
	length, padding := int64(binary.BigEndian.Uint32(head[:])), int64(head[4])
	if length > maxPacket || length < padding+2 {
		return nil, r.notSSH(NotSSHBanner, fmt.Sprintf("packet of %d bytes with %d bytes of padding", length, padding))
	}
	start := len(r.offer.raw)
	r.offer.raw = append(r.offer.raw, head[:]...)
	r.offer.raw = append(r.offer.raw, make([]byte, length-1)...)
	if _, err := io.ReadFull(r.in, r.offer.raw[start+5:]); err != nil {
		return nil, r.endedInPacket(err)
	}
	return r.offer.raw[start+5 : len(r.offer.raw)-int(padding)], nil
}

func (r *reader) endedInPacket(err error) error {
	if isEnd(err) {
		return r.notSSH(NotSSHClosed, "the server closed the connection before the key exchange")
	}
	return err
}

func (r *reader) notSSH(kind, why string) *NotSSHError {
	return &NotSSHError{Kind: kind, Why: why, Version: r.offer.version, First: slices.Clone(r.first), Guess: guessProtocol(r.first)}
}

// closedOrLimited recognises the texts with which OpenSSH turns a client away
// (MaxStartups; PerSourcePenalties since 9.8).
func closedOrLimited(text string) string {
	for _, s := range []string{"Exceeded MaxStartups", "Not allowed at this time"} {
		if strings.Contains(text, s) {
			return NotSSHRateLimited
		}
	}
	return NotSSHClosed
}

// guessProtocol names what a server that is not SSH seems to be, or "".
func guessProtocol(first []byte) string {
	for _, g := range []struct{ prefix, name string }{
		{"HTTP/", "HTTP"},
		{"<", "HTTP"},
		{"\x15\x03", "TLS"},
		{"\x16\x03", "TLS"},
		{"220 ", "FTP or SMTP"},
		{"220-", "FTP or SMTP"},
		{"421 ", "FTP or SMTP"},
		{"554 ", "SMTP"},
		{"+OK", "POP3"},
		{"* OK", "IMAP"},
		{"RFB ", "VNC"},
		{"-ERR", "Redis"},
		{"\x03\x00", "RDP"},
		{"\xff\xfb", "Telnet"},
		{"\xff\xfd", "Telnet"},
		{"SSH-1.", "SSH protocol 1"},
		{"@RSYNCD", "rsync"},
		{"AMQP", "AMQP"},
		{"INFO {", "NATS"},
	} {
		if strings.HasPrefix(string(first), g.prefix) {
			return g.name
		}
	}
	return ""
}

// parseKexInit takes a KEXINIT payload apart.
func parseKexInit(payload []byte) (Lists, error) {
	var l Lists
	if len(payload) < 17 {
		return l, fmt.Errorf("KEXINIT of %d bytes", len(payload))
	}
	rest := string(payload[17:]) // one copy; the names below share it
	for i, into := range []*[]string{
		&l.KEX, &l.HostKey, &l.CipherC2S, &l.CipherS2C, &l.MACC2S, &l.MACS2C,
		&l.CompressionC2S, &l.CompressionS2C, &l.LanguageC2S, &l.LanguageS2C,
	} {
		if len(rest) < 4 {
			return Lists{}, fmt.Errorf("KEXINIT ends in name-list %d of 10", i+1)
		}
		n := uint64(rest[0])<<24 | uint64(rest[1])<<16 | uint64(rest[2])<<8 | uint64(rest[3])
		if n > uint64(len(rest)-4) {
			return Lists{}, fmt.Errorf("KEXINIT: name-list %d of 10 says %d bytes, %d are left", i+1, n, len(rest)-4)
		}
		names, extensions, err := parseNames(rest[4 : 4+n])
		if err != nil {
			return Lists{}, fmt.Errorf("KEXINIT: name-list %d of 10: %w", i+1, err)
		}
		*into, l.Extensions = names, append(l.Extensions, extensions...)
		rest = rest[4+n:]
	}
	if len(rest) < 5 {
		return Lists{}, errors.New("KEXINIT ends before its last two fields")
	}
	return l, nil
}

// parseNames splits a name-list. Empty names (libssh ends its list with one)
// and doubles are dropped, pseudo-algorithms are returned apart, a name with
// bytes that do not belong into one is shown quoted.
func parseNames(list string) (names, extensions []string, err error) {
	n := strings.Count(list, ",") + 1
	if n > maxNames {
		return nil, nil, fmt.Errorf("%d names, at most %d are read", n, maxNames)
	}
	names = make([]string, 0, n)
	for name := range strings.SplitSeq(list, ",") {
		if len(name) > maxNameLength {
			return nil, nil, fmt.Errorf("a name of %d bytes, at most %d are read", len(name), maxNameLength)
		}
		name = printable(name, maxNameLength)
		switch {
		case name == "" || slices.Contains(names, name):
		case isPseudo(name):
			extensions = append(extensions, name)
		default:
			names = append(names, name)
		}
	}
	return names, extensions, nil
}

// isPseudo reports whether a name in a list of algorithms is none: RFC 8308
// section 2.1, strict key exchange (OpenSSH PROTOCOL 1.10), Dropbear's guess.
func isPseudo(name string) bool {
	return strings.HasPrefix(name, "ext-info-") || strings.HasPrefix(name, "kex-strict-") || strings.HasPrefix(name, "kexguess2")
}

// parseDisconnect returns the text of a DISCONNECT message with its number.
func parseDisconnect(payload []byte) string {
	if len(payload) < 9 {
		return "no reason given"
	}
	code := binary.BigEndian.Uint32(payload[1:])
	n := uint64(binary.BigEndian.Uint32(payload[5:]))
	text := payload[9:]
	return fmt.Sprintf("%s (reason %d)", printable(string(text[:min(n, uint64(len(text)))]), 256), code)
}

// printable makes foreign text safe to show: one line of printable ASCII, at
// most limit bytes; anything else is escaped as Go would in a string literal.
func printable(s string, limit int) string {
	s = s[:min(len(s), limit)]
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			quoted := strconv.QuoteToASCII(s)
			return quoted[1 : len(quoted)-1]
		}
	}
	return s
}
