package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"allclear/internal/fault"
)

// MailSecurity is how a connection to a mail server is protected. It is never
// weakened by what the server offers.
type MailSecurity string

// The kinds of protection.
const (
	StartTLS    MailSecurity = "starttls" // demanded, and the certificate verified
	ImplicitTLS MailSecurity = "tls"      // from the first byte (RFC 8314)
	// Plain is for a server on this host only: nothing leaves it.
	Plain MailSecurity = "none"
)

// EmailOptions describe a mail receiver.
type EmailOptions struct {
	Server   string // host:port
	Security MailSecurity
	Roots    []byte // PEM; nil: the system's
	From     string
	To       []string
	User     string                 // "": no login
	Password func() (string, error) // asked for each connection
	Hostname string                 // for HELO and message ids; "" is the host's
}

// NewEmail returns the sink of a mail server.
func NewEmail(o EmailOptions) (*Email, error) {
	host, port, err := net.SplitHostPort(o.Server)
	if err != nil {
		return nil, fmt.Errorf("the address of the mail server: %w", err)
	}
	e := &Email{o: o, host: host}
	if e.port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("the port of the mail server: %w", err)
	}
	if o.Security == Plain && !Loopback(host) {
		return nil, errors.New("mail to another host is not sent in the clear")
	}
	e.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if o.Roots != nil {
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(o.Roots) {
			return nil, errors.New("the bundle of authorities holds no certificate")
		}
	}
	_, err = e.letter(&Message{Type: Test})
	return e, err
}

// Loopback claims that what is sent to host does not leave this one.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Email is a mail server with the people behind it. It is safe for concurrent
// use.
type Email struct {
	o    EmailOptions
	host string
	port int
	tls  *tls.Config
}

// session is one connection. The library forgets the connection when the
// protection or the login fails: end closes it whatever happened.
type session struct {
	*mail.Client
	conn net.Conn
}

func (s *session) end() {
	if s.conn != nil {
		_ = s.conn.Close() // closed already if all went well
	}
}

// session prepares a connection; it does not connect yet.
func (e *Email) session() (*session, error) {
	s := &session{}
	opts := []mail.Option{
		mail.WithPort(e.port), mail.WithTimeout(deadline), mail.WithTLSConfig(e.tls), mail.WithoutNoop(),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			if e.o.Security == ImplicitTLS {
				conn, err = (&tls.Dialer{Config: e.tls}).DialContext(ctx, network, address)
			} else {
				conn, err = dial(ctx, network, address)
			}
			s.conn = conn
			return conn, err
		}),
	}
	switch e.o.Security {
	case StartTLS:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	case ImplicitTLS: // the connection is protected already; this has the library notice
		opts = append(opts, mail.WithTLSPolicy(mail.TLSOpportunistic))
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS))
	}
	if e.o.Hostname != "" {
		opts = append(opts, mail.WithHELO(token(e.o.Hostname, 255)))
	}
	if e.o.User != "" {
		password, err := e.o.Password()
		if err != nil {
			return nil, err
		}
		auth := mail.SMTPAuthAutoDiscover
		if e.o.Security == Plain {
			auth = mail.SMTPAuthPlainNoEnc // to this host only
		}
		opts = append(opts, mail.WithSMTPAuth(auth), mail.WithUsername(e.o.User), mail.WithPassword(password))
	}
	var err error
	s.Client, err = mail.NewClient(e.host, opts...)
	return s, err
}

// Deliver sends one mail.
func (e *Email) Deliver(ctx context.Context, m Message) (string, error) {
	letter, err := e.letter(&m)
	if err != nil {
		return "", &RejectedError{err.Error()}
	}
	s, err := e.session()
	if err != nil {
		return "", err
	}
	defer s.end()
	if err := s.DialAndSendWithContext(ctx, letter); err != nil {
		return "", mailError(err)
	}
	return or(oneLine(letter.ServerResponse()), "the server took the mail"), nil
}

// mailError tells a mail that is refused for good, which holds up no other,
// from a server that takes none.
func mailError(err error) error {
	s, ok := errors.AsType[*mail.SendError](err)
	if !ok || s.IsTemp() {
		return err
	}
	switch s.Reason {
	case mail.ErrSMTPData, mail.ErrSMTPDataClose, mail.ErrWriteContent:
		return &RejectedError{oneLine(err.Error())}
	}
	return err
}

// letter writes the mail. Whatever goes into a header is one line before the
// library encodes it.
func (e *Email) letter(m *Message) (*mail.Msg, error) {
	l := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := l.From(e.o.From); err != nil {
		return nil, fmt.Errorf("the sender: %w", err)
	}
	if err := l.To(e.o.To...); err != nil {
		return nil, fmt.Errorf("the recipients: %w", err)
	}
	l.Subject(cut(subject(m), 200))
	if m.At.IsZero() {
		l.SetDate()
	} else {
		l.SetDateWithValue(m.At)
	}
	l.SetMessageIDWithValue(e.messageID(m))
	l.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notices
	l.SetGenHeader("X-Allclear-Id", oneLine(m.ID))
	if m.Fault.Code != "" {
		thread := "<" + atom(m.Node+"/"+m.Fault.Epoch+"/fault/"+strconv.FormatUint(m.Fault.ID, 10)) + "@" + e.domain() + ">"
		l.SetGenHeader("References", thread) // raise and clear of a fault stand together
		l.SetGenHeader("X-Allclear-Severity", perceived(m))
	}
	if m.Type != Clear && m.Severity() == fault.Critical {
		l.SetImportance(mail.ImportanceHigh)
	}
	l.SetBodyString(mail.TypeTextPlain, strings.Join(plain(m), "\n")+"\n")
	return l, nil
}

// subject is the headline with the resource, which people look for.
func subject(m *Message) string {
	if m.Fault.Resource == "" {
		return headline(m)
	}
	return headline(m) + " (" + oneLine(m.Fault.Resource) + ")"
}

// messageID is the same for the same message sent again.
func (e *Email) messageID(m *Message) string { return atom(m.ID) + "@" + e.domain() }

func (e *Email) domain() string {
	_, domain, _ := strings.Cut(e.o.From, "@")
	return atom(strings.TrimSuffix(domain, ">"))
}

// atom keeps what may stand in a message id (RFC 5322 section 3.2.3).
func atom(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_./", r)) {
			return r
		}
		return '_'
	}, s)
	return strings.ReplaceAll(or(strings.Trim(s, "."), "none"), "..", "._")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Probe connects, protects the connection and logs in, and says goodbye.
func (e *Email) Probe(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no answer within %s", deadline))
	defer cancel()
	s, err := e.session()
	if err != nil {
		return "", err
	}
	defer s.end()
	if err := s.DialWithContext(ctx); err != nil {
		return "", explain(ctx, err)
	}
	proved := "the mail server takes connections"
	if e.o.Security != Plain {
		proved += " over TLS, its certificate is good"
	}
	if e.o.User != "" {
		proved += " and our login is accepted"
	}
	return proved, s.Close()
}

// Close has nothing to let go of.
func (e *Email) Close() {}
