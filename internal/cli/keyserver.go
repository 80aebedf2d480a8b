package cli

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

func (c *commands) keyserverCommand() *cobra.Command {
	return noun("keyserver", "Define, test and see key servers",
		c.keyserverAddCommand(), c.keyserverSetCommand(), c.keyserverTestCommand(), c.keyserverListCommand(), c.keyserverShowCommand(), c.keyserverRemoveCommand())
}

// keyserverFlags are the settings of a server as a command gives them.
type keyserverFlags struct {
	address, group, profile, serverName, ca, pin, cert, key string
	primary                                                 bool
}

func (f *keyserverFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.address, "address", "", "host:port; an IPv6 address in brackets")
	fl.StringVar(&f.group, "group", "", "the group whose keys it replicates (default: main)")
	fl.StringVar(&f.profile, "profile", "", "what it must be: isklm, ciphertrust, pykmip or generic (default: generic)")
	fl.BoolVar(&f.primary, "primary", false, "keys are made there")
	fl.StringVar(&f.serverName, "server-name", "", "the name that its certificate is verified for (default: that of the address)")
	fl.StringVar(&f.ca, "ca", "", "PEM file of the authorities to trust (default: the system's)")
	fl.StringVar(&f.pin, "pin", "", "SHA256:... of its public key, which must be this one besides")
	fl.StringVar(&f.cert, "cert", "", "PEM file of our certificate")
	fl.StringVar(&f.key, "key", "", "PEM file of its key; or env:NAME, cred:NAME")
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions([]string{"isklm", "ciphertrust", "pykmip", "generic"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
}

// reference makes a reference of a file name; the agent has another working
// directory.
func reference(s string) (string, error) {
	kind, _, _ := strings.Cut(s, ":")
	if s == "" || slices.Contains([]string{"env", "cred"}, kind) {
		return s, nil
	}
	path, err := filepath.Abs(strings.TrimPrefix(s, "file:"))
	return "file:" + path, err
}

// references makes references of the three files.
func (f *keyserverFlags) references() (err error) {
	for _, p := range []*string{&f.ca, &f.cert, &f.key} {
		if *p, err = reference(*p); err != nil {
			return err
		}
	}
	return nil
}

func (c *commands) keyserverAddCommand() *cobra.Command {
	var f keyserverFlags
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Define a key server and validate it at once",
		Long: `Define a key server. It is kept in the state directory beside those of the
configuration and validated at once; one that does not answer is kept and its
fault raised. Mistakes are refused and nothing is kept. Exit code 3 when the
validation found something.`,
		Example: "allclear keyserver add ks1 --address ks1.example:5696 --primary --ca ca.pem --cert client.pem --key client.key",
		Args:    exactly(1, "the name of the new server"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.address == "" || f.cert == "" || f.key == "" {
				return usagef(cmd.Example, "a key server has an --address, a --cert and a --key")
			}
			if err := f.references(); err != nil {
				return err
			}
			r, err := act[wire.KeyServerReply](cmd.Context(), c, "keyserver", "add", wire.KeyServerAdd{
				Name: args[0], Address: f.address, Group: f.group, Profile: f.profile, Primary: f.primary,
				ServerName: f.serverName, CA: f.ca, Pin: f.pin, ClientCert: f.cert, ClientKey: f.key,
			}, nil)
			return c.keyserverReplied(r, err)
		},
	}
	f.add(cmd)
	return cmd
}

func (c *commands) keyserverSetCommand() *cobra.Command {
	var f keyserverFlags
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change a key server, or make it the primary, and validate it at once",
		Long: `Change what is given of a key server and validate it at once. With --primary it
takes the place of the primary of its group; a test of the old one is asked for,
and the old one's fault is cleared by that, never by this server's validation.
Exit code 3 when the validation found something.`,
		Args: exactly(1, "the name of a server"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.references(); err != nil {
				return err
			}
			in := wire.KeyServerSet{Name: args[0], Primary: f.primary}
			for flag, to := range map[string]struct {
				from string
				to   **string
			}{
				"address": {f.address, &in.Address}, "group": {f.group, &in.Group}, "profile": {f.profile, &in.Profile},
				"server-name": {f.serverName, &in.ServerName}, "ca": {f.ca, &in.CA}, "pin": {f.pin, &in.Pin},
				"cert": {f.cert, &in.ClientCert}, "key": {f.key, &in.ClientKey},
			} {
				if cmd.Flags().Changed(flag) {
					*to.to = &to.from
				}
			}
			if cmd.Flags().Changed("primary") && !f.primary {
				return usagef("make another server the primary: allclear keyserver set OTHER --primary", "a group has exactly one primary")
			}
			r, err := act[wire.KeyServerReply](cmd.Context(), c, "keyserver", "set", in, nil)
			return c.keyserverReplied(r, err)
		},
	}
	f.add(cmd)
	return cmd
}

