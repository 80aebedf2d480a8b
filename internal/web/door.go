package web

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/wire"
)

const (
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	maxBody   = 64 << 10         // bytes of a form
	bodyWait  = 10 * time.Second // for the whole of it
	writeWait = 20 * time.Second // for one answer, or one message of a stream, to leave
	askWait   = 3 * time.Minute  // for what an operator asked for; a look has its own deadline
)

// route is a path with who may use it next to it.
type route struct {
	pattern string
	role    api.Role // "" is anybody who can reach the door
	handle  func(*Web, http.ResponseWriter, *http.Request, *session) error
}

func routes() []route {
	return []route{
		{"GET /{$}", api.Viewer, (*Web).overview},
		{"GET /faults", api.Viewer, (*Web).faults},
		{"GET /faults/{id}", api.Viewer, (*Web).fault},
		{"POST /faults/act", api.Operator, (*Web).act},
		{"POST /faults/{id}/{op}", api.Operator, (*Web).operate},
		{"GET /timeline", api.Viewer, (*Web).timeline},
		{"GET /checks", api.Viewer, (*Web).checks},
		{"POST /checks/verify", api.Operator, (*Web).verifyCheck},
		{"GET /backups", api.Viewer, (*Web).backups},
		{"GET /backups/{job}", api.Viewer, (*Web).backupJob},
		{"POST /backups/{job}/{do}", api.Operator, (*Web).backupDo},
		{"GET /backups/{job}/copies", api.Operator, (*Web).copies},
		{"GET /backups/{job}/copies/{copy}", api.Operator, (*Web).files},
		{"GET /backups/{job}/copies/{copy}/restore", api.Admin, (*Web).restore},
		{"GET /keyservers", api.Viewer, (*Web).keyServers},
		{"POST /keyservers/test", api.Operator, (*Web).keyServerTest},
		{"GET /keyservers/{server}", api.Viewer, (*Web).keyServer},
		{"POST /keys/{key}/{step}", api.Admin, (*Web).keyStep},
		{"GET /probe", api.Operator, (*Web).probeForm},
		{"POST /probe", api.Operator, (*Web).probe},
		{"GET /notifications", api.Viewer, (*Web).notifications},
		{"GET /audit", api.Operator, (*Web).audit},
		{"GET /events", api.Viewer, (*Web).events},
		{"GET " + alarmsPath, api.Viewer, (*Web).alarms},
		{"GET /login", "", (*Web).loginForm},
		{"POST /login", "", (*Web).login},
		{"POST /logout", api.Viewer, (*Web).logout},
		{"POST /theme", "", (*Web).theme},
		{"GET /assets/{name}", "", (*Web).asset},
	}
}

// door joins the routes with what every answer has in common.
func (w *Web) door() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes() {
		mux.HandleFunc(rt.pattern, func(rw http.ResponseWriter, r *http.Request) { w.serve(rt, rw, r) })
	}
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w.fail(rw, r, w.session(r), &refusal{http.StatusNotFound, wire.Error{Code: "no-such-page", Message: "There is no such page."}})
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.note(r, w.session(r), "cross-site request", r.URL.Path, "", "refused")
		w.fail(rw, r, nil, &refusal{http.StatusForbidden, wire.Error{Code: "cross-site", Message: "Another site asked for this change, so it was not made."}})
	}))
	guarded := cross.Handler(mux)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		c := http.NewResponseController(rw)
		_ = c.SetReadDeadline(time.Now().Add(bodyWait)) // only recorders of tests refuse it
		_ = c.SetWriteDeadline(time.Now().Add(askWait + writeWait))
		r.Body = http.MaxBytesReader(rw, r.Body, maxBody)
		guarded.ServeHTTP(rw, r)
	})
}

