package notify_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/notify"
)

func TestChatContract(t *testing.T) {
	for _, name := range notify.Templates() {
		t.Run(name, func(t *testing.T) {
			contract(t, func(t *testing.T) *post {
				p := &pile{}
				srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p.add(readChat(r)) }))
				t.Cleanup(srv.Close)
				s, err := notify.NewWebhook(notify.WebhookOptions{HTTPOptions: notify.HTTPOptions{URL: srv.URL}, Template: name})
				if err != nil {
					t.Fatal(err)
				}
				return &post{notify.Config{Name: "chat", Kind: "webhook", Template: name, Identity: srv.URL, People: true, Sink: s}, p.took}
			})
		})
	}
}

// readChat finds the facts in the text that a chat service would show.
func readChat(r *http.Request) (taken, error) {
	var v any
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		return taken{}, err
	}
	var texts []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			texts = append(texts, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	all := strings.Join(texts, "\n")
	if strings.Contains(all, "\x1b") || strings.Contains(all, "\u202e") {
		return taken{}, fmt.Errorf("control characters in %q", all)
	}
	unescape := strings.NewReplacer(`\-`, "-", `\`, "", "*", "").Replace
	out := taken{kind: "raise"}
	for line := range strings.SplitSeq(unescape(all), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Code":
			out.code = value
		case name == "Resource":
			out.resource = value
		case name == "Severity":
			out.severity = value
		case name == "Cleared":
			out.kind = "clear"
		case name == "Bcc":
			return out, fmt.Errorf("forged line %q", line)
		case strings.HasPrefix(line, "Test message"):
			out.kind = "test"
		case strings.HasPrefix(line, "[DRILL] "):
			out.drill = true
		}
	}
	return out, nil
}

func TestAlertmanagerContract(t *testing.T) {
	contract(t, func(t *testing.T) *post {
		p := &pile{}
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { readAlerts(r, p) }))
		t.Cleanup(srv.Close)
		return alertmanagerPost(t, srv.URL, p.took)
	})
}

func alertmanagerPost(t *testing.T, url string, took func(*testing.T) []taken) *post {
	t.Helper()
	s, err := notify.NewAlertmanager(notify.HTTPOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return &post{notify.Config{Name: "am", Kind: "alertmanager", Identity: url, Stateful: true, BySeverity: true, Sink: s}, took}
}

// readAlerts makes a record of each POST: what fires in it, or what ended.
func readAlerts(r *http.Request, p *pile) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/v2/alerts" {
		return
	}
	var alerts []struct {
		Labels           map[string]string
		StartsAt, EndsAt time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		p.add(taken{}, err)
		return
	}
	ended := map[string]bool{}
	for _, a := range alerts {
		out := taken{"clear", a.Labels["alertname"], a.Labels["resource"], a.Labels["severity"], a.Labels["drill"] == "true"}
		switch left := time.Until(a.EndsAt); {
		case out.code == "allclear/test":
			p.add(taken{kind: "test"}, nil)
			continue
		case a.StartsAt.After(a.EndsAt):
			p.add(out, fmt.Errorf("ends before it starts: %+v", a))
			continue
		case left > 23*time.Hour:
			out.kind = "raise"
			if out.severity == fault.Critical.String() && !ended[fault.Major.String()] {
				p.add(out, fmt.Errorf("the major alert was not resolved in the same request"))
				continue
			}
		case len(alerts) > 1: // the old severity of one that fires on
			ended[out.severity] = true
			continue
		}
		p.add(out, nil)
	}
}
