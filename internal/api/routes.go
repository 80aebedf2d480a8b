package api

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"allclear/internal/subsystem"
)

// Door is where a route is served.
type Door string

// The doors.
const (
	Socket Door = "socket"
	Both   Door = "both" // the socket and the TCP door
)

// Route is one path of the API, with who may use it next to it.
type Route struct {
	Method, Path string
	Role         subsystem.Role // "" only where nothing is shown that needs one
	Door         Door
	Timeout      time.Duration // of the whole request; 0: a stream, as long as the caller stays
	Change       bool          // written to the audit log
	Doc          string

	answer func(*Server, http.ResponseWriter, *http.Request) (any, error)
	stream func(*Server, http.ResponseWriter, *http.Request) error
}

// How long requests may take. A look has its own deadline, 30 s unless its
// check says otherwise, and many may wait in line.
const (
	quick   = 10 * time.Second
	looking = 10 * time.Minute
	working = time.Hour
)

// fixed are the routes that do not depend on the subsystems.
func fixed() []Route {
	return []Route{
		{"GET", "/v1/status", subsystem.Viewer, Socket, quick, false, "whether all is well, what was proved, what nobody vouches for", (*Server).status, nil},
		{"GET", "/v1/faults", subsystem.Viewer, Socket, quick, false, "faults; ?state=active|cleared|all &severity= &code= &resource= &after=ID &limit=", (*Server).faults, nil},
		{"GET", "/v1/faults/{ref}", subsystem.Viewer, Socket, quick, false, "one fault, by id or CODE@RESOURCE", (*Server).fault, nil},
		{"GET", "/v1/faults/{ref}/why", subsystem.Viewer, Socket, quick, false, "why a fault is, or is not, active", (*Server).why, nil},
		{"GET", "/v1/faults/{ref}/history", subsystem.Viewer, Socket, quick, false, "its events, newest first; ?before=SEQ &limit=", (*Server).history, nil},
		{"POST", "/v1/faults/{ref}/{op}", subsystem.Operator, Socket, looking, true, "ack, unack, shelve, unshelve or fix; fix looks at once", (*Server).operate, nil},
		{"POST", "/v1/verify", subsystem.Operator, Socket, looking, true, "look now and wait; the answer is what changed", (*Server).verify, nil},
		{"GET", "/v1/checks", subsystem.Viewer, Socket, quick, false, "every check: plan, last look, verdicts", (*Server).checks, nil},
		{"GET", "/v1/events", subsystem.Viewer, Socket, 0, false, "events as they happen (SSE); resumes after Last-Event-ID or ?after=SEQ", nil, (*Server).events},
		{"POST", "/v1/preflight", subsystem.Operator, Socket, looking, true, "what a planned change would break", (*Server).preflight, nil},
		{"POST", "/v1/drill", subsystem.Admin, Socket, working, true, "break real things in a lab and see them found; one report a line", nil, (*Server).drill},
		{"GET", "/restconf/data/ietf-alarms:alarms", subsystem.Viewer, Socket, time.Minute, false, "the faults as RFC 8632 alarms (application/yang-data+json)", nil, (*Server).alarms},
		{"GET", "/v1/support", subsystem.Admin, Socket, time.Minute, true, "the support bundle: an allow-list of typed fields, no secrets", (*Server).support, nil},
		{"POST", "/v1/page/login", subsystem.Viewer, Socket, quick, true, "a link that opens the page once, with the caller's role or a lesser one", (*Server).pageLogin, nil},
		{"GET", "/healthz", "", Both, quick, false, "200 while scheduler and journal make progress, else 503", nil, (*Server).healthz},
		{"GET", "/metrics", "", Both, quick, false, "Prometheus metrics", nil, (*Server).metrics},
		{"GET", "/debug/pprof/{profile...}", subsystem.Admin, Socket, 0, true, "profiles of this process", nil, (*Server).pprof},
	}
}

// Routes returns every route of an agent with these subsystems, in the order
// of the table. A subsystem's views and streams are GET /v1/NAME/PATH, its
// actions POST /v1/NAME/ACTION.
func Routes(subs []subsystem.Subsystem) []Route {
	all := fixed()
	for _, s := range subs {
		all = append(all, mounted(s)...)
	}
	return all
}

// reserved are the names that a subsystem must not have.
func reserved() []string {
	var names []string
	for _, r := range fixed() {
		if rest, ok := strings.CutPrefix(r.Path, "/v1/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// PrintRoutes writes the table for people.
func PrintRoutes(w io.Writer, routes []Route) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "METHOD\tPATH\tROLE\tDOOR\tTIMEOUT\tAUDIT\tDOES")
	for _, r := range routes {
		role, timeout, audit := string(r.Role), "-", "-"
		if role == "" {
			role = "anyone"
		}
		if r.Timeout > 0 {
			timeout = r.Timeout.String()
		}
		if r.Change {
			audit = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Method, r.Path, role, r.Door, timeout, audit, r.Doc)
	}
	return t.Flush()
}
