package web

import (
	"bytes"
	"embed"
	"fmt"
	"html"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

//go:embed templates
var templates embed.FS

// layouts are the templates that every page is made with.
var layouts = [...]string{"templates/frame.html", "templates/parts.html", "templates/backupparts.html"}

// parsePages reads every page together with what all share.
func parsePages() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(funcs()).ParseFS(templates, layouts[:]...)
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{"refused": base}
	entries, err := templates.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := "templates/" + e.Name()
		if slices.Contains(layouts[:], path) {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templates, path)
		}
		if err != nil {
			return nil, err
		}
		pages[strings.TrimSuffix(e.Name(), ".html")] = t
	}
	return pages, nil
}

// page is what every template gets.
type page struct {
	Node, Version string
	Title         string // of the tab, without node and product
	Current       string // which entry of the menu
	Theme         string
	Path          string // of this page, to come back to
	Who           string
	Role          api.Role
	Now           time.Time
	Seq           uint64
	Nav           nav
	Sinks         bool // somebody is told, so there is a page of it
	Works         bool // there are pages of what is protected
	Body          any
}

// nav is the state that the frame shows on every page.
type nav struct {
	Worst   string // of the active faults; "" if none
	Active  int
	Verdict string
	Word    string // short, for the title of the tab
}

// Can claims that who looks may do what needs the role.
func (p page) Can(role string) bool { return p.Role != "" && api.Role(role).Allows(p.Role) }

// page fills in the frame. Without a session it knows nothing of the node.
func (w *Web) page(r *http.Request, s *session, current, title string) page {
	p := page{
		Version: w.o.Version, Title: title, Current: current, Path: r.URL.RequestURI(),
		Now: w.o.Now().UTC(), Theme: "auto", Sinks: w.o.Sinks != nil, Works: w.o.Works != nil,
	}
	if r.Method != http.MethodGet {
		p.Path = "/"
	}
	if c, err := r.Cookie("allclear-theme"); err == nil && slices.Contains(themes[:], c.Value) {
		p.Theme = c.Value
	}
	if s == nil {
		return p
	}
	st := w.o.Agent.Brief()
	p.Node, p.Who, p.Role, p.Seq, p.Nav = w.o.Node, s.Who, s.Role, st.Seq, navOf(st)
	return p
}

func navOf(st wire.Status) nav {
	n := nav{Active: st.Summary.Active, Verdict: st.Verdict, Word: "all clear", Worst: worst(st.Summary)}
	switch {
	case n.Active > 0:
		n.Word = count(n.Active, "fault")
	case st.Verdict != "all-clear":
		n.Word = "not yet known"
	}
	return n
}

// worst is the gravest severity that is active, "" for none.
func worst(s wire.Summary) string {
	for sev := fault.Critical; sev >= fault.Warning; sev-- {
		if s.Severity[sev.String()] > 0 {
			return sev.String()
		}
	}
	return ""
}

// render writes a whole page, or nothing of it.
func (w *Web) render(rw http.ResponseWriter, status int, name string, p page) {
	root := "frame"
	if name == "refused" || name == "result" {
		root = name
		name = "refused"
	}
	var b bytes.Buffer
	if err := w.pages[name].ExecuteTemplate(&b, root, p); err != nil {
		w.o.Log.Error("page not rendered", slog.String("page", name), slog.Any("error", err))
		http.Error(rw, "This page could not be made; the agent's log has the details.", http.StatusInternalServerError)
		return
	}
	h := rw.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(writeWait))
	rw.WriteHeader(status)
	_, _ = rw.Write(b.Bytes()) // the browser is gone: nobody to tell
}

// funcs are the words of the templates.
func funcs() template.FuncMap {
	return template.FuncMap{
		"icon": icon, "sentence": sentence, "firstline": firstLine, "morelines": moreLines, "rung": rung, "state": state, "when": when, "ago": ago, "count": count, "title": capital, "plus": func(a, b int) int { return a + b },
		"ms": ms, "key": breakable, "label": label, "clock": clock, "spaced": spaced, "list": func(s []string) string { return strings.Join(s, ", ") },
		"every": every, "lines": func(s string) bool { return strings.Contains(s, "\n") }, "dict": dict, "visible": visible,
		"size": size, "percent": percent, "took": span2, "spacedl": func(n int64) string { return spaced(uint64(max(0, n))) },
		"countl": func(n int64, what string) string { return count(int(n), what) }, "rate": func(v float64) string { return size(int64(v)) + "/s" },
	}
}

