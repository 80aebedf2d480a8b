package web

import (
	"context"
	"fmt"
	"html/template"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Agent is the agent as the page needs it.
type Agent interface {
	Beliefs
	Operate(ctx context.Context, ref, who string, r wire.OperatorRequest) (wire.OperatorReply, error)
	Verify(ctx context.Context, selects []string) (wire.VerifyReply, error)
}

// Beliefs is the reading side of the agent.
type Beliefs interface {
	Brief() wire.Status // without faults
	Rows(q api.Query) []wire.FaultRow
	Fault(ref string) (wire.Fault, error)
	Why(ctx context.Context, ref string) (wire.Why, error)
	Checks() []wire.Check
	Follow(ctx context.Context, after uint64) iter.Seq2[fault.Event, error]
	Catalogue() *fault.Catalogue
	Alarms(ctx context.Context) (wire.AlarmsDocument, error)
}

// Prober looks at one endpoint without credentials. What it refuses to look at
// it says in its error.
type Prober interface {
	Policies() []string
	SSH(ctx context.Context, target, policy string) (wire.SSHProbe, error)
	Endpoint(ctx context.Context, kind, target string) (wire.EndpointProbe, error) // kind: tls or http
}

// Auditor remembers who asked for which change.
type Auditor interface {
	Append(e wire.AuditEntry) error
	// Recent returns the newest n, newest first, and how many could not be read.
	Recent(n int) (entries []wire.AuditEntry, damaged int, err error)
}

// Keeper keeps the sessions over a restart. What it is given holds no token,
// only hashes.
type Keeper interface {
	Load() ([]byte, error) // nil if there is nothing
	Save(b []byte) error
}

// Options are what the page needs.
type Options struct {
	Agent   Agent
	Node    string
	Version string
	Prober  Prober
	Audit   Auditor
	Keeper  Keeper // nil: a restart ends every session
	// Works shows and does what the subsystems can; nil: the pages of backups and
	// key servers say that nobody does it.
	Works Works
	// Sinks shows who is told of faults; nil leaves the page out.
	Sinks func(ctx context.Context) ([]wire.NotifySink, error)
	// Base is where the page is served, such as http://127.0.0.1:9191.
	Base func() string
	Log  *slog.Logger
	Now  func() time.Time // time.Now if nil
}

// Web is the page. It must be run to be live.
type Web struct {
	o        Options
	pages    map[string]*template.Template
	sessions *sessions
	hub      *hub
	recent   *recent
	tasks    *tasks
	handler  http.Handler
}

// New returns the page; nothing is sent before Run.
func New(o Options) (*Web, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := parsePages()
	if err != nil {
		return nil, fmt.Errorf("templates of the page: %w", err)
	}
	w := &Web{o: o, pages: pages, hub: newHub(), recent: &recent{agent: o.Agent}, tasks: newTasks()}
	if w.sessions, err = newSessions(o.Keeper, o.Now); err != nil {
		o.Log.LogAttrs(context.Background(), slog.LevelWarn, "sessions of the page are lost", slog.Any("error", err))
	}
	w.handler = w.door()
	return w, nil
}

// Run follows the journal for those who look at a page, and does the long work
// that they ask for, until ctx ends.
func (w *Web) Run(ctx context.Context) error {
	defer w.hub.stop()
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { w.tasks.run(ctx, w.o.Now) })
	return w.live(ctx)
}

// ServeHTTP answers a browser.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.handler.ServeHTTP(rw, r) }

// Login mints a link that opens the page once, with this role.
func (w *Web) Login(who string, role api.Role) (wire.PageLogin, error) {
	token, until := w.sessions.mint(who, role)
	return wire.PageLogin{URL: w.o.Base() + "/login?token=" + token, Role: string(role), Expires: until.UTC()}, nil
}
