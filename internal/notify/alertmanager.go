package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"allclear/internal/fault"
)

// The labels of an alert. They are its identity in Alertmanager, and nothing
// but what names the fault, and the severity by which people route, is among
// them: everything else would make another alert of the same fault.
//
//	alertname  the code, such as "ssh/host-key-changed"
//	source     "allclear"
//	node       the node
//	resource   the resource
//	severity   critical, major, minor or warning
//	drill      "true", on drills only
//
// Annotations are summary, description, cause, remedy, command and id.
const (
	labelName     = "alertname"
	labelSource   = "source"
	labelNode     = "node"
	labelResource = "resource"
	labelSeverity = "severity"
	labelDrill    = "drill"
	ourSource     = "allclear"
)

// alertLife is how long an alert stands without being told again: a dead agent
// must not look like a clear. An alert without an end resolves itself after
// Alertmanager's resolve_timeout, 5 minutes.
const alertLife = 24 * time.Hour

// alertsMost is how many alerts go into one request.
const alertsMost = 500

// NewAlertmanager returns the sink of an Alertmanager, API version 2.
func NewAlertmanager(o HTTPOptions) (*Alertmanager, error) {
	p, err := newPoster(o, 2)
	if err != nil {
		return nil, err
	}
	return &Alertmanager{p}, nil
}

// Alertmanager is an Alertmanager. It is safe for concurrent use.
type Alertmanager struct{ *poster }

// alert is a postable alert of its API.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    time.Time         `json:"startsAt,omitzero"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Deliver sends one message.
func (a *Alertmanager) Deliver(ctx context.Context, m Message) (string, error) {
	return a.DeliverAll(ctx, []Message{m})
}

// DeliverAll sends messages in requests of at most some hundred alerts.
func (a *Alertmanager) DeliverAll(ctx context.Context, ms []Message) (string, error) {
	now := time.Now()
	var alerts []alert
	for i := range ms {
		if ms[i].Type == Resync {
			strangers, err := a.strangers(ctx, &ms[i], now)
			if err != nil {
				return "", err
			}
			alerts = append(alerts, strangers...)
			for j := range ms[i].Items {
				alerts = append(alerts, alertsOf(&ms[i].Items[j], now)...)
			}
			continue
		}
		alerts = append(alerts, alertsOf(&ms[i], now)...)
	}
	return a.post(ctx, alerts)
}

// Refresh tells of all that is active again: Alertmanager forgets alerts that
// nobody repeats, and all of them when it restarts.
func (a *Alertmanager) Refresh(ctx context.Context, active []Message) error {
	now := time.Now()
	var alerts []alert
	for i := range active {
		alerts = append(alerts, firing(&active[i], now))
	}
	if len(alerts) == 0 {
		return nil
	}
	_, err := a.post(ctx, alerts)
	return err
}

func (a *Alertmanager) post(ctx context.Context, alerts []alert) (string, error) {
	answer := "nothing to say"
	for len(alerts) > 0 {
		n := min(alertsMost, len(alerts))
		body, err := compact(alerts[:n])
		if err != nil {
			return "", fmt.Errorf("encode alerts: %w", err)
		}
		h := http.Header{"Content-Type": {"application/json"}}
		if answer, _, err = a.do(ctx, http.MethodPost, "/api/v2/alerts", h, body); err != nil {
			return "", err
		}
		alerts = alerts[n:]
	}
	return answer, nil
}

// alertsOf is what one message means there. A change of severity resolves the
// alert under the old one in the same request; where an answer was lost, it may
// stand under any other.
func alertsOf(m *Message, now time.Time) []alert {
	switch m.Type {
	case Test:
		return []alert{{
			Labels: map[string]string{
				labelName: "allclear/test", labelSource: ourSource, labelNode: m.Node, labelSeverity: fault.Warning.String(),
			},
			Annotations: map[string]string{"summary": headline(m)},
			StartsAt:    now, EndsAt: now.Add(time.Minute),
		}}
	case Clear:
		return ended(m, fault.None, m.Fault.Severity, now)
	}
	return append(ended(m, m.Fault.Severity, fault.None, now), firing(m, now))
}

