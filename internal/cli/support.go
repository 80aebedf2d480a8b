package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func (c *commands) supportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "support", Short: "Write a support bundle: versions, checks, faults, no secrets",
		Long: `Write a bundle for whoever is asked for help. It is built from an allow-list of
typed fields and holds no secrets; it names hosts and resources. Read it before
you send it.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api := c.client()
			defer api.Close()
			bundle, err := api.Support(cmd.Context())
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := json.Indent(&b, bundle, "", "  "); err != nil {
				return fmt.Errorf("understand the support bundle: %w", err)
			}
			text := append(safeJSON(bytes.TrimSpace(b.Bytes())), '\n')
			if out == "" {
				c.out.write(string(text))
				return nil
			}
			if err := writeNew(out, text); err != nil {
				return fmt.Errorf("write the support bundle: %w", err)
			}
			c.talk.line("%s written (%d bytes). It names hosts and resources; read it before you send it.", safe(out), len(text))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this new file, mode 0600, not to standard output")
	return cmd
}

// writeNew makes a file that must not be there yet, for its owner only.
func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (c *commands) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print what this program was built from", Args: none,
		RunE: func(*cobra.Command, []string) error {
			v := c.program.Version()
			if c.flags.output == outputJSON {
				c.out.json(v)
				return nil
			}
			revision := or(v.Revision, "unknown revision")
			if v.Modified {
				revision += ", modified"
			}
			c.out.line("allclear %s (%s) %s %s", v.Version, revision, v.Go, v.Platform)
			return nil
		},
	}
}

func (c *commands) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print the completion script of bash, zsh, fish or powershell",
		Args: exactly(1, "one of "+strings.Join(shells, ", ")), ValidArgs: shells,
		Annotations: map[string]string{outputText: "only"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.std.Out, true)
			case "zsh":
				return root.GenZshCompletion(c.std.Out)
			case "fish":
				return root.GenFishCompletion(c.std.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.std.Out)
			}
			return usagef("use one of "+strings.Join(shells, ", "), "no completion for %q", args[0])
		},
	}
}
