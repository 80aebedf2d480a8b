package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"allclear/internal/atomicfile"
	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// maxHistory bounds the validations that are remembered of a server: four days of
// the exception interval, and 24 of the ordinary one.
const maxHistory = 96

// sight is what is known of a server. What is exported is kept over a restart.
type sight struct {
	Last         wire.KMIPProbe              `json:"last"`
	History      []wire.KeyServerPoint       `json:"history"`
	Certificates []wire.KeyServerCertificate `json:"certificates"`
	Faults       []string                    `json:"faults"`
	Online       bool                        `json:"online"`

	looked  bool // by this process: what an earlier one saw decides nothing
	usable  bool
	why     string // not usable
	began   time.Time
	version string                    // of the definition that was looked at
	has     map[string]envelope.Check // by identifier: keys that were read
	slow    *slowness
	// command is the result of a command's validation until the check takes it for
	// its look of the changed object.
	command *result
}

// sight answers what is known of a server.
func (k *KeyServers) sight(name string) (sight, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.seen[name]
	if !ok {
		return sight{}, false
	}
	return *s, true
}

// serverID names the check of a server.
func serverID(name string) string { return "keyserver.server@" + name }

// serverCheck validates one server.
func (k *KeyServers) serverCheck(name string) check.Check {
	s, g, _ := k.one(name)
	k.mu.Lock()
	version := k.version(&s)
	k.mu.Unlock()
	return check.Check{
		Name: "keyserver.server", Resource: name, Codes: serverCodes(), Every: g.Interval, Fast: g.Exception,
		Timeout: allowed(&g) + 5*time.Second, Version: version,
		Run: func(ctx context.Context, r *check.Report) {
			if res := k.justLooked(name, version); res != nil {
				res.judge(r)
				return
			}
			res, err := k.validate(ctx, name, r.Trigger())
			if err != nil {
				return // it is gone, or the agent stops
			}
			res.judge(r)
		},
	}
}

// justNow is how long the validation of a command counts as the look that the
// change of the object asks for.
const justNow = 10 * time.Second

// justLooked answers, once, the validation that a command has just done, for the
// look which the scheduler makes because the object is new or changed.
func (k *KeyServers) justLooked(name, version string) *result {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.seen[name]
	if w == nil || w.command == nil {
		return nil
	}
	res := w.command
	w.command = nil
	if w.version != version || k.opts.now().Sub(w.began) > justNow {
		return nil
	}
	return res
}

