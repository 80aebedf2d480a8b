package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

func (c *commands) keyCommand() *cobra.Command {
	cmd := noun("key", "The keys that key servers keep for this host, and what they open",
		c.keyCreateCommand(), c.keyListCommand(), c.keyRekeyCommand(), c.volumeCommand(),
		noun("recovery", "The offline key that opens everything when all else is lost", c.recoveryCreateCommand(), c.recoveryValidateCommand(), c.recoveryUseCommand()),
		noun("secret", "Secrets that the configuration names as secret:NAME", c.secretPutCommand(), c.secretRemoveCommand()))
	cmd.AddCommand(c.folderCommands()...)
	return cmd
}

func (c *commands) keyCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "create", Short: "Make the first key on the primary and move to it what only a local key opens",
		Long: `Make a key on the primary, prove the same bytes on every other server of the
group, give everything that is kept sealed a slot for it, and open each with the
key as the other servers give it. The local key keeps its slots until
"allclear key rekey --retire".`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.keyStep(cmd, "key-create", "") },
	}
}

// keyStep takes a step and shows the key after it.
func (c *commands) keyStep(cmd *cobra.Command, action, step string) error {
	bar := c.bar()
	k, err := act[wire.Key](cmd.Context(), c, "keyserver", action, wire.KeyRequest{Step: step}, bar.tell)
	bar.end()
	if err != nil {
		return err
	}
	c.show(k, func() { c.printKey(&k) }, "")
	return nil
}

func (c *commands) keyRekeyCommand() *cobra.Command {
	steps := []string{"prepare", "verify", "commit", "retire", "cancel"}
	does := map[string]string{
		"prepare": "make the new key and prove it on every server (the default; goes on where it stopped)",
		"verify":  "look again at the new key on every server",
		"commit":  "give everything a slot for the new key, and make it the current one",
		"retire":  "drop the old slots and destroy the old key, after its grace time",
		"cancel":  "give up: the old key stays, the new one is destroyed",
	}
	cmd := &cobra.Command{
		Use: "rekey [--prepare | --verify | --commit | --retire | --cancel]", Short: "Renew the key, step by step, without an unprotected moment",
		Long: `Renew the key. At every moment at least one slot opens with a key that at least
one server has: prepare, then commit, then, after the grace time, retire; cancel
at any step before that. "allclear key list" says where a renewal stands.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			step := ""
			for _, s := range steps {
				if !cmd.Flags().Changed(s) {
					continue
				}
				if step != "" {
					return usagef(cmd.UseLine(), "one step at a time, not --%s and --%s", step, s)
				}
				step = s
			}
			return c.keyStep(cmd, "key-rekey", or(step, "prepare"))
		},
	}
	for _, s := range steps {
		cmd.Flags().Bool(s, false, does[s])
	}
	return cmd
}

func (c *commands) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List keys with their generations, renewals and what they open", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := view[wire.List[wire.Key]](cmd.Context(), c, "keyserver", "keys", nil)
			if err != nil {
				return err
			}
			c.show(list, func() {
				for i := range list.Items {
					c.printKey(&list.Items[i])
				}
			}, "")
			return nil
		},
	}
}

func (c *commands) printKey(k *wire.Key) {
	c.out.line("%s of group %s: %s", c.out.style(styleHead, safe(k.Name)), or(safe(k.Group), "none"), safe(k.State))
	var rows [][]string
	add := func(what string, g *wire.KeyGeneration) {
		if g != nil {
			rows = append(rows, []string{what, strconv.Itoa(g.Gen), safe(g.UID), safe(g.Check), c.out.clockOf(g.Created)})
		}
	}
	add("current", k.Current)
	add("old", k.Old)
	if r := k.Renewal; r != nil {
		add("new, "+safe(r.Phase), &r.New)
	}
	for i := range k.Orphans {
		add("left over", &k.Orphans[i])
	}
	c.out.table([]string{"", "GENERATION", "ID AT THE SERVERS", "CHECK", "MADE"}, rows)
	if r := k.Renewal; r != nil {
		if r.Failure != "" {
			c.out.line("%s %s", c.out.style(styleBad, "failed:"), safe(r.Failure))
		}
		if len(r.Next) > 0 {
			c.out.line("next: allclear key rekey --%s", safe(strings.Join(r.Next, ", or --")))
		}
	}
	rows = nil
	for _, t := range k.Things {
		var slots []string
		for _, s := range t.Slots {
			slots = append(slots, strings.TrimSpace(fmt.Sprintf("%s %s gen %d", s.Kind, s.Group, s.Gen)))
		}
		recovery := "no"
		if t.Recovery {
			recovery = "yes"
		}
		rows = append(rows, []string{safe(t.ID), safe(strings.Join(slots, ", ")), recovery, strconv.Itoa(t.Copies)})
	}
	c.out.table([]string{"OPENS", "SLOTS", "RECOVERY KEY", "COPIES"}, rows)
}

func (c *commands) recoveryCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "create", Short: "Make the recovery key and print it, once",
		Long: `Make an offline recovery key, give everything that is kept sealed a slot for it,
and print it. It is shown once and kept nowhere on this host: write it down and
lock it away, then prove that you can read your own writing with
"allclear key recovery validate". An earlier recovery key stays valid until then.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := act[wire.KeyRecovery](cmd.Context(), c, "keyserver", "recovery-create", struct{}{}, nil)
			if err != nil {
				return err
			}
			c.show(r, func() {
				c.out.line("%s", r.Identity)
				c.talk.line("This is the recovery key (%s). It opens %s and is shown once.", safe(r.Fingerprint), count(len(r.Things), "thing"))
				c.talk.line("Write it down, lock it away, then: allclear key recovery validate")
			}, "")
			return nil
		},
	}
}

