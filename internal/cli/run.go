package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"allclear/internal/app"
)

func (c *commands) runCommand() *cobra.Command {
	var o app.Options
	cmd := &cobra.Command{
		Use: "run", Short: "Run the agent in the foreground",
		Long: `Run the agent in the foreground until it is interrupted. Without a configuration
it watches the host's own prerequisites and says what is not configured. SIGHUP
reads the configuration again: all of it is taken over, or nothing.`,
		Args: none, Annotations: map[string]string{outputText: "only"}, // its log is JSON already
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ConfigFile, "config", "", "configuration file (default: none)")
	f.StringVar(&o.StateDir, "state-dir", "", "where the journal lives (default: /var/lib/allclear as root, else ~/.local/state/allclear)")
	f.StringVar(&o.Listen, "listen", "", "loopback HOST:PORT for /metrics and /healthz (default: that of the configuration; none for no TCP door)")
	return cmd
}

func (c *commands) run(ctx context.Context, o app.Options) error {
	level := new(slog.LevelVar)
	log := slog.New(slog.NewJSONHandler(c.std.Err, &slog.HandlerOptions{Level: level}))
	o.Socket, o.Log, o.Level = c.socket(), log, level
	o.Ready = func(link string) {
		if link != "" && c.talk.terminal { // never into a log
			c.talk.line("The page, for ten minutes and once: %s", link)
		}
		log.LogAttrs(ctx, slog.LevelInfo, "agent ready", slog.String("socket", o.Socket), slog.String("version", c.program.Version().Version))
	}
	reload := make(chan struct{}, 1) // one that waits is enough: it reads the newest file
	o.Reload = reload
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var relay sync.WaitGroup
	defer relay.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer signal.Stop(hup)
	relay.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				select {
				case reload <- struct{}{}:
				default:
				}
			}
		}
	})
	return c.program.Run(ctx, o)
}
