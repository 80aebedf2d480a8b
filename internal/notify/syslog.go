package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"allclear/internal/fault"
)

// SyslogOptions say how a syslog receiver is reached.
type SyslogOptions struct {
	// Network is udp (RFC 5426), tcp (RFC 6587, octet counting), tls (RFC 5425) or
	// unix, a datagram or stream socket of this host.
	Network string
	Address string // host:port, or the path of the socket
	Roots   []byte // of tls, PEM; nil: the system's
	// Facility is 0 to 23 (RFC 5424 section 6.2.1).
	Facility int
}

// NewSyslog returns the sink of a syslog receiver. Messages are RFC 5424 with
// the alarm element of RFC 5674.
func NewSyslog(o SyslogOptions) (*Syslog, error) {
	s := &Syslog{o: o}
	switch o.Network {
	case "udp", "tcp", "unix":
	case "tls":
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return nil, fmt.Errorf("the address of syslog: %w", err)
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		if o.Roots != nil {
			s.tls.RootCAs = x509.NewCertPool()
			if !s.tls.RootCAs.AppendCertsFromPEM(o.Roots) {
				return nil, errors.New("the bundle of authorities holds no certificate")
			}
		}
	default:
		return nil, fmt.Errorf("syslog over %q is unknown", o.Network)
	}
	return s, nil
}

// Syslog is a syslog receiver. It is safe for concurrent use.
type Syslog struct {
	o   SyslogOptions
	tls *tls.Config // of tls only
}

// Deliver sends one message; a digest is a line for itself and one for each
// fault in it.
func (s *Syslog) Deliver(ctx context.Context, m Message) (string, error) {
	return s.DeliverAll(ctx, []Message{m})
}

// DeliverAll sends messages over one connection. Syslog has no answers. Over a
// stream the sink ends the sending direction and waits until the receiver ends
// its own, which it does once it has read everything; a datagram counts as
// delivered unless the host says at once that nobody listens.
func (s *Syslog) DeliverAll(ctx context.Context, ms []Message) (string, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(d) // an error shows at the first write
	}
	records := s.records(ms)
	for _, r := range records {
		if err := s.write(conn, r); err != nil {
			return "", fmt.Errorf("send to syslog: %w", err)
		}
	}
	if s.datagram(conn) {
		return count(len(records), "datagram") + " sent; there are no answers", quiet(conn)
	}
	if err := finish(conn); err != nil {
		return "", fmt.Errorf("wait until syslog has read everything: %w", err)
	}
	return count(len(records), "record") + " read by the receiver", nil
}

func (s *Syslog) records(ms []Message) []string {
	most := streamMost
	if s.o.Network == "udp" {
		most = datagramMost
	}
	pid := os.Getpid()
	var all []string
	for i := range ms {
		all = append(all, record5424(&ms[i], s.o.Facility, pid, most))
		for j := range ms[i].Items {
			all = append(all, record5424(&ms[i].Items[j], s.o.Facility, pid, most))
		}
	}
	return all
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	switch s.o.Network {
	case "unix":
		conn, err := dial(ctx, "unixgram", s.o.Address)
		if errors.Is(err, syscall.EPROTOTYPE) {
			return dial(ctx, "unix", s.o.Address)
		}
		return conn, err
	case "tls":
		conn, err := dial(ctx, "tcp", s.o.Address)
		if err != nil {
			return nil, err
		}
		t := tls.Client(conn, s.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the handshake's error counts
			return nil, fmt.Errorf("TLS handshake with syslog: %w", err)
		}
		return t, nil
	}
	return dial(ctx, s.o.Network, s.o.Address)
}

func (s *Syslog) datagram(conn net.Conn) bool {
	return s.o.Network == "udp" || conn.RemoteAddr().Network() == "unixgram"
}

// write frames one record: a datagram is a frame by itself, a stream counts
// octets (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
func (s *Syslog) write(conn net.Conn, r string) error {
	if !s.datagram(conn) {
		r = strconv.Itoa(len(r)) + " " + r
	}
	_, err := io.WriteString(conn, r)
	return err
}

// quietFor is how long a datagram's refusal is waited for. On the same host it
// comes at once.
const quietFor = 20 * time.Millisecond

// quiet answers the error that a datagram came back with, if one did.
func quiet(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(quietFor)) // an error shows in Read
	_, err := conn.Read(make([]byte, 1))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nobody listens: %w", err)
	}
	return nil
}

// finish ends the sending direction and waits for the other end of it.
func finish(conn net.Conn) error {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(conn, maxAnswer))
	return err
}

// Probe connects. Over UDP there is nothing to connect to: it finds the address
// and what this host knows of it.
func (s *Syslog) Probe(ctx context.Context) (string, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if s.o.Network == "udp" {
		return "there is a way to the receiver; UDP cannot prove more", nil
	}
	return "the receiver takes connections", nil
}

// Close has nothing to let go of.
func (s *Syslog) Close() {}

// How long a record may be, in bytes: what every receiver of datagrams should
// take (RFC 5426 section 3.2), and every receiver over TLS (RFC 5425 4.3.1).
const (
	datagramMost = 2048
	streamMost   = 8192
)

// elementID names our own structured data. 32473 is the number that RFC 5612
// reserves for examples, until the project has one of its own.
const elementID = "allclear@32473"

// record5424 writes one record of at most most bytes (RFC 5424 section 6). It
// holds no line break and no control character, whatever the evidence holds.
func record5424(m *Message, facility, pid, most int) string {
	f := &m.Fault
	at := m.At
	if at.IsZero() {
		at = time.Now()
	}
	head := fmt.Sprintf("<%d>1 %s %s allclear %d %s ", facility*8+priority(m), at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		token(m.Node, 255), pid, token(string(m.Type), 32))
	data := "-"
	if f.Code != "" {
		data = fmt.Sprintf(`[alarm resource="%s" probableCause="%s" perceivedSeverity="%s"]`,
			param(f.Resource, 300), "other", perceived(m)) +
			fmt.Sprintf(`[%s code="%s" node="%s" id="%s" fault="%d" state="%s" durable="%t" drill="%t"]`,
				elementID, param(string(f.Code), 100), param(m.Node, 64), param(m.ID, 120), f.ID, param(string(f.State), 16), f.Durable, f.Drill)
	}
	text := headline(m)
	if f.Resource != "" {
		text += ": " + oneLine(f.Resource)
	}
	if f.Text != "" && m.Type != Clear {
		text += ": " + oneLine(f.Text)
	}
	const bom = "\ufeff" // section 6.4: says that what follows is UTF-8
	if strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 }) >= 0 {
		text = bom + text
	}
	return head + data + " " + cut(text, max(0, most-len(head)-len(data)-1))
}

// priority is the syslog severity of a perceived severity (RFC 5674 section 2).
func priority(m *Message) int {
	if m.Type == Clear {
		return 5 // notice
	}
	switch m.Severity() {
	case fault.Critical:
		return 1 // alert
	case fault.Major:
		return 2 // critical
	case fault.Minor:
		return 3 // error
	case fault.Warning:
		return 4 // warning
	}
	return 5
}

// perceived is the ITU perceived severity (RFC 5674 section 3.3).
func perceived(m *Message) string {
	if m.Type == Clear {
		return "cleared"
	}
	return m.Fault.Severity.String()
}

// token makes a header field: printable ASCII without space (RFC 5424 6.2).
func token(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(most, len(s))]
}

// param makes the value of a parameter: one line, with quotes, backslashes and
// brackets escaped (RFC 5424 section 6.3.3).
func param(s string, most int) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(cut(oneLine(s), most))
}
