package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"allclear/internal/agent"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// Options are what a Server needs.
type Options struct {
	Agent   *agent.Agent
	Version wire.Version
	Socket  string // path of the unix socket
	Listen  string // loopback host:port of the TCP door; "" for none
	// GroupRole is what members of [Group] may do; "" means viewer. It is never
	// admin.
	GroupRole subsystem.Role
	// Page answers at the TCP door what the API itself does not; nil for none.
	Page Page
	// Hosts are the names by which the TCP door may be asked for, in lower case,
	// besides those of loopback.
	Hosts []string
	// MetricsToken, if set, must be sent as a bearer token for /metrics over TCP.
	// It is read at each scrape.
	MetricsToken func() (string, error)
	// Audit remembers every change; nil leaves only the log.
	Audit *AuditLog
	Log   *slog.Logger
}

// Server is the agent's doors.
type Server struct {
	opts     Options
	access   access
	unix     net.Listener
	tcp      net.Listener // nil without a TCP door
	registry *prometheus.Registry
	streams  chan struct{} // a place for each open stream; full: refused
	stopping chan struct{} // closed when the server stops: streams end
}

// maxStreams is how many streams may be open; the next is refused with 503.
const maxStreams = 64

// New opens both doors; nobody is answered before Run. It fails with
// *[InUseError] while another agent lives behind the socket, and with
// *[NotLoopbackError].
func New(o Options) (*Server, error) {
	if o.GroupRole == "" {
		o.GroupRole = subsystem.Viewer
	}
	if o.GroupRole == subsystem.Admin {
		return nil, fmt.Errorf("group %s cannot be given the role admin", Group)
	}
	for _, sub := range o.Agent.Subsystems() {
		if slices.Contains(reserved(), sub.Name()) {
			return nil, fmt.Errorf("subsystem name %q is a path of the API", sub.Name())
		}
	}
	s := &Server{
		opts:    o,
		access:  access{agentUID: os.Geteuid(), group: groupID(Group), groupRole: o.GroupRole},
		streams: make(chan struct{}, maxStreams), stopping: make(chan struct{}),
	}
	s.registry = newRegistry(s)
	var err error
	if s.unix, err = listenUnix(o.Socket, s.access.group); err != nil {
		return nil, err
	}
	if s.tcp, err = listenTCP(o.Listen); err != nil {
		return nil, errors.Join(err, s.unix.Close())
	}
	return s, nil
}

// Addr is the address of the TCP door, "" without one.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// drain is how long requests under way may take when the server stops.
const drain = 5 * time.Second

// Run serves until ctx ends. Streams then end at once; other requests get five
// seconds to finish. It must be called once.
func (s *Server) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	doors := []*http.Server{s.door(base, Socket)}
	listeners := []net.Listener{s.unix}
	if s.tcp != nil {
		doors, listeners = append(doors, s.door(base, Both)), append(listeners, limitConns(s.tcp, maxConns))
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, d := range doors {
		g.Go(func() error {
			if err := d.Serve(listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", listeners[i].Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		close(s.stopping)
		limit, stop := context.WithTimeout(base, drain)
		defer stop()
		for _, d := range doors {
			if err := d.Shutdown(limit); err != nil {
				s.opts.Log.LogAttrs(base, slog.LevelWarn, "requests cut off at the stop", slog.Any("error", err))
				_ = d.Close() // Shutdown's error is the one that counts
			}
		}
		return nil
	})
	return g.Wait()
}

// Close closes the doors of a server that is never run.
func (s *Server) Close() error {
	err := s.unix.Close()
	if s.tcp != nil {
		err = errors.Join(err, s.tcp.Close())
	}
	return err
}

// door makes the server of one door. Its deadlines are set by request: a
// stream lives long, its reader must not be slow.
func (s *Server) door(base context.Context, d Door) *http.Server {
	srv := &http.Server{
		Handler:           s.handler(d),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	}
	if d == Socket {
		srv.ConnContext = s.access.withCaller
	}
	return srv
}

// handler routes the requests of one door.
func (s *Server) handler(d Door) http.Handler {
	mux := http.NewServeMux()
	for _, r := range Routes(s.opts.Agent.Subsystems()) {
		if d == Socket || r.Door == Both {
			mux.Handle(r.Method+" "+r.Path, s.serve(r))
		}
	}
	if d == Both && s.opts.Page != nil {
		mux.Handle("/", s.opts.Page)
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { noRoute(mux, w, r) })
	}
	if d == Socket {
		return s.knownCallers(mux)
	}
	return s.knownHosts(mux)
}

// noRoute tells a wrong path from a wrong method.
func noRoute(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" && method != r.Method {
			w.Header().Set("Allow", method)
			fail(w, refuse(http.StatusMethodNotAllowed, "wrong-method", "", "%s does not take %s", r.URL.Path, r.Method))
			return
		}
	}
	fail(w, refuse(http.StatusNotFound, "no-such-path", "", "no such path %s", r.URL.Path))
}

