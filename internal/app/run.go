package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"allclear/internal/agent"
	"allclear/internal/api"
	"allclear/internal/config"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/notify"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/host"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/keyserver/luks"
	"allclear/internal/subsystem/watch"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// Options are what an agent is started with. An empty string means the
// configuration's value, or the default.
type Options struct {
	ConfigFile, StateDir, Listen, Socket string
	Log                                  *slog.Logger
	Level                                *slog.LevelVar // follows the configuration, if not nil
	// Ready is called once, when the doors are open, with a link that opens the
	// page once, "" without a page.
	Ready  func(link string)
	Reload <-chan struct{} // asks for the configuration to be read again
	// Clock reads the node's clocks; nil means the machine's.
	Clock func() fault.Clock
}

// Run runs an agent until ctx ends. Mistakes of the configuration come as
// *[config.Mistakes]; then nothing was started.
func Run(ctx context.Context, o Options) (err error) {
	p, err := load(o.ConfigFile)
	if err != nil {
		return err
	}
	limitMemory()
	if err := keepOutOfDumps(); err != nil && o.Log != nil {
		o.Log.Warn("core dumps of this process may hold keys", "error", err)
	}
	h, err := newHouse(ctx, o, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.audit.Close(), h.close()) }()
	return h.run(ctx)
}

// memoryLimit is what the collector aims to stay below, in bytes: a backup of a
// million files lives in less, and without a limit grows to twice that. GOMEMLIMIT
// goes before it.
const memoryLimit = 200 << 20

func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// keepOutOfDumps has the kernel write no core of this process, and lets no other
// process of the same user read its memory: keys lie in pages that dumps leave out,
// but TLS and ciphers make copies of their own. Programs that it starts are not
// concerned.
func keepOutOfDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	return nil
}

// house is a running agent with all its parts.
type house struct {
	opts   Options
	log    *slog.Logger
	dir    string // the state directory
	begun  *plan  // what it was started with
	store  *journal.Store
	known  *sshpolicy.Store
	guards *sshpolicy.Guards // against locked accounts, shared by all who log in
	sealed *os.Root          // the folder of what is kept sealed
	watch  *watch.Watch
	host   *host.Host
	backup *backup.Backup
	// keyservers has the keys of everything that is kept sealed.
	keyservers *keyserver.KeyServers
	notify     *notify.Notifier
	agent      *agent.Agent
	server     *api.Server
	page       *web.Web
	audit      *api.AuditLog
}

