package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

const (
	pageSize   = 100 // rows of one page
	maxMembers = 50  // resources that one row names
)

// filter is what the URL of a list asks for.
type filter struct {
	Text, Severity, State, Code, Resource, Group string
	Page                                         int // from 1
}

// The values that a filter takes; the first is the default.
var (
	filterStates = [...]string{"active", "ack", "unacked", "shelved", "masked", "stale", "drill", "cleared", "all"}
	filterGroups = [...]string{"code", "resource", "none"}
)

// readFilter refuses what it does not know, or a list would show more than was
// asked for.
func readFilter(v url.Values) (filter, error) {
	f := filter{
		Text: strings.TrimSpace(v.Get("q")), Severity: v.Get("severity"), Code: strings.TrimSuffix(v.Get("code"), "/"), Resource: v.Get("resource"),
		State: cmp.Or(v.Get("state"), filterStates[0]), Group: cmp.Or(v.Get("group"), filterGroups[0]), Page: 1,
	}
	bad := func(name, want string) error {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: fmt.Sprintf("The filter %q takes %s.", name, want)}}
	}
	for name := range v {
		if !slices.Contains([]string{"q", "severity", "state", "code", "resource", "group", "page"}, name) {
			return f, bad(name, "nothing: there is no such filter")
		}
	}
	if f.Severity != "" {
		var s fault.Severity
		if err := s.UnmarshalText([]byte(f.Severity)); err != nil {
			return f, bad("severity", "warning, minor, major or critical")
		}
	}
	if !slices.Contains(filterStates[:], f.State) {
		return f, bad("state", strings.Join(filterStates[:], ", "))
	}
	if !slices.Contains(filterGroups[:], f.Group) {
		return f, bad("group", strings.Join(filterGroups[:], ", "))
	}
	if text := v.Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1_000_000 {
			return f, bad("page", "a page number")
		}
		f.Page = n
	}
	return f, nil
}

// Plain claims that nothing is filtered away.
func (f filter) Plain() bool {
	return f.Text == "" && f.Severity == "" && f.State == filterStates[0] && f.Code == "" && f.Resource == ""
}

// URL is the list with this filter, at another page.
func (f filter) URL(page int) string {
	v := url.Values{}
	for _, p := range [][3]string{
		{"q", f.Text, ""},
		{"severity", f.Severity, ""},
		{"state", f.State, filterStates[0]},
		{"code", f.Code, ""},
		{"resource", f.Resource, ""},
		{"group", f.Group, filterGroups[0]},
	} {
		if p[1] != p[2] {
			v.Set(p[0], p[1])
		}
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return "/faults"
	}
	return "/faults?" + v.Encode()
}

// Words is the filter as people would say it.
func (f filter) Words() string {
	var w []string
	for _, p := range [][2]string{{"text", f.Text}, {"severity", f.Severity}, {"code", f.Code}, {"resource", f.Resource}} {
		if p[1] != "" {
			w = append(w, p[0]+"="+p[1])
		}
	}
	if f.State != filterStates[0] {
		w = append(w, "state="+f.State)
	}
	return strings.Join(w, " ")
}

// rows returns what the filter keeps.
func (w *Web) rows(f filter) []wire.FaultRow {
	q := api.Query{State: "active", Code: f.Code, Resource: f.Resource}
	if f.State == "cleared" || f.State == "all" {
		q.State = f.State
	}
	if f.Severity != "" {
		_ = q.Severity.UnmarshalText([]byte(f.Severity)) // readFilter has looked at it
	}
	codes := w.codesNamed(f.Text)
	return slices.DeleteFunc(w.o.Agent.Rows(q), func(r wire.FaultRow) bool {
		return r.Key.Drill() != (f.State == "drill") && f.State != "all" || !f.keeps(r) ||
			f.Text != "" && !codes[r.Key.Code] && !contains(r.Key.Resource, f.Text) && !contains(r.Key.String(), f.Text)
	})
}

