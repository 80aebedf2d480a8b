package keyserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
	"allclear/kmip"
)

// openKeys makes the keeper of this node and what renews its key.
func (k *KeyServers) openKeys() error {
	k.local = envelope.NewLocalKey(k.opts.Keys, k.now)
	k.source = keyring.NewSource(servers{k}, 0, k.now)
	var err error
	k.keeper, err = envelope.NewKeeper(envelope.Options{
		Folder: k.opts.Keys, Wrap: wrapper{k}, Now: k.now,
		Sources: map[envelope.Kind]envelope.KeySource{envelope.KindKMIP: k.source, envelope.KindLocal: k.local},
	})
	if err != nil {
		return err
	}
	return k.chooseRing()
}

// ringGroup is the group that keeps the key of a node that has none yet: the main
// one, or the first.
func (k *KeyServers) ringGroup() string {
	all := k.groups()
	if len(all) == 0 || slices.ContainsFunc(all, func(g Group) bool { return g.Name == k.opts.prefix+mainGroup }) {
		return k.opts.prefix + mainGroup
	}
	return all[0].Name
}

// chooseRing takes the ring of this node. One that has a key stays with the group
// that keeps it, whatever became of the group; one that has none goes where the
// servers are.
func (k *KeyServers) chooseRing() error {
	o := k.options()
	group, err := keyring.KeptBy(o.Keys, ringName)
	if _, damaged := errors.AsType[*envelope.DamageError](err); damaged {
		// No reason to run without everything else: nothing new is sealed, and the key's
		// check says why.
		k.log.Error("the record of the key is damaged: restore its two files", "error", err)
		if k.present() != nil {
			return nil
		}
	} else if err != nil {
		return err
	}
	group = cmp.Or(group, k.ringGroup())
	k.source.SetGrace(o.group(group).Grace) // as the configuration has it now
	if ring := k.present(); ring != nil {
		if st, err := ring.Status(); err != nil || st.Group == group {
			return err
		}
	}
	ring, err := keyring.NewRing(keyring.RingOptions{
		Name: ringName, Group: group, Node: cmp.Or(o.Node, "node"), Folder: o.Keys, Source: k.source, Now: k.now,
	})
	if err != nil {
		return err
	}
	return k.useRing(ring)
}

// The times of a renewal: how long Prepare waits for the clones, asking how often.
const (
	replicationWait = 10 * time.Second
	replicationPoll = 250 * time.Millisecond
)

func (k *KeyServers) useRing(ring *keyring.Ring) error {
	o := k.options()
	wait := replicationWait
	if o.prefix != "" {
		wait = 0 // the lab replicates at once, or not at all
	}
	rekeyer, err := keyring.NewRekeyer(keyring.Options{
		Ring: ring, Things: k.keeper, Groups: servers{k}, Green: servers{k},
		Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: k.local},
		Grace:   cmp.Or(o.RetireAfter, day), Replication: wait, Poll: replicationPoll,
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.ring, k.rekeyer = ring, rekeyer
	k.mu.Unlock()
	return nil
}

// present answers the ring.
func (k *KeyServers) present() *keyring.Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

func (k *KeyServers) renewer() *keyring.Rekeyer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rekeyer
}

// wrapper seals new things under the key of the key servers once there is one, and
// under the key file of this host before. It never goes back by itself: with the
// servers down, new work stops.
type wrapper struct{ k *KeyServers }

// Current implements envelope.Wrapper.
func (w wrapper) Current(ctx context.Context, id string) (envelope.SlotRef, *envelope.Secret, error) {
	ring := w.k.present()
	st, err := ring.Status()
	if err != nil {
		return envelope.SlotRef{}, nil, err
	}
	if st.Current != nil {
		ref, key, err := ring.Current(ctx, id)
		if err == nil || ctx.Value(recovering{}) == nil {
			return ref, key, err
		}
	}
	return w.k.local.Current(ctx, id)
}

// Key implements envelope.KeySource.
func (w wrapper) Key(ctx context.Context, ref envelope.SlotRef) (envelope.Key, error) {
	if ref.Kind == envelope.KindKMIP {
		return w.k.source.Key(ctx, ref)
	}
	return w.k.local.Key(ctx, ref)
}

// door is how keys are fetched from a server.
type door struct {
	version string
	server  *keyring.KMIPServer
}

// servers is the subsystem as package keyring sees it.
type servers struct{ k *KeyServers }