func newHouse(ctx context.Context, o Options, p *plan) (_ *house, err error) {
	h := &house{opts: o, log: o.Log, begun: p, dir: first(o.StateDir, p.State.Dir, StateDir())}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.setLevel(p)
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	h.store, err = journal.Open(ctx, journal.Options{
		Dir: filepath.Join(h.dir, "journal"), Node: p.node(), Catalogue: Catalogue(),
		Limits: fault.Limits{Active: p.Limits.ActiveFaults, SenseBytes: int(p.Limits.Sense), TextBytes: int(p.Limits.Text)},
		Retain: p.State.History, MaxCleared: p.State.HistoryFaults, BallastBytes: p.ballast(),
		Clock: o.Clock, Log: h.logOf("journal"),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	p.OpenSecrets(h.secret)
	if err := h.build(p); err != nil {
		return nil, err
	}
	if err := h.newPage(p); err != nil {
		return nil, err
	}
	doors := api.Options{
		Page: h.page, Hosts: p.Page.Hosts, MetricsToken: p.metricsToken(), Audit: h.audit,
		Agent: h.agent, Version: Version(), Socket: first(o.Socket, Socket()), Listen: p.listen(o.Listen),
		GroupRole: subsystem.Role(p.API.GroupRole), Log: h.logOf("api"),
	}
	h.server, err = api.New(doors)
	if errors.Is(err, syscall.EADDRINUSE) && o.Listen == "" && !p.Written("listen") {
		// Nobody asked for this address: another agent of this machine may have it.
		h.log.LogAttrs(ctx, slog.LevelWarn, "default address is taken; no TCP door, set listen to have one", slog.String("listen", doors.Listen))
		doors.Listen = ""
		h.server, err = api.New(doors)
	}
	return h, err
}

// build makes the subsystems and the agent that runs them.
func (h *house) build(p *plan) (err error) {
	if h.known, err = sshpolicy.OpenStore(filepath.Join(h.dir, "known_hosts")); err != nil {
		return err
	}
	h.guards = sshpolicy.NewGuards()
	if err := h.openKeys(p); err != nil {
		return err
	}
	rec := recorder{h.store}
	watched, err := p.watchOptions(h.known, h.guards, h.logOf("watch"))
	if err != nil {
		return err
	}
	h.watch = watch.New(watched)
	h.host = host.New(p.hostOptions(h.dir, h.store), rec.Clock)
	jobs, err := h.backupOptions(p)
	if err != nil {
		return err
	}
	if h.backup, err = backup.New(jobs); err != nil {
		return err
	}
	sinks, err := p.sinks()
	if err != nil {
		return err
	}
	h.notify = notify.New(notify.Options{
		Node: p.node(), Journal: h.store, Log: h.logOf("notify"), Looked: h.looked,
		Wire: func(v *fault.View) wire.Fault { return h.agent.Wire(v) },
	}, sinks)
	h.agent, err = agent.New(agent.Options{
		Node: p.node(), Version: Version(), Recorder: rec, Catalogue: Catalogue(),
		Subsystems: []subsystem.Subsystem{h.backup, h.keyservers, h.watch, h.host, teller{h.notify}},
		Log:        h.logOf("agent"), Parallel: p.Checks.Parallel, Auto: p.auto(),
	})
	if err != nil {
		return err
	}
	h.agent.Overrides(p.overrides())
	return nil
}

// openKeys opens what this node keeps sealed: the keys of backup jobs and the
// secrets of the configuration. Without key servers a local key opens it.
func (h *house) openKeys(p *plan) (err error) {
	if h.sealed, err = envelope.OpenFolder(filepath.Join(h.dir, "keys")); err != nil {
		return err
	}
	o, err := h.keyserverOptions(p)
	if err != nil {
		return err
	}
	h.keyservers, err = keyserver.New(o)
	return err
}

func (h *house) keyserverOptions(p *plan) (keyserver.Options, error) {
	changed := func(ctx context.Context) error { return h.agent.Refresh(ctx) }
	o, err := p.keyserverOptions(filepath.Join(h.dir, "keyserver"), h.sealed, changed, h.logOf("keyserver"))
	if clock := h.opts.Clock; clock != nil {
		o.Now = func() time.Time { return clock().Wall }
	}
	return o, err
}

// secretWait bounds how long a secret of the configuration is waited for.
const secretWait = 30 * time.Second

// secret opens a secret of the configuration.
func (h *house) secret(name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), secretWait)
	defer cancel()
	b, _, err := h.keyservers.Keeper().Open(ctx, "secret/"+name)
	return b, err
}

func (h *house) backupOptions(p *plan) (backup.Options, error) {
	return p.backupOptions(filepath.Join(h.dir, "backup"), h.keyservers.Keeper(), h.watch, h.known, h.guards, h.logOf("backup"))
}

func (h *house) logOf(subsystem string) *slog.Logger {
	return h.log.With(slog.String("subsystem", subsystem))
}

// close releases what newHouse has opened so far.
func (h *house) close() error {
	var errs []error
	if h.backup != nil {
		errs = append(errs, h.backup.Close())
	}
	if h.keyservers != nil {
		errs = append(errs, h.keyservers.Close())
	}
	if h.sealed != nil {
		errs = append(errs, h.sealed.Close())
	}
	return errors.Join(append(errs, h.store.Close())...)
}

func (h *house) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if err := h.giveVolumes(ctx, g); err != nil {
		return err
	}
	g.Go(func() error { return h.agent.Run(ctx) })
	g.Go(func() error { return h.server.Run(ctx) })
	g.Go(func() error { return h.reloads(ctx) })
	g.Go(func() error { return h.page.Run(ctx) })
	link := h.firstLink()
	if h.opts.Ready != nil {
		h.opts.Ready(link)
	}
	return g.Wait()
}

// giveVolumes opens the socket where systemd-cryptsetup asks for keys, if one is
// configured.
func (h *house) giveVolumes(ctx context.Context, g *errgroup.Group) error {
	path := h.begun.KeySocket
	if path == "" {
		return nil
	}
	socket, err := luks.ListenKeys(ctx, path, h.keyservers.VolumeKey, h.logOf("keyserver"))
	if err != nil {
		return err
	}
	g.Go(func() error { return socket.Run(ctx) })
	return nil
}

