package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"allclear/internal/config"
	"allclear/internal/wire"
)

func (c *commands) probeCommand() *cobra.Command {
	return noun("probe", "Look at servers without an agent, a configuration or credentials",
		c.probeSSHCommand(), c.probeEndpointCommand("tls"), c.probeKMIPCommand(), c.probeEndpointCommand("http"))
}

// probeFlags are those that all probes share.
type probeFlags struct {
	file    string
	jobs    int
	timeout string
}

func (f *probeFlags) add(cmd *cobra.Command) {
	cmd.Annotations = map[string]string{outputNagios: "yes"}
	cmd.Flags().StringVar(&f.file, "file", "", "read more targets from a file, one a line, # begins a comment; - is standard input")
	cmd.Flags().IntVar(&f.jobs, "jobs", 0, "targets at a time (default: as many as make sense)")
	cmd.Flags().StringVar(&f.timeout, "timeout", "", "for each target, such as 5s")
}

// maxTargets bounds one probe.
const maxTargets = 1 << 20

// read returns the targets of the command line and of the file, and the
// timeout, 0 for the default.
func (f *probeFlags) read(args []string, stdin io.Reader) (targets []string, timeout time.Duration, err error) {
	if f.timeout != "" {
		if timeout, err = config.ParseDuration(f.timeout); err != nil || timeout <= 0 {
			return nil, 0, usagef("such as 500ms or 5s", "--timeout: %q is no duration", f.timeout)
		}
	}
	targets = append(targets, args...)
	if f.file != "" {
		more, err := readTargets(f.file, stdin)
		if err != nil {
			return nil, 0, usagef("", "--file: %v", err)
		}
		targets = append(targets, more...)
	}
	if len(targets) == 0 {
		return nil, 0, usagef("name one, or use --file", "no target is named")
	}
	return targets, timeout, nil
}

func readTargets(file string, stdin io.Reader) ([]string, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var targets []string
	for sc := bufio.NewScanner(in); ; {
		if !sc.Scan() {
			return targets, sc.Err()
		}
		text, _, _ := strings.Cut(sc.Text(), "#")
		if text = strings.TrimSpace(text); text != "" {
			targets = append(targets, text)
		}
		if len(targets) > maxTargets {
			return nil, fmt.Errorf("more than %d targets", maxTargets)
		}
	}
}

// progress counts targets on a terminal that would otherwise show nothing for
// long.
func (c *commands) progress(done, total int) {
	if c.talk.terminal && total > 1 {
		c.talk.write(fmt.Sprintf("\r%d of %d", done, total))
		if done == total {
			c.talk.write("\r\x1b[K")
		}
	}
}

// report writes the results of any probe and gives the exit code.
func report[T any](c *commands, what string, items []T, one func(*T) probed, show func(*T)) error {
	all := make([]probed, 0, len(items))
	bad := false
	for i := range items {
		p := one(&items[i])
		bad = bad || !p.ok
		all = append(all, p)
	}
	switch c.flags.output {
	case outputNagios:
		line, code := nagiosProbe(what, all)
		c.out.line("%s", line)
		return ended(code)
	case outputJSON:
		c.out.json(wire.List[T]{Items: items})
	default:
		for i := range items {
			if i > 0 {
				c.out.line("")
			}
			show(&items[i])
		}
	}
	if bad {
		return found{exitFaults}
	}
	return nil
}
