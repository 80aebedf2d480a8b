package fault

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// View is a fault as people see it: the belief, what is newest, and what
// follows from the other faults and the clock. It is a copy.
type View struct {
	Belief
	Condition Condition
	Text      string // the newest
	Sense     Sense  // the newest, readings included
	Shown     Severity
	Why       string // of Shown: "look", "escalated" or "lent"
	MaskedBy  []Key  // in force now
	LastLook  time.Time
	Shelved   bool
	Stale     bool
	Hidden    bool
	Recurring bool
	// Unverified: it stands from before this process and was not looked at since.
	Unverified bool
	Seq        uint64 // of its last event, if the journal stamped it
	Title      string
	Cause      string
	Remedy     []Remedy // expanded
}

// View returns the fault of key as it stands now; false if there is none.
func (s *Set) View(k Key, now Clock) (View, bool) {
	f := s.faults[k]
	if f == nil {
		return View{}, false
	}
	e := s.entry(k.Code)
	v := View{
		Belief: f.Belief, Condition: f.Condition(), Shown: f.Shown(), Why: f.why(),
		MaskedBy: s.Maskers(f, now), LastLook: f.LastLook(), Shelved: f.Shelved(now), Stale: f.Stale(now),
		Hidden: f.Active && s.Hidden(f, now), Recurring: f.Recurring(now), Unverified: f.Unverified(),
	}
	v.Text, v.Sense = f.Latest()
	v.Seq = f.live.seq
	v.Title, v.Cause, v.Remedy = e.Render(k.Resource, v.Sense)
	if steps := f.newest().remedy; len(steps) > 0 {
		v.Remedy = steps
	}
	return v, true
}

func (b *Belief) why() string {
	switch shown := b.Shown(); {
	case shown == b.Severity:
		return "look"
	case shown == b.Escalated:
		return "escalated"
	}
	return "lent"
}

// Render gives the title, cause and remedy for one case: the variant's where
// the sense names one, with the fault's own values put in.
func (e *Entry) Render(resource string, sense Sense) (title, cause string, remedy []Remedy) {
	title, cause, remedy = e.Title, e.Cause, e.Remedy
	v := e.Variant(sense.Get("qualifier"))
	if v.Title != "" {
		title = v.Title
	}
	if v.Cause != "" {
		cause = v.Cause
	}
	if len(v.Remedy) > 0 {
		remedy = v.Remedy
	}
	expanded := make([]Remedy, 0, len(remedy))
	text, command := filler(resource, sense, func(v string) string { return v }), filler(resource, sense, quote)
	for _, step := range remedy {
		step.Text, step.Command = text(step.Text), command(step.Command)
		expanded = append(expanded, step)
	}
	return text(title), text(cause), expanded
}

// filler returns what puts a fault's own values, each in the given form, into a
// text. Most texts have no place for one, and then it costs nothing.
func filler(resource string, sense Sense, form func(string) string) func(string) string {
	var r *strings.Replacer
	return func(text string) string {
		if !strings.Contains(text, "{") {
			return text
		}
		if r == nil {
			pairs := []string{"{resource}", form(resource)}
			for _, p := range sense {
				pairs = append(pairs, "{"+p.Key+"}", form(p.Value))
			}
			r = strings.NewReplacer(pairs...)
		}
		return r.Replace(text)
	}
}

// quote makes one shell word of s: evidence comes from foreign machines, and
// people paste commands.
func quote(s string) string {
	if s != "" && strings.Trim(s, wordBytes) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const wordBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@,+=-"

// Page returns up to n views with ids above after, in the order of their ids,
// that want accepts; more claims that others follow. want sees the stored
// fault and must not keep it.
func (s *Set) Page(after uint64, n int, want func(*Fault) bool, now Clock) (views []View, more bool) {
	for id := after + 1; id < s.nextID; id++ {
		f := s.byID[id]
		if f == nil || !want(f) {
			continue
		}
		if len(views) == n {
			return views, true
		}
		v, _ := s.View(f.Key, now)
		views = append(views, v)
	}
	return views, false
}

var blank = regexp.MustCompile(`\{[a-z0-9_]+\}`)

// General returns the entry for no case in particular: where a fault's own
// values would stand, their names do, in capitals. It is for people who read
// the catalogue.
func (e *Entry) General() Entry {
	g := *e
	name := func(s string) string {
		return blank.ReplaceAllStringFunc(s, func(key string) string { return strings.ToUpper(strings.Trim(key, "{}")) })
	}
	steps := func(in []Remedy) []Remedy {
		out := slices.Clone(in)
		for i := range out {
			out[i].Text, out[i].Command = name(out[i].Text), name(out[i].Command)
		}
		return out
	}
	g.Title, g.Cause, g.Remedy, g.Variants = name(g.Title), name(g.Cause), steps(g.Remedy), slices.Clone(g.Variants)
	for i := range g.Variants {
		v := &g.Variants[i]
		v.Title, v.Cause, v.Remedy = name(v.Title), name(v.Cause), steps(v.Remedy)
	}
	return g
}
