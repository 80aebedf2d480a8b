package cli

import (
	"github.com/spf13/cobra"

	"allclear/internal/app"
	"allclear/internal/wire"
)

func (c *commands) probeKMIPCommand() *cobra.Command {
	var o app.KMIPProbe
	var f probeFlags
	cmd := &cobra.Command{
		Use: "kmip HOST:PORT...", Short: "Validate key servers step by step and name what is wrong",
		Long: `Go through the steps of a key server's validation that need no key: address, TCP,
TLS, certificates of both sides, KMIP version, vendor and level, role, clock; and
name the exact cause where it ends. Exit code 3 when one is not well.`,
		Example: "allclear probe kmip ks1.example:5696 --ca ca.pem --cert client.pem --key client.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, timeout, err := f.read(args, c.std.In)
			if err != nil {
				return err
			}
			o.Jobs, o.Timeout = f.jobs, timeout
			items := make([]wire.KMIPProbe, len(targets))
			done := 0
			err = c.program.ProbeKMIP(cmd.Context(), targets, o, func(i int, p wire.KMIPProbe) {
				done++
				items[i] = p
				c.progress(done, len(targets))
			})
			if err != nil {
				return err
			}
			return report(c, "KMIP", items, func(p *wire.KMIPProbe) probed {
				return probed{p.Target, p.Code, p.Error, p.OK, !p.OK && p.Code == "", int64(p.DurationMS)}
			}, func(p *wire.KMIPProbe) { c.printKMIP(p, p.Target) })
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&o.CA, "ca", "", "PEM file of the roots to trust (default: the system's)")
	fl.StringVar(&o.Cert, "cert", "", "PEM file of our certificate")
	fl.StringVar(&o.Key, "key", "", "PEM file of its key")
	fl.StringVar(&o.ServerName, "server-name", "", "name that the server's certificate is verified for (default: the host)")
	fl.StringVar(&o.Profile, "profile", "", "what it must be: isklm, ciphertrust, pykmip or generic (default: generic)")
	fl.StringVar(&o.Pin, "pin", "", "SHA256:... of its public key")
	fl.StringVar(&o.MinKMIP, "min-kmip", "", "oldest version of KMIP (default: 1.3)")
	fl.StringVar(&o.MinTLS, "min-tls", "", "1.2 or 1.3 (default: 1.2)")
	fl.BoolVar(&o.LegacyTLS, "legacy-tls", false, "also suites without forward secrecy, which a PyKMIP server with an RSA key needs")
	return cmd
}
