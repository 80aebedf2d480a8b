package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"allclear/internal/wire"
)

// probeBody is the form, and what a probe found.
type probeBody struct {
	Kind, Target, Policy string
	Policies             []string
	At                   time.Time
	Refused              string // why nobody looked
	SSH                  *wire.SSHProbe
	Endpoint             *wire.EndpointProbe
	Matrix               []category
	Shape                string
}

// maxTarget bounds what somebody types, in bytes: a name of DNS is shorter.
const maxTarget = 300

func (w *Web) readProbe(r *http.Request) probeBody {
	b := probeBody{
		Kind: r.FormValue("kind"), Target: strings.TrimSpace(r.FormValue("target")),
		Policy: r.FormValue("policy"), Policies: w.o.Prober.Policies(), Shape: "critical",
	}
	if !slices.Contains([]string{"ssh", "tls", "http"}, b.Kind) {
		b.Kind = "ssh"
	}
	if !slices.Contains(b.Policies, b.Policy) {
		b.Policy = ""
	}
	return b
}

func (w *Web) probeForm(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "probe", "Probe")
	p.Body = w.readProbe(r)
	w.render(rw, http.StatusOK, "probe", p)
	return nil
}

// probe looks once, one at a time a session.
func (w *Web) probe(rw http.ResponseWriter, r *http.Request, s *session) error {
	select {
	case s.probing <- struct{}{}:
		defer func() { <-s.probing }()
	default:
		return &refusal{http.StatusTooManyRequests, wire.Error{Code: "probing", Message: "A probe of yours is running. Wait for its answer, then ask again."}}
	}
	b := w.readProbe(r)
	if b.Target == "" || len(b.Target) > maxTarget {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "Name one target, as HOST, HOST:PORT or a URL."}}
	}
	ctx, cancel := asked(r)
	defer cancel()
	b.At = w.o.Now()
	var err error
	if b.Kind == "ssh" {
		var found wire.SSHProbe
		if found, err = w.o.Prober.SSH(ctx, b.Target, b.Policy); err == nil {
			b.SSH, b.Matrix = &found, matrixOf(found)
			b.Shape = shapeOf(found.OK, found.Inconclusive)
		}
	} else {
		var found wire.EndpointProbe
		if found, err = w.o.Prober.Endpoint(ctx, b.Kind, b.Target); err == nil {
			b.Endpoint = &found
			b.Shape = shapeOf(found.OK, !found.OK && found.Code == "")
		}
	}
	w.note(r, s, "probe "+b.Kind, b.Target, "", result(err))
	if err != nil {
		b.Refused = err.Error() // the words of the prober are for people
	}
	p := w.page(r, s, "probe", "Probe")
	p.Path = "/probe"
	p.Body = b
	status := http.StatusOK
	if err != nil {
		status = http.StatusUnprocessableEntity
	}
	w.render(rw, status, "probe", p)
	return nil
}

func shapeOf(ok, inconclusive bool) string {
	switch {
	case ok:
		return "ok"
	case inconclusive:
		return "stale"
	}
	return "critical"
}

// matrixOf is what both sides brought, one row a category.
func matrixOf(p wire.SSHProbe) []category {
	if len(p.Categories.KEX.Offered) == 0 {
		return nil
	}
	missing := map[string]string{}
	for _, g := range p.MissingDetail {
		missing[g.Category+g.Direction] = g.Smallest
	}
	row := func(name, way, gap string, l wire.SSHList) category {
		c := category{Name: name, Way: way, Allowed: marked(l.Allowed, l.Offered), Offered: marked(l.Offered, l.Allowed), Smallest: missing[gap]}
		if l.NotNeeded {
			c.Way += "; not needed, the cipher authenticates by itself"
		}
		return c
	}
	c := p.Categories
	all := []category{row("Key exchange", "one for both ways", "kex", c.KEX), row("Host key", "one for both ways", "host_key", c.HostKey)}
	for _, d := range []struct {
		name, gap string
		d         wire.SSHDirections
	}{{"Cipher", "cipher", c.Cipher}, {"MAC", "mac", c.MAC}} {
		if slices.Equal(d.d.C2S.Offered, d.d.S2C.Offered) && slices.Equal(d.d.C2S.Allowed, d.d.S2C.Allowed) {
			same := row(d.name, "same list both ways", d.gap+"c2s", d.d.C2S)
			all = append(all, same)
			continue
		}
		all = append(all, row(d.name, "client to server", d.gap+"c2s", d.d.C2S), row(d.name, "server to client", d.gap+"s2c", d.d.S2C))
	}
	return all
}
