package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

const refArg = "one fault: its ID or CODE@RESOURCE"

func (c *commands) faultShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a fault: cause, evidence, what to do", Args: exactly(1, refArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			api := c.client()
			defer api.Close()
			f, err := api.Fault(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(f)
				return nil
			}
			c.printFault(&f)
			return nil
		},
	}
}

// printFault shows everything that is known of a fault.
func (c *commands) printFault(f *wire.Fault) {
	p := c.out
	p.line("%s %s%s", c.faultSeverity(f), p.style(styleHead, safe(f.Title)), c.tags(f))
	rows := [][]string{
		{"fault", fmt.Sprintf("%d  %s", f.ID, safe(keyOf(f)))},
		{"state", c.faultState(f)},
	}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("text", safe(f.Text))
	add("cause", safe(f.Cause))
	if len(f.MaskedBy) > 0 {
		add("masked by", safe(strings.Join(f.MaskedBy, ", ")))
	}
	if f.Operator.Mark != "none" && f.Operator.Mark != "" {
		add("mark", fmt.Sprintf("%s by %s at %s: %s", safe(f.Operator.Mark), safe(f.Operator.By), p.clockOf(f.Operator.At), safe(f.Operator.Reason)))
	}
	if f.Shelf != nil {
		add("shelved", fmt.Sprintf("until %s by %s: %s", p.clock(f.Shelf.Until), safe(f.Shelf.By), safe(f.Shelf.Reason)))
	}
	add("last look", p.clockOf(f.LastLook)+" by "+safe(f.Check))
	add("raised", fmt.Sprintf("%s (%s in all)", p.clockOf(f.RaisedAt), count(int(f.Count), "time")))
	add("known as", safe(strings.Join(f.Legacy, ", ")))
	p.table(nil, rows)
	if len(f.Sense) > 0 {
		p.heading("Evidence")
		var sense [][]string
		for _, k := range slices.Sorted(maps.Keys(f.Sense)) {
			sense = append(sense, []string{safe(k), safe(f.Sense[k])})
		}
		p.table(nil, sense)
	}
	if f.State == fault.Active || f.State == fault.Clearing {
		c.printRemedy("What to do", f.Remedy)
	}
}

func (c *commands) faultState(f *wire.Fault) string {
	switch f.State {
	case fault.Clear:
		return fmt.Sprintf("clear since %s UTC (%s)", c.out.clockOf(f.ClearedAt), safe(f.ClearReason))
	case fault.Active:
		why := ""
		if f.SeverityWhy != "look" {
			why = ", severity " + safe(f.SeverityWhy)
		}
		return fmt.Sprintf("active since %s UTC%s", c.out.clockOf(f.RaisedAt), why)
	case fault.Clearing:
		return "clearing: looks find it gone, its hold is not over"
	case fault.Pending:
		return "pending: seen, its hold is not over"
	}
	return safe(string(f.State))
}

// printRemedy numbers the steps.
func (c *commands) printRemedy(title string, steps []fault.Remedy) {
	if len(steps) == 0 {
		return
	}
	c.out.heading("%s", title)
	for i, r := range steps {
		text, lines, _ := strings.Cut(r.Text, "\n") // below the sentence: lines to paste
		c.out.line("  %d. %s", i+1, safe(text))
		for line := range strings.Lines(lines) {
			c.out.line("     %s", c.out.style(styleHead, safe(strings.TrimSuffix(line, "\n"))))
		}
		if r.Command != "" {
			c.out.line("     %s", c.out.style(styleHead, safe(r.Command)))
		}
		if r.Impact != "" {
			c.out.line("     %s", c.out.style(styleDim, "impact: "+safe(r.Impact)))
		}
	}
}

func (c *commands) faultWhyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Say why a fault is, or is not, active", Args: exactly(1, refArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			api := c.client()
			defer api.Close()
			w, err := api.Why(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(w)
				return nil
			}
			c.out.line("%s %s", c.out.style(styleHead, safe(keyOf(&w.Fault))), c.faultState(&w.Fault))
			for _, r := range w.Reasons {
				c.out.line("  - %s", safe(r))
			}
			if w.Check != nil {
				c.out.heading("Its check")
				c.printChecks([]wire.Check{*w.Check})
			}
			if len(w.Events) > 0 {
				c.out.heading("Its events, newest first")
				c.printEvents(w.Events)
			}
			return nil
		},
	}
}

func (c *commands) faultHistoryCommand() *cobra.Command {
	var limit int
	var before uint64
	cmd := &cobra.Command{
		Use: "history ID", Short: "List the events of a fault, newest first", Args: exactly(1, refArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			api := c.client()
			defer api.Close()
			list, err := api.History(cmd.Context(), args[0], limit, before)
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(list)
				return nil
			}
			c.printEvents(list.Items)
			if list.Next != "" {
				c.out.line("There are more: allclear fault history %s --before %s", safe(args[0]), safe(list.Next))
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "events, at most 1000")
	cmd.Flags().Uint64Var(&before, "before", 0, "only events with a lower seq")
	return cmd
}

func (c *commands) faultWatchCommand() *cobra.Command {
	var after int64
	cmd := &cobra.Command{
		Use: "watch", Short: "Print events as they happen, until interrupted", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.watch(cmd.Context(), after) },
	}
	cmd.Flags().Int64Var(&after, "after", -1, "begin after this seq; -1: now")
	return cmd
}

func (c *commands) watch(ctx context.Context, after int64) error {
	api := c.client()
	defer api.Close()
	st, err := api.Status(ctx)
	if err != nil {
		return err
	}
	if after < 0 {
		after = int64(st.Seq)
	}
	for ev, err := range api.Events(ctx, uint64(after), st.Epoch) {
		if err != nil {
			return err
		}
		if c.flags.output == outputJSON {
			c.out.jsonLine(ev)
		} else {
			c.out.line("%s", strings.Join(c.eventRow(&ev), "  "))
		}
		if c.out.err != nil {
			return nil // the reader is gone; Execute says so
		}
	}
	return nil
}

func (c *commands) printEvents(events []fault.Event) {
	rows := make([][]string, 0, len(events))
	for i := range events {
		rows = append(rows, c.eventRow(&events[i]))
	}
	c.out.table(nil, rows)
}

// eventRow shows an event: when, seq, kind, fault, and what is special.
func (c *commands) eventRow(ev *fault.Event) []string {
	k := string(ev.Kind)
	switch ev.Kind {
	case fault.KindRaise, fault.KindVerifyFailed, fault.KindEscalate:
		k = c.out.style(styleBad, k)
	case fault.KindClear:
		k = c.out.style(styleGood, k)
	}
	name := ""
	if ev.Key != (fault.Key{}) {
		name = safe(ev.Key.String())
	}
	var rest []string
	add := func(s string) {
		if s != "" {
			rest = append(rest, safe(s))
		}
	}
	if ev.Severity != fault.None {
		rest = append(rest, c.out.severity(ev.Severity))
	}
	if ev.By != "" {
		add("by " + ev.By)
	}
	add(ev.Reason)
	add(ev.Text)
	return []string{c.out.clock(ev.At), "#" + strconv.FormatUint(ev.Seq, 10), k, name, strings.Join(rest, "  ")}
}
