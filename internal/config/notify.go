package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Notify is a receiver that is told of faults. Exactly one of the pointers is
// set.
type Notify struct {
	Name         string // what faults and commands call it; unique in its list
	Webhook      *Webhook
	Template     string // of a webhook: the chat service whose form it takes; "" means CloudEvents
	Alertmanager *Alertmanager
	Syslog       *Syslog
	Email        *Email
	SNMP         *SNMP
	Journald     *Journald
}

// Webhook is an HTTP receiver that gets one JSON object a request.
type Webhook struct {
	URL       Link
	Secret    Secret // signs each message; not set: unsigned
	OldSecret Secret // signs too while receivers change over to Secret
	CA        Ref    // PEM bundle to trust instead of the system's
	Proxy     Link   // not set: direct, whatever the environment says
}

// Alertmanager is an Alertmanager, API version 2.
type Alertmanager struct {
	URL   Link
	CA    Ref
	Proxy Link
}

// Syslog is a syslog receiver.
type Syslog struct {
	Network  string // udp, tcp, tls or unix
	Address  string // host:port, or the path of a socket
	CA       Ref    // of tls
	Facility int    // 0 to 23
}

// The protections of a connection to a mail server.
const (
	MailStartTLS = "starttls"
	MailTLS      = "tls"
	MailNone     = "none" // to this host only
)

// Email is a mail server with the people behind it.
type Email struct {
	Server   string // host:port, the port filled in (587)
	From     string
	To       []string
	TLS      string // MailStartTLS, MailTLS or MailNone
	CA       Ref
	User     string // "": no login
	Password Secret
}

// SNMP is an SNMP manager that takes traps.
type SNMP struct {
	Target    string // host:port, the port filled in (162)
	Version   string // "2c"
	Community Secret
}

// Journald is the systemd-journald of this host.
type Journald struct {
	Socket string // absolute
}

// Link is a URL that may hold a token: the URL itself, or a reference to one.
// Whatever prints a Link prints its scheme and host, or the reference. The zero
// value is not set.
type Link struct {
	text string
	ref  reference
}

// Set reports whether the file names one.
func (l Link) Set() bool { return l.text != "" || l.ref.kind != "" }

// Read answers the URL now.
func (l Link) Read() (string, error) {
	if l.text != "" {
		return l.text, nil
	}
	b, err := l.ref.read(private)
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b))
	if err := checkLink(s); err != nil {
		return "", fmt.Errorf("read %s: %w", l.ref.where(), err)
	}
	return s, nil
}

// String is what may be shown.
func (l Link) String() string {
	if l.text == "" {
		return l.ref.where()
	}
	u, err := url.Parse(l.text)
	if err != nil {
		return hidden
	}
	return u.Scheme + "://" + u.Host
}

// GoString is String for %#v; so are the methods after it for others.
func (l Link) GoString() string { return l.String() }

// Format is String for every verb.
func (l Link) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, l.String()) }

// LogValue is String for package slog.
func (l Link) LogValue() slog.Value { return slog.StringValue(l.String()) }

// MarshalJSON is String for package json.
func (l Link) MarshalJSON() ([]byte, error) { return json.Marshal(l.String()) }

// checkLink never repeats what it was given, because that may hold a token.
func checkLink(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("this is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the URL begins neither with http:// nor with https://")
	case u.Hostname() == "":
		return errors.New("the URL names no host")
	case u.Fragment != "":
		return errors.New("the URL has a fragment, which is never sent")
	case u.Port() != "":
		return checkPort(u.Port(), false)
	}
	return nil
}

// link takes a URL or a reference to one.
type link struct{ to *Link }

