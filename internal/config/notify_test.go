package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/config"
)

func TestReceiversAreReadWithTheirDefaults(t *testing.T) {
	c, _ := good(t, `notify:
  - {name: ops, webhook: {url: "http://127.0.0.1:9000/hook", secret: "file:hook.secret"}}
  - {name: am, alertmanager: {url: "http://127.0.0.1:9093"}}
  - {name: log, syslog: {address: "udp://127.0.0.1:5514"}}
  - {name: dev, syslog: {address: "unix:///dev/log", facility: local3}}
  - {name: far, syslog: {address: "tls://log.example"}}
  - {name: mail, email: {server: "127.0.0.1:2525", from: a@example, to: [b@example]}}
  - {name: out, email: {server: mail.example, from: a@example, to: [b@example]}}
  - {name: nms, snmp: {target: "127.0.0.1", version: 2c, community: "file:c"}}
  - {name: room, template: slack, webhook: {url: "file:url"}}
  - {name: jd, journald: {}}
`, map[string]string{"hook.secret": "s", "c": "public", "url": "https://h.example/T0KEN\n"})
	n := c.Notify
	if url, err := n[0].Webhook.URL.Read(); err != nil || url != "http://127.0.0.1:9000/hook" || !n[0].Webhook.Secret.Set() || n[0].Webhook.OldSecret.Set() {
		t.Errorf("webhook: %q, %v", url, err)
	}
	if url, err := n[8].Webhook.URL.Read(); err != nil || url != "https://h.example/T0KEN" || n[8].Template != "slack" {
		t.Errorf("room: %q, %v", url, err)
	}
	got := []string{}
	for _, s := range []*config.Syslog{n[2].Syslog, n[3].Syslog, n[4].Syslog} {
		got = append(got, fmt.Sprint(s.Network, " ", s.Address, " ", s.Facility))
	}
	got = append(got, n[5].Email.TLS, n[6].Email.TLS, n[6].Email.Server, n[7].SNMP.Target, n[9].Journald.Socket)
	want := []string{
		"udp 127.0.0.1:5514 3", "unix /dev/log 19", "tls log.example:6514 3", config.MailNone, config.MailStartTLS, "mail.example:587",
		"127.0.0.1:162", "/run/systemd/journal/socket",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestALinkNeverShowsItsToken(t *testing.T) {
	c, _ := good(t, `notify: [{name: a, webhook: {url: "https://h.example/T0KEN?x=T0KEN"}}]`, nil)
	l := c.Notify[0].Webhook.URL
	j, err := json.Marshal(c.Notify)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("link", l))
	for _, shown := range []string{fmt.Sprint(l), fmt.Sprintf("%+v %#v %s %q", l, l, l, l), fmt.Sprintf("%+v", c.Notify), string(j), log.String(), l.String()} {
		if strings.Contains(shown, "T0KEN") {
			t.Errorf("shown: %s", shown)
		}
	}
	if l.String() != "https://h.example" {
		t.Errorf("shown as %s", l)
	}
}

func TestMistakesOfReceivers(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{name: a}", "this receiver has no kind"},
		{"{name: a, journald: {}, alertmanager: {url: 'http://h'}}", "a receiver has one kind"},
		{"{name: a, template: slack, journald: {}}", "only a webhook has a template"},
		{"{name: a, template: irc, webhook: {url: 'http://h'}}", `"irc" is not known here`},
		{"{name: a, webhook: {url: 'ftp://h/T0KEN'}}", "begins neither with http:// nor with https://"},
		{"{name: a, webhook: {url: 'http://u:T0KEN@h/'}}", "credentials are never written into this file"},
		{"{name: a, webhook: {url: 'http:///T0KEN'}}", "the URL names no host"},
		{"{name: a, webhook: {url: 'http://h', secret: T0KEN}}", "this is no reference"},
		{"{name: a, webhook: {url: 'http://h', old_secret: 'env:HOME'}}", "there is an old secret and no new one"},
		{"{name: a, webhook: {url: 'file:none'}}", "there is no file"},
		{"{name: a, webhook: {url: 'file:bad'}}", "this is not a URL"},
		{"{name: a, syslog: {address: 'h:514'}}", "not the address of a syslog receiver"},
		{"{name: a, syslog: {address: 'unix://dev/log'}}", "the path of the socket is not absolute"},
		{"{name: a, syslog: {address: 'udp://h', ca: 'file:bad'}}", "authorities have a meaning with tls:// only"},
		{"{name: a, email: {server: h, from: x, to: [b@example]}}", `"x" is not a mail address`},
		{"{name: a, email: {server: h, from: a@example, to: []}}", "there is no recipient"},
		{"{name: a, email: {server: h, from: a@example, to: [b@example], tls: none}}", "mail to another host is not sent in the clear"},
		{"{name: a, email: {server: h, from: a@example, to: [b@example], user: u}}", "user and password go together"},
		{"{name: a, snmp: {target: h, version: 3, community: 'env:HOME'}}", `"3" is not known here`},
		{"{name: a, snmp: {target: h}}", "this key is missing"},
		{"{name: a, journald: {}}, {name: a, journald: {}}", `the name "a" is taken`},
	} {
		got := strings.Join(mistakes(t, "notify: ["+c.text+"]", map[string]string{"bad": "::T0KEN"}), "\n")
		if !strings.Contains(got, c.want) || strings.Count(got, "\n") != 0 || strings.Contains(got, "T0KEN") {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}