// validate climbs over all steps to a server and remembers what was found.
func (k *KeyServers) validate(ctx context.Context, name string, t fault.Trigger) (*result, error) {
	release, err := k.take(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	v, version, err := k.prepare(name, t)
	if err != nil {
		return nil, err
	}
	res := v.run(ctx)
	if res.cancel {
		return res, context.Cause(ctx)
	}
	k.remember(res, version)
	return res, nil
}

// take waits for the turn to validate a server.
func (k *KeyServers) take(ctx context.Context, name string) (release func(), err error) {
	k.mu.Lock()
	turn := k.turns[name]
	if turn == nil {
		turn = make(chan struct{}, 1)
		k.turns[name] = turn
	}
	k.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// prepare gathers what a validation needs to know.
func (k *KeyServers) prepare(name string, t fault.Trigger) (*validation, string, error) {
	s, g, err := k.one(name)
	if err != nil {
		return nil, "", err
	}
	profile, err := profileOf(s.Profile)
	if err != nil {
		return nil, "", err
	}
	o := k.options()
	v := &validation{server: &s, group: &g, profile: profile, resolvers: o.Resolvers, trigger: t, now: o.now}
	v.keys, v.newest, v.keysErr = k.inUse(g.Name)
	v.life, v.owed = k.lifeDue(&s, asked(t))
	v.sole, v.masters, v.defined = k.companions(&s)
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.seen[name]; w != nil {
		v.slow = w.slow
	}
	return v, k.version(&s), nil
}

// asked claims that somebody wants to know how the server is now.
func asked(t fault.Trigger) bool {
	return t == fault.TriggerOperator || t == fault.TriggerCreated || t == fault.TriggerChanged
}

// companions tells of the other servers of a group whether one is usable, which
// say that they are the master, and which is defined primary.
func (k *KeyServers) companions(s *Server) (sole bool, masters []string, defined string) {
	sole = true
	for _, o := range k.of(s.Group) {
		if o.Primary {
			defined = o.Name
		}
		if o.Name == s.Name {
			continue
		}
		w, ok := k.sight(o.Name)
		sole = sole && (!ok || !w.usable)
		if ok && w.Last.KMIP != nil && (w.Last.KMIP.Role == roleMaster || w.Last.KMIP.Role == roleMultiMaster) {
			masters = append(masters, o.Name)
		}
	}
	return sole, masters, defined
}

// remember keeps a result, for views, for the group, for who fetches keys.
func (k *KeyServers) remember(res *result, version string) {
	name := res.server.Name
	k.mu.Lock()
	before := k.seen[name]
	w := &sight{
		Last: res.wire(), Certificates: wireCertificates(res.certs), Faults: res.names(), Online: res.online(),
		looked: true, usable: res.usable(), began: res.began, version: version, slow: res.slow, has: map[string]envelope.Check{},
	}
	if f := res.worst(); f != nil && !w.usable {
		w.why = string(f.code)
	}
	for _, found := range res.keys {
		if found.Found {
			w.has[found.UID] = envelope.Check(found.Check)
		}
	}
	if before != nil {
		w.History = slices.Clone(before.History)
		if len(w.Certificates) == 0 {
			w.Certificates = before.Certificates // as they were last seen
		}
	}
	w.History = append(w.History, res.point())
	w.History = w.History[max(0, len(w.History)-maxHistory):]
	k.seen[name] = w
	k.unsaved = true
	k.mu.Unlock()
	if before == nil || !before.looked || before.usable != w.usable || before.why != w.why {
		k.ask(groupID(res.group.Name), fault.TriggerCause)
	}
}

// online claims that the server was reached and speaks KMIP with us.
func (res *result) online() bool { return res.reached >= stepVersion }

// names are the findings for people.
func (res *result) names() []string {
	names := make([]string, 0, len(res.found))
	for _, f := range res.found {
		n := string(f.code)
		if f.sub != "" {
			n += "@" + f.sub
		}
		names = append(names, n)
	}
	return names
}

func (res *result) point() wire.KeyServerPoint {
	p := wire.KeyServerPoint{
		At: res.began, OK: len(res.found) == 0 && res.blind == "", ConnectMS: float64(res.connect.Microseconds()) / 1000,
		TotalMS: float64(res.took.Microseconds()) / 1000,
	}
	p.ExchangeMS = float64(median(res.times).Microseconds()) / 1000
	return p
}

// median is that of the exchanges after the connection; 0 when there was none.
func median(all []exchange) time.Duration {
	var took []time.Duration
	for _, x := range all {
		if x.op != "connect" {
			took = append(took, x.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// looksFile keeps what was seen over a restart, for people: it decides nothing.
const looksFile = "looks.json"

// maxLooks bounds what is read of it, in bytes.
const maxLooks = 16 << 20

func (k *KeyServers) loadSights() {
	b, err := readBounded(k.root, looksFile, maxLooks)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var kept map[string]*sight
	if err == nil {
		err = json.Unmarshal(b, &kept)
	}
	if err != nil {
		k.log.Warn("earlier validations not read", "error", err)
		return
	}
	maps.DeleteFunc(kept, func(name string, s *sight) bool {
		_, ok := k.find(name)
		return s == nil || !ok
	})
	k.seen = kept
	if k.seen == nil {
		k.seen = map[string]*sight{}
	}
}

// storeSights keeps what was seen since it was last asked.
func (k *KeyServers) storeSights() {
	k.mu.Lock()
	b, err := json.Marshal(k.seen)
	unsaved := k.unsaved
	k.unsaved = false
	k.mu.Unlock()
	if !unsaved {
		return
	}
	if err == nil {
		err = atomicfile.Write(k.root, looksFile, 0o600, b)
	}
	if err != nil {
		k.log.Warn("validations not stored", "error", err)
	}
}

// inUse answers the keys of a group that something here hangs on, the latest
// generation first, and the one that is prepared and not yet used, if any.
func (k *KeyServers) inUse(group string) (used []usedKey, newest *usedKey, err error) {
	add := func(ref envelope.SlotRef) {
		if ref.Kind != envelope.KindKMIP || ref.Group != group || slices.ContainsFunc(used, func(u usedKey) bool { return u.ref.Same(ref) }) {
			return
		}
		used = append(used, usedKey{ringName, ref})
	}
	ids, err := k.keeper.IDs()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		in, err := k.keeper.Describe(id)
		if err != nil {
			continue // a damaged header says nothing; who opens the thing raises that
		}
		for _, ref := range in.Slots {
			add(ref)
		}
	}
	st, err := k.present().Status()
	if err != nil {
		return nil, nil, err
	}
	if st.Current != nil {
		add(*st.Current)
	}
	slices.SortStableFunc(used, func(a, b usedKey) int { return b.ref.Gen - a.ref.Gen })
	if n := st.Renewal; n != nil && n.UID != "" && n.Check != "" && st.Group == group {
		ref := renewed(st)
		if !slices.ContainsFunc(used, func(u usedKey) bool { return u.ref.Same(ref) }) {
			newest = &usedKey{ringName, ref}
		}
	}
	return used, newest, nil
}
