package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"allclear/internal/config"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// markCommand makes ack, unack, fix and unshelve.
func (c *commands) markCommand(op fault.Op, short, more string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: string(op) + " ID --reason TEXT", Short: short, Args: exactly(1, refArg), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" && (op == fault.OpAck || op == fault.OpFix) {
				return usagef("--reason TEXT is kept in the journal with your name", "%s needs a reason", cmd.CommandPath())
			}
			return c.operate(cmd.Context(), args[0], wire.OperatorRequest{Op: op, Reason: reason})
		},
	}
	if more != "" {
		cmd.Long = short + "; " + more + "."
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the journal with your name")
	return cmd
}

func (c *commands) shelveCommand() *cobra.Command {
	var reason, span, until string
	cmd := &cobra.Command{
		Use: "shelve ID (--for 1h | --until TIME) --reason TEXT", DisableFlagsInUseLine: true,
		Short: "Do not tell of a fault for a while; it still counts",
		Args:  exactly(1, refArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := wire.OperatorRequest{Op: fault.OpShelve, Reason: reason}
			switch {
			case reason == "":
				return usagef("--reason TEXT is kept in the journal with your name", "%s needs a reason", cmd.CommandPath())
			case (span == "") == (until == ""):
				return usagef("a shelf ends: --for 2h, or --until 2026-01-31T18:00:00Z, at most 30 days from now", "%s takes one of --for and --until", cmd.CommandPath())
			case span != "":
				d, err := config.ParseDuration(span)
				if err != nil {
					return usagef("such as 90m, 2h, 1d12h", "--for: %v", err)
				}
				req.For = d.String()
			default:
				t, err := parseTime(until, c.std.Now())
				if err != nil {
					return err
				}
				req.Until = &t
			}
			return c.operate(cmd.Context(), args[0], req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why; kept in the journal with your name")
	f.StringVar(&span, "for", "", "how long, such as 90m, 2h or 7d")
	f.StringVar(&until, "until", "", "until when: RFC 3339, \"2006-01-02 15:04\" or the next 15:04, in UTC")
	return cmd
}

// parseTime reads a time in UTC that lies ahead.
func parseTime(s string, now time.Time) (time.Time, error) {
	now = now.UTC()
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse("2006-01-02 15:04", s)
	}
	if err != nil {
		if t, err = time.Parse("15:04", s); err == nil {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
			if !t.After(now) {
				t = t.AddDate(0, 0, 1)
			}
		}
	}
	if err != nil {
		return t, usagef("write 2026-01-31T18:00:00Z, \"2026-01-31 18:00\" or 18:00, in UTC", "--until: %q is no time", s)
	}
	if !t.After(now) {
		return t, usagef("it is "+now.Format(time.RFC3339)+" now", "--until: %s is over", t.Format(time.RFC3339))
	}
	return t.UTC(), nil
}

// operate says the word and shows what came of it. A fix whose look still finds
// the fault is exit code 3.
func (c *commands) operate(ctx context.Context, ref string, req wire.OperatorRequest) error {
	api := c.client()
	defer api.Close()
	reply, err := api.Operate(ctx, ref, req)
	if err != nil {
		return err
	}
	if c.flags.output == outputJSON {
		c.out.json(reply)
	} else {
		c.out.line("%s  %s%s", c.out.style(styleHead, safe(keyOf(&reply.Fault))), c.faultState(&reply.Fault), c.tags(&reply.Fault))
		c.printEvents(reply.Events)
	}
	if req.Op == fault.OpFix && reply.Fault.State != fault.Clear {
		return found{exitFaults}
	}
	return nil
}
