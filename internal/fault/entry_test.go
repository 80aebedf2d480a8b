package fault_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
)

func TestCatalogueRefusesWhatIsNotDeclaredWhole(t *testing.T) {
	cases := []struct {
		name   string
		change func(*fault.Entry)
		want   string
	}{
		{"no title", func(e *fault.Entry) { e.Title = " " }, "empty title"},
		{"no impact", func(e *fault.Entry) { e.Impact = "" }, "empty impact"},
		{"no cause", func(e *fault.Entry) { e.Cause = "" }, "empty cause"},
		{"no raise", func(e *fault.Entry) { e.Raise = "" }, "empty raise"},
		{"no clear", func(e *fault.Entry) { e.Clear = "" }, "empty clear"},
		{"upper case", func(e *fault.Entry) { e.Code = "T/x" }, "kebab-case"},
		{"no path", func(e *fault.Entry) { e.Code = "plain" }, "kebab-case"},
		{"an end of a path", func(e *fault.Entry) { e.Code = "t/x/" }, "kebab-case"},
		{"no severity", func(e *fault.Entry) { e.Severity = fault.None }, "no severity"},
		{"a fifth severity", func(e *fault.Entry) { e.Severity = fault.Critical + 1 }, "no severity"},
		{"no remedy", func(e *fault.Entry) { e.Remedy = nil }, "no remedy"},
		{"a remedy without impact", func(e *fault.Entry) { e.Remedy = []fault.Remedy{{Text: "x"}} }, "lacks text or impact"},
		{"a variant without a name", func(e *fault.Entry) { e.Variants = []fault.Variant{{Title: "x"}} }, "without a name"},
		{"two variants of a name", func(e *fault.Entry) { e.Variants = []fault.Variant{{Name: "v"}, {Name: "v", Title: "x"}} }, `two variants are called "v"`},
		{"a variant's remedy", func(e *fault.Entry) {
			e.Variants = []fault.Variant{{Name: "v", Remedy: []fault.Remedy{{Impact: "x"}}}}
		}, "lacks text or impact"},
		{"a fact that is a reading", func(e *fault.Entry) { e.Readings = []string{"reason"} }, "both a fact and a reading"},
		{"a common key", func(e *fault.Entry) { e.Facts = []string{"errno"} }, "common to all codes"},
		{"a negative hold", func(e *fault.Entry) { e.Hold.Clear = -1 }, "negative hold"},
		{"a budget of none", func(e *fault.Entry) { e.Auto = &fault.Auto{Action: "x", Per: time.Hour} }, "budget"},
		{"a budget nobody counts", func(e *fault.Entry) { e.Auto = &fault.Auto{Action: "x", Budget: 33, Per: time.Hour} }, "budget"},
		{"escalation downwards", func(e *fault.Entry) {
			e.Escalate = []fault.Escalation{{After: 1, To: fault.Critical}, {After: 2, To: fault.Major}}
		}, "escalation 2"},
		{"escalation backwards", func(e *fault.Entry) {
			e.Escalate = []fault.Escalation{{After: 2, To: fault.Major}, {After: 1, To: fault.Critical}}
		}, "escalation 2"},
		{"an unknown cause", func(e *fault.Entry) { e.CausedBy = []fault.Code{"t/none"} }, "unknown code t/none"},
		{"its own cause", func(e *fault.Entry) { e.CausedBy = []fault.Code{"t/x"} }, "cause each other"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := sound("t/x")
			c.change(&e)
			_, err := fault.NewCatalogue(e)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func sound(c fault.Code) fault.Entry {
	return fault.Entry{
		Code: c, Title: "title", Impact: "impact", Cause: "cause", Raise: "raise", Clear: "clear", Severity: fault.Minor,
		Facts: []string{"reason"}, Remedy: []fault.Remedy{{Text: "do", Impact: "none"}},
	}
}

func TestCatalogueAsAWhole(t *testing.T) {
	a, b, c := sound("t/a"), sound("t/b"), sound("t/c")
	a.CausedBy, b.CausedBy, c.CausedBy = []fault.Code{"t/b"}, []fault.Code{"t/c"}, []fault.Code{"t/a"}
	if _, err := fault.NewCatalogue(a, b, c); err == nil || !strings.Contains(err.Error(), "cause each other") {
		t.Errorf("three codes in a circle: %v", err)
	}
	c.CausedBy = nil
	if _, err := fault.NewCatalogue(a, b, c); err != nil {
		t.Errorf("a chain: %v", err)
	}
	if _, err := fault.NewCatalogue(c, c); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same code twice: %v", err)
	}
	bad := sound("t/x")
	bad.Title, bad.Severity = "", fault.None
	if _, err := fault.NewCatalogue(bad); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("both defects are reported, got %v", err)
	}
	never := sound("t/never")
	never.Raise, never.Clear, never.Remedy, never.Never = "", "", nil, "our design makes it impossible"
	if _, err := fault.NewCatalogue(never); err != nil {
		t.Errorf("a row that is documentation: %v", err)
	}
}

func TestLookupByVendorNames(t *testing.T) {
	a, b := sound("t/a"), sound("t/b")
	a.Legacy, b.Legacy = []string{"F999723", "fault 11"}, []string{"Fault-11"}
	cat, err := fault.NewCatalogue(a, b)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"t/a": 1, "f999723": 1, "FAULT11": 2, "fault_11": 2, "fault 1": 0, "t/": 0} {
		if got := cat.Lookup(name); len(got) != want {
			t.Errorf("%q finds %d entries, want %d", name, len(got), want)
		}
	}
}