// knownCallers turns away callers of the socket that have no role.
func (s *Server) knownCallers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := callerOf(r.Context())
		if !ok || c.Role == "" {
			s.opts.Log.LogAttrs(r.Context(), slog.LevelWarn, "caller refused", slog.Int("uid", c.UID), slog.Int("pid", c.PID))
			fail(w, refuse(http.StatusForbidden, "not-allowed",
				"call as root, or have root add the user: usermod -aG "+Group+" USER (takes effect at the next login)", "%s", c.refusal))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knownHosts keeps web pages that rebind their name to loopback away from the
// TCP door.
func (s *Server) knownHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.known(r.Host) {
			fail(w, refuse(http.StatusMisdirectedRequest, "wrong-host", "ask for localhost, a loopback address, or a name that page.hosts of the configuration holds", "this door does not serve host %q", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve wraps a route with its rights, its time and its audit line.
func (s *Server) serve(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := callerOf(r.Context())
		if route.Role != "" && !route.Role.Allows(c.Role) {
			err := refuse(http.StatusForbidden, "not-allowed", s.howToGain(route.Role), "%s (uid %d) has the role %s; this needs %s", c.Name(), c.UID, c.Role, route.Role)
			s.audit(r, route, c, time.Now(), err)
			fail(w, err)
			return
		}
		if route.Timeout > 0 {
			ctx, cancel := context.WithTimeoutCause(r.Context(), route.Timeout, errSlow)
			defer cancel()
			r = r.WithContext(ctx)
		}
		begun, out := time.Now(), &tracked{ResponseWriter: w}
		var v any
		var err error
		if route.stream != nil {
			err = route.stream(s, out, r)
		} else {
			v, err = route.answer(s, out, r)
		}
		if err != nil && context.Cause(r.Context()) == errSlow {
			err = fmt.Errorf("%w (%s): %v", errSlow, route.Timeout, err)
		}
		s.audit(r, route, c, begun, err) // before the answer: who has it finds it in the log
		switch {
		case err != nil && !out.begun: // a stream under way tells of its error in its own words
			fail(out, err)
		case err == nil && route.stream == nil:
			send(out, http.StatusOK, v)
		}
	})
}

func (s *Server) howToGain(need subsystem.Role) string {
	if need == subsystem.Operator && s.access.groupRole == subsystem.Viewer {
		return "call as root, or set api.group_role: operator in the configuration"
	}
	return "call as root"
}

// audit writes who changed what, also when it was refused.
func (s *Server) audit(r *http.Request, route Route, c Caller, begun time.Time, err error) {
	if !route.Change {
		return
	}
	result := "done"
	if err != nil {
		result = describe(err).body.Code
	}
	s.opts.Log.LogAttrs(r.Context(), slog.LevelInfo, "audit",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("user", c.Name()),
		slog.Int("uid", c.UID), slog.Int("pid", c.PID), slog.String("role", string(c.Role)),
		slog.String("result", result), slog.Int64("duration_ms", time.Since(begun).Milliseconds()))
	s.record(r, c, result)
}
