package notify_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"allclear/internal/notify"
	"allclear/internal/wire"
)

func cancelable(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// pile collects records.
type pile struct {
	mu   sync.Mutex // guards all
	all  []taken
	errs []error
}

func (p *pile) add(r taken, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, r)
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

func (p *pile) took(t *testing.T) []taken {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, err := range p.errs {
		t.Fatal(err)
	}
	return slices.Clone(p.all)
}

func TestWebhookContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		p := &pile{}
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p.add(readEvent(r)) }))
		t.Cleanup(srv.Close)
		s, err := notify.NewWebhook(notify.WebhookOptions{
			HTTPOptions: notify.HTTPOptions{URL: srv.URL + "/token"},
			Secrets:     func() ([]string, error) { return []string{"new", "old"}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return &post{notify.Config{Name: "hook", Kind: "webhook", Identity: srv.URL, Parallel: 8, Sink: s}, p.took}
	})
}

// readEvent is what a careful receiver does.
func readEvent(r *http.Request) (taken, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return taken{}, err
	}
	for _, secret := range []string{"old", "new"} {
		err := notify.Verify(secret, r.Header.Get(notify.HeaderSignature), r.Header.Get(notify.HeaderID), body, time.Now(), time.Minute)
		if err != nil {
			return taken{}, fmt.Errorf("signature by %s: %w", secret, err)
		}
	}
	var e struct {
		ID, Type, Source, Subject, SpecVersion string
		Time                                   time.Time
		Data                                   wire.Fault
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return taken{}, err
	}
	if strings.ContainsAny(string(body), "\r\n") || e.SpecVersion != "1.0" || e.Source != "/allclear/n1" || e.Time.IsZero() ||
		e.ID != r.Header.Get(notify.HeaderID) || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents+json") {
		return taken{}, fmt.Errorf("not a compact CloudEvent: %s", body)
	}
	kind := strings.TrimPrefix(strings.TrimPrefix(e.Type, "allclear."), "fault.")
	if kind != "test" && (!strings.HasPrefix(e.ID, "n1/") || e.Subject != string(e.Data.Code)+"@"+e.Data.Resource) {
		return taken{}, fmt.Errorf("id %q, subject %q", e.ID, e.Subject)
	}
	return taken{kind, string(e.Data.Code), e.Data.Resource, e.Data.Severity.String(), e.Data.Drill}, nil
}

// The records of RFC 5424, read by a parser that knows nothing of ours.
var (
	recordForm = regexp.MustCompile(`^<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|(?:\[[^ \]="]+(?: [^ \]="]+="(?:[^"\\\]]|\\["\\\]])*")*\])+) (.*)$`)
	paramForm  = regexp.MustCompile(`([^ \[\]="]+)="((?:[^"\\\]]|\\["\\\]])*)"`)
)

func readRecord(s string) (taken, error) {
	m := recordForm.FindStringSubmatch(s)
	if m == nil || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) >= 0 {
		return taken{}, fmt.Errorf("not RFC 5424: %q", s)
	}
	if _, err := time.Parse(time.RFC3339Nano, m[2]); err != nil || m[3] != "n1" || m[4] != "allclear" {
		return taken{}, fmt.Errorf("header of %q", s)
	}
	params := map[string]string{}
	for _, p := range paramForm.FindAllStringSubmatch(m[7], -1) {
		params[p[1]] = p[2]
	}
	r := taken{kind: m[6], code: params["code"], resource: params["resource"], severity: params["perceivedSeverity"], drill: params["drill"] == "true"}
	pri := map[string]string{"critical": "25", "major": "26", "minor": "27", "warning": "28", "cleared": "29", "": "29"}[r.severity]
	if m[1] != pri {
		return r, fmt.Errorf("priority %s of %s, want %s (RFC 5674 section 2)", m[1], r.severity, pri)
	}
	if r.code != "" && (params["probableCause"] == "" || params["id"] == "") {
		return r, fmt.Errorf("alarm element of %q", s)
	}
	return r, nil
}

