package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// overview answers: is all well, who says so, and what does nobody vouch for?
type overview struct {
	Status  wire.Status
	Icon    string // of the verdict
	Head    string
	Words   []string // sentences; the first is the important one
	Faults  []faultRow
	More    int // active faults that are not shown
	Claims  []claim
	Lanes   []lane
	Proofs  template.HTML
	Gaps    gaps
	Cleared []stretch
	Titles  map[fault.Code]string
}

// Idle are the subsystems that nobody set up.
func (v overview) Idle() []claim {
	return slices.DeleteFunc(slices.Clone(v.Claims), func(c claim) bool { return c.Icon != "na" })
}

// Unwatched counts what is not monitored, by rule or by choice.
func (v overview) Unwatched() int { return len(v.Idle()) + len(v.Gaps.NotMonitored) }

// gaps are what nobody vouches for.
type gaps struct{ NotMonitored, Stale, NotYet []wire.Gap }

// claim is what a subsystem protects right now.
type claim struct {
	Name, Icon, Word, Text string
	Label, Page            string // what people call it, and its page; "" when it has none
	Checks                 int
	Last                   time.Time
	Spark                  template.HTML
}

// lane is the checks of one subsystem.
type lane struct {
	Name         string
	Checks       []wire.Check
	Oldest       time.Time
	Least, Every string // shortest and longest interval
}

// shownFaults is how many rows the overview has; the rest is a link.
const shownFaults = 20

func (w *Web) overview(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "overview", "Overview")
	st, checks := w.o.Agent.Brief(), w.o.Agent.Checks()
	v := overview{Status: st, Gaps: gaps{st.NotMonitored, st.Stale, st.NotYet}, Lanes: lanesOf(checks)}
	rows := slices.DeleteFunc(w.o.Agent.Rows(api.Query{}), func(r wire.FaultRow) bool { return r.Key.Drill() })
	v.Faults = w.listed(inOrder(rows), shownFaults)
	v.More = max(0, len(rows)-len(v.Faults))
	v.Icon, v.Head, v.Words = verdict(st, checks, v.Faults, p.Now)
	v.Proofs = proofs(v.Lanes, p.Now)
	if err := w.day(r.Context(), &v, p.Now); err != nil {
		return err
	}
	p.Body = v
	w.render(rw, http.StatusOK, "overview", p)
	return nil
}

// day adds what the journal says of the last 24 hours.
func (w *Web) day(ctx context.Context, v *overview, now time.Time) error {
	c, err := w.recent.day(ctx, now)
	if err != nil {
		return err
	}
	all, gaps := w.recent.stretches(c)
	all = slices.DeleteFunc(all, func(s stretch) bool { return s.Key.Drill() })
	v.Titles = map[fault.Code]string{}
	for _, s := range all {
		if s.Ended && len(v.Cleared) < 8 {
			v.Cleared = append(v.Cleared, s)
			v.Titles[s.Key.Code] = w.title(s)
		}
	}
	for _, sub := range v.Status.Subsystems {
		mine := slices.DeleteFunc(slices.Clone(all), func(s stretch) bool { return part(s.Check) != sub.Name })
		v.Claims = append(v.Claims, w.claim(sub, v, c, mine, gaps))
	}
	return nil
}

// title is that of the fault, with the values of its case.
func (w *Web) title(s stretch) string {
	if f, err := w.o.Agent.Fault(fmt.Sprint(s.ID)); err == nil {
		return f.Title
	}
	if e, ok := w.o.Agent.Catalogue().Get(s.Key.Code); ok {
		return e.Title
	}
	return string(s.Key.Code)
}

func (w *Web) claim(sub wire.Protects, v *overview, c chapter, mine []stretch, gaps []gap) claim {
	cl := claim{Name: sub.Name, Text: sub.Text, Checks: sub.Checks, Icon: "ok", Word: "Well", Label: label(sub.Name)}
	if w.o.Works != nil {
		cl.Page = map[string]string{backupName: "/backups", keyServerName: "/keyservers"}[sub.Name]
	}
	for _, l := range v.Lanes {
		if l.Name != sub.Name {
			continue
		}
		for _, ck := range l.Checks {
			if ck.LastConclusive != nil {
				cl.Last = latest(cl.Last, *ck.LastConclusive)
			}
			if ck.State == "stale" || ck.State == "failing" || ck.State == "not-yet" {
				cl.Icon, cl.Word = "stale", "Not known"
			}
		}
	}
	grave := fault.None
	for _, s := range mine {
		if !s.Ended {
			grave = max(grave, s.Severity)
		}
	}
	switch {
	case grave > fault.None:
		cl.Icon, cl.Word = grave.String(), capital(grave.String())
	case sub.State == "not-configured":
		cl.Icon, cl.Word = "na", "Not configured"
	}
	words := cl.Label + " in the last 24 hours: "
	switch n := len(mine); {
	case c.Begins.IsZero():
		words += "nothing is recorded"
	case n == 0:
		words += "no fault"
	default:
		words += count(n, "fault")
	}
	if sub.Checks > 0 {
		cl.Spark = spark(words, c, mine, gaps)
	}
	return cl
}

