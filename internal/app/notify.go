package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"allclear/internal/agent"
	"allclear/internal/check"
	"allclear/internal/config"
	"allclear/internal/lab"
	"allclear/internal/notify"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// teller is the notifier as the agent runs a subsystem.
type teller struct{ *notify.Notifier }

var (
	_ subsystem.Subsystem = teller{}
	_ subsystem.Describer = teller{}
)

// Views are GET /v1/notify/sinks.
func (t teller) Views() []subsystem.View {
	return []subsystem.View{{
		Path: "sinks", Role: subsystem.Viewer,
		Get: func(context.Context, url.Values) (any, error) {
			return wire.List[wire.NotifySink]{Items: t.List()}, nil
		},
	}}
}

// Actions are POST /v1/notify/test.
func (t teller) Actions() []subsystem.Action {
	return []subsystem.Action{{
		Name: "test", Role: subsystem.Operator,
		Do: func(ctx context.Context, in json.RawMessage, _ func(wire.Progress)) (any, error) {
			var req wire.NotifyTestRequest
			if err := json.Unmarshal(in, &req); err != nil {
				return nil, fmt.Errorf("understand the request: %w", err)
			}
			answer, err := t.Test(ctx, req.Sink)
			if errors.Is(err, notify.ErrNoSink) {
				return nil, fmt.Errorf("%w: no receiver is called %q", agent.ErrNothingSelected, req.Sink)
			}
			return answer, err
		},
	}}
}

// Drills break a receiver in the lab.
func (t teller) Drills() []subsystem.Drill {
	var receiver *lab.TLSServer
	manner := func(m lab.Manner) func(context.Context, *lab.Lab) error {
		return func(context.Context, *lab.Lab) error {
			receiver.Set(func(o *lab.TLSOptions) { o.Manner = m })
			return nil
		}
	}
	return []subsystem.Drill{{
		Code: notify.CodeFailed,
		Prepare: func(_ context.Context, l *lab.Lab) (c check.Check, err error) {
			if receiver, err = l.TLS(lab.TLSOptions{}); err != nil {
				return c, err
			}
			address := "https://" + receiver.Addr()
			sink, err := notify.NewWebhook(notify.WebhookOptions{HTTPOptions: notify.HTTPOptions{URL: address, Roots: l.CA().PEM}})
			if err != nil {
				return c, err
			}
			l.OnClose(func() error { sink.Close(); return nil })
			return notify.Check(notify.Config{Name: "drill", Kind: "webhook", Destination: address, Sink: sink}, l.Resource("webhook")), nil
		},
		Break:  manner(lab.ResetAtOnce),
		Repair: manner(lab.Serve),
	}}
}

// looked claims that every check has looked once.
func (h *house) looked() bool {
	for _, c := range h.agent.Checks() {
		if c.Last == nil {
			return false
		}
	}
	return true
}

// sinks makes of the configuration the receivers that are told. Destinations
// and certificates are read now, secrets when they are used.
func (p *plan) sinks() ([]notify.Config, error) {
	var all []notify.Config
	var errs []error
	for i := range p.Notify {
		c, err := p.sink(&p.Notify[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("notify %s: %w", p.Notify[i].Name, err))
			continue
		}
		c.Name = p.Notify[i].Name
		all = append(all, c)
	}
	return all, errors.Join(errs...)
}

// checkNotify reports what is wrong with a receiver beyond its form.
func (p *plan) checkNotify(m *config.Mistakes) {
	for i := range p.Notify {
		path := fmt.Sprintf("notify[%d]", i)
		if m.Has(path) {
			continue
		}
		if c, err := p.sink(&p.Notify[i]); err != nil {
			m.Add(path, err.Error(), "")
		} else {
			c.Sink.Close()
		}
	}
}