func (v link) decode(d *decoder, n *yaml.Node, path string) {
	const want = "http://HOST/PATH, https://HOST/PATH, or file:PATH, env:NAME, cred:NAME or secret:NAME with it inside"
	s, ok := d.scalar(n, path, want)
	if !ok {
		return
	}
	if scheme, _, _ := strings.Cut(s, ":"); slices.Contains([]string{"file", "env", "cred", "secret"}, scheme) {
		ref, err := parseReference(s, d.dir)
		if err != nil {
			d.mistake(n, path, err.Error(), "wanted is "+want)
			return
		}
		if ref.kind == "secret" {
			ref.doc = d.doc
			*v.to = Link{ref: ref}
			return
		}
		*v.to = Link{ref: ref}
		if _, err := v.to.Read(); err != nil {
			d.mistake(n, path, inWords(err), mending(err))
		}
		return
	}
	err := checkLink(s)
	if u, parseErr := url.Parse(s); err == nil && parseErr == nil && u.User != nil {
		err = errors.New("credentials are never written into this file: put the URL behind a reference")
	}
	if err != nil { // url.Parse takes no control characters
		d.mistake(n, path, err.Error(), "wanted is "+want)
		return
	}
	*v.to = Link{text: s}
}

func (v link) schema() *schema {
	return &schema{Type: "string", Pattern: "^(https?|file|env|cred|secret):.+"}
}

func (n *Notify) keys() []key {
	return []key{
		name(&n.Name),
		{name: "webhook", value: optional[Webhook, *Webhook]{&n.Webhook, func() Webhook { return Webhook{} }}, doc: "An HTTP receiver that gets one JSON object a POST."},
		{name: "template", value: word(&n.Template, "slack", "teams", "mattermost", "discord"), doc: "The chat service whose form of message the webhook takes. CloudEvents, when left out."},
		{name: "alertmanager", value: optional[Alertmanager, *Alertmanager]{&n.Alertmanager, func() Alertmanager { return Alertmanager{} }}, doc: "An Alertmanager, API version 2."},
		{name: "syslog", value: optional[Syslog, *Syslog]{&n.Syslog, defaultSyslog}, doc: "A syslog receiver: RFC 5424 with the alarm element of RFC 5674."},
		{name: "email", value: optional[Email, *Email]{&n.Email, func() Email { return Email{} }}, doc: "A mail server with people behind it."},
		{name: "snmp", value: optional[SNMP, *SNMP]{&n.SNMP, defaultSNMP}, doc: "An SNMP manager that takes traps by dist/mibs/ALLCLEAR-MIB.txt."},
		{name: "journald", value: optional[Journald, *Journald]{&n.Journald, defaultJournald}, doc: "The systemd-journald of this host."},
	}
}

func (n *Notify) check(d *decoder, path string) {
	var kinds []string
	for _, k := range []string{"webhook", "alertmanager", "syslog", "email", "snmp", "journald"} {
		if d.written(path, k) {
			kinds = append(kinds, k)
		}
	}
	switch {
	case len(kinds) == 0:
		d.wrong.Add(path, "this receiver has no kind", "add webhook, alertmanager, syslog, email, snmp or journald")
	case len(kinds) > 1:
		d.together(path, kinds, "a receiver has one kind", "it has "+strings.Join(kinds, " and ")+": make two of it")
	case kinds[0] != "webhook" && d.written(path, "template"):
		d.wrong.Add(path+".template", "only a webhook has a template", "remove it")
	}
}

func proxy(p *Link) key {
	return key{name: "proxy", value: link{p}, doc: "The proxy to go through. Direct, when left out, whatever the environment says."}
}

func bundle(p *Ref) key {
	return key{name: "ca", value: source{&p.ref, public}, doc: "Reference to the bundle of authorities to trust instead of the system's."}
}

func (w *Webhook) keys() []key {
	return []key{
		{name: "url", required: true, value: link{&w.URL}, doc: "where messages are posted to; only its scheme and host are ever shown"},
		{name: "secret", value: source{&w.Secret.ref, private}, doc: "Reference to the secret that signs messages. Unsigned, when left out."},
		{name: "old_secret", value: source{&w.OldSecret.ref, private}, doc: "Reference to the secret before it, which signs too while receivers change over."},
		bundle(&w.CA), proxy(&w.Proxy),
	}
}

func (w *Webhook) check(d *decoder, path string) {
	if d.written(path, "old_secret") && !d.written(path, "secret") {
		d.wrong.Add(path+".old_secret", "there is an old secret and no new one", "call it secret")
	}
}

func (a *Alertmanager) keys() []key {
	return []key{
		{name: "url", required: true, value: link{&a.URL}, doc: "where it is, without /api; only its scheme and host are ever shown"},
		bundle(&a.CA), proxy(&a.Proxy),
	}
}

