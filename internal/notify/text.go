package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"allclear/internal/fault"
)

// headline says in one line what happened: for subjects, titles and logs.
func headline(m *Message) string {
	switch m.Type {
	case Test:
		return "Test message of allclear on " + oneLine(m.Node)
	case Digest:
		raised, cleared := m.count()
		s := fmt.Sprintf("%s raised or changed, %d cleared on %s", count(raised, "fault"), cleared, oneLine(m.Node))
		if m.Late {
			s += " (late: could not be told for a day)"
		}
		return s
	case Resync:
		return fmt.Sprintf("%s active on %s: everything else is over", count(len(m.Items), "fault"), oneLine(m.Node))
	}
	return fmt.Sprintf("%s%s: %s on %s", label(m), strings.ToUpper(word(m)), oneLine(m.Fault.Title), oneLine(m.Node))
}

// word is the severity, or that the fault is over.
func word(m *Message) string {
	if m.Type == Clear {
		return "clear"
	}
	return m.Severity().String()
}

// label marks what must not be taken for a real fault.
func label(m *Message) string {
	if m.Fault.Drill {
		return "[DRILL] "
	}
	return ""
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// fact is one line of a message for people.
type fact struct{ name, value string }

// facts are what people are shown besides the headline, each value on one line.
func facts(m *Message) []fact {
	f := &m.Fault
	all := []fact{{"Node", m.Node}, {"Resource", f.Resource}, {"Code", string(f.Code)}, {"Severity", f.Severity.String()}}
	add := func(name, value string) {
		if value != "" {
			all = append(all, fact{name, value})
		}
	}
	if m.Type == Clear {
		add("Cleared", stamp(f.ClearedAt)+", "+oneLine(fault.ClearWords(f.ClearReason)))
	}
	add("Raised", stamp(f.RaisedAt))
	if m.Type != Clear {
		add("Seen", f.Text)
		add("Cause", f.Cause)
	}
	add("Fault", fmt.Sprintf("allclear fault show %d", f.ID))
	if !f.Durable {
		add("Note", "not on disk yet: the journal cannot write")
	}
	for i := range all {
		all[i].value = cut(oneLine(all[i].value), 600)
	}
	return all
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// steps are what to do, each on one line; none once the fault is over.
func steps(m *Message) []string {
	if m.Type == Clear {
		return nil
	}
	var all []string
	for _, r := range m.Fault.Remedy {
		s := r.Text
		if r.Command != "" {
			s += " Run: " + r.Command
		}
		all = append(all, cut(oneLine(s), 600))
	}
	return all
}

// digestMost is how many lines of a digest are written out.
const digestMost = 50

// bullets are the lines of a digest or resync, the worst first: "RESOURCE:
// what", after the fashion of seed 001's alerts.
func bullets(m *Message) []string {
	items := slices.Clone(m.Items)
	slices.SortStableFunc(items, func(a, b Message) int { return rank(&b) - rank(&a) })
	var all []string
	for i := range items {
		if i == digestMost {
			return append(all, fmt.Sprintf("and %d more: allclear fault list", len(items)-i))
		}
		it := &items[i]
		all = append(all, cut(oneLine(fmt.Sprintf("%s%s: %s, %s", label(it), it.Fault.Resource, word(it), it.Fault.Title)), 300))
	}
	return all
}

func rank(m *Message) int {
	if m.Type == Clear {
		return 0
	}
	return int(m.Fault.Severity)
}

// plain is the whole message as text, one line each.
func plain(m *Message) []string {
	lines := []string{headline(m), ""}
	switch m.Type {
	case Test:
		return append(lines, "Somebody ran: allclear notify test. Nothing is wrong, and nothing is to be done.")
	case Digest, Resync:
		for _, b := range bullets(m) {
			lines = append(lines, "* "+b)
		}
		return lines
	}
	for _, f := range facts(m) {
		lines = append(lines, fmt.Sprintf("%-9s %s", f.name+":", f.value))
	}
	if all := steps(m); len(all) > 0 {
		lines = append(lines, "", "What to do:")
		for i, s := range all {
			lines = append(lines, fmt.Sprintf("%d. %s", i+1, s))
		}
	}
	return lines
}