// serve checks the rights of a route and answers its error.
func (w *Web) serve(rt route, rw http.ResponseWriter, r *http.Request) {
	s := w.session(r)
	if rt.role != "" && s == nil {
		w.strangers(rw, r)
		return
	}
	if rt.role != "" && !rt.role.Allows(s.Role) {
		w.note(r, s, "refused", r.URL.Path, "", "not-allowed")
		w.fail(rw, r, s, &refusal{http.StatusForbidden, wire.Error{
			Code: "not-allowed", Message: s.Who + " has the role " + string(s.Role) + "; this needs " + string(rt.role) + ".",
			Hint: "allclear page login, called as root, gives a link with more rights.",
		}})
		return
	}
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			w.fail(rw, r, s, err)
			return
		}
	}
	if r.Method == http.MethodPost || r.ContentLength == 0 {
		// The body is here, or there is none: from now on the connection may be quiet
		// until the answer, which may be a stream. At its deadline the request would
		// be taken for one whose browser is gone.
		_ = http.NewResponseController(rw).SetReadDeadline(time.Time{})
	}
	if err := rt.handle(w, rw, r, s); err != nil {
		w.fail(rw, r, s, err)
	}
}

// alarmsPath is where RESTCONF has the alarms of RFC 8632.
const alarmsPath = "/restconf/data/ietf-alarms:alarms"

// alarms answers a program, with a session as for everything else here.
func (w *Web) alarms(rw http.ResponseWriter, r *http.Request, _ *session) error {
	doc, err := w.o.Agent.Alarms(r.Context())
	if err != nil {
		return err
	}
	return api.WriteAlarms(rw, doc)
}

// strangers sends people to the login and tells programs.
func (w *Web) strangers(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path != "/events" && r.URL.Path != alarmsPath {
		http.Redirect(rw, r, "/login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
		return
	}
	w.fail(rw, r, nil, &refusal{http.StatusUnauthorized, wire.Error{
		Code: "no-session", Message: "Nobody is logged in here, or the session is over.", Hint: "allclear page login prints a link.",
	}})
}

// refusal is an error that knows its own answer.
type refusal struct {
	status int
	body   wire.Error
}

func (r *refusal) Error() string { return r.body.Message }

// answer returns what to say of an error. The words of a 500 go to the log:
// a browser is told only that there was one.
func (w *Web) answer(r *http.Request, err error) *refusal {
	if ref, ok := errors.AsType[*refusal](err); ok {
		return ref
	}
	status, body := api.Describe(err)
	if status == http.StatusInternalServerError {
		w.o.Log.LogAttrs(r.Context(), slog.LevelError, "page not shown", slog.String("path", r.URL.Path), slog.Any("error", err))
		body = wire.Error{Code: body.Code, Message: "Something went wrong inside the agent; its log has the details."}
	}
	return &refusal{status, body}
}

func (w *Web) fail(rw http.ResponseWriter, r *http.Request, s *session, err error) {
	ref := w.answer(r, err)
	p := w.page(r, s, "", "Not done")
	p.Body = ref.body
	if fragment(r) {
		w.render(rw, ref.status, "refused", p)
		return
	}
	w.render(rw, ref.status, "error", p)
}

// fragment claims that the script asks, which takes a part of a page.
func fragment(r *http.Request) bool { return r.Header.Get("X-Fragment") == "1" }

// cookieName is of this door: cookies do not know ports, and two agents of one
// host must not log each other out.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		port = "80"
	}
	return "allclear-" + port
}

func (w *Web) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	return w.sessions.find(c.Value)
}

// loginForm shows a button: only a POST uses the link up, so that what looks at
// links in advance does not.
func (w *Web) loginForm(rw http.ResponseWriter, r *http.Request, _ *session) error {
	p := w.page(r, nil, "", "Log in")
	p.Body = map[string]string{"Token": r.URL.Query().Get("token"), "Next": local(r.URL.Query().Get("next"))}
	w.render(rw, http.StatusOK, "login", p)
	return nil
}