// ended are the alerts to resolve: under the severity that was told, or under
// any but keep if that is not sure.
func ended(m *Message, keep, guess fault.Severity, now time.Time) []alert {
	severities := []fault.Severity{m.Was}
	if m.Unsure {
		severities = []fault.Severity{fault.Warning, fault.Minor, fault.Major, fault.Critical}
	} else if m.Was == fault.None {
		severities = []fault.Severity{guess}
	}
	var all []alert
	for _, s := range severities {
		if s == fault.None || s == keep {
			continue
		}
		all = append(all, alert{Labels: labels(m, s), Annotations: annotations(m), StartsAt: begun(m, now), EndsAt: now})
	}
	return all
}

func firing(m *Message, now time.Time) alert {
	return alert{
		Labels: labels(m, m.Fault.Severity), Annotations: annotations(m), StartsAt: begun(m, now), EndsAt: now.Add(alertLife),
	}
}

// begun is when the fault was raised, never after now: Alertmanager refuses an
// alert that ends before it starts.
func begun(m *Message, now time.Time) time.Time {
	if t := when(m.Fault.RaisedAt); !t.IsZero() && t.Before(now) {
		return t
	}
	return now
}

func labels(m *Message, s fault.Severity) map[string]string {
	l := map[string]string{
		labelName: string(m.Fault.Code), labelSource: ourSource, labelNode: m.Node,
		labelResource: m.Fault.Resource, labelSeverity: s.String(),
	}
	if m.Fault.Drill {
		l[labelDrill] = "true"
	}
	return l
}

func annotations(m *Message) map[string]string {
	f := &m.Fault
	a := map[string]string{
		"summary": headline(m), "id": m.ID, "cause": f.Cause, "remedy": strings.Join(steps(m), "\n"),
		"description": f.Text, "command": fmt.Sprintf("allclear fault show %d", f.ID),
	}
	if !f.Durable {
		a["durable"] = "false"
	}
	for k, v := range a {
		if v == "" {
			delete(a, k) // it takes no empty annotation
		}
	}
	return a
}

// strangers are the alerts of this node that Alertmanager has and the resync
// does not name: their faults were lost with a history.
func (a *Alertmanager) strangers(ctx context.Context, m *Message, now time.Time) ([]alert, error) {
	query := url.Values{"filter": {
		fmt.Sprintf("%s=%q", labelSource, ourSource), fmt.Sprintf("%s=%q", labelNode, m.Node),
	}}
	_, body, err := a.do(ctx, http.MethodGet, "/api/v2/alerts?"+query.Encode(), http.Header{}, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the alerts it has: %w", err)
	}
	var have []alert
	if err := json.Unmarshal(body, &have); err != nil {
		return nil, fmt.Errorf("understand the alerts it has: %w", err)
	}
	known := map[string]bool{}
	for i := range m.Items {
		known[identity(labels(&m.Items[i], m.Items[i].Fault.Severity))] = true
	}
	var all []alert
	for _, h := range have {
		if h.Labels[labelName] == "allclear/test" || known[identity(h.Labels)] {
			continue
		}
		all = append(all, alert{Labels: h.Labels, Annotations: h.Annotations, StartsAt: h.StartsAt, EndsAt: now})
	}
	return all, nil
}

func identity(l map[string]string) string {
	return strings.Join([]string{l[labelName], l[labelNode], l[labelResource], l[labelSeverity]}, "\x00")
}

// Probe asks whether it is ready.
func (a *Alertmanager) Probe(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no answer within %s", deadline))
	defer cancel()
	answer, _, err := a.do(ctx, http.MethodGet, "/-/ready", http.Header{}, nil)
	if err != nil {
		return "", explain(ctx, err)
	}
	return "Alertmanager says that it is ready: " + answer, nil
}

// Close lets go of idle connections.
func (a *Alertmanager) Close() { a.close() }
