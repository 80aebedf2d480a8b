package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/api/client"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

func (c *commands) faultCommand() *cobra.Command {
	return noun("fault", "See faults and say a word on them",
		c.faultListCommand(), c.faultShowCommand(), c.faultWhyCommand(), c.faultHistoryCommand(), c.faultWatchCommand(), c.faultExplainCommand(),
		c.markCommand(fault.OpAck, "Acknowledge a fault: seen, somebody is on it", "its mark goes when it gets worse, and when it is raised anew"),
		c.markCommand(fault.OpUnack, "Take an acknowledgement back", ""),
		c.markCommand(fault.OpFix, "Say that a fault is mended: it is looked at now", "nothing but that look clears it"),
		c.markCommand(fault.OpUnshelve, "Take a fault off the shelf", ""),
		c.shelveCommand())
}

func (c *commands) faultListCommand() *cobra.Command {
	var f client.Filter
	var all, cleared bool
	cmd := &cobra.Command{
		Use: "list", Short: "List faults: the active ones, or all, or cleared ones", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case all && cleared:
				return usagef("use one of them", "--all and --cleared exclude each other")
			case all:
				f.State = "all"
			case cleared:
				f.State = "cleared"
			}
			return c.faultList(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&all, "all", false, "cleared ones too")
	fl.BoolVar(&cleared, "cleared", false, "only cleared ones")
	fl.StringVar(&f.Severity, "severity", "", "at least warning, minor, major or critical")
	fl.StringVar(&f.Code, "code", "", "only this code, or all below a path such as ssh")
	fl.StringVar(&f.Resource, "resource", "", "only this resource and all below it")
	fl.StringVar(&f.After, "after", "", "the next of the page before")
	fl.IntVar(&f.Limit, "limit", 1000, "faults in one page, at most 1000")
	return cmd
}

func (c *commands) faultList(ctx context.Context, f client.Filter) error {
	api := c.client()
	defer api.Close()
	list, err := api.Faults(ctx, f)
	if err != nil {
		return err
	}
	if c.flags.output == outputJSON {
		c.out.json(list)
		return nil
	}
	if len(list.Items) == 0 {
		c.out.line("No fault matches. That is not ALL CLEAR yet: allclear status says what is proved.")
		return nil
	}
	c.printFaults(list.Items)
	if list.Next != "" {
		c.out.line("There are more: allclear fault list --after %s", safe(list.Next))
	}
	return nil
}

// printFaults shows a table, worst first, what is masked below its cause.
func (c *commands) printFaults(faults []wire.Fault) {
	rows := make([][]string, 0, len(faults))
	for _, l := range nest(faults) {
		f, indent := l.fault, ""
		if l.depth > 0 {
			indent = strings.Repeat("  ", l.depth-1) + "└ "
		}
		rows = append(rows, []string{
			fmt.Sprint(f.ID), c.faultSeverity(f), indent + safe(string(f.Code)), safe(f.Resource),
			c.out.clockOf(f.RaisedAt), safe(f.Title) + c.tags(f),
		})
	}
	c.out.table([]string{"ID", "SEVERITY", "CODE", "RESOURCE", "SINCE", "WHAT"}, rows)
}

func (c *commands) faultSeverity(f *wire.Fault) string {
	if f.State == fault.Clear || f.State == fault.Pending {
		return c.out.style(styleDim, string(f.State))
	}
	return c.out.severity(f.Severity)
}

// tags are what else is to know of a fault at a glance.
func (c *commands) tags(f *wire.Fault) string {
	var tags []string
	add := func(on bool, tag string) {
		if on {
			tags = append(tags, tag)
		}
	}
	add(f.Operator.Mark == "ack", "acked")
	add(f.Operator.Mark == "fixed", "marked fixed, not proved")
	add(f.Shelf != nil, "shelved")
	add(len(f.MaskedBy) > 0, "masked")
	add(f.State == fault.Clearing, "clearing")
	add(f.Stale, "stale")
	add(f.Unverified, "not looked at since the start")
	add(f.Flapping, "flapping")
	add(f.Recurring, "recurring")
	add(!f.Durable, "not on disk yet")
	add(f.Drill, "drill")
	if len(tags) == 0 {
		return ""
	}
	return c.out.style(styleDim, " ["+strings.Join(tags, ", ")+"]")
}

// nested is a fault at its depth below its cause.
type nested struct {
	fault *wire.Fault
	depth int
}

// nest orders faults worst first and puts each masked one below the first of
// its causes that is listed.
func nest(faults []wire.Fault) []nested {
	order := make([]*wire.Fault, len(faults))
	byKey := map[string]*wire.Fault{}
	for i := range faults {
		order[i] = &faults[i]
		byKey[keyOf(&faults[i])] = &faults[i]
	}
	slices.SortStableFunc(order, func(a, b *wire.Fault) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID))
	})
	below := map[*wire.Fault][]*wire.Fault{}
	var top []*wire.Fault
	for _, f := range order {
		if cause := listedCause(f, byKey); cause != nil {
			below[cause] = append(below[cause], f)
		} else {
			top = append(top, f)
		}
	}
	var lines []nested
	placed := map[*wire.Fault]bool{}
	var place func(f *wire.Fault, depth int)
	place = func(f *wire.Fault, depth int) {
		if placed[f] {
			return
		}
		placed[f] = true
		lines = append(lines, nested{f, depth})
		for _, child := range below[f] {
			place(child, depth+1)
		}
	}
	for _, f := range slices.Concat(top, order) { // order: should causes ever form a ring, nothing is lost
		place(f, 0)
	}
	return lines
}

func keyOf(f *wire.Fault) string { return string(f.Code) + "@" + f.Resource }

func listedCause(f *wire.Fault, byKey map[string]*wire.Fault) *wire.Fault {
	for _, by := range f.MaskedBy {
		if cause := byKey[by]; cause != nil && cause != f {
			return cause
		}
	}
	return nil
}