func TestRenderQuotes(t *testing.T) {
	e := sound("t/a")
	e.Title, e.Cause = "{resource} offers {reason}", "because {reason}"
	e.Remedy = []fault.Remedy{{Text: "run it on {resource}", Impact: "none", Command: "mend {resource} {reason} {unknown}"}}
	e.Variants = []fault.Variant{{Name: "cut", Title: "cut: {reason}"}}
	cases := []struct{ resource, reason, want string }{
		{"nas1/a", "plain-1.2", "mend nas1/a plain-1.2 {unknown}"},
		{"a b", "", "mend 'a b' '' {unknown}"},
		{"r", "$(reboot)", "mend r '$(reboot)' {unknown}"},
		{"r", "it's; rm -rf /", `mend r 'it'\''s; rm -rf /' {unknown}`},
		{"r", "a`b`\nc", "mend r 'a`b`\nc' {unknown}"},
		{"r", "[::1]:22", "mend r '[::1]:22' {unknown}"},
		{"{reason}", "{resource}", "mend '{reason}' '{resource}' {unknown}"},
		{"~root", "*", "mend '~root' '*' {unknown}"},
		{"r", "übel", "mend r 'übel' {unknown}"},
	}
	for _, c := range cases {
		title, cause, steps := e.Render(c.resource, fault.NewSense(map[string]string{"reason": c.reason}))
		if steps[0].Command != c.want {
			t.Errorf("got  %s\nwant %s", steps[0].Command, c.want)
		}
		if title != c.resource+" offers "+c.reason || cause != "because "+c.reason || steps[0].Text != "run it on "+c.resource {
			t.Errorf("texts for people: %q, %q, %q", title, cause, steps[0].Text)
		}
	}
	title, cause, _ := e.Render("r", fault.NewSense(map[string]string{"qualifier": "cut", "reason": "x"}))
	if title != "cut: x" || cause != "because x" {
		t.Errorf("a variant's own title and the code's cause: %q, %q", title, cause)
	}
	if e.Remedy[0].Text != "run it on {resource}" {
		t.Error("the entry itself was changed")
	}
}

func TestTheGeneralEntryNamesWhatACaseFillsIn(t *testing.T) {
	e := fault.Entry{
		Title: "{resource} broke", Cause: "it shows {host_key}", Remedy: []fault.Remedy{{Text: "see {address}", Command: "look {resource}"}},
		Variants: []fault.Variant{{Name: "v", Cause: "{why}", Remedy: []fault.Remedy{{Text: "t", Command: "c {x_1}"}}}},
	}
	g := e.General()
	got := []string{g.Title, g.Cause, g.Remedy[0].Text, g.Remedy[0].Command, g.Variants[0].Cause, g.Variants[0].Remedy[0].Command}
	want := []string{"RESOURCE broke", "it shows HOST_KEY", "see ADDRESS", "look RESOURCE", "WHY", "c X_1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if e.Cause != "it shows {host_key}" || e.Remedy[0].Command != "look {resource}" || e.Variants[0].Cause != "{why}" {
		t.Error("the entry itself changed")
	}
}