// facilities are the names of RFC 5424 section 6.2.1 as syslog(3) writes them.
func facilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
}

func (s *Syslog) keys() []key {
	facility := facilities()[s.Facility]
	w := word(&facility, facilities()...).(text)
	known := w.parse
	w.parse = func(text string) error {
		if err := known(text); err != nil {
			return err
		}
		s.Facility = slices.Index(facilities(), text)
		return nil
	}
	return []key{
		{
			name: "address", required: true, doc: "where it listens: udp, tcp or tls with host and port, or a socket of this host",
			value: text{
				want: "udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH", parse: s.parse,
				shape: schema{Type: "string", Pattern: "^(udp|tcp|tls|unix)://.+"},
			},
		},
		bundle(&s.CA),
		{name: "facility", value: w, doc: "The facility of each record."},
	}
}

func (s *Syslog) parse(text string) error {
	network, rest, ok := strings.Cut(text, "://")
	port, known := map[string]string{"udp": "514", "tcp": "601", "tls": "6514", "unix": ""}[network]
	if !ok || !known {
		return errors.New("this is not the address of a syslog receiver")
	}
	if network == "unix" {
		if !filepath.IsAbs(rest) {
			return errors.New("the path of the socket is not absolute")
		}
		s.Network, s.Address = network, filepath.Clean(rest)
		return nil
	}
	host, port, err := splitAddress(rest, port)
	if err != nil {
		return err
	}
	s.Network, s.Address = network, net.JoinHostPort(host, port)
	return nil
}

func (s *Syslog) check(d *decoder, path string) {
	if d.written(path, "ca") && s.Network != "" && s.Network != "tls" {
		d.wrong.Add(path+".ca", "authorities have a meaning with tls:// only", "remove it, or use tls://")
	}
}

func (e *Email) keys() []key {
	mailbox := func(s *string) value { return anyText(s, "a mail address", checkMailbox) }
	return []key{
		{name: "server", required: true, value: address(&e.Server, "587", false), doc: "host or host:port; the port is 587 when left out"},
		{name: "from", required: true, value: mailbox(&e.From), doc: "the sender"},
		{name: "to", required: true, value: texts{&e.To, mailbox}, doc: "the recipients"},
		{name: "tls", value: word(&e.TLS, MailStartTLS, MailTLS, MailNone), doc: "How the connection is protected: starttls, demanded and verified, when left out; none is for a server on this host, and is what that has when left out."},
		bundle(&e.CA),
		{name: "user", value: anyText(&e.User, "a user name", checkUser), doc: "Who logs in. No login, when left out."},
		{name: "password", value: source{&e.Password.ref, private}, doc: "Reference to the password."},
	}
}

func (e *Email) check(d *decoder, path string) {
	host, _, _ := net.SplitHostPort(e.Server)
	ip := net.ParseIP(host)
	here := host == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case e.TLS == "" && here:
		e.TLS = MailNone
	case e.TLS == "":
		e.TLS = MailStartTLS
	case e.TLS == MailNone && !here && e.Server != "":
		d.wrong.Add(path+".tls", "mail to another host is not sent in the clear", "use starttls or tls, or a server on this host that does")
	}
	if d.written(path, "user") != d.written(path, "password") {
		d.together(path, []string{"user", "password"}, "user and password go together", "add the other one")
	}
	if d.written(path, "to") && len(e.To) == 0 && !d.wrong.Has(path+".to") {
		d.wrong.Add(path+".to", "there is no recipient", "add one")
	}
}

func checkMailbox(s string) error {
	if a, err := mail.ParseAddress(s); err != nil || strings.ContainsAny(a.Address, " <>\"") {
		return fmt.Errorf("%q is not a mail address", printable(s))
	}
	return nil
}

func (s *SNMP) keys() []key {
	return []key{
		{name: "target", required: true, value: address(&s.Target, "162", false), doc: "host or host:port; the port is 162 when left out"},
		{name: "version", value: word(&s.Version, "2c"), doc: "The version of SNMP."},
		{name: "community", required: true, value: source{&s.Community.ref, private}, doc: "reference to the community"},
	}
}

func (j *Journald) keys() []key {
	return []key{{name: "socket", value: filePath{&j.Socket}, doc: "Where it listens, if not where it always does."}}
}
