package api

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"allclear/internal/agent"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// What the page shares with the API.
type (
	Role  = subsystem.Role
	Query = agent.Query
)

// The roles, each including those before it.
const (
	Viewer   = subsystem.Viewer
	Operator = subsystem.Operator
	Admin    = subsystem.Admin
)

// Page is the embedded page: it answers whatever the API does not at the TCP
// door, with rights of its own.
type Page interface {
	http.Handler
	// Login mints a link that opens the page once for this person.
	Login(who string, role Role) (wire.PageLogin, error)
}

// Login returns the login of a uid, or "uid N" when the host knows no name.
func Login(uid int) string { return login(uid) }

// Describe returns the answer that belongs to an error of the agent.
func Describe(err error) (status int, e wire.Error) {
	r := describe(err)
	return r.status, r.body
}

// pageLogin mints a link: with the caller's own role, or a lesser one.
func (s *Server) pageLogin(w http.ResponseWriter, r *http.Request) (any, error) {
	if s.opts.Page == nil || s.tcp == nil {
		return nil, refuse(http.StatusNotFound, "no-page", "set listen: 127.0.0.1:9191 in the configuration", "the agent has no TCP door, so there is no page")
	}
	var req wire.PageLoginRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	c, _ := callerOf(r.Context())
	role := Role(cmp.Or(req.Role, string(c.Role)))
	if !slices.Contains([]Role{Viewer, Operator, Admin}, role) {
		return nil, refuse(http.StatusBadRequest, "bad-request", "viewer, operator or admin", "there is no role %q", role)
	}
	if !role.Allows(c.Role) {
		return nil, refuse(http.StatusForbidden, "not-allowed", s.howToGain(role), "%s has the role %s and cannot give %s", c.Name(), c.Role, role)
	}
	return s.opts.Page.Login(c.Name(), role)
}

// record adds the change to the audit log. A log that cannot be written is
// loud, and does not undo the change.
func (s *Server) record(r *http.Request, c Caller, result string) {
	if s.opts.Audit == nil {
		return
	}
	what, target := r.PathValue("op"), r.PathValue("ref")
	if what == "" {
		what = strings.TrimPrefix(path.Clean(r.URL.Path), "/v1/")
	}
	err := s.opts.Audit.Append(wire.AuditEntry{
		At: time.Now(), Who: c.Name(), Role: string(c.Role), Door: string(Socket), From: fmt.Sprintf("uid %d, pid %d", c.UID, c.PID),
		What: bounded(what), Target: bounded(target), Result: result,
	})
	if err != nil {
		s.opts.Log.LogAttrs(r.Context(), slog.LevelError, "audit log not written", slog.Any("error", err))
	}
}

// bounded keeps what a caller chose short enough for one line of the log.
func bounded(s string) string {
	const most = 1 << 10
	return s[:min(len(s), most)]
}

// known claims that the door serves this host: a loopback address, localhost,
// or a name from the configuration.
func (s *Server) known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback() || slices.Contains(s.opts.Hosts, host)
}

// mayScrape claims that the request carries the token of /metrics, if one is
// set.
func (s *Server) mayScrape(r *http.Request) bool {
	if s.opts.MetricsToken == nil {
		return true
	}
	if _, ok := callerOf(r.Context()); ok {
		return true // the socket knows its callers
	}
	token, err := s.opts.MetricsToken()
	if err != nil || token == "" {
		s.opts.Log.LogAttrs(r.Context(), slog.LevelWarn, "token of /metrics cannot be read", slog.Any("error", err))
		return false
	}
	given := sha256.Sum256([]byte(r.Header.Get("Authorization")))
	want := sha256.Sum256([]byte("Bearer " + token))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}