// Servers implements keyring.Groups: usable servers first, the quickest first, then
// those that nobody has looked at, then the others.
func (g servers) Servers(group string) (primary keyring.Server, all []keyring.Server) {
	k := g.k
	k.mu.Lock()
	defer k.mu.Unlock()
	type ranked struct {
		server keyring.Server
		rank   int
		took   float64
	}
	var order []ranked
	primaries := 0
	for i := range k.servers {
		s := &k.servers[i]
		if s.Group != group {
			continue
		}
		r := ranked{server: k.door(s), rank: 1}
		if w := k.seen[s.Name]; w != nil && w.looked {
			r.rank = 2
			if w.usable {
				r.rank = 0
			}
			if n := len(w.History); n > 0 {
				r.took = w.History[n-1].ExchangeMS
			}
		}
		if s.Primary {
			primary = r.server
			primaries++
		}
		order = append(order, r)
	}
	if primaries != 1 {
		primary = nil
	}
	slices.SortStableFunc(order, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.took, b.took))
	})
	for _, r := range order {
		all = append(all, r.server)
	}
	return primary, all
}

// door answers the way to fetch keys from a server. The caller holds mu.
func (k *KeyServers) door(s *Server) *keyring.KMIPServer {
	version := k.version(s)
	if d := k.doors[s.Name]; d != nil {
		if d.version == version {
			return d.server
		}
		k.end(d)
	}
	g := k.opts.group(s.Group)
	own := *s
	d := &dialer{server: &own, group: &g, resolvers: k.opts.Resolvers}
	versions := g.versions()
	server := keyring.NewKMIPServer(s.Name, func(ctx context.Context) (*kmip.Client, error) { return d.client(ctx, versions) }, g.Timeout)
	k.doors[s.Name] = &door{version, server}
	return server
}

// Green implements keyring.Validator: every server of the key's group was found to
// give it, by a validation that began later than since.
func (g servers) Green(_ context.Context, ref envelope.SlotRef, since time.Time) error {
	all := g.k.of(ref.Group)
	if len(all) == 0 {
		return fmt.Errorf("group %s has no key servers", ref.Group)
	}
	for _, s := range all {
		w, ok := g.k.sight(s.Name)
		switch {
		case !ok || !w.looked || !w.began.After(since):
			return fmt.Errorf("%s was not validated since %s", s.Name, utc(since))
		case w.has[ref.UID] != ref.Check:
			return fmt.Errorf("the validation of %s at %s did not find the key", s.Name, utc(w.began))
		}
	}
	return nil
}

// renewed names the key of a renewal under way.
func renewed(st keyring.Status) envelope.SlotRef {
	n := st.Renewal
	return envelope.SlotRef{
		Kind: envelope.KindKMIP, Group: st.Group, UID: n.UID, Name: n.KeyName, Gen: n.Gen, Check: n.Check, Created: n.Started,
	}
}

// endRenewal does what a renewal left to be done later: keys that are not needed
// are destroyed, and when the grace time is over and every server was found well
// since the commit, the old slots go.
func (k *KeyServers) endRenewal(ctx context.Context) error {
	rekeyer := k.renewer()
	err := rekeyer.Sweep(ctx)
	st, stErr := k.present().Status()
	if stErr != nil || st.Renewal == nil || st.Renewal.Phase != keyring.PhaseCommitted {
		return errors.Join(err, stErr)
	}
	o := k.options()
	if o.now().Before(st.Renewal.Committed.Add(cmp.Or(o.RetireAfter, day))) {
		return err
	}
	if green := (servers{k}).Green(ctx, renewed(st), st.Renewal.Committed); green != nil {
		return errors.Join(err, green)
	}
	return errors.Join(err, rekeyer.Retire(ctx))
}

// survive makes the matrix of servers and things from what the newest validations
// of this process found.
func (k *KeyServers) survive() (servers []string, rows []keyring.Survival, err error) {
	for _, s := range k.all() {
		servers = append(servers, s.Name)
	}
	slices.Sort(servers)
	ids, err := k.keeper.IDs()
	if err != nil {
		return nil, nil, err
	}
	var things []envelope.Info
	for _, id := range ids {
		in, err := k.keeper.Describe(id)
		if err != nil {
			in = envelope.Info{ID: id} // nothing opens it but what is on paper
		}
		things = append(things, in)
	}
	return servers, keyring.Survive(things, servers, k.holds), nil
}

// holds claims that a server was found to give a key.
func (k *KeyServers) holds(server string, ref envelope.SlotRef) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.find(server)
	w := k.seen[server]
	return ok && s.Group == ref.Group && w != nil && w.looked && w.has[ref.UID] == ref.Check && ref.Check != ""
}

// readBounded reads a file of at most limit bytes.
func readBounded(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}