func (f filter) keeps(r wire.FaultRow) bool {
	switch f.State {
	case "ack":
		return r.Mark == "ack"
	case "unacked":
		return r.Mark == "none" && !r.Shelved && len(r.MaskedBy) == 0
	case "shelved":
		return r.Shelved
	case "masked":
		return len(r.MaskedBy) > 0
	case "stale":
		return r.Stale
	}
	return true
}

func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// codesNamed are the codes whose title, path or legacy name the text is part
// of.
func (w *Web) codesNamed(text string) map[fault.Code]bool {
	named := map[fault.Code]bool{}
	if text == "" {
		return named
	}
	cat := w.o.Agent.Catalogue()
	for _, e := range cat.All() {
		named[e.Code] = contains(string(e.Code), text) || contains(e.Title, text)
	}
	for _, e := range cat.Lookup(text) {
		named[e.Code] = true
	}
	return named
}

// faultRow is one row of a list: a fault, or several with the same code.
type faultRow struct {
	Key     fault.Key
	Fault   wire.Fault // the gravest
	Members []wire.FaultRow
	Count   int
	Caused  bool // it stands under its cause
	Shape   string
	Word    string
	Gone    bool
}

// bundle is a row before anything is rendered.
type bundle struct {
	rows   []wire.FaultRow // gravest first
	caused bool
}

// inOrder sorts by gravity, then age, and puts what is caused by another right
// under it.
func inOrder(rows []wire.FaultRow) []bundle {
	slices.SortStableFunc(rows, graver)
	all := make([]bundle, len(rows))
	for i := range rows {
		all[i] = bundle{rows: rows[i : i+1]}
	}
	return nest(all)
}

// graver orders by severity; of the same severity, what waits for somebody comes
// before what is acknowledged or shelved.
func graver(a, b wire.FaultRow) int {
	return cmp.Or(sooner(b.Active, a.Active), -cmp.Compare(a.Severity, b.Severity), cmp.Compare(len(a.MaskedBy), len(b.MaskedBy)),
		sooner(a.Shelved, b.Shelved), sooner(a.Mark != "none", b.Mark != "none"),
		newer(a, b), cmp.Compare(a.ID, b.ID))
}

