package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/api/client"
	"allclear/internal/wire"
)

// The verdicts of a status.
const (
	allClear    = "all-clear"
	notYetKnown = "not-yet-known"
)

func (c *commands) statusCommand() *cobra.Command {
	var ignoreShelved bool
	cmd := &cobra.Command{
		Use: "status", Short: "Whether all is well, what was proved, and what nobody vouches for",
		Long: `Whether all is well. ALL CLEAR, exit code 0, means: every check has a conclusive
look not older than three intervals, and no fault is active. An active fault,
acknowledged, masked or shelved ones included, gives exit code 3, and so does a
check that is stale or not yet looked at: NOT YET KNOWN.`,
		Args: none, Annotations: map[string]string{outputNagios: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context(), ignoreShelved) },
	}
	cmd.Flags().BoolVar(&ignoreShelved, "ignore-shelved", false, "shelved faults do not count, for scripts")
	return cmd
}

func (c *commands) status(ctx context.Context, ignoreShelved bool) error {
	api := c.client()
	defer api.Close()
	st, err := api.Status(ctx)
	if err != nil {
		return err
	}
	if ignoreShelved {
		if err := withoutShelved(ctx, api, &st); err != nil {
			return err
		}
	}
	switch c.flags.output {
	case outputNagios:
		line, code := nagiosStatus(&st)
		c.out.line("%s", line)
		return ended(code)
	case outputJSON:
		c.out.json(st)
	default:
		c.printStatus(&st)
	}
	if st.Verdict != allClear {
		return found{exitFaults}
	}
	return nil
}

func ended(code int) error {
	if code == exitOK {
		return nil
	}
	return found{code}
}

// withoutShelved judges anew as if shelved faults were not there. They are
// still listed.
func withoutShelved(ctx context.Context, api *client.Client, st *wire.Status) error {
	if st.Summary.Active == 0 {
		return nil
	}
	left := 0
	for f, err := range api.AllFaults(ctx, client.Filter{}) {
		if err != nil {
			return err
		}
		if f.Shelf == nil && !f.Drill {
			left++
		}
	}
	gaps := len(st.NotYet) + len(st.Stale)
	switch {
	case left > 0:
		return nil
	case gaps > 0:
		st.Verdict = notYetKnown
		st.Sentence = fmt.Sprintf("NOT YET KNOWN: %s without a conclusive look; %s on the shelf.", count(gaps, "check"), count(st.Summary.Active, "fault"))
	default:
		st.Verdict = allClear
		st.Sentence = fmt.Sprintf("ALL CLEAR but for %s on the shelf: %s, each with a conclusive look.", count(st.Summary.Active, "fault"), count(st.Summary.Checks, "check"))
	}
	return nil
}

func (c *commands) printStatus(st *wire.Status) {
	p := c.out
	style := styleBad
	switch st.Verdict {
	case allClear:
		style = styleGood
	case notYetKnown:
		style = styleWarn
	}
	p.line("%s", p.style(style, safe(st.Sentence)))
	p.line("%s", p.style(styleDim, fmt.Sprintf("node %s, %s UTC, agent %s running since %s", safe(st.Node), p.clock(st.At), safe(st.Version), p.clock(st.StartedAt))))
	if len(st.Faults) > 0 {
		p.heading("Active faults")
		c.printFaults(st.Faults)
		if more := st.Summary.Active - len(st.Faults); more > 0 {
			p.line("  and %s more: allclear fault list", count(more, "fault"))
		}
		p.line("  %s", p.style(styleDim, "allclear fault show ID says what to do"))
	}
	c.printHidden(st.Summary)
	p.gaps("Not yet looked at", st.NotYet)
	p.gaps("Stale: known once, not now", st.Stale)
	if len(st.Proved) > 0 {
		p.heading("Proved")
		rows := make([][]string, 0, len(st.Proved))
		for _, pr := range st.Proved {
			rows = append(rows, []string{p.clock(pr.At), safe(pr.Resource), safe(pr.Text)})
		}
		p.table(nil, rows)
	}
	p.gaps("Not monitored", st.NotMonitored)
	if len(st.Subsystems) > 0 {
		p.heading("Subsystems")
		rows := make([][]string, 0, len(st.Subsystems))
		for _, s := range st.Subsystems {
			rows = append(rows, []string{safe(s.Name), c.subsystemState(s.State), count(s.Checks, "check"), safe(s.Text)})
		}
		p.table(nil, rows)
	}
}

func (c *commands) subsystemState(state string) string {
	switch state {
	case "working":
		return c.out.style(styleGood, state)
	case "faulty":
		return c.out.style(styleBad, state)
	}
	return c.out.style(styleDim, safe(state))
}

// printHidden says what is active and yet not told to anybody, and what else
// qualifies the count.
func (c *commands) printHidden(s wire.Summary) {
	var parts []string
	for _, n := range []struct {
		n    int
		text string
	}{
		{s.Shelved, "shelved"},
		{s.Masked, "masked by their cause"},
		{s.Acked, "acknowledged"},
		{s.Stale, "stale"},
		{s.Flapping, "flapping"},
		{s.Drills, "of drills, which count nowhere"},
	} {
		if n.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.n, n.text))
		}
	}
	if len(parts) > 0 {
		c.out.heading("Hidden or marked")
		c.out.line("  %s", strings.Join(parts, ", "))
	}
}

// gaps lists what nobody vouches for; the same reason is said once for a
// resource.
func (p *printer) gaps(title string, gaps []wire.Gap) {
	if len(gaps) == 0 {
		return
	}
	p.heading("%s", title)
	type place struct{ resource, why string }
	codes := map[place][]string{}
	var order []place
	for _, g := range gaps {
		at := place{or(g.Resource, g.Check), g.Why}
		if _, seen := codes[at]; !seen {
			order = append(order, at)
		}
		if what := or(string(g.Code), g.Check); !slices.Contains(codes[at], what) {
			codes[at] = append(codes[at], what)
		}
	}
	rows := make([][]string, 0, len(order))
	for _, at := range order {
		rows = append(rows, []string{safe(at.resource), safe(strings.Join(codes[at], ", ")), safe(at.why)})
	}
	p.table(nil, rows)
}
