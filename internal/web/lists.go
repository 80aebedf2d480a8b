package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// ranges are the stretches of time that the timeline shows; the first is the
// default.
var ranges = [...]struct {
	Value, Words string
	Long         time.Duration
}{
	{"24h", "24 hours", 24 * time.Hour}, {"1h", "1 hour", time.Hour}, {"7d", "7 days", 7 * 24 * time.Hour}, {"30d", "30 days", 30 * 24 * time.Hour},
}

const (
	maxLanes = 40  // of the timeline
	maxTable = 200 // rows of the table under it
)

type timelineBody struct {
	Range, Words string
	Ranges       []option
	Chart        any
	Lanes        int
	LanesLeft    int
	Spans        []stretch
	SpansLeft    int
	Gaps         []gap
	Chapter      chapter
	Titles       map[fault.Key]string
}

// Young claims that the journal begins within the chapter.
func (b timelineBody) Young() bool { return b.Chapter.Begins.After(b.Chapter.From) }

func (w *Web) timeline(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "timeline", "Timeline")
	chosen := ranges[0]
	b := timelineBody{Titles: map[fault.Key]string{}}
	for _, o := range ranges {
		b.Ranges = append(b.Ranges, option{o.Value, o.Words})
		if o.Value == r.URL.Query().Get("range") {
			chosen = o
		}
	}
	b.Range, b.Words = chosen.Value, chosen.Words
	var err error
	if b.Chapter, err = w.recent.chapter(r.Context(), p.Now.Add(-chosen.Long), p.Now); err != nil {
		return err
	}
	b.Spans, b.Gaps = w.recent.stretches(b.Chapter)
	b.Spans = slices.DeleteFunc(b.Spans, func(s stretch) bool { return s.Key.Drill() })
	lanes := swimLanes(b.Spans)
	b.Lanes = min(len(lanes), maxLanes)
	b.LanesLeft = len(lanes) - b.Lanes
	if b.Lanes > 0 || len(b.Gaps) > 0 {
		b.Chart = timelineSVG(b.Chapter, lanes[:b.Lanes], b.Gaps)
	}
	if b.SpansLeft = max(0, len(b.Spans)-maxTable); b.SpansLeft > 0 {
		b.Spans = b.Spans[:maxTable]
	}
	p.Body = b
	w.render(rw, http.StatusOK, "timeline", p)
	return nil
}

// swimLanes makes one lane a fault: what is active first, gravest first.
func swimLanes(all []stretch) []swim {
	by := map[fault.Key]*swim{}
	var keys []fault.Key
	for _, s := range all {
		l := by[s.Key]
		if l == nil {
			l = &swim{Resource: s.Key.Resource, Code: string(s.Key.Code), ID: s.ID}
			by[s.Key], keys = l, append(keys, s.Key)
		}
		l.Spans = append(l.Spans, s)
	}
	lanes := make([]swim, 0, len(keys))
	for _, k := range keys {
		lanes = append(lanes, *by[k])
	}
	slices.SortStableFunc(lanes, func(a, b swim) int {
		x, y := a.Spans[0], b.Spans[0]
		return cmp.Or(sooner(x.Ended, y.Ended), -cmp.Compare(x.Severity, y.Severity), sooner(x.Masked, y.Masked), y.From.Compare(x.From))
	})
	return lanes
}

// checkState is the shape and the word for how a check is.
func checkState(c wire.Check) (icon, word string) {
	switch c.State {
	case "proved":
		return "ok", "Proved"
	case "faulty":
		return "major", "Found a fault"
	case "not-monitored":
		return "na", "Not monitored"
	case "failing":
		return "stale", "Could not look"
	case "stale":
		return "stale", "Stale"
	}
	return "stale", "Not yet"
}

type checkRow struct {
	wire.Check
	DOM, Icon, Word string
	Says            []string // what the newest look proved, or why it did not
}

type checksBody struct {
	Text   string
	Rows   []checkRow
	All    int
	Left   int
	States map[string]int
}

const maxChecks = 500 // rows of the page; the filter finds the rest

