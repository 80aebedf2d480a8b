package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The forms of output.
const (
	outputText   = "text"
	outputJSON   = "json"
	outputNagios = "nagios" // status and probe only
)

// root makes the whole command tree.
func (c *commands) root() *cobra.Command {
	root := noun("allclear", "Do the protection jobs of this host, and prove that each still works",
		c.runCommand(), c.statusCommand(), c.faultCommand(), c.verifyCommand(), c.checkCommand(), c.probeCommand(),
		c.preflightCommand(), c.pageCommand(), c.drillCommand(), c.backupCommand(), c.keyserverCommand(), c.keyCommand(), c.notifyCommand(), c.kmipCommand(), c.configCommand(), c.supportCommand(), c.versionCommand(), c.completionCommand())
	root.Long = `allclear backs up, renews, updates and watches, and proves that each of these
jobs still works. When one does not, it raises one fault that names the cause,
shows the evidence, says what to do, and clears it only when a new look has
proved the repair.

Exit codes: 0 ok or all clear, 1 error, 2 usage or configuration,
3 faults active or something found, 4 the agent cannot be reached.`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(helpCommand(root))
	flags := root.PersistentFlags()
	flags.StringVar(&c.flags.socket, "socket", "", "socket of the agent (default: ALLCLEAR_SOCKET, else the rule of the documentation)")
	flags.StringVarP(&c.flags.output, "output", "o", outputText, "text, json, or (status, probe) nagios, (backup run, show) ucs")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("allclear "+strings.TrimPrefix(cmd.CommandPath()+" --help", "allclear "), "%v", err)
	})
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return c.checkOutput(cmd) }
	for _, done := range []struct {
		flag   string
		values []string
	}{{"output", []string{outputText, outputJSON, outputNagios, outputUCS}}} {
		_ = root.RegisterFlagCompletionFunc(done.flag, cobra.FixedCompletions(done.values, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	}
	return root
}

// checkOutput refuses forms that the command does not have.
func (c *commands) checkOutput(cmd *cobra.Command) error {
	forms := []string{outputText, outputJSON}
	switch {
	case cmd.Annotations[outputNagios] != "":
		forms = append(forms, outputNagios)
	case cmd.Annotations[outputUCS] != "":
		forms = append(forms, outputUCS)
	case cmd.Annotations[outputText] != "":
		forms = forms[:1]
	}
	if slices.Contains(forms, c.flags.output) {
		return nil
	}
	wanted := c.flags.output
	c.flags.output = outputText // for the error itself
	return usagef("use --output "+strings.Join(forms, ", --output "), "%s has no output %q", cmd.CommandPath(), wanted)
}

// noun makes a command that only holds others. A word that is none of them is
// a mistake, with a guess at what was meant.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := cmd.CommandPath() + " --help lists the commands"
		if guess := cmd.SuggestionsFor(args[0]); len(guess) > 0 {
			hint = "did you mean: " + cmd.CommandPath() + " " + guess[0] + "?"
		}
		return usagef(hint, "%s has no command %q", cmd.CommandPath(), args[0])
	}
	cmd.AddCommand(verbs...)
	return cmd
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("allclear --help lists the commands", "no such command %q", strings.Join(args, " "))
			}
			return cmd.Help()
		},
	}
}

// Argument counts, as mistakes with a hint.

func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd.UseLine(), "%s takes no arguments, not %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef(cmd.UseLine(), "%s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef(cmd.UseLine(), "%s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}