func syslogPost(t *testing.T, network, address string, p *pile) *post {
	t.Helper()
	s, err := notify.NewSyslog(notify.SyslogOptions{Network: network, Address: address, Facility: 3})
	if err != nil {
		t.Fatal(err)
	}
	return &post{notify.Config{Name: "log", Kind: "syslog", Identity: address, BestEffort: true, Sink: s}, p.took}
}

func TestSyslogOverUDPContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return syslogPost(t, "udp", conn.LocalAddr().String(), datagrams(t, conn, func(b []byte) (taken, error) { return readRecord(string(b)) }))
	})
}

func TestSyslogOverUnixContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		path := filepath.Join(shortDir(t), "log")
		conn, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		return syslogPost(t, "unix", path, datagrams(t, conn, func(b []byte) (taken, error) { return readRecord(string(b)) }))
	})
}

func shortDir(t *testing.T) string { return fastDir(t) } // a socket's path has 107 bytes at most

// datagrams reads until the test ends.
func datagrams(t *testing.T, conn net.PacketConn, read func([]byte) (taken, error)) *pile {
	p := &pile{}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			p.add(read(buf[:n]))
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return p
}

func TestSyslogOverTCPContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		p := &pile{}
		addr := serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for {
				head, err := r.ReadString(' ')
				if err != nil {
					return // the sender is done; closing says that all was read
				}
				n, err := strconv.Atoi(strings.TrimSpace(head))
				b := make([]byte, n)
				if err == nil {
					_, err = io.ReadFull(r, b)
				}
				if err != nil {
					p.add(taken{}, fmt.Errorf("frame %q: %w", head, err))
					return
				}
				p.add(readRecord(string(b)))
			}
		})
		return syslogPost(t, "tcp", addr, p)
	})
}

// serve handles connections until the test ends.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestEmailContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		p := &pile{}
		addr := serve(t, func(c net.Conn) { smtp(c, func(b string) { p.add(readMail(b)) }) })
		s, err := notify.NewEmail(notify.EmailOptions{Server: addr, Security: notify.Plain, From: "a@example.org", To: []string{"b@example.org"}})
		if err != nil {
			t.Fatal(err)
		}
		return &post{notify.Config{Name: "mail", Kind: "email", Identity: addr, People: true, BestEffort: true, Sink: s}, p.took}
	})
}

// smtp is a mail server that takes everything and offers nothing.
func smtp(c net.Conn, take func(string)) {
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 test")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch word := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(word, "DATA"):
			say("354 go on")
			var body strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				body.WriteString(strings.TrimPrefix(line, "."))
			}
			take(body.String())
			say("250 2.0.0 queued as 42")
		case strings.HasPrefix(word, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// readMail reads a mail as a mail program does.
func readMail(b string) (taken, error) {
	m, err := mail.ReadMessage(strings.NewReader(b))
	if err != nil {
		return taken{}, fmt.Errorf("%w in %q", err, b)
	}
	allowed := []string{
		"Date", "Message-Id", "Mime-Version", "Subject", "From", "To", "Content-Type", "Content-Transfer-Encoding", "References",
		"Auto-Submitted", "X-Allclear-Id", "X-Allclear-Severity", "Importance", "Priority", "X-Priority", "X-Msmail-Priority",
	}
	for name := range m.Header {
		if !slices.Contains(allowed, name) {
			return taken{}, fmt.Errorf("header %s in %q", name, b)
		}
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return taken{}, err
	}
	text := io.Reader(m.Body)
	if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		text = quotedprintable.NewReader(text)
	}
	body, err := io.ReadAll(text)
	if err != nil {
		return taken{}, err
	}
	r := taken{kind: "raise", drill: strings.HasPrefix(subject, "[DRILL] "), severity: m.Header.Get("X-Allclear-Severity")}
	switch {
	case strings.HasPrefix(subject, "Test message"):
		r.kind = "test"
	case strings.Contains(subject, "CLEAR: "):
		r.kind = "clear"
	}
	for line := range strings.SplitSeq(string(body), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Code":
			r.code = strings.TrimSpace(value)
		case "Resource":
			r.resource = strings.TrimSpace(value)
		case "Bcc", "<165>1 - - - - - - forged":
			return r, fmt.Errorf("forged line %q", line)
		}
	}
	return r, nil
}

func TestSNMPContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		p := &pile{}
		l := gosnmp.NewTrapListener()
		l.Params = &gosnmp.GoSNMP{Version: gosnmp.Version2c, Community: "c", Transport: "udp", MaxOids: 60, Timeout: time.Second}
		l.OnNewTrap = func(s *gosnmp.SnmpPacket, _ *net.UDPAddr) { p.add(readTrap(s)) }
		free, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := free.LocalAddr().String()
		if err := free.Close(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Listen(addr) }()
		select {
		case <-l.Listening():
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			l.Close()
			<-done
		})
		return snmpPost(t, addr, p.took)
	})
}

func snmpPost(t *testing.T, addr string, took func(*testing.T) []taken) *post {
	t.Helper()
	s, err := notify.NewSNMP(notify.SNMPOptions{Target: addr, Community: func() (string, error) { return "c", nil }, Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return &post{notify.Config{Name: "nms", Kind: "snmp", Identity: addr, BestEffort: true, Sink: s}, took}
}

func readTrap(s *gosnmp.SnmpPacket) (taken, error) {
	const root = ".1.3.6.1.4.1.8072.9999.9999.632."
	var r taken
	for _, v := range s.Variables {
		text, _ := v.Value.([]byte)
		if strings.ContainsAny(string(text), "\r\n\x1b") {
			return r, fmt.Errorf("%s holds %q", v.Name, text)
		}
		switch v.Name {
		case ".1.3.6.1.6.3.1.1.4.1.0":
			r.kind = map[any]string{root + "0.1": "raise", root + "0.2": "change", root + "0.3": "clear", root + "0.4": "test"}[v.Value]
		case root + "1.4.0":
			r.code = string(text)
		case root + "1.5.0":
			r.resource = string(text)
		case root + "1.6.0":
			r.severity = map[int]string{1: "cleared", 3: "critical", 4: "major", 5: "minor", 6: "warning"}[v.Value.(int)]
		case root + "1.11.0":
			r.drill = v.Value == 1
		}
	}
	if r.kind == "" {
		return r, fmt.Errorf("unknown trap %+v", s.Variables)
	}
	return r, nil
}

func TestJournaldContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		path := filepath.Join(shortDir(t), "journal")
		conn, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		p := datagrams(t, conn, readEntry)
		return &post{notify.Config{Name: "jd", Kind: "journald", Identity: path, Sink: notify.NewJournald(path)}, p.took}
	})
}

// readEntry reads systemd's native protocol.
func readEntry(b []byte) (taken, error) {
	fields := map[string]string{}
	for rest := string(b); rest != ""; {
		line, more, _ := strings.Cut(rest, "\n")
		name, value, plain := strings.Cut(line, "=")
		if !plain {
			if len(more) < 8 {
				return taken{}, fmt.Errorf("cut short: %q", b)
			}
			n := int(more[0]) | int(more[1])<<8
			value, more = more[8:8+n], more[8+n+1:]
		}
		if !regexp.MustCompile(`^[A-Z_]+$`).MatchString(name) {
			return taken{}, fmt.Errorf("forged field %q", name)
		}
		fields[name], rest = value, more
	}
	return taken{
		fields["ALLCLEAR_TYPE"], fields["ALLCLEAR_CODE"], fields["ALLCLEAR_RESOURCE"], fields["ALLCLEAR_SEVERITY"], fields["ALLCLEAR_DRILL"] == "true",
	}, nil
}
