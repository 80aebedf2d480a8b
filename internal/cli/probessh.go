package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/app"
	"allclear/internal/wire"
)

func (c *commands) probeSSHCommand() *cobra.Command {
	var o app.SSHProbe
	var f probeFlags
	cmd := &cobra.Command{
		Use: "ssh TARGET...", Short: "Judge SSH servers' algorithms against a policy",
		Long: `Read what SSH servers offer, before any login and without a user name, and judge
all four categories (key exchange, host key, cipher, MAC) against a policy at
once; complete the key exchange where possible. Exit code 3 when a server does
not meet the policy or cannot be reached.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, timeout, err := f.read(args, c.std.In)
			if err != nil {
				return err
			}
			o.Jobs, o.Timeout = f.jobs, timeout
			items := make([]wire.SSHProbe, len(targets))
			done := 0
			err = c.program.ProbeSSH(cmd.Context(), targets, o, func(i int, p wire.SSHProbe) {
				done++
				items[i] = p
				c.progress(done, len(targets))
			})
			if err != nil {
				return err
			}
			return report(c, "SSH", items, func(p *wire.SSHProbe) probed {
				return probed{p.Target, p.Code, p.Error, p.OK, p.Inconclusive, p.DurationMS}
			}, c.printSSH)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&o.Policy, "policy", "", "the policy to judge by (default: openssh-9)")
	cmd.Flags().BoolVar(&o.Prove, "prove", false, "try every common key exchange on its own, one more connection each")
	_ = cmd.RegisterFlagCompletionFunc("policy", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return c.program.Policies(), cobra.ShellCompDirectiveNoFileComp
	}) // fails only for a flag that is not there
	return cmd
}

func (c *commands) printSSH(p *wire.SSHProbe) {
	out := c.out
	verdict := out.style(styleGood, "ok")
	switch {
	case p.Inconclusive:
		verdict = out.style(styleWarn, "could not look")
	case !p.OK:
		verdict = out.style(styleBad, strings.TrimSpace(p.Code+" "+paren(p.Qualifier)))
	}
	out.line("%s  %s  %s", out.style(styleHead, safe(p.Target)), verdict, out.style(styleDim, ms(p.DurationMS)))
	if p.Error != "" {
		out.line("  %s", safe(p.Error))
	}
	if p.Banner != "" {
		out.line("  server %s, policy %s", safe(p.Banner), safe(p.Policy))
	}
	if len(p.Categories.KEX.Offered) > 0 {
		out.table([]string{"CATEGORY", "CHOSEN", "IN COMMON"}, c.sshRows(&p.Categories))
	}
	for _, g := range p.MissingDetail {
		out.line("  %s %s: server offers %s", out.style(styleBad, "no common"), safe(strings.TrimSpace(g.Category+" "+g.Direction)), safe(strings.Join(g.Offered, " ")))
		out.line("    policy allows %s", safe(strings.Join(g.Allowed, " ")))
	}
	if h := p.Handshake; h != nil && h.Done {
		out.line("  key exchange completed: %s", safe(h.Negotiated.KEX))
	} else if h != nil && h.Why != "" {
		out.line("  key exchange not completed: %s", safe(h.Why))
	}
	if k := p.HostKey; k != nil {
		out.line("  host key %s %s (reported, not checked)", safe(k.Type), safe(k.Fingerprint))
	}
	for _, pr := range p.Proofs {
		out.line("  proof %s: %s %s", safe(pr.Algorithm), safe(pr.Outcome), safe(pr.Why))
	}
	c.printRemedy("What to do", p.Remedy)
}

func (c *commands) sshRows(v *wire.SSHCategories) [][]string {
	row := func(name string, l wire.SSHList) []string {
		chosen := safe(l.Chosen)
		switch {
		case l.NotNeeded:
			chosen = c.out.style(styleDim, "not needed")
		case chosen == "":
			chosen = c.out.style(styleBad, "none")
		}
		return []string{name, chosen, safe(strings.Join(l.Common, " "))}
	}
	return [][]string{
		row("kex", v.KEX), row("host_key", v.HostKey), row("cipher c2s", v.Cipher.C2S), row("cipher s2c", v.Cipher.S2C),
		row("mac c2s", v.MAC.C2S), row("mac s2c", v.MAC.S2C),
	}
}

func paren(s string) string {
	if s == "" {
		return ""
	}
	return "(" + safe(s) + ")"
}
