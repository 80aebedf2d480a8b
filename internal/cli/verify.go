package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

func (c *commands) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify [RESOURCE or CODE ...]", Short: "Look now, and print what changed",
		Long: `Look now at what is named (resources, codes, check ids, fault ids or
CODE@RESOURCE), at everything when nothing is, wait until the looks are done and
journalled, and print what they changed. Exit code 3 when a fault is active
among what was looked at, or a look could not be done.`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.verify(cmd.Context(), args) },
	}
}

// slowVerify is when a verify says that it is still at work.
const slowVerify = 3 * time.Second

func (c *commands) verify(ctx context.Context, selects []string) error {
	api := c.client()
	defer api.Close()
	// A look may wait for its turn: people should know that nothing is stuck.
	slow := time.AfterFunc(slowVerify, func() {
		c.talk.line("%s", c.talk.style(styleDim, "still looking; an SSH server is asked at most six times a minute, further looks wait for their turn"))
	})
	defer slow.Stop()
	reply, err := api.Verify(ctx, selects)
	slow.Stop()
	if err != nil {
		return err
	}
	if c.flags.output == outputJSON {
		c.out.json(reply)
	} else {
		c.printVerify(&reply)
	}
	if reply.Active > 0 || slices.ContainsFunc(reply.Looks, inVain) {
		return found{exitFaults}
	}
	return nil
}

// inVain claims that a look proved nothing, or that nobody knows of it.
func inVain(l wire.Look) bool {
	return l.Failure != "" || l.Refused != "" ||
		!slices.ContainsFunc(l.Verdicts, func(v wire.CheckedVerdict) bool { return v.Verdict != fault.Unknown })
}

func (c *commands) printVerify(r *wire.VerifyReply) {
	rows := make([][]string, 0, len(r.Looks))
	for i := range r.Looks {
		l := &r.Looks[i]
		rows = append(rows, []string{safe(l.Check), c.lookResult(l), ms(l.DurationMS), safe(strings.Join(l.Proved, "; "))})
	}
	c.out.table([]string{"LOOKED AT", "RESULT", "TOOK", "PROVED"}, rows)
	if len(r.Events) == 0 {
		c.out.line("Nothing changed.")
	} else {
		c.out.heading("What changed")
		c.printEvents(r.Events)
	}
	if r.Active > 0 {
		c.out.line("%s active among what was looked at: allclear fault list", c.out.style(styleBad, count(r.Active, "fault")))
	}
}

// lookResult says in a few words what a look found.
func (c *commands) lookResult(l *wire.Look) string {
	if l.Failure != "" {
		return c.out.style(styleBad, "could not look: "+safe(l.Failure))
	}
	if l.Refused != "" {
		return c.out.style(styleBad, "not stored: "+safe(l.Refused))
	}
	if inVain(*l) {
		return c.out.style(styleWarn, "could not look: "+safe(whyUnknown(l)))
	}
	var present []string
	absent, unknown, off := 0, 0, 0
	for _, v := range l.Verdicts {
		switch v.Verdict {
		case fault.Present:
			present = append(present, string(v.Code))
		case fault.Absent:
			absent++
		case fault.NotApplicable:
			off++
		default:
			unknown++
		}
	}
	var parts []string
	if len(present) > 0 {
		parts = append(parts, c.out.style(styleBad, safe(strings.Join(present, ", "))))
	}
	if absent > 0 {
		parts = append(parts, c.out.style(styleGood, fmt.Sprintf("%d proved absent", absent)))
	}
	if unknown > 0 {
		parts = append(parts, c.out.style(styleWarn, fmt.Sprintf("%d unknown", unknown)))
	}
	if off > 0 {
		parts = append(parts, fmt.Sprintf("%d not applicable", off))
	}
	return strings.Join(parts, ", ")
}

// whyUnknown is the first reason of a look that judged nothing.
func whyUnknown(l *wire.Look) string {
	for _, v := range l.Verdicts {
		if v.Why != "" {
			return v.Why
		}
	}
	return "it judged nothing"
}

func (c *commands) checkCommand() *cobra.Command {
	return noun("check", "See the checks", &cobra.Command{
		Use: "list", Short: "List every check: plan, last look, verdicts", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api := c.client()
			defer api.Close()
			list, err := api.Checks(cmd.Context())
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(list)
				return nil
			}
			c.printChecks(list.Items)
			return nil
		},
	})
}

func (c *commands) printChecks(checks []wire.Check) {
	rows := make([][]string, 0, len(checks))
	for i := range checks {
		k := &checks[i]
		at, took, result := "never", "", ""
		if k.Last != nil {
			at, took, result = c.out.clock(k.Last.At), ms(k.Last.DurationMS), c.lookResult(k.Last)
		}
		next := c.out.clock(k.Next)
		if k.Running {
			next = "now"
		}
		rows = append(rows, []string{safe(k.ID), c.checkState(k.State), k.Every, at, took, next, result})
	}
	c.out.table([]string{"CHECK", "STATE", "EVERY", "LAST", "TOOK", "NEXT", "RESULT"}, rows)
}

func (c *commands) checkState(state string) string {
	switch state {
	case "proved":
		return c.out.style(styleGood, state)
	case "faulty", "failing":
		return c.out.style(styleBad, state)
	case "stale", "not-yet":
		return c.out.style(styleWarn, state)
	}
	return safe(state)
}
