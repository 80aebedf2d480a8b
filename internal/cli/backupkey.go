package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

func (c *commands) backupTrustCommand() *cobra.Command {
	var fingerprint string
	cmd := &cobra.Command{
		Use: "trust TARGET", Short: "Show the host key of a target, or trust it",
		Long: `Show the host key that a target proves to hold. Compare its fingerprint with one
that you have by another way, then trust it with --fingerprint. The key is kept
in the state directory; the configuration is not changed.`,
		Args: exactly(1, "the name of a target"),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := act[wire.BackupHostKey](cmd.Context(), c, "backup", "trust", wire.BackupTrustRequest{Target: args[0], Fingerprint: fingerprint}, nil)
			if err != nil {
				return err
			}
			c.show(k, func() {
				c.out.line("%s (%s) proves %s %s", safe(k.Target), safe(k.Address), safe(k.Type), safe(k.Fingerprint))
				if k.Trusted {
					c.out.line("%s it is trusted", c.out.style(styleGood, "ok:"))
					return
				}
				c.out.line("not trusted; if it is the right one: allclear backup trust %s --fingerprint %s", safe(k.Target), safe(k.Fingerprint))
			}, "")
			return nil
		},
	}
	cmd.Flags().StringVar(&fingerprint, "fingerprint", "", "trust the key with this fingerprint, SHA256:...")
	return cmd
}

// backupSecretCommand prints a key and nothing else, for other programs.
func (c *commands) backupSecretCommand(name, short, example string) *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use: name + " --job JOB", Short: short, Args: none, Example: example,
		Long: short + `.
Whoever has it can read every copy of the job. The request is written to the
audit log.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if job == "" {
				return usagef("--job NAME", "no job is named")
			}
			s, err := act[wire.BackupSecret](cmd.Context(), c, "backup", name, wire.BackupJobRequest{Job: job}, nil)
			if err != nil {
				return err
			}
			c.show(s, func() { c.out.line("%s", s.Secret) }, "")
			return nil
		},
	}
	cmd.Flags().StringVar(&job, "job", "", "the name of a job")
	return cmd
}

func (c *commands) backupPolicyCommand() *cobra.Command {
	return noun("policy", "See the algorithm policies of the targets", &cobra.Command{
		Use: "show", Short: "Show what each target's policy allows, and which transport can do it", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := view[wire.List[wire.BackupPolicy]](cmd.Context(), c, "backup", "policy", nil)
			if err != nil {
				return err
			}
			c.show(list, func() {
				if len(list.Items) == 0 {
					c.out.line("No backup target is configured.")
				}
				for i := range list.Items {
					c.printPolicy(&list.Items[i])
				}
			}, "")
			return nil
		},
	})
}

func (c *commands) printPolicy(p *wire.BackupPolicy) {
	c.out.heading("%s, of %s", safe(p.Name), safe(strings.Join(p.Targets, ", ")))
	if p.Why != "" {
		c.out.line("%s", safe(p.Why))
	}
	can := func(yes bool) string {
		if yes {
			return c.out.style(styleGood, "yes")
		}
		return c.out.style(styleDim, "no")
	}
	rows := make([][]string, 0, len(p.Algorithms))
	for _, a := range p.Algorithms {
		rows = append(rows, []string{safe(a.Category), safe(a.Name), can(a.Go), can(a.OpenSSH)})
	}
	c.out.table([]string{"CATEGORY", "ALGORITHM", "GO", "OPENSSH"}, rows)
}
