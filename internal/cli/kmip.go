package cli

import (
	"github.com/spf13/cobra"

	"allclear/internal/app"
	"allclear/internal/wire"
)

// kmipCommand is hidden: its server is for tests and demonstrations, and keeps keys as they are.
func (c *commands) kmipCommand() *cobra.Command {
	var k app.KMIPServer
	serve := &cobra.Command{
		Use: "serve", Short: "Run a key server for tests and demonstrations",
		Long: `Run a KMIP server (1.0 to 1.4, 2.0, 2.1) with mutual TLS until it is interrupted,
so that other makers' clients can be pointed at it. It keeps keys as they are: do
not trust any to it.

Give it its certificate, key and the authority of its clients, or a folder with
--credentials: then an authority is made for the run, and the folder gets ca.pem,
client.pem, client.key and, once clients can connect, address.

A fault is KIND[:OPERATION][,KEY=VALUE...], such as slow:Get,delay=2s or
refuse:Create,reason=PermissionDenied,times=3.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.program.ServeKMIP(cmd.Context(), k, func(s wire.KMIPServing) {
				if c.flags.output == outputJSON {
					c.out.json(s)
					return
				}
				c.out.line("listening on %s", safe(s.Address))
				if s.Credentials != "" {
					c.talk.line("credentials of a client: ca.pem, client.pem, client.key in %s", safe(s.Credentials))
				}
			})
		},
	}
	f := serve.Flags()
	f.StringVar(&k.Listen, "listen", "127.0.0.1:5696", "host:port to listen on; port 0 chooses one")
	f.StringVar(&k.Certificate, "cert", "", "file with the server's certificate (PEM)")
	f.StringVar(&k.Key, "key", "", "file with the server's key (PEM)")
	f.StringVar(&k.ClientCA, "ca", "", "file with the authorities whose clients are accepted (PEM)")
	f.StringVar(&k.Credentials, "credentials", "", "make an authority for this run and write a client's files into this folder")
	f.StringVar(&k.Vendor, "vendor", "", `what the server says it is, such as "IBM SKLM 4.1.1.0"`)
	f.StringVar(&k.Role, "role", "", "stand-alone, master, clone or multi-master")
	f.BoolVar(&k.RoleInInfo, "role-in-server-information", false, "tell the role in Server Information, not in Vendor Identification")
	f.StringSliceVar(&k.Versions, "versions", nil, "versions to speak, such as 1.2,1.3 (default: all)")
	f.StringVar(&k.Dir, "dir", "", "folder to keep the objects in (default: in memory only)")
	f.StringArrayVar(&k.Faults, "fault", nil, "misbehave; may be given several times")
	cmd := noun("kmip", "Tools for the protocol of key servers", serve)
	cmd.Hidden = true
	return cmd
}
