package keyserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver/keyring"
)

// ringName is what people call the key that everything here hangs on.
const ringName = "repo"

// KeyServers is the subsystem. It is safe for concurrent use.
type KeyServers struct {
	log    *slog.Logger
	root   *os.Root // of Options.Dir
	record *envelope.Record
	local  *envelope.LocalKey
	source *keyring.Source
	keeper *envelope.Keeper

	ending   sync.WaitGroup // connections that are being closed
	changing sync.Mutex     // lets one command at a time change the state

	mu      sync.Mutex // guards the fields below
	opts    Options
	state   state
	servers []Server // those of the configuration and of commands, settled
	sink    check.Sink
	seen    map[string]*sight        // by server
	unsaved bool                     // seen holds what its file does not
	turns   map[string]chan struct{} // by server: one validation at a time
	doors   map[string]*door         // by server: how keys are fetched from it
	ring    *keyring.Ring
	rekeyer *keyring.Rekeyer
}

// New opens the state in o.Dir and the keys in o.Keys.
func New(o Options) (_ *KeyServers, err error) {
	k := &KeyServers{
		log: o.Log, opts: o, seen: map[string]*sight{}, turns: map[string]chan struct{}{}, doors: map[string]*door{},
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if o.Keys == nil {
		return nil, errors.New("key servers need the folder of keys")
	}
	if k.root, err = envelope.OpenFolder(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.root.Close())
		}
	}()
	k.record = envelope.NewRecord(k.root, stateName, "keyservers")
	if k.state, err = loadState(k.record); err != nil {
		return nil, err
	}
	k.settle()
	k.loadSights()
	return k, k.openKeys()
}

// Close ends the connections and releases the folder. Run has ended before.
func (k *KeyServers) Close() error {
	k.mu.Lock()
	for _, d := range k.doors {
		k.end(d)
	}
	clear(k.doors)
	k.mu.Unlock()
	k.ending.Wait()
	k.storeSights()
	return k.root.Close()
}

// Configure replaces what the configuration says. The state, the keys in memory
// and what was seen of servers that stay are kept.
func (k *KeyServers) Configure(o Options) error {
	k.mu.Lock()
	o.Dir, o.Keys, o.Log, o.prefix = k.opts.Dir, k.opts.Keys, k.opts.Log, k.opts.prefix
	k.opts = o
	k.settle()
	k.forget()
	k.mu.Unlock()
	return k.chooseRing()
}

// forget lets go of what is known of servers that are gone. The caller holds mu.
func (k *KeyServers) forget() {
	for name := range k.seen {
		if _, ok := k.find(name); !ok {
			delete(k.seen, name)
		}
	}
	for name, d := range k.doors {
		if s, ok := k.find(name); !ok || d.version != k.version(&s) {
			k.end(d)
			delete(k.doors, name)
		}
	}
}

// end closes a door without waiting for the exchange that may be running there;
// Close waits.
func (k *KeyServers) end(d *door) {
	k.ending.Go(func() { _ = d.server.Close() }) // nothing of worth is left on it
}

// find answers a server. The caller holds mu.
func (k *KeyServers) find(name string) (Server, bool) {
	i := slices.IndexFunc(k.servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, false
	}
	return k.servers[i], true
}

// one answers a server and its group.
func (k *KeyServers) one(name string) (Server, Group, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.find(name)
	if !ok {
		return s, Group{}, fmt.Errorf("no key server %q; there are: %s", name, k.names())
	}
	return s, k.opts.group(s.Group), nil
}

// names lists the servers. The caller holds mu.
func (k *KeyServers) names() string {
	if len(k.servers) == 0 {
		return "none"
	}
	var names []string
	for _, s := range k.servers {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return joined(names)
}

// of answers the servers of a group in the order of their definition.
func (k *KeyServers) of(group string) []Server {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []Server
	for _, s := range k.servers {
		if s.Group == group {
			out = append(out, s)
		}
	}
	return out
}

// groups answers the groups that have a server, sorted.
func (k *KeyServers) groups() []Group {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for _, s := range k.servers {
		names = append(names, s.Group)
	}
	slices.Sort(names)
	var out []Group
	for _, n := range slices.Compact(names) {
		out = append(out, k.opts.group(n))
	}
	return out
}

// abandoned answers the groups without a server that keep a key in use here, sorted:
// somebody took the last one out of the configuration.
func (k *KeyServers) abandoned() []Group {
	names := map[string]bool{}
	if st, err := k.present().Status(); err == nil && st.Current != nil {
		names[st.Current.Group] = true
	}
	ids, err := k.keeper.IDs()
	if err != nil {
		k.log.Warn("what hangs on key servers is not known", "error", err)
	}
	for _, id := range ids {
		in, err := k.keeper.Describe(id)
		if err != nil {
			continue // a damaged header says nothing; who opens the thing raises that
		}
		for _, ref := range in.Slots {
			if ref.Kind == envelope.KindKMIP {
				names[ref.Group] = true
			}
		}
	}
	o := k.options()
	var out []Group
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if len(k.of(name)) == 0 {
			out = append(out, o.group(name))
		}
	}
	return out
}

