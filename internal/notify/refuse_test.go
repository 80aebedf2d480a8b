package notify_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/notify"
)

var testMessage = notify.Message{Type: notify.Test, ID: "n1/e/1/test", Node: "n1", At: time.Unix(1e9, 0).UTC()}

func webhook(t *testing.T, url string) *notify.Webhook {
	t.Helper()
	s, err := notify.NewWebhook(notify.WebhookOptions{HTTPOptions: notify.HTTPOptions{URL: url}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int64
	there := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer there.Close()
	here := httptest.NewServer(http.RedirectHandler(there.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	_, err := webhook(t, here.URL).Deliver(t.Context(), testMessage)
	if err == nil || hits.Load() != 0 || strings.Contains(err.Error(), there.URL) {
		t.Errorf("%d requests elsewhere, error %v", hits.Load(), err)
	}
}

func TestErrorsNeverHoldTheURL(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	address := gone.URL
	gone.Close()
	alive := httptest.NewServer(http.NotFoundHandler())
	defer alive.Close()
	for _, url := range []string{address, alive.URL, "http://no-such-host.invalid", "https" + strings.TrimPrefix(alive.URL, "http")} {
		_, err := webhook(t, url+"/services/T0KEN?key=T0KEN").Deliver(t.Context(), testMessage)
		if err == nil || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if got := notify.SafeURL("https://user:T0KEN@h.example/T0KEN?T0KEN"); got != "https://h.example" {
		t.Errorf("shown as %q", got)
	}
	if _, err := notify.NewWebhook(notify.WebhookOptions{HTTPOptions: notify.HTTPOptions{URL: "http://[T0KEN"}}); err == nil || strings.Contains(err.Error(), "T0KEN") {
		t.Errorf("a bad URL says %v", err)
	}
}

func TestAnswersAreToldApart(t *testing.T) {
	for _, c := range []struct {
		status   int
		header   string
		rejected bool
		after    time.Duration
	}{
		{status: 400, rejected: true},
		{status: 422, rejected: true},
		{status: 401},
		{status: 404},
		{status: 500},
		{status: 429, header: "7", after: 7 * time.Second},
		{status: 503, header: "99999", after: time.Hour},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
		}))
		_, err := webhook(t, srv.URL).Deliver(t.Context(), testMessage)
		srv.Close()
		_, rejected := errors.AsType[*notify.RejectedError](err)
		after := time.Duration(0)
		if b, ok := errors.AsType[*notify.BusyError](err); ok {
			after = b.After
		}
		if err == nil || rejected != c.rejected || after != c.after {
			t.Errorf("%d: %v, rejected %t, after %s", c.status, err, rejected, after)
		}
	}
}

func TestSignatureOfAnotherMessageIsRefused(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := notify.Sign([]string{"new", "old"}, now, "id", []byte("body"))
	for _, c := range []struct {
		secret, id, body string
		now              time.Time
		want             error
	}{
		{"new", "id", "body", now, nil},
		{"old", "id", "body", now.Add(time.Minute), nil},
		{"other", "id", "body", now, notify.ErrUnsigned},
		{"new", "id2", "body", now, notify.ErrUnsigned},
		{"new", "id", "body2", now, notify.ErrUnsigned},
		{"new", "id", "body", now.Add(time.Hour), notify.ErrForgotten},
	} {
		if err := notify.Verify(c.secret, s, c.id, []byte(c.body), c.now, 5*time.Minute); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestMailIsNeverSentInTheClearToAnotherHost(t *testing.T) {
	o := notify.EmailOptions{Server: "mail.example:25", Security: notify.Plain, From: "a@example.org", To: []string{"b@example.org"}}
	if _, err := notify.NewEmail(o); err == nil {
		t.Error("plain mail to another host is taken")
	}
	sent := 0
	addr := serve(t, func(c net.Conn) { smtp(c, func(string) { sent++ }) })
	o.Server, o.Security = addr, notify.StartTLS
	s, err := notify.NewEmail(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Deliver(t.Context(), testMessage); err == nil || sent != 0 {
		t.Errorf("a server that offers no STARTTLS got %d mails, error %v", sent, err)
	}
	if _, err := s.Probe(t.Context()); err == nil {
		t.Error("a probe does not notice that STARTTLS is missing")
	}
}

func TestDeadReceiversAreNoticed(t *testing.T) {
	tcp, udp := freePort(t, "tcp"), freePort(t, "udp")
	for _, o := range []notify.SyslogOptions{
		{Network: "tcp", Address: tcp}, {Network: "tls", Address: tcp}, {Network: "udp", Address: udp}, {Network: "unix", Address: "/no/such/socket"},
	} {
		s, err := notify.NewSyslog(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Deliver(t.Context(), testMessage); err == nil {
			t.Errorf("%s: nobody listens, and the message counts as delivered", o.Network)
		}
	}
	nms, err := notify.NewSNMP(notify.SNMPOptions{Target: udp, Community: func() (string, error) { return "c", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nms.Deliver(t.Context(), testMessage); err == nil {
		t.Error("snmp: nobody listens, and the trap counts as delivered")
	}
}