func (w *Web) login(rw http.ResponseWriter, r *http.Request, _ *session) error {
	token, g, err := w.sessions.exchange(strings.TrimSpace(r.PostFormValue("token")))
	if token == "" {
		w.note(r, nil, "login", "", "", "bad-link")
		return &refusal{http.StatusForbidden, wire.Error{
			Code: "bad-link", Message: "This link does not open the page: it was used, it is older than ten minutes, or it never was one.",
			Hint: "allclear page login prints a new one.",
		}}
	}
	if err != nil { // the session works, until the agent is restarted
		w.o.Log.LogAttrs(r.Context(), slog.LevelWarn, "session not kept", slog.Any("error", err))
	}
	http.SetCookie(rw, w.cookie(r, token, int(sessionLife/time.Second)))
	w.note(r, &session{grant: g, id: newSession(digestOf(token), g).id}, "login", "", "", "done")
	http.Redirect(rw, r, local(r.PostFormValue("next")), http.StatusSeeOther)
	return nil
}

func (w *Web) cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
}

func (w *Web) logout(rw http.ResponseWriter, r *http.Request, s *session) error {
	c, err := r.Cookie(cookieName(r))
	if err == nil {
		err = w.sessions.end(c.Value)
	}
	if err != nil {
		return err
	}
	http.SetCookie(rw, w.cookie(r, "", -1))
	w.note(r, s, "logout", "", "", "done")
	http.Redirect(rw, r, "/login", http.StatusSeeOther)
	return nil
}

// themes are the choices of colours; auto follows the system.
var themes = [...]string{"auto", "light", "dark"}

func (w *Web) theme(rw http.ResponseWriter, r *http.Request, _ *session) error {
	choice := r.PostFormValue("theme")
	if !slices.Contains(themes[:], choice) {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "The colours are auto, light or dark."}}
	}
	http.SetCookie(rw, &http.Cookie{Name: "allclear-theme", Value: choice, Path: "/", MaxAge: 365 * 86400, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(rw, r, local(r.PostFormValue("back")), http.StatusSeeOther)
	return nil
}

// local returns the path if it is one of ours, else the overview: a link must
// not lead away.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// note writes a change to the audit log.
func (w *Web) note(r *http.Request, s *session, what, target, reason, result string) {
	e := wire.AuditEntry{
		At: w.o.Now(), Who: "nobody", Door: "page", From: r.RemoteAddr, What: what,
		Target: cut(target), Reason: cut(reason), Result: result,
	}
	if s != nil {
		e.Who, e.Role, e.From = s.Who, string(s.Role), r.RemoteAddr+", session "+s.id
	}
	w.o.Log.LogAttrs(r.Context(), slog.LevelInfo, "audit", slog.String("door", "page"), slog.String("user", e.Who),
		slog.String("role", e.Role), slog.String("from", e.From), slog.String("what", what), slog.String("target", e.Target), slog.String("result", result))
	if err := w.o.Audit.Append(e); err != nil {
		w.o.Log.LogAttrs(r.Context(), slog.LevelError, "audit log not written", slog.Any("error", err))
	}
}

const maxReason = 1 << 10 // bytes, as a fault's text

func cut(s string) string { return s[:min(len(s), maxReason)] }

// result is the word of the audit log for how something ended.
func result(err error) string {
	if err == nil {
		return "done"
	}
	if ref, ok := errors.AsType[*refusal](err); ok {
		return ref.body.Code
	}
	_, e := api.Describe(err)
	return cmp.Or(e.Code, "error")
}

//go:embed assets/allclear.css assets/allclear.js assets/icon.svg assets/icon-fault.svg
var assets embed.FS

// asset serves an embedded file. Its type is by its name; nothing is guessed.
func (w *Web) asset(rw http.ResponseWriter, r *http.Request, _ *session) error {
	name := r.PathValue("name")
	b, err := assets.ReadFile("assets/" + name)
	kind := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}[name[strings.LastIndexByte(name, '.')+1:]]
	if err != nil || kind == "" {
		return &refusal{http.StatusNotFound, wire.Error{Code: "no-such-page", Message: "There is no such file."}}
	}
	rw.Header().Set("Content-Type", kind)
	rw.Header().Set("Cache-Control", "no-cache")
	tag := `"` + newSession(digestOf(string(b)), grant{}).id + `"`
	rw.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		rw.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, err = rw.Write(b)
	if err != nil && r.Context().Err() == nil {
		return err
	}
	return nil
}

// asked bounds what an operator asked for.
func asked(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), askWait)
}