// reloads takes over a new configuration whenever asked: all of it, or nothing.
func (h *house) reloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.opts.Reload:
		}
		later, err := h.reload(ctx)
		h.agent.ConfigLoaded(h.opts.ConfigFile, err, later...)
		if err != nil {
			h.log.LogAttrs(ctx, slog.LevelWarn, "configuration refused, the old one stays in force", slog.Any("error", err))
		} else {
			h.log.LogAttrs(ctx, slog.LevelInfo, "configuration loaded", slog.String("file", h.opts.ConfigFile))
		}
	}
}

// reload answers the settings that only a restart takes over.
func (h *house) reload(ctx context.Context) (later []string, err error) {
	p, err := load(h.opts.ConfigFile)
	if err != nil {
		return nil, err
	}
	sinks, err := p.sinks()
	if err != nil {
		return nil, err
	}
	watched, err := p.watchOptions(h.known, h.guards, h.logOf("watch"))
	if err != nil {
		return nil, err
	}
	jobs, err := h.backupOptions(p)
	if err != nil {
		return nil, err
	}
	servers, err := h.keyserverOptions(p)
	if err != nil {
		return nil, err
	}
	if err := h.keyservers.Configure(servers); err != nil {
		return nil, err
	}
	p.OpenSecrets(h.secret)
	h.setLevel(p)
	h.notify.Configure(sinks)
	h.watch.Configure(watched)
	h.backup.Configure(jobs)
	h.host.Configure(p.hostOptions(h.dir, h.store))
	h.agent.Overrides(p.overrides())
	return h.startOnly(p), h.agent.Refresh(ctx)
}

// startOnly names the settings in which p differs from what the agent was
// started with and that are read only at the start. A flag goes before them.
func (h *house) startOnly(p *plan) []string {
	var differ []string
	for _, s := range []struct {
		name    string
		now, to any
	}{
		{"node", h.begun.node(), p.node()},
		{"listen", h.begun.listen(h.opts.Listen), p.listen(h.opts.Listen)},
		{"state.dir", first(h.opts.StateDir, h.begun.State.Dir), first(h.opts.StateDir, p.State.Dir)},
		{"state.history", h.begun.State.History, p.State.History},
		{"state.history_faults", h.begun.State.HistoryFaults, p.State.HistoryFaults},
		{"state.ballast", h.begun.State.Ballast, p.State.Ballast},
		{"limits", h.begun.Limits, p.Limits},
		{"page", fmt.Sprint(h.begun.Page.Hosts, h.begun.Page.ProbeAllow, h.begun.Page.MetricsToken.Where()), fmt.Sprint(p.Page.Hosts, p.Page.ProbeAllow, p.Page.MetricsToken.Where())},
		{"api.group_role", h.begun.API.GroupRole, p.API.GroupRole},
		{"key_socket", h.begun.KeySocket, p.KeySocket},
		{"keyserver_groups.grace", h.begun.graces(), p.graces()},
		{"checks.parallel", h.begun.Checks.Parallel, p.Checks.Parallel},
		{"remedies", fmt.Sprint(h.begun.Remedies), fmt.Sprint(p.Remedies)},
	} {
		if s.now != s.to {
			differ = append(differ, s.name)
		}
	}
	return differ
}

// graces are the grace times of the groups of key servers.
func (p *plan) graces() string {
	var text []string
	for _, g := range p.KeyServerGroups {
		text = append(text, g.Name+" "+config.FormatDuration(g.Grace))
	}
	return strings.Join(text, ", ")
}

func (h *house) setLevel(p *plan) {
	if h.opts.Level != nil {
		h.opts.Level.Set(p.Log.Level)
	}
}

// node is the name of this node: the configuration's, else the host's.
func (p *plan) node() string {
	if p.Node != "" {
		return p.Node
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// NoListen, as Options.Listen, opens no TCP door whatever the configuration says.
const NoListen = "none"

func (p *plan) listen(flag string) string {
	if flag == NoListen {
		return ""
	}
	return first(flag, p.Listen)
}

// ballast maps "none" of the configuration to that of the journal.
func (p *plan) ballast() int64 {
	if p.State.Ballast == 0 {
		return -1
	}
	return p.State.Ballast
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
