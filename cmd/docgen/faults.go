package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"allclear/internal/app"
	"allclear/internal/config"
	"allclear/internal/fault"
)

// stories are the files that tell of a code: those that raise it, and those
// that also clear it.
type stories struct {
	raised, cleared map[fault.Code][]string // names of files
}

const storyDir = "testdata/faults"

func readStories(root string) (stories, error) {
	s := stories{raised: map[fault.Code][]string{}, cleared: map[fault.Code][]string{}}
	files, err := filepath.Glob(filepath.Join(root, storyDir, "*.txtar"))
	if err != nil {
		return s, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return s, err
		}
		name := filepath.Base(file)
		for line := range strings.Lines(string(data)) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			word, _, _ := strings.Cut(words[1], "@")
			switch words[0] {
			case "fault":
				s.raised[fault.Code(word)] = append(s.raised[fault.Code(word)], name)
			case "cleared":
				s.cleared[fault.Code(word)] = append(s.cleared[fault.Code(word)], name)
			}
		}
	}
	return s, nil
}

// of answers the files that raise and clear the code.
func (s *stories) of(c fault.Code) []string {
	both := slices.DeleteFunc(slices.Compact(s.raised[c]), func(name string) bool { return !slices.Contains(s.cleared[c], name) })
	return both
}

func faultPages(all pages, s stories) {
	index := newText()
	index.line("# Faults\n")
	index.line("Every code that this version knows. A code keeps its meaning for ever. Offline the same is said by")
	index.line("`allclear fault explain CODE`, which also takes a name from a vendor's document.\n")
	index.head("Code", "Severity", "What is wrong", "Also known as", "Drill")
	drills := app.Drills()
	for _, e := range app.Catalogue().All() {
		all["faults/"+string(e.Code)+".md"] = faultPage(e, slices.Contains(drills, e.Code), s.of(e.Code))
		index.row(fmt.Sprintf("[%s](%s.md)", e.Code, e.Code), e.Severity.String(), e.Title, codes(e.Legacy), yes(slices.Contains(drills, e.Code)))
	}
	all["faults/README.md"] = index.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func faultPage(entry *fault.Entry, drill bool, files []string) string {
	general := entry.General()
	e := &general
	t := newText()
	t.line("# %s\n", e.Code)
	t.line("**%s**\n", e.Title)
	facts := [][2]string{
		{"Severity", severity(e)},
		{"Also known as", codes(e.Legacy)},
		{"Impact", e.Impact},
		{"Cause", e.Cause},
		{"Raised when", hold(e.Raise, e.Hold.Raise)},
		{"Cleared when", hold(e.Clear, e.Hold.Clear)},
		{"Applies", e.Applies},
		{"May be a consequence of", links(e)},
		{"Never raised", e.Never},
	}
	if e.ByOperator {
		facts = append(facts, [2]string{"Settled by", "an operator's `fault fix`: no look can prove it mended"})
	}
	if a := e.Auto; a != nil {
		facts = append(facts, [2]string{"Automatic remedy", fmt.Sprintf("%s, at most %d times in %s, where `remedies` of the configuration names the code", code(a.Action), a.Budget, span(a.Per))})
	}
	for _, x := range e.Escalate {
		facts = append(facts, [2]string{"Escalates", fmt.Sprintf("to %s after %s", x.To, span(x.After))})
	}
	t.head("", "")
	for _, f := range facts {
		if f[1] != "" {
			t.row(f[0], f[1])
		}
	}
	remedy(t, "What to do", e.Remedy)
	variants(t, e.Variants)
	evidence(t, e)
	t.line("\n## Proof\n")
	for _, name := range files {
		t.line("- [%s](../../../%s/%s) raises it for real and clears it by a look", strings.TrimSuffix(name, ".txtar"), storyDir, name)
	}
	if drill {
		t.line("- `allclear drill %s` makes it happen in a private lab, at any time", e.Code)
	}
	if e.Never == "" && len(files) == 0 && !drill {
		t.line("none")
	}
	return t.String()
}

// variants says what differs from the code's own texts.
func variants(t *text, list []fault.Variant) {
	if len(list) == 0 {
		return
	}
	t.line("\n## Variants\n")
	for _, v := range list {
		t.line("- `%s`: %s", v.Name, strings.Join(slices.DeleteFunc([]string{v.Title, v.Cause}, func(s string) bool { return s == "" }), ". "))
	}
	for _, v := range list {
		remedy(t, fmt.Sprintf("What to do: `%s`", v.Name), v.Remedy)
	}
}

func severity(e *fault.Entry) string {
	if e.Severities == "" {
		return e.Severity.String()
	}
	return e.Severity.String() + "; " + e.Severities
}

func hold(words string, d time.Duration) string {
	if d == 0 {
		return words
	}
	return words + "; seen so for " + span(d)
}

func span(d time.Duration) string { return config.FormatDuration(d) }

func links(e *fault.Entry) string {
	up := strings.Repeat("../", strings.Count(string(e.Code), "/"))
	list := make([]string, len(e.CausedBy))
	for i, c := range e.CausedBy {
		list[i] = fmt.Sprintf("[%s](%s%s.md)", c, up, c)
	}
	return strings.Join(list, ", ")
}

// remedy lists steps. A command's values in braces are those of the fault.
func remedy(t *text, title string, steps []fault.Remedy) {
	if len(steps) == 0 {
		return
	}
	t.line("\n## %s\n", title)
	for i, s := range steps {
		t.line("%d. %s", i+1, s.Text)
		if s.Command != "" {
			t.line("   `%s`", s.Command)
		}
		if s.Action != "" {
			t.line("   (allclear can do this itself: `%s`)", s.Action)
		}
		t.line("   *Impact: %s.*", strings.TrimSuffix(s.Impact, "."))
	}
}

func evidence(t *text, e *fault.Entry) {
	if len(e.Facts)+len(e.Readings) == 0 {
		return
	}
	t.line("\n## Evidence\n")
	if len(e.Facts) > 0 {
		t.line("- Facts, whose change is an event: %s", codes(e.Facts))
	}
	if len(e.Readings) > 0 {
		t.line("- Readings, which only move along: %s", codes(e.Readings))
	}
}