// sooner orders false before true.
func sooner(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// newer puts what was cleared last first; what is active, oldest first.
func newer(a, b wire.FaultRow) int {
	if !a.Active && !b.Active {
		return b.Cleared.Compare(a.Cleared)
	}
	return a.Raised.Compare(b.Raised)
}

// grouped makes one row of what has the same code, or resource.
func grouped(rows []wire.FaultRow, by string) []bundle {
	if by == "none" {
		return inOrder(rows)
	}
	slices.SortStableFunc(rows, graver)
	place := map[string]int{}
	var all []bundle
	for _, r := range rows {
		name := string(r.Key.Code)
		if by == "resource" {
			name = r.Key.Resource
		}
		if !r.Active {
			name += " cleared"
		} else if len(r.MaskedBy) > 0 {
			name += " caused by " + string(r.MaskedBy[0].Code) // stands under its cause, apart from those that stand alone
		}
		i, ok := place[name]
		if !ok {
			i = len(all)
			place[name] = i
			all = append(all, bundle{})
		}
		all[i].rows = append(all[i].rows, r)
	}
	if by == "resource" {
		return all
	}
	return nest(all)
}

// nest puts bundles whose faults are all masked under the bundle of their
// cause.
func nest(all []bundle) []bundle {
	home := map[fault.Key]int{}
	for i, b := range all {
		for _, r := range b.rows {
			home[r.Key] = i
		}
	}
	under := map[int][]int{}
	for i := range all {
		if j, ok := causeOf(all[i], home); ok && j != i && !all[j].caused {
			all[i].caused = true
			under[j] = append(under[j], i)
		}
	}
	ordered := make([]bundle, 0, len(all))
	for i, b := range all {
		if b.caused {
			continue
		}
		ordered = append(ordered, b)
		for stack := slices.Clone(under[i]); len(stack) > 0; {
			j := stack[0]
			ordered = append(ordered, all[j])
			stack = append(slices.Clone(under[j]), stack[1:]...)
		}
	}
	return ordered
}

func causeOf(b bundle, home map[fault.Key]int) (int, bool) {
	for _, r := range b.rows {
		if len(r.MaskedBy) == 0 {
			return 0, false
		}
	}
	for _, k := range b.rows[0].MaskedBy {
		if j, ok := home[k]; ok {
			return j, true
		}
	}
	return 0, false
}

// listed renders at most n bundles.
func (w *Web) listed(all []bundle, n int) []faultRow {
	rows := []faultRow{}
	for _, b := range all {
		if len(rows) == n {
			break
		}
		f, err := w.o.Agent.Fault(strconv.FormatUint(b.rows[0].ID, 10))
		if err != nil {
			continue // pruned meanwhile
		}
		r := faultRow{
			Key: b.rows[0].Key, Fault: f, Count: len(b.rows), Caused: b.caused, Members: b.rows[:min(len(b.rows), maxMembers)],
			Shape: f.Severity.String(), Word: capital(f.Severity.String()),
		}
		if f.State == fault.Clear {
			r.Gone, r.Shape, r.Word = true, "ok", "Cleared"
		}
		rows = append(rows, r)
	}
	return rows
}

// faultsBody is the list of faults.
type faultsBody struct {
	Filter     filter
	Rows       []faultRow
	Groups     int // rows of all pages
	Found      int // faults that match
	Codes      int
	Summary    wire.Summary
	Prev, Next string
	Pages      int
	Status     wire.Status
	Oldest     time.Time // proof
}

func (w *Web) faults(rw http.ResponseWriter, r *http.Request, s *session) error {
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	p := w.page(r, s, "faults", "Faults")
	found := w.rows(f)
	codes := map[fault.Code]bool{}
	for _, row := range found {
		codes[row.Key.Code] = true
	}
	all := grouped(found, f.Group)
	st := w.o.Agent.Brief()
	b := faultsBody{
		Filter: f, Groups: len(all), Found: len(found), Codes: len(codes), Summary: st.Summary, Status: st,
		Pages: max(1, (len(all)+pageSize-1)/pageSize),
	}
	f.Page = min(f.Page, b.Pages)
	b.Filter.Page = f.Page
	from := (f.Page - 1) * pageSize
	b.Rows = w.listed(all[min(from, len(all)):], pageSize)
	if f.Page > 1 {
		b.Prev = f.URL(f.Page - 1)
	}
	if f.Page < b.Pages {
		b.Next = f.URL(f.Page + 1)
	}
	if len(b.Rows) == 0 {
		for _, l := range lanesOf(w.o.Agent.Checks()) {
			if b.Oldest.IsZero() || !l.Oldest.IsZero() && l.Oldest.Before(b.Oldest) {
				b.Oldest = l.Oldest
			}
		}
	}
	p.Body = b
	w.render(rw, http.StatusOK, "faults", p)
	return nil
}

// Severities are those that a fault can have, gravest first.
func (p page) Severities() []string {
	var all []string
	for s := fault.Critical; s >= fault.Warning; s-- {
		all = append(all, s.String())
	}
	return all
}

// option is one choice of a filter.
type option struct{ Value, Words string }

// States are the choices of state, with how many there are of those that hide.
func (b faultsBody) States() []option {
	n := func(words string, n int) string {
		if n == 0 {
			return words
		}
		return fmt.Sprintf("%s (%d)", words, n)
	}
	s := b.Summary
	return []option{
		{"active", "Active"},
		{"unacked", "Waiting for somebody"},
		{"ack", n("Acknowledged", s.Acked)},
		{"shelved", n("Shelved", s.Shelved)},
		{"masked", n("Caused by others", s.Masked)},
		{"stale", n("Stale", s.Stale)},
		{"drill", n("Drills", s.Drills)},
		{"cleared", "Cleared"},
		{"all", "All"},
	}
}