// keyserverReplied prints what followed and gives the exit code.
func (c *commands) keyserverReplied(r wire.KeyServerReply, err error) error {
	if err != nil {
		return err
	}
	c.show(r, func() {
		c.printValidation(&r.Server)
		for _, name := range r.Queued {
			c.out.line("a test of %s was asked for", safe(name))
		}
	}, "")
	if l := r.Server.Last; l == nil || !l.OK {
		return found{exitFaults}
	}
	return nil
}

func (c *commands) keyserverTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test [NAME]", Short: "Validate a key server now, or all of them",
		Long: `Go through all steps of a validation now. What was wrong and is mended clears its
fault; what is wrong raises it. Exit code 3 when something was found.`,
		Args: atMostOne("the name of a server, or none"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := wire.KeyServerRequest{}
			if len(args) == 1 {
				in.Name = args[0]
			}
			bar := c.bar()
			list, err := act[wire.List[wire.KeyServerReply]](cmd.Context(), c, "keyserver", "test", in, bar.tell)
			bar.end()
			if err != nil {
				return err
			}
			c.show(list, func() {
				if len(list.Items) == 0 {
					c.noKeyServers()
				}
				for i := range list.Items {
					c.printValidation(&list.Items[i].Server)
				}
			}, "")
			for i := range list.Items {
				if l := list.Items[i].Server.Last; l == nil || !l.OK {
					return found{exitFaults}
				}
			}
			return nil
		},
	}
}

func (c *commands) noKeyServers() {
	c.out.line("No key server is defined. See keyservers: in allclear config example, or: allclear keyserver add --help")
}

func (c *commands) keyserverListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List key servers, and what could still be opened if one were gone", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			servers, err := view[wire.List[wire.KeyServer]](cmd.Context(), c, "keyserver", "servers", nil)
			if err != nil {
				return err
			}
			survival, err := view[wire.Survivability](cmd.Context(), c, "keyserver", "survival", nil)
			if err != nil {
				return err
			}
			c.show(map[string]any{"items": servers.Items, "survivability": survival}, func() {
				if len(servers.Items) == 0 {
					c.noKeyServers()
				} else {
					c.printKeyServers(servers.Items)
				}
				c.printSurvival(&survival)
			}, "")
			return nil
		},
	}
}

func (c *commands) printKeyServers(servers []wire.KeyServer) {
	rows := make([][]string, 0, len(servers))
	for i := range servers {
		s := &servers[i]
		primary, looked, took := "", "never", ""
		if s.Primary {
			primary = "yes"
		}
		if s.Last != nil {
			looked, took = c.out.clock(s.Last.At), fmt.Sprintf("%.1fms", s.Last.DurationMS)
		}
		rows = append(rows, []string{safe(s.Name), safe(s.Group), safe(s.Address), safe(s.Profile), primary, safe(or(s.Role, "-")), c.serverStatus(s.Status), safe(strings.TrimSpace(s.Vendor)), safe(s.KMIP), looked, took})
	}
	c.out.table([]string{"SERVER", "GROUP", "ADDRESS", "PROFILE", "PRIMARY", "ROLE", "STATUS", "SAYS IT IS", "KMIP", "LOOKED", "TOOK"}, rows)
	for i := range servers {
		if s := &servers[i]; len(s.Faults) > 0 {
			c.out.line("%s: %s", c.out.style(styleBad, safe(s.Name)), safe(strings.Join(s.Faults, ", ")))
		}
	}
}

func (c *commands) serverStatus(s string) string {
	switch s {
	case "online":
		return c.out.style(styleGood, s)
	case "offline":
		return c.out.style(styleBad, s)
	}
	return safe(s)
}

// printSurvival shows who can open what, one column a server.
func (c *commands) printSurvival(s *wire.Survivability) {
	if len(s.Things) == 0 {
		return
	}
	c.out.heading("What could still be opened if a server were gone")
	head := append([]string{"THING"}, s.Servers...)
	head = append(head, "LOCAL KEY", "RECOVERY KEY")
	yes := func(have bool) string {
		if have {
			return c.out.style(styleGood, "opens")
		}
		return "-"
	}
	rows := make([][]string, 0, len(s.Things))
	for _, t := range s.Things {
		row := []string{safe(t.ID)}
		for _, name := range s.Servers {
			row = append(row, yes(slices.Contains(t.Openers, name)))
		}
		rows = append(rows, append(row, yes(t.Local), yes(t.Recovery)))
	}
	for i := range head {
		head[i] = safe(head[i])
	}
	c.out.table(head, rows)
	for _, l := range s.Lost {
		if len(l.Things) > 0 {
			c.out.line("without %s nobody opens: %s", c.out.style(styleBad, safe(l.Server)), safe(strings.Join(l.Things, ", ")))
		}
	}
}