func (p *plan) sink(n *config.Notify) (notify.Config, error) {
	switch {
	case n.Webhook != nil:
		return webhookSink(n.Webhook, n.Template)
	case n.Alertmanager != nil:
		o, err := httpOptions(n.Alertmanager.URL, n.Alertmanager.CA, n.Alertmanager.Proxy)
		if err != nil {
			return notify.Config{}, err
		}
		s, err := notify.NewAlertmanager(o)
		return notify.Config{
			Kind: "alertmanager", Destination: notify.SafeURL(o.URL), Identity: o.URL, Stateful: true, BySeverity: true, Sink: s,
		}, err
	case n.Syslog != nil:
		roots, err := readRef(n.Syslog.CA)
		if err != nil {
			return notify.Config{}, err
		}
		s, err := notify.NewSyslog(notify.SyslogOptions{
			Network: n.Syslog.Network, Address: n.Syslog.Address, Roots: roots, Facility: n.Syslog.Facility,
		})
		to := n.Syslog.Network + "://" + n.Syslog.Address
		return notify.Config{Kind: "syslog", Destination: to, Identity: to, BestEffort: true, Sink: s}, err
	case n.Email != nil:
		return p.emailSink(n.Email)
	case n.SNMP != nil:
		s, err := notify.NewSNMP(notify.SNMPOptions{Target: n.SNMP.Target, Community: n.SNMP.Community.Text, Started: time.Now()})
		return notify.Config{Kind: "snmp", Destination: n.SNMP.Target, Identity: n.SNMP.Target, BestEffort: true, Sink: s}, err
	case n.Journald != nil:
		return notify.Config{
			Kind: "journald", Destination: n.Journald.Socket, Identity: n.Journald.Socket, BestEffort: true,
			Sink: notify.NewJournald(n.Journald.Socket),
		}, nil
	}
	return notify.Config{}, errors.New("the receiver has no kind")
}

func webhookSink(w *config.Webhook, template string) (notify.Config, error) {
	http, err := httpOptions(w.URL, w.CA, w.Proxy)
	if err != nil {
		return notify.Config{}, err
	}
	o := notify.WebhookOptions{HTTPOptions: http, Template: template}
	if w.Secret.Set() {
		o.Secrets = func() ([]string, error) { return secrets(w.Secret, w.OldSecret) }
	}
	s, err := notify.NewWebhook(o)
	return notify.Config{
		Kind: "webhook", Template: template, Destination: notify.SafeURL(o.URL), Identity: o.URL,
		People: template != "", Stateful: template == "", Parallel: 16, Sink: s,
	}, err
}

// secrets reads those that are set.
func secrets(refs ...config.Secret) ([]string, error) {
	var all []string
	for _, r := range refs {
		if !r.Set() {
			continue
		}
		text, err := r.Text()
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

func (p *plan) emailSink(e *config.Email) (notify.Config, error) {
	roots, err := readRef(e.CA)
	if err != nil {
		return notify.Config{}, err
	}
	s, err := notify.NewEmail(notify.EmailOptions{
		Server: e.Server, Security: notify.MailSecurity(e.TLS), Roots: roots, From: e.From, To: e.To,
		User: e.User, Password: e.Password.Text, Hostname: p.node(),
	})
	return notify.Config{
		Kind: "email", Destination: fmt.Sprintf("%s for %s", e.Server, count(len(e.To), "recipient")),
		Identity: fmt.Sprint(e.Server, e.To), People: true, BestEffort: true, Sink: s,
	}, err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func httpOptions(to config.Link, ca config.Ref, proxy config.Link) (o notify.HTTPOptions, err error) {
	if o.URL, err = to.Read(); err != nil {
		return o, err
	}
	if proxy.Set() {
		if o.Proxy, err = proxy.Read(); err != nil {
			return o, err
		}
	}
	o.Roots, err = readRef(ca)
	return o, err
}

// readRef reads a bundle of certificates; nil if none is set.
func readRef(r config.Ref) ([]byte, error) {
	if !r.Set() {
		return nil, nil
	}
	return r.Read()
}
