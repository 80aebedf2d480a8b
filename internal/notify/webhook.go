package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"allclear/internal/wire"
)

// The headers of a webhook message.
const (
	// HeaderID is the idempotency key, node/epoch/seq.
	HeaderID = "Allclear-Id"
	// HeaderSignature is "t=<unix>,v1=<hex>", one v1 for each secret in force:
	// HMAC-SHA256(secret, t.id.body).
	HeaderSignature = "Allclear-Signature"
)

// webhookParallel is how many messages are under way at a time.
const webhookParallel = 16

// WebhookOptions describe a webhook.
type WebhookOptions struct {
	HTTPOptions
	// Secrets returns the secrets to sign with, the newest first; two while one is
	// replaced. It is asked for each message. Nil: messages are not signed.
	Secrets func() ([]string, error)
	// Template is the form of messages: "" for CloudEvents, or a chat service of
	// [Templates].
	Template string
}

// NewWebhook returns the sink of an HTTP receiver that gets one JSON object a
// POST.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	p, err := newPoster(o.HTTPOptions, webhookParallel)
	if err != nil {
		return nil, err
	}
	w := &Webhook{poster: p, secrets: o.Secrets, form: cloudEvent, mime: "application/cloudevents+json; charset=utf-8"}
	if o.Template != "" {
		form, known := templates()[o.Template]
		if !known {
			return nil, fmt.Errorf("no template is called %q", o.Template)
		}
		w.form, w.mime = form, "application/json; charset=utf-8"
	}
	return w, nil
}

// Webhook is an HTTP receiver. It is safe for concurrent use.
type Webhook struct {
	*poster
	secrets func() ([]string, error)
	form    func(*Message) any
	mime    string
}

// Deliver sends one message.
func (w *Webhook) Deliver(ctx context.Context, m Message) (string, error) {
	body, err := compact(w.form(&m))
	if err != nil {
		return "", fmt.Errorf("encode the message: %w", err)
	}
	h := http.Header{"Content-Type": {w.mime}, HeaderID: {headerID(m.ID)}}
	if w.secrets != nil {
		secrets, err := w.secrets()
		if err != nil {
			return "", err
		}
		h.Set(HeaderSignature, Sign(secrets, time.Now(), headerID(m.ID), body))
	}
	answer, _, err := w.do(ctx, http.MethodPost, "", h, body)
	return answer, err
}

// Probe connects, and no more: a receiver has no other use for an empty
// request than to complain of it.
func (w *Webhook) Probe(ctx context.Context) (string, error) { return w.reach(ctx) }

// Close lets go of idle connections.
func (w *Webhook) Close() { w.close() }

// headerID is the id as a header may carry it: a node's name is checked when
// the configuration is read, the rest is ours.
func headerID(id string) string { return oneLine(id) }

// compact is one line of JSON. HTML is left as it is: the receiver decides what
// it puts where.
func compact(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}

// Sign makes the value of [HeaderSignature].
func Sign(secrets []string, at time.Time, id string, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	s := "t=" + t
	for _, secret := range secrets {
		s += ",v1=" + hex.EncodeToString(mac(secret, t, id, body))
	}
	return s
}

func mac(secret, t, id string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t + "." + id + ".")) // never fails
	h.Write(body)
	return h.Sum(nil)
}

// Why a signature is not good.
var (
	ErrUnsigned  = errors.New("no signature is made with this secret")
	ErrForgotten = errors.New("the signature is too old, or of the future")
)

// Verify is what a receiver does: it claims that body was signed with secret
// at most within ago.
func Verify(secret, signature, id string, body []byte, now time.Time, within time.Duration) error {
	var t string
	good := false
	for part := range strings.SplitSeq(signature, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "t":
			t = value
		case "v1":
			sum, err := hex.DecodeString(value)
			good = good || err == nil && hmac.Equal(sum, mac(secret, t, id, body))
		}
	}
	if !good {
		return ErrUnsigned
	}
	unix, err := strconv.ParseInt(t, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > within {
		return ErrForgotten
	}
	return nil
}

// event is a CloudEvent 1.0 in structured mode: the attributes and the data in
// one object, so that what is signed is all there is.
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"` // /allclear/NODE
	Type        string    `json:"type"`   // allclear.fault.raise, ...
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	Data        any       `json:"data"`
}

func cloudEvent(m *Message) any {
	e := event{
		SpecVersion: "1.0", ID: m.ID, Source: "/allclear/" + url.PathEscape(m.Node), Time: m.At,
		ContentType: "application/json", Type: "allclear.fault." + string(m.Type),
	}
	switch m.Type {
	case Test:
		e.Type, e.Data = "allclear.test", map[string]string{"node": m.Node, "text": headline(m)}
	case Resync, Digest:
		e.Type = "allclear.node." + string(m.Type)
		active := make([]wire.Fault, 0, len(m.Items))
		for i := range m.Items {
			active = append(active, m.Items[i].Fault)
		}
		e.Data = map[string]any{"node": m.Node, "faults": active}
	default:
		e.Subject, e.Data = string(m.Fault.Code)+"@"+m.Fault.Resource, m.Fault
	}
	return e
}
