package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

func (c *commands) notifyCommand() *cobra.Command {
	return noun("notify", "See and test who is told of faults", c.notifyListCommand(), c.notifyTestCommand())
}

func (c *commands) notifyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the receivers: what each was told last, what is due, what failed", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api := c.client()
			defer api.Close()
			list, err := api.Sinks(cmd.Context())
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(list)
				return nil
			}
			c.printSinks(list.Items)
			return nil
		},
	}
}

func (c *commands) printSinks(sinks []wire.NotifySink) {
	if len(sinks) == 0 {
		c.out.line("No receiver is configured: nobody is told. See notify: in allclear config example.")
		return
	}
	rows := make([][]string, 0, len(sinks))
	for i := range sinks {
		s := &sinks[i]
		kind := s.Kind
		if s.Template != "" {
			kind = s.Template
		}
		last := "never"
		if s.LastDelivered != nil {
			last = c.out.clock(*s.LastDelivered)
		}
		rows = append(rows, []string{
			safe(s.Name), safe(kind), safe(s.Destination), c.sinkState(s.State), strconv.FormatUint(s.ToldSeq, 10),
			lag(s), strconv.Itoa(s.Told), last,
		})
	}
	c.out.table([]string{"RECEIVER", "KIND", "WHERE", "STATE", "TOLD UP TO", "BEHIND", "ACTIVE", "LAST MESSAGE"}, rows)
	for i := range sinks {
		if s := &sinks[i]; s.Failures > 0 {
			next := ""
			if s.NextTry != nil {
				next = ", next try " + c.out.clock(*s.NextTry)
			}
			c.out.line("%s: %s in a row%s: %s", c.out.style(styleBad, safe(s.Name)), count(s.Failures, "failure"), next, safe(s.LastError))
		}
	}
}

// lag says how far a receiver is behind, "-" if it is not.
func lag(s *wire.NotifySink) string {
	if s.Pending == 0 {
		return "-"
	}
	return fmt.Sprintf("%s, %s", count(s.Pending, "message"), time.Duration(s.LagSeconds*float64(time.Second)).Round(time.Second))
}

func (c *commands) sinkState(state string) string {
	switch state {
	case "ok":
		return c.out.style(styleGood, state)
	case "failing":
		return c.out.style(styleBad, state)
	}
	return safe(state)
}

func (c *commands) notifyTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test RECEIVER", Short: "Send a test message and print what the receiver answered",
		Long: `Send a message marked as a test to one receiver, past all queues, and print what
it answered. Exit code 3 when it did not take the message.`,
		Args: exactly(1, "the name of a receiver"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api := c.client()
			defer api.Close()
			t, err := api.TestSink(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			switch {
			case c.flags.output == outputJSON:
				c.out.json(t)
			case t.OK:
				c.out.line("%s %s took the test message in %s: %s", c.out.style(styleGood, "ok:"), safe(t.Sink), ms(t.DurationMS), safe(t.Answer))
			default:
				c.out.line("%s %s (%s) did not take the test message: %s", c.out.style(styleBad, "failed:"), safe(t.Sink), safe(t.Destination), safe(t.Error))
			}
			if !t.OK {
				return found{exitFaults}
			}
			return nil
		},
	}
}
