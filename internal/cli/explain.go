package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/config"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

func (c *commands) faultExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain CODE or LEGACY", Short: "Explain a code, or a name from a vendor's document, without an agent",
		Long: `Explain what a code means, why it happens and what to do. The names that other
systems' documents give the same thing are understood too: 1785, 086006,
"fault 11", F999723. Needs no agent.`,
		Args: atLeastOne("a code such as ssh/unreachable, or a name such as F999723"),
		RunE: func(_ *cobra.Command, args []string) error {
			entries, err := c.lookup(args)
			if err != nil {
				return err
			}
			list := wire.List[wire.Explanation]{Items: []wire.Explanation{}}
			for _, e := range entries {
				list.Items = append(list.Items, explanation(e))
			}
			if c.flags.output == outputJSON {
				c.out.json(list)
				return nil
			}
			for i := range list.Items {
				if i > 0 {
					c.out.line("")
				}
				c.printExplanation(&list.Items[i])
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return c.codes(), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func (c *commands) codes() []string {
	var codes []string
	for _, e := range c.program.Catalogue().All() {
		codes = append(codes, string(e.Code))
	}
	return codes
}

// lookup finds the entries of all words: together as one name ("fault 11"), or
// each for itself.
func (c *commands) lookup(words []string) ([]*fault.Entry, error) {
	cat := c.program.Catalogue()
	if found := cat.Lookup(strings.Join(words, " ")); len(found) > 0 {
		return found, nil
	}
	var all []*fault.Entry
	for _, w := range words {
		found := cat.Lookup(w)
		if len(found) == 0 {
			return nil, c.unknownCode(w)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (c *commands) unknownCode(w string) error {
	names := c.codes()
	for _, e := range c.program.Catalogue().All() {
		names = append(names, e.Legacy...)
	}
	if guess := nearest(w, names); guess != "" {
		return usagef("did you mean: allclear fault explain "+guess+"?", "no code or name %q", w)
	}
	var near []string
	for _, n := range names {
		if len(w) >= 3 && strings.Contains(n, w) {
			near = append(near, n)
		}
	}
	if len(near) > 0 {
		return usagef("these contain it: "+strings.Join(near[:min(len(near), 8)], ", "), "no code or name %q", w)
	}
	return usagef("codes begin with: "+strings.Join(c.families(), ", "), "no code or name %q", w)
}

// families are the first parts of the codes.
func (c *commands) families() []string {
	var all []string
	for _, code := range c.codes() {
		family, _, _ := strings.Cut(code, "/")
		all = append(all, family)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func explanation(entry *fault.Entry) wire.Explanation {
	e := entry.General()
	x := wire.Explanation{
		Code: e.Code, Legacy: orEmpty(e.Legacy), Title: e.Title, Severity: e.Severity, Severities: e.Severities,
		Impact: e.Impact, Cause: e.Cause, Raise: e.Raise, Clear: e.Clear, Remedy: orEmpty(e.Remedy),
		Facts: orEmpty(e.Facts), Readings: orEmpty(e.Readings), CausedBy: orEmpty(e.CausedBy), Applies: e.Applies, Never: e.Never,
	}
	if e.Hold.Raise > 0 {
		x.RaiseHold = config.FormatDuration(e.Hold.Raise)
	}
	if e.Hold.Clear > 0 {
		x.ClearHold = config.FormatDuration(e.Hold.Clear)
	}
	for _, v := range e.Variants {
		x.Variants = append(x.Variants, wire.Variant(v))
	}
	return x
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (c *commands) printExplanation(x *wire.Explanation) {
	p := c.out
	p.line("%s  %s", p.style(styleHead, string(x.Code)), p.severity(x.Severity))
	p.line("%s", x.Title)
	rows := [][]string{}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{p.style(styleDim, name), value})
		}
	}
	hold := func(what, span string) string {
		if span == "" {
			return what
		}
		return what + ", for " + span
	}
	add("impact", x.Impact)
	add("cause", x.Cause)
	add("raised when", hold(x.Raise, x.RaiseHold))
	add("cleared when", hold(x.Clear, x.ClearHold))
	add("never raised", x.Never)
	add("severity", x.Severities)
	add("applies to", x.Applies)
	add("also known as", strings.Join(x.Legacy, ", "))
	var by []string
	for _, code := range x.CausedBy {
		by = append(by, string(code))
	}
	add("explained by", strings.Join(by, ", "))
	add("evidence", strings.Join(slices.Concat(x.Facts, x.Readings), ", "))
	p.table(nil, rows)
	c.printRemedy("What to do", x.Remedy)
	for _, v := range x.Variants {
		p.heading("Variant %s: %s", v.Name, or(v.Title, x.Title))
		if v.Cause != "" {
			p.line("  %s", v.Cause)
		}
		if len(v.Remedy) > 0 {
			c.printRemedy("What to do", v.Remedy)
		}
	}
}
