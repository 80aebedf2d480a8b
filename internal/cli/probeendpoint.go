package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/app"
	"allclear/internal/wire"
)

// probeEndpointCommand makes "tls" or "http".
func (c *commands) probeEndpointCommand(name string) *cobra.Command {
	o := app.EndpointProbe{HTTP: name == "http"}
	var f probeFlags
	cmd := &cobra.Command{
		Use: "tls HOST[:PORT]...", Short: "Climb to TLS endpoints step by step and name what is wrong",
		Long: `Climb to endpoints step by step, name resolution, TCP, proxy, TLS, certificates,
and name the exact cause where it ends. Exit code 3 when one is not well.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, timeout, err := f.read(args, c.std.In)
			if err != nil {
				return err
			}
			o.Jobs, o.Timeout = f.jobs, timeout
			items := make([]wire.EndpointProbe, len(targets))
			done := 0
			err = c.program.ProbeEndpoints(cmd.Context(), targets, o, func(i int, p wire.EndpointProbe) {
				done++
				items[i] = p
				c.progress(done, len(targets))
			})
			if err != nil {
				return err
			}
			return report(c, strings.ToUpper(name), items, func(p *wire.EndpointProbe) probed {
				return probed{p.Target, or(p.Code, p.Cause), p.Error, p.OK, !p.OK && p.Code == "", p.DurationMS}
			}, c.printEndpoint)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	if o.HTTP {
		cmd.Use, cmd.Short = "http URL...", "Climb to HTTP endpoints step by step and name what is wrong"
		fl.StringVar(&o.Method, "method", "GET", "method of the request")
		fl.IntVar(&o.ExpectStatus, "expect-status", 0, "status that is well (default: any 2xx, or a redirect within the host)")
	}
	fl.StringVar(&o.ServerName, "server-name", "", "name for SNI and the certificate (default: the host)")
	fl.StringVar(&o.CA, "ca", "", "PEM file of the roots to trust (default: the system's)")
	fl.StringVar(&o.Cert, "cert", "", "PEM file of a client certificate")
	fl.StringVar(&o.Key, "key", "", "PEM file of its key")
	fl.StringVar(&o.MinTLS, "min-tls", "", "1.2 or 1.3 (default: 1.2)")
	fl.StringVar(&o.Proxy, "proxy", "", "http://HOST:PORT or https://HOST:PORT to go through")
	return cmd
}

func (c *commands) printEndpoint(p *wire.EndpointProbe) {
	out := c.out
	verdict := out.style(styleGood, "ok")
	if !p.OK {
		verdict = out.style(styleBad, strings.TrimSpace(or(p.Code, p.Cause)+" "+paren(p.Qualifier)))
	}
	out.line("%s  %s  %s", out.style(styleHead, safe(p.Target)), verdict, out.style(styleDim, ms(p.DurationMS)))
	rows := make([][]string, 0, len(p.Steps))
	for _, s := range p.Steps {
		rows = append(rows, []string{safe(s.Name), c.outcome(s.Outcome), fmt.Sprintf("%.1fms", s.DurationMS), safe(s.Address), safe(strings.TrimSpace(s.Detail + " " + s.Cause))})
		if s.Outcome == "failed" {
			for _, k := range slices.Sorted(maps.Keys(s.Evidence)) {
				rows = append(rows, []string{"", "", "", out.style(styleDim, safe(k)), safe(s.Evidence[k])})
			}
		}
	}
	out.table([]string{"STEP", "OUTCOME", "TOOK", "ADDRESS", "DETAIL"}, rows)
	for _, w := range p.Warnings {
		out.line("  %s %s: %s", out.style(styleWarn, "warning"), safe(w.Cause), safe(w.Detail))
	}
	if t := p.TLS; t != nil {
		out.line("  TLS %s, %s %s, ALPN %s", safe(t.Version), safe(t.Cipher), safe(t.Group), or(safe(t.ALPN), "none"))
		for _, k := range t.Certificates {
			out.line("  certificate %s, by %s, until %s UTC", safe(k.Subject), safe(k.Issuer), k.NotAfter.UTC().Format("2006-01-02 15:04:05"))
		}
	}
	if h := p.HTTP; h != nil {
		out.line("  %s %d %s", safe(h.Proto), h.Status, safe(h.ContentType))
	}
	c.printRemedy("What to do", p.Remedy)
}

func (c *commands) outcome(s string) string {
	switch s {
	case "ok":
		return c.out.style(styleGood, s)
	case "failed":
		return c.out.style(styleBad, s)
	case "warning":
		return c.out.style(styleWarn, s)
	}
	return c.out.style(styleDim, safe(s))
}