// label is what people call a subsystem.
func label(name string) string {
	switch name {
	case backupName:
		return "Backups"
	case keyServerName:
		return "Key servers"
	}
	return capital(name)
}

// lanesOf groups the checks by subsystem, drills apart.
func lanesOf(checks []wire.Check) []lane {
	by := map[string]*lane{}
	var names []string
	for _, c := range checks {
		if strings.HasPrefix(c.Resource, fault.DrillPrefix) {
			continue
		}
		name := part(c.Name)
		l := by[name]
		if l == nil {
			l = &lane{Name: name}
			by[name], names = l, append(names, name)
		}
		l.Checks = append(l.Checks, c)
		if t := c.LastConclusive; t != nil && (l.Oldest.IsZero() || t.Before(l.Oldest)) {
			l.Oldest = *t
		}
		l.Least, l.Every = interval(l.Least, c.Every, false), interval(l.Every, c.Every, true)
	}
	slices.Sort(names)
	lanes := make([]lane, len(names))
	for i, n := range names {
		lanes[i] = *by[n]
	}
	return lanes
}

// interval returns the shorter or longer of two.
func interval(a, b string, longer bool) string {
	x, errX := time.ParseDuration(a)
	y, errY := time.ParseDuration(b)
	if errX != nil || errY == nil && (y > x) == longer {
		return b
	}
	return a
}

// verdict says in one sentence whether all is well, then what was proved.
func verdict(st wire.Status, checks []wire.Check, faults []faultRow, now time.Time) (icon, head string, words []string) {
	states := map[string]int{}
	for _, c := range checks {
		if !strings.HasPrefix(c.Resource, fault.DrillPrefix) {
			states[c.State]++
		}
	}
	switch {
	case st.Summary.Active > 0:
		icon, head = worst(st.Summary), "Not all clear: "+count(st.Summary.Active, "fault")
		if len(faults) > 0 {
			f := faults[0].Fault
			words = append(words, fmt.Sprintf("%s: %s, since %s.", f.Resource, strings.TrimSuffix(f.Title, "."), clock(now, deref(f.RaisedAt))))
		}
		words = append(words, tally(st.Summary.Checks, states))
	case st.Verdict != "all-clear":
		icon, head = "stale", "Not yet known"
		words = append(words, fmt.Sprintf("%d of %s have no conclusive look that is fresh enough.", len(st.NotYet)+len(st.Stale), count(st.Summary.Checks, "check")), tally(st.Summary.Checks, states))
	default:
		icon, head = "clear", "All clear"
		words = append(words, fmt.Sprintf("%d of %s were proved, none is late.", st.Summary.Conclusive, count(st.Summary.Checks, "check")), ages(checks, now))
	}
	return icon, head, words
}

func deref(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// tally counts the checks by what they say.
func tally(all int, states map[string]int) string {
	var parts []string
	for _, p := range []struct{ state, one, many string }{
		{"proved", "is well", "are well"},
		{"faulty", "found a fault", "found faults"},
		{"failing", "could not look", "could not look"},
		{"stale", "is stale", "are stale"},
		{"not-yet", "has not looked yet", "have not looked yet"},
		{"not-monitored", "does not apply here", "do not apply here"},
	} {
		switch n := states[p.state]; {
		case n == 1:
			parts = append(parts, "1 "+p.one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, p.many))
		}
	}
	if len(parts) == 0 {
		return "There are no checks."
	}
	last := parts[len(parts)-1]
	if len(parts) > 1 {
		last = strings.Join(parts[:len(parts)-1], ", ") + " and " + last
	}
	return fmt.Sprintf("Of %s %s.", count(all, "check"), last)
}

// ages tells of the oldest and the newest proof.
func ages(checks []wire.Check, now time.Time) string {
	known := slices.DeleteFunc(slices.Clone(checks), func(c wire.Check) bool {
		return c.LastConclusive == nil || strings.HasPrefix(c.Resource, fault.DrillPrefix)
	})
	if len(known) == 0 {
		return ""
	}
	order := func(a, b wire.Check) int {
		return cmp.Or(a.LastConclusive.Compare(*b.LastConclusive), cmp.Compare(a.ID, b.ID))
	}
	oldest, newest := slices.MinFunc(known, order), slices.MaxFunc(known, order)
	return fmt.Sprintf("The oldest proof is that of %s, %s ago; the newest is %s old.",
		oldest.ID, ago(now, *oldest.LastConclusive), ago(now, *newest.LastConclusive))
}
