package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

const keyServerName = "keyserver" // the subsystem

// keyServersBody is all servers, what survives their loss, and the keys.
type keyServersBody struct {
	Missing bool // the agent has no key servers at all
	Node    string
	Servers []serverCell
	Groups  []wire.KeyServerGroup
	Faults  []faultRow
	Matrix  survival
	Keys    []keyRow
}

// serverCell is a server as this node found it.
type serverCell struct {
	wire.KeyServer
	DOM          string
	Icon, Word   string
	Small        string // what it took and when, or what is wrong
	Steps        template.HTML
	Latency      template.HTML
	LatencySays  string
	Certificates []certificateRow
	Roles        string
}

type certificateRow struct {
	Icon, Which, Text string
	Until             time.Time
}

func (w *Web) keyServers(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "keyservers", "Key servers")
	b := keyServersBody{Node: w.o.Node}
	servers, err := view[wire.List[wire.KeyServer]](r.Context(), w, s.Role, keyServerName, "servers", nil)
	if b.Missing = errors.Is(err, ErrNoWork); err != nil && !b.Missing {
		return err
	}
	if !b.Missing {
		if err := w.keysOf(r.Context(), s, &b, p.Now); err != nil {
			return err
		}
	}
	worst, states := w.serverFaults()
	for _, srv := range servers.Items {
		b.Servers = append(b.Servers, serverCellOf(srv, worst, states, p.Now))
	}
	b.Faults = w.listed(inOrder(w.faultsOf(keyServerName, "")), shownFaults)
	p.Body = b
	w.render(rw, http.StatusOK, "keyservers", p)
	return nil
}

// keysOf adds groups, keys and what survives.
func (w *Web) keysOf(ctx context.Context, s *session, b *keyServersBody, now time.Time) error {
	groups, err := view[wire.List[wire.KeyServerGroup]](ctx, w, s.Role, keyServerName, "groups", nil)
	if err != nil {
		return err
	}
	keys, err := view[wire.List[wire.Key]](ctx, w, s.Role, keyServerName, "keys", nil)
	if err != nil {
		return err
	}
	lives, err := view[wire.Survivability](ctx, w, s.Role, keyServerName, "survival", nil)
	if err != nil {
		return err
	}
	b.Groups, b.Matrix = groups.Items, survivalOf(lives)
	for _, k := range keys.Items {
		row := keyRowOf(k, now)
		row.Tasks = taskRows(w.tasks.of(k.Name), keyTasks(), row.DOM, now)
		b.Keys = append(b.Keys, row)
	}
	return nil
}

// faultsOf are the active faults that checks of a subsystem own; check "" means
// all of them.
func (w *Web) faultsOf(subsystem, check string) []wire.FaultRow {
	return slices.DeleteFunc(w.o.Agent.Rows(api.Query{}), func(f wire.FaultRow) bool {
		return f.Key.Drill() || part(f.Check) != subsystem || check != "" && f.Check != check
	})
}

// serverCheck is the check that looks at a server.
func serverCheck(name string) string { return "keyserver.server@" + name }

// serverFaults are the gravest active severity of each check of a server, and
// the states of the checks.
func (w *Web) serverFaults() (worst map[string]fault.Severity, states map[string]string) {
	worst, states = map[string]fault.Severity{}, map[string]string{}
	for _, f := range w.faultsOf(keyServerName, "") {
		worst[f.Check] = max(worst[f.Check], f.Severity)
	}
	for _, c := range w.o.Agent.Checks() {
		if part(c.Name) == keyServerName {
			states[c.ID] = c.State
		}
	}
	return worst, states
}

func serverCellOf(s wire.KeyServer, worst map[string]fault.Severity, states map[string]string, now time.Time) serverCell {
	c := serverCell{KeyServer: s, DOM: "k" + digestID(s.Name), Roles: roles(&s)}
	c.Icon, c.Word, c.Small = serverState(&s, worst[serverCheck(s.Name)], states[serverCheck(s.Name)], now)
	c.Steps = stepSegments(s.Last)
	c.Latency, c.LatencySays = latencyChart(s.Name, s.History, now)
	for _, cert := range s.Certificates {
		c.Certificates = append(c.Certificates, certificateOf(&s, cert))
	}
	return c
}

// serverState says how far the newest validation came.
func serverState(s *wire.KeyServer, grave fault.Severity, state string, now time.Time) (icon, word, small string) {
	l := s.Last
	if l == nil {
		return "stale", "Not looked at yet", ""
	}
	passed, tried, failed := 0, 0, 0
	for _, st := range l.Steps {
		switch st.Outcome {
		case "ok", "warning":
			passed, tried = passed+1, tried+1
		case "failed":
			tried++
			if failed == 0 {
				failed = st.Number
			}
		}
	}
	word, small = fmt.Sprintf("%d of %d", passed, tried), fmt.Sprintf("%.0f ms, %s", l.DurationMS, clock(now, l.At))
	icon = "ok"
	if failed > 0 {
		word = fmt.Sprintf("Stopped at %d", failed)
	}
	if !l.OK {
		icon, small = "major", visible(joined(", ", cmp.Or(l.Error, l.Cause, l.Code), clock(now, l.At)))
	}
	switch {
	case grave > fault.None:
		icon = grave.String()
	case state == "stale" || state == "failing":
		icon, word = "stale", word+", stale"
	}
	return icon, word, small
}

// roles says what a server is defined as, and what it says of itself.
func roles(s *wire.KeyServer) string {
	words := "clone"
	if s.Primary {
		words = "primary"
	}
	if s.Role != "" {
		words += ", says " + visible(s.Role)
	}
	return words
}

