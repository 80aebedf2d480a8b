package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

func (c *commands) preflightCommand() *cobra.Command {
	var ch wire.Change
	cmd := &cobra.Command{
		Use: "preflight", Short: "Say what would break if the policy changed, and what prevents it",
		Long: `Ask the agent which watched targets would break if the SSH policy, the least TLS
version or the servers' software changed, why, and which line prevents it.
Exit code 3 when something would break or cannot be foreseen.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ch == (wire.Change{}) {
				return usagef("allclear preflight --policy fips-140-3, --min-tls 1.3 or --server-upgrade", "no change is named")
			}
			if ch.MinTLS != "" && ch.MinTLS != "1.2" && ch.MinTLS != "1.3" {
				return usagef("--min-tls takes 1.2 or 1.3", "no TLS version %q", ch.MinTLS)
			}
			api := c.client()
			defer api.Close()
			list, err := api.Preflight(cmd.Context(), ch)
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(list)
			} else {
				c.printFindings(list.Items)
			}
			if slices.ContainsFunc(list.Items, func(f wire.Finding) bool { return f.Verdict != "works" }) {
				return found{exitFaults}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&ch.Policy, "policy", "", "the SSH policy that is planned")
	f.StringVar(&ch.MinTLS, "min-tls", "", "the least TLS version that is planned: 1.2 or 1.3")
	f.BoolVar(&ch.ServerUpgrade, "server-upgrade", false, "the next release of the servers' own software")
	return cmd
}

func (c *commands) printFindings(findings []wire.Finding) {
	if len(findings) == 0 {
		c.out.line("Nothing that is watched is touched by this change.")
		return
	}
	breaks, unknown := 0, 0
	rows := make([][]string, 0, len(findings))
	for _, f := range findings {
		verdict := c.out.style(styleGood, safe(f.Verdict))
		switch f.Verdict {
		case "breaks":
			breaks++
			verdict = c.out.style(styleBad, f.Verdict)
		case "unknown":
			unknown++
			verdict = c.out.style(styleWarn, f.Verdict)
		}
		rows = append(rows, []string{safe(f.Target), safe(f.Kind), verdict, safe(f.Why)})
	}
	c.out.table([]string{"TARGET", "KIND", "VERDICT", "WHY"}, rows)
	for _, f := range findings {
		for _, r := range f.Remedy {
			c.out.line("  %s: %s", safe(f.Target), c.out.style(styleHead, safe(r)))
		}
	}
	c.out.line("%s", fmt.Sprintf("%d of %d would break, %d cannot be foreseen.", breaks, len(findings), unknown))
}

func (c *commands) drillCommand() *cobra.Command {
	return &cobra.Command{
		Use: "drill [CODE ...]", Short: "Make faults really happen in a private lab, and see them found and cleared",
		Long: `Break a real thing in a private lab, see the real check raise the fault, repair
it, and see the fault cleared by proof: for the codes named, or for all that
have a drill. Drills touch nothing that is watched and count nowhere. Exit code
3 when one does not pass.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			codes := make([]fault.Code, 0, len(args))
			for _, a := range args {
				entries, err := c.lookup([]string{a})
				if err != nil {
					return err
				}
				for _, e := range entries {
					codes = append(codes, e.Code)
				}
			}
			api := c.client()
			defer api.Close()
			reports := wire.List[wire.DrillReport]{Items: []wire.DrillReport{}}
			err := api.Drill(cmd.Context(), codes, func(r wire.DrillReport) {
				reports.Items = append(reports.Items, r)
				if c.flags.output == outputText {
					c.printDrill(&r)
				}
			})
			if c.flags.output == outputJSON && (err == nil || len(reports.Items) > 0) {
				c.out.json(reports)
			}
			if err != nil {
				return err
			}
			if len(reports.Items) == 0 {
				return errors.New("there is nothing to drill: no code of this agent has a drill")
			}
			failed := 0
			for _, r := range reports.Items {
				if !r.Passed {
					failed++
				}
			}
			if c.flags.output == outputText {
				c.out.line("%d of %d passed.", len(reports.Items)-failed, len(reports.Items))
			}
			if failed > 0 {
				return found{exitFaults}
			}
			return nil
		},
	}
}

func (c *commands) printDrill(r *wire.DrillReport) {
	verdict := c.out.style(styleGood, "passed")
	if !r.Passed {
		verdict = c.out.style(styleBad, "did not pass: "+safe(r.Why))
	}
	c.out.line("%s  %s", c.out.style(styleHead, safe(string(r.Code))), verdict)
	rows := make([][]string, 0, len(r.Steps))
	for _, s := range r.Steps {
		seq := ""
		if s.Seq > 0 {
			seq = fmt.Sprintf("#%d", s.Seq)
		}
		rows = append(rows, []string{c.out.clock(s.At), safe(s.Name), seq, safe(strings.TrimSpace(s.Text))})
	}
	c.out.table(nil, rows)
}