func (k *KeyServers) all() []Server {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.servers)
}

func (k *KeyServers) options() Options {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opts
}

func (k *KeyServers) now() time.Time {
	o := k.options()
	return o.now()
}

// version changes when the definition of a server or its group does. The caller
// holds mu.
func (k *KeyServers) version(s *Server) string {
	g := k.opts.group(s.Group)
	return fmt.Sprintf("%s %s %s %s %t %s %s %s %s %s %s %+v %v", s.Name, s.Address, s.Group, s.Profile, s.Primary, s.ServerName, s.Pin,
		s.CA.Where, s.ClientCert.Where, s.ClientKey.Where, s.Version, g, k.opts.Resolvers)
}

// Keeper keeps what is sealed on this node, whether there are key servers or not.
func (k *KeyServers) Keeper() *envelope.Keeper { return k.keeper }

// Name implements subsystem.Subsystem.
func (k *KeyServers) Name() string { return "keyserver" }

// Faults implements subsystem.Subsystem.
func (k *KeyServers) Faults() []fault.Entry { return Faults() }

// Checks implements subsystem.Subsystem.
func (k *KeyServers) Checks() []check.Check {
	var all []check.Check
	for _, s := range k.all() {
		all = append(all, k.serverCheck(s.Name))
	}
	for _, g := range append(k.groups(), k.abandoned()...) {
		all = append(all, k.groupCheck(g))
	}
	return append(all, k.keyCheck(), k.recoveryCheck())
}

// Describe implements subsystem.Describer.
func (k *KeyServers) Describe() (string, bool) {
	all := k.all()
	if len(all) == 0 {
		if lost := k.abandoned(); len(lost) > 0 {
			return fmt.Sprintf("no key server is configured, and keys of group %s are in use", lost[0].Name), true
		}
		return "no key server is configured: what is sealed hangs on a key file of this host", false
	}
	usable := 0
	for _, s := range all {
		if w, ok := k.sight(s.Name); ok && w.usable {
			usable++
		}
	}
	text := "1 key server"
	if n := len(all); n > 1 {
		text = fmt.Sprintf("%d key servers", n)
	}
	text += fmt.Sprintf(", %d usable", usable)
	if st, err := k.present().Status(); err == nil && st.Current != nil {
		text += fmt.Sprintf("; generation %d of key %s", st.Current.Gen, ringName)
	}
	return text, true
}

// The times between two looks for what renewals left to be done, and between two
// writings of what was seen: a crash may cost a minute of the history.
const (
	sweepEvery = time.Hour
	saveEvery  = time.Minute
)

// Run implements subsystem.Subsystem: it keeps keys in memory for their grace
// time only, mends copies, and ends what renewals left to be ended. The checks do
// all the rest.
func (k *KeyServers) Run(ctx context.Context, sink check.Sink) error {
	k.mu.Lock()
	k.sink = sink
	k.mu.Unlock()
	var wiping sync.WaitGroup
	wiping.Go(func() { k.source.Run(ctx) })
	defer wiping.Wait()
	k.warn(ctx, "copies of sealed things not mended", errors.Join(k.keeper.Repair(ctx), k.present().Repair()))
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.warn(ctx, "renewal not ended yet", k.endRenewal(ctx))
		case <-save.C:
			k.storeSights()
		}
	}
}

func (k *KeyServers) warn(ctx context.Context, message string, err error) {
	if err != nil && ctx.Err() == nil {
		k.log.LogAttrs(ctx, slog.LevelWarn, message, slog.Any("error", err))
	}
}

// ask wants a look at a check soon.
func (k *KeyServers) ask(id string, t fault.Trigger) {
	k.mu.Lock()
	sink := k.sink
	k.mu.Unlock()
	if sink != nil {
		sink.Ask(id, t)
	}
}

// report records what was found as a look of a check. Without a running agent
// there is nobody to tell; the check's next look finds the same.
func (k *KeyServers) report(ctx context.Context, id string, t fault.Trigger, judge func(*check.Report)) {
	k.mu.Lock()
	sink := k.sink
	k.mu.Unlock()
	if sink == nil {
		return
	}
	if err := sink.Report(ctx, id, t, judge); err != nil {
		k.log.LogAttrs(ctx, slog.LevelWarn, "look not recorded, the next one repeats it", slog.String("check", id), slog.Any("error", err))
	}
}

// strictly reads JSON. A misspelt field is refused: it would do something else
// than was asked for.
func strictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