// maxIdentity bounds what is read as a recovery key, in bytes.
const maxIdentity = 4096

func (c *commands) recoveryValidateCommand() *cobra.Command {
	return c.recoveryCommand("recovery-validate", &cobra.Command{
		Use: "validate", Short: "Prove that the recovery key opens everything",
		Long: `Read the recovery key from standard input, or a file, open everything with it and
record when that was. It is never taken from the command line, where others of
this host could read it.`,
	}, func(r *wire.KeyRecovery) {
		c.out.line("%s the recovery key %s opens all of %s", c.out.style(styleGood, "proved:"), safe(r.Fingerprint), count(len(r.Things), "thing"))
	})
}

func (c *commands) recoveryUseCommand() *cobra.Command {
	return c.recoveryCommand("recovery-use", &cobra.Command{
		Use: "use", Short: "Open with the recovery key what nothing else opens any more",
		Long: `Read the recovery key from standard input, or a file, and give everything that no
other key opens a slot for one that there is: the current key of the key servers,
or the local key file when they are gone. On another host put the keys folder of
this one into the state directory of a stopped agent first.`,
	}, func(r *wire.KeyRecovery) {
		if len(r.Things) == 0 {
			c.out.line("Everything opens without the recovery key: nothing was changed.")
			return
		}
		c.out.line("%s opened again: %s", c.out.style(styleGood, "ok:"), safe(strings.Join(r.Things, ", ")))
	})
}

// recoveryCommand makes a command that reads the recovery key and hands it to an
// action.
func (c *commands) recoveryCommand(action string, cmd *cobra.Command, tell func(*wire.KeyRecovery)) *cobra.Command {
	var file string
	cmd.Args = none
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		identity, err := c.readSecret(file, maxIdentity, "recovery key")
		if err != nil {
			return err
		}
		r, err := act[wire.KeyRecovery](cmd.Context(), c, "keyserver", action, wire.KeyRecoveryRequest{Identity: strings.TrimSpace(string(identity))}, nil)
		if err != nil {
			return err
		}
		c.show(r, func() { tell(&r) }, "")
		return nil
	}
	cmd.Flags().StringVar(&file, "file", "-", "the file that holds it; - for standard input")
	return cmd
}

// readSecret reads a secret from a file or standard input, at most limit bytes.
func (c *commands) readSecret(file string, limit int64, what string) ([]byte, error) {
	in := c.std.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the %s: %w", what, err)
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("the %s is longer than %d bytes", what, limit)
	case len(b) == 0:
		return nil, errors.New("the " + what + " is empty: give it on standard input, or with --file")
	}
	return b, nil
}

// maxSecret bounds a secret of the configuration, in bytes.
const maxSecret = 16384

func (c *commands) secretPutCommand() *cobra.Command {
	var file string
	var replace bool
	cmd := &cobra.Command{
		Use: "put NAME", Short: "Keep a secret that the configuration names as secret:NAME",
		Long: `Read a secret from standard input, or a file, and keep it sealed by the key
servers, or by the local key where there are none. The configuration then names
it as secret:NAME. All bytes count, a newline at the end too.`,
		Example: "printf %s \"$TOKEN\" | allclear key secret put metrics",
		Args:    exactly(1, "the name of the secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := c.readSecret(file, maxSecret, "secret")
			if err != nil {
				return err
			}
			t, err := act[wire.KeyThing](cmd.Context(), c, "keyserver", "secret-put", wire.SecretRequest{Name: args[0], Secret: b, Replace: replace}, nil)
			if err != nil {
				return err
			}
			c.show(t, func() {
				c.out.line("%s is kept, with %s; the configuration names it secret:%s", safe(t.ID), count(len(t.Slots), "slot"), safe(args[0]))
			}, "")
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "-", "the file that holds it; - for standard input")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a secret of this name")
	return cmd
}

func (c *commands) secretRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a secret of the configuration", Args: exactly(1, "the name of the secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := act[wire.KeyThing](cmd.Context(), c, "keyserver", "secret-remove", wire.SecretRequest{Name: args[0]}, nil)
			if err != nil {
				return err
			}
			c.show(t, func() { c.out.line("secret:%s is forgotten", safe(args[0])) }, "")
			return nil
		},
	}
}