func (c *commands) keyserverShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a key server: settings, certificates, and each step of its last validation",
		Args: exactly(1, "the name of a server"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := view[wire.List[wire.KeyServer]](cmd.Context(), c, "keyserver", "servers", url.Values{"server": {args[0]}})
			if err != nil {
				return err
			}
			if len(list.Items) == 0 {
				return usagef("allclear keyserver list", "no key server %q", args[0])
			}
			s := &list.Items[0]
			c.show(s, func() { c.printKeyServer(s) }, "")
			return nil
		},
	}
}

func (c *commands) printKeyServer(s *wire.KeyServer) {
	primary := "no"
	if s.Primary {
		primary = "yes"
	}
	c.out.line("%s  %s", c.out.style(styleHead, safe(s.Name)), c.serverStatus(s.Status))
	c.out.table(nil, [][]string{
		{"address", safe(s.Address)},
		{"group", safe(s.Group)},
		{"profile", safe(s.Profile)},
		{"primary", primary},
		{"defined by", safe(s.Origin)},
		{"says it is", safe(s.Vendor)},
		{"product", safe(strings.TrimSpace(s.Product + " " + s.Level))},
		{"role", or(safe(s.Role), "not told")},
		{"speaks", spoken(s)},
		{"authorities", or(safe(s.CA), "the system's")},
		{"our certificate", safe(s.ClientCert)},
		{"test key", c.out.clockOf(s.LifeTested)},
	})
	rows := make([][]string, 0, len(s.Certificates))
	for i := range s.Certificates {
		k := &s.Certificates[i]
		rows = append(rows, []string{safe(k.Which), safe(k.Subject), strconv.Itoa(k.DaysLeft) + " days left"})
	}
	c.out.table([]string{"CERTIFICATE", "OF", ""}, rows)
	c.printValidation(s)
}

// spoken is what was agreed on in the last validation that came so far.
func spoken(s *wire.KeyServer) string {
	if s.KMIP == "" || s.TLS == "" {
		return "not known yet"
	}
	return safe("KMIP " + s.KMIP + ", TLS " + s.TLS)
}

// printValidation shows the last validation step by step.
func (c *commands) printValidation(s *wire.KeyServer) {
	if s.Last == nil {
		c.out.line("%s was not validated yet", safe(s.Name))
		return
	}
	c.printKMIP(s.Last, s.Name)
}

func (c *commands) printKMIP(p *wire.KMIPProbe, name string) {
	out := c.out
	verdict := out.style(styleGood, "ok")
	if !p.OK {
		verdict = out.style(styleBad, strings.TrimSpace(p.Code+" "+paren(p.Qualifier)))
	}
	out.line("%s  %s  %s", out.style(styleHead, safe(name)), verdict, out.style(styleDim, fmt.Sprintf("%.1fms", p.DurationMS)))
	rows := make([][]string, 0, len(p.Steps))
	for _, st := range p.Steps {
		rows = append(rows, []string{strconv.Itoa(st.Number), safe(st.Name), c.outcome(st.Outcome), fmt.Sprintf("%.1fms", st.DurationMS), safe(st.Detail)})
	}
	out.table(nil, rows)
	if p.Error != "" {
		out.line("  %s", safe(p.Error))
	}
	if k := p.KMIP; k != nil && k.ClockOffsetS != nil {
		out.line("  its clock is %.0f s ahead of ours", *k.ClockOffsetS)
	}
	for _, k := range p.Keys {
		found := out.style(styleGood, "right")
		if !k.Found {
			found = out.style(styleBad, safe(k.Why))
		}
		out.line("  key %s, generation %d (%s): %s", safe(k.Key), k.Gen, safe(k.UID), found)
	}
	c.printRemedy("What to do", p.Remedy)
}

func (c *commands) keyserverRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a key server, unless something could no longer be opened without it",
		Args: exactly(1, "the name of a server"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := act[wire.KeyServerReply](cmd.Context(), c, "keyserver", "remove", wire.KeyServerRequest{Name: args[0]}, nil)
			if err != nil {
				return err
			}
			c.show(r, func() { c.out.line("%s was removed; its keys stay where they are", safe(args[0])) }, "")
			return nil
		},
	}
}