// dict makes a map for a template that takes several values.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes pairs, not %d values", len(pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		k, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict takes names, not %v", pairs[i])
		}
		m[k] = pairs[i+1]
	}
	return m, nil
}

// icon draws the shape of a state.
func icon(name string, class ...string) template.HTML {
	c := strings.Join(append([]string{"i"}, class...), " ")
	return template.HTML(`<svg class="` + html.EscapeString(c) + `" data-s="` + tone(name) + `" aria-hidden="true"><use href="#i-` + html.EscapeString(name) + `"/></svg>`)
}

// tone is the colour that belongs to a shape.
func tone(name string) string {
	switch name {
	case "clear", "run", "live":
		return "ok"
	case "wait", "shelf":
		return "na"
	}
	return html.EscapeString(name)
}

// state is shape and word: colour comes third.
func state(name, words string) template.HTML {
	return template.HTML(`<span class="state" data-s="`+tone(name)+`">`) + icon(name) + template.HTML(html.EscapeString(words)+`</span>`)
}

// spaced writes 48231 as 48 231, with a space that does not break.
func spaced(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u00a0" + s[i:]
	}
	return s
}

// clock is the time, with its date only when it is not today.
func clock(now, t time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.Year() != now.Year():
		return t.Format("2 Jan 2006 15:04")
	case t.YearDay() != now.YearDay():
		return t.Format("2 Jan 15:04:05")
	}
	return t.Format("15:04:05")
}

// when is the time as an element. It takes a time or a pointer to one.
func when(now time.Time, v any) template.HTML {
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v
	case *time.Time:
		if v != nil {
			t = *v
		}
	}
	if t.IsZero() || t.Unix() == 0 {
		return "never"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + clock(now, t) + `</time>`)
}

// ago is how long something is back, in the two largest units.
func ago(now, t time.Time) string { return span(now.Sub(t)) }

func span(d time.Duration) string {
	d = max(0, d)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
}

// every writes an interval as 30 s, 10 min or 1 h.
func every(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= u.d && d%u.d == 0 {
			return fmt.Sprintf("%d %s", d/u.d, u.name)
		}
	}
	return span(d)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return spaced(uint64(max(0, n))) + " " + what + "s"
}

func capital(s string) string {
	if s == "" {
		return s
	}
	s = strings.ReplaceAll(s, "-", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

// sentence begins s with a capital, and changes nothing else of it. A name such
// as x509 stays as it is.
func sentence(s string) string {
	if len(s) > 1 && s[1] >= '0' && s[1] <= '9' {
		return s
	}
	for i, r := range s {
		return strings.ToUpper(string(r)) + s[i+len(string(r)):]
	}
	return s
}

// A remedy's text may hold lines to copy below what it says.
func firstLine(s string) string { first, _, _ := strings.Cut(s, "\n"); return first }

func moreLines(s string) string { _, rest, _ := strings.Cut(s, "\n"); return rest }

// rung is the name of a step of the ladder: dns is DNS, tls-transport TLS
// transport.
func rung(name string) string {
	words := strings.Split(name, "-")
	for i, w := range words {
		if slices.Contains([]string{"dns", "tcp", "tls", "http", "ssh"}, w) {
			words[i] = strings.ToUpper(w)
		}
	}
	return sentence(strings.Join(words, " "))
}

// breakable shows CODE@RESOURCE so that a narrow screen may break it.
func breakable(k fault.Key) template.HTML {
	return template.HTML(html.EscapeString(string(k.Code)) + "<wbr>@" + html.EscapeString(visible(k.Resource)))
}

// visible shows what would otherwise be acted on or not be seen: control
// characters of a terminal, and those that turn the direction of text.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r // the control pictures
		case r == 0x7f:
			return 0x2421
		case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0xfeff:
			return 0xfffd
		}
		return r
	}, s)
}

// size writes bytes in the unit that fits: 512 B, 6.2 GiB.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i, u := range units {
		v /= 1 << 10
		if v < 999.5 || i == len(units)-1 {
			if v < 9.95 {
				return fmt.Sprintf("%.1f %s", v, u)
			}
			return fmt.Sprintf("%.0f %s", v, u)
		}
	}
	return ""
}

// percent has a digit after the point only where it matters.
func percent(p float64) string {
	if p > 0 && p < 9.95 || p > 99 && p < 99.95 {
		return fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("%.0f", p)
}

// joined puts together what is not empty.
func joined(by string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(parts), func(s string) bool { return s == "" }), by)
}

// after is s with something before it, or nothing.
func after(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// brief is the beginning of an identity of 64 hexadecimal digits, and any other
// name as it is.
func brief(id string) string {
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:8]
	}
	return id
}