func (w *Web) checks(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "checks", "Checks")
	b := checksBody{Text: strings.TrimSpace(r.URL.Query().Get("q")), States: map[string]int{}}
	rank := map[string]int{"faulty": 0, "failing": 1, "stale": 2, "not-yet": 3, "proved": 4, "not-monitored": 5}
	for _, c := range w.o.Agent.Checks() {
		if strings.HasPrefix(c.Resource, fault.DrillPrefix) {
			continue
		}
		b.All++
		if b.Text != "" && !contains(c.ID, b.Text) && !slices.ContainsFunc(c.Codes, func(k fault.Code) bool { return contains(string(k), b.Text) }) {
			continue
		}
		b.States[c.State]++
		row := checkRow{Check: c, DOM: digestID(c.ID)}
		row.Icon, row.Word = checkState(c)
		row.Says = says(c)
		b.Rows = append(b.Rows, row)
	}
	slices.SortStableFunc(b.Rows, func(x, y checkRow) int {
		return cmp.Or(cmp.Compare(rank[x.State], rank[y.State]), cmp.Compare(x.ID, y.ID))
	})
	if b.Left = max(0, len(b.Rows)-maxChecks); b.Left > 0 {
		b.Rows = b.Rows[:maxChecks]
	}
	p.Body = b
	w.render(rw, http.StatusOK, "checks", p)
	return nil
}

// says is what the newest look has to say for itself.
func says(c wire.Check) []string {
	if c.Last == nil {
		return []string{"not looked at since the agent started"}
	}
	var all []string
	if c.Last.Failure != "" {
		all = append(all, c.Last.Failure)
	}
	if c.Last.Refused != "" {
		all = append(all, "not stored: "+c.Last.Refused)
	}
	all = append(all, c.Last.Proved...)
	for _, v := range c.Last.Verdicts {
		if v.Verdict == fault.Present {
			all = append(all, "found "+string(v.Code))
		}
	}
	if len(all) == 0 && c.State == "proved" {
		all = append(all, "nothing of what it judges was found")
	}
	return all
}

func (w *Web) verifyCheck(rw http.ResponseWriter, r *http.Request, s *session) error {
	id := r.PostFormValue("check")
	if id == "" {
		return &refusal{http.StatusBadRequest, wire.Error{Code: "bad-request", Message: "No check is named."}}
	}
	ctx, cancel := asked(r)
	defer cancel()
	_, err := w.o.Agent.Verify(ctx, []string{id})
	w.note(r, s, "verify", id, "", result(err))
	if err != nil {
		return err
	}
	http.Redirect(rw, r, local(r.PostFormValue("back")), http.StatusSeeOther)
	return nil
}

// notifications shows who is told, and how far.
func (w *Web) notifications(rw http.ResponseWriter, r *http.Request, s *session) error {
	if w.o.Sinks == nil {
		return &refusal{http.StatusNotFound, wire.Error{Code: "no-such-page", Message: "This agent tells nobody: it has no notifications."}}
	}
	sinks, err := w.o.Sinks(r.Context())
	if err != nil {
		return err
	}
	p := w.page(r, s, "notifications", "Notifications")
	p.Body = sinks
	w.render(rw, http.StatusOK, "notifications", p)
	return nil
}

const auditRows = 200

type auditBody struct {
	Entries []wire.AuditEntry
	Damaged int
	Text    string
}

func (w *Web) audit(rw http.ResponseWriter, r *http.Request, s *session) error {
	b := auditBody{Text: strings.TrimSpace(r.URL.Query().Get("q"))}
	entries, damaged, err := w.o.Audit.Recent(auditRows)
	if err != nil {
		return err
	}
	b.Damaged = damaged
	for _, e := range entries {
		if b.Text == "" || contains(strings.Join([]string{e.Who, e.What, e.Target, e.Reason, e.Result, e.From}, " "), b.Text) {
			b.Entries = append(b.Entries, e)
		}
	}
	p := w.page(r, s, "audit", "Audit")
	p.Body = b
	w.render(rw, http.StatusOK, "audit", p)
	return nil
}
