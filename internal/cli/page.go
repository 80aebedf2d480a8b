package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func (c *commands) pageCommand() *cobra.Command {
	var role string
	login := &cobra.Command{
		Use: "login", Short: "Print a link that opens the page of the agent once",
		Long: `Print a link that opens the page of the agent in a browser. It works once, for
ten minutes, and gives the rights that you have on the socket: root is admin,
members of group allclear are viewers unless the configuration says more.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api := c.client()
			defer api.Close()
			link, err := api.PageLogin(cmd.Context(), role)
			if err != nil {
				return err
			}
			if c.flags.output == outputJSON {
				c.out.json(link)
				return nil
			}
			c.out.line("%s", safe(link.URL))
			c.talk.line("It gives the role %s, once, until %s.", safe(link.Role), link.Expires.UTC().Format(time.TimeOnly)+" UTC")
			return nil
		},
	}
	login.Flags().StringVar(&role, "role", "", "viewer, operator or admin, not more than your own (default: your own)")
	return noun("page", "The page of the agent in a browser", login)
}