func certificateOf(s *wire.KeyServer, c wire.KeyServerCertificate) certificateRow {
	row := certificateRow{Icon: "ok", Which: map[string]string{"server": "its own", "client": "ours", "ca": "its authority"}[c.Which], Until: c.NotAfter}
	row.Which = cmp.Or(row.Which, c.Which)
	row.Text = count(c.DaysLeft, "day") + " left"
	ending := slices.ContainsFunc(s.Faults, func(f string) bool {
		return strings.HasPrefix(f, "keyserver/cert-expiring") && strings.HasSuffix(f, "/"+c.Which)
	})
	switch {
	case c.DaysLeft < 0:
		row.Icon, row.Text = "critical", "ended"
	case ending:
		row.Icon = "minor"
	}
	return row
}

// survival is the matrix of what can be opened when servers are gone.
type survival struct {
	Servers []string
	Rows    []survivalRow
	Keys    []wire.SurvivalIfServer // of servers that alone hold a key
}

type survivalRow struct {
	ID    string
	Cells []survivalCell // one a server, then one for all of them
}

type survivalCell struct{ Lose, Icon, Word, Why string }

func survivalOf(l wire.Survivability) survival {
	m := survival{Servers: l.Servers}
	for _, t := range l.Things {
		row := survivalRow{ID: t.ID}
		for _, name := range l.Servers {
			row.Cells = append(row.Cells, survivalCellOf(&t, "Lose "+name, name))
		}
		row.Cells = append(row.Cells, survivalCellOf(&t, "Lose all", t.Openers...))
		m.Rows = append(m.Rows, row)
	}
	for _, lost := range l.Lost {
		if len(lost.Keys) > 0 {
			m.Keys = append(m.Keys, lost)
		}
	}
	return m
}

// survivalCellOf says who opens a thing when these servers are gone.
func survivalCellOf(t *wire.SurvivalThing, lose string, gone ...string) survivalCell {
	left := slices.DeleteFunc(slices.Clone(t.Openers), func(name string) bool { return slices.Contains(gone, name) })
	c := survivalCell{Lose: visible(lose)}
	switch {
	case len(left) > 0:
		c.Icon, c.Word, c.Why = "ok", "Opens", "from "+visible(strings.Join(left[:min(3, len(left))], ", "))
	case t.Local:
		c.Icon, c.Word, c.Why = "ok", "Opens", "with the key file of this host"
	case !t.Opens:
		c.Icon, c.Word, c.Why = "stale", "Not known to open now", "no server was found to have its key"
	case t.Recovery:
		c.Icon, c.Word, c.Why = "major", "Recovery key only", "new work stops"
	default:
		c.Icon, c.Word, c.Why = "critical", "Lost", "nothing else opens it"
	}
	return c
}

// keyServerTest validates one server, or all.
func (w *Web) keyServerTest(rw http.ResponseWriter, r *http.Request, s *session) error {
	name := r.PostFormValue("server")
	ctx, cancel := asked(r)
	defer cancel()
	_, err := do[wire.List[wire.KeyServerReply]](ctx, w, r, s, keyServerName, "test", cmp.Or(name, "all"), wire.KeyServerRequest{Name: name})
	if err != nil {
		return err
	}
	http.Redirect(rw, r, local(cmp.Or(r.PostFormValue("back"), "/keyservers")), http.StatusSeeOther)
	return nil
}

// keyServerBody is one server.
type keyServerBody struct {
	Server serverCell
	Faults []faultRow
	Points []wire.KeyServerPoint // newest first
}

func (w *Web) keyServer(rw http.ResponseWriter, r *http.Request, s *session) error {
	name := r.PathValue("server")
	servers, err := view[wire.List[wire.KeyServer]](r.Context(), w, s.Role, keyServerName, "servers", nil)
	if err != nil && !errors.Is(err, ErrNoWork) {
		return err
	}
	i := slices.IndexFunc(servers.Items, func(k wire.KeyServer) bool { return k.Name == name })
	if i < 0 {
		return &refusal{http.StatusNotFound, wire.Error{Code: "no-such-server", Message: "No key server has this name.", Hint: "The page of key servers lists all of them."}}
	}
	p := w.page(r, s, "keyservers", "Key server "+visible(name))
	worst, states := w.serverFaults()
	b := keyServerBody{Server: serverCellOf(servers.Items[i], worst, states, p.Now), Points: slices.Clone(servers.Items[i].History)}
	slices.Reverse(b.Points)
	b.Faults = w.listed(inOrder(w.faultsOf(keyServerName, serverCheck(name))), shownFaults)
	p.Body = b
	w.render(rw, http.StatusOK, "keyserver", p)
	return nil
}

// keyServerPatches is what changes of servers and renewals.
func (w *Web) keyServerPatches(ctx context.Context, put func(id, text, state string)) {
	if w.o.Works == nil {
		return
	}
	servers, err := view[wire.List[wire.KeyServer]](ctx, w, api.Viewer, keyServerName, "servers", url.Values{})
	if err != nil {
		return // the page keeps what it shows
	}
	now := w.o.Now()
	worst, states := w.serverFaults()
	for _, s := range servers.Items[:min(len(servers.Items), liveJobs)] {
		check := serverCheck(s.Name)
		icon, word, small := serverState(&s, worst[check], states[check], now)
		dom := "k" + digestID(s.Name)
		put(dom+"-st", word, icon)
		put(dom+"-ms", small, "")
	}
	for _, name := range w.tasks.targets(keyTasks()) {
		for _, t := range taskRows(w.tasks.of(name), keyTasks(), keyDOM(name), now) {
			put(t.DOM, t.Text, t.Icon)
		}
	}
}
