package keyserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// earliest is a time at which no certificate is judged by its dates.
var earliest = time.Unix(0, 0)

// Actions implements subsystem.Actor. What an action finds is judged by its own
// checks, as a look of theirs, before it answers.
func (k *KeyServers) Actions() []subsystem.Action {
	return append(k.unlocking(), []subsystem.Action{
		{Name: "add", Role: subsystem.Admin, Do: action(k.doAdd)},
		{Name: "set", Role: subsystem.Admin, Do: action(k.doSet)},
		{Name: "test", Role: subsystem.Operator, Do: action(k.doTest)},
		{Name: "remove", Role: subsystem.Admin, Do: action(k.doRemove)},
		{Name: "key-create", Role: subsystem.Admin, Do: action(k.doKeyCreate)},
		{Name: "key-rekey", Role: subsystem.Admin, Do: action(k.doKeyRekey)},
		{Name: "recovery-create", Role: subsystem.Admin, Verifies: k.verifiesRecovery(), Do: action(k.doRecoveryCreate)},
		{Name: "recovery-validate", Role: subsystem.Admin, Verifies: k.verifiesRecovery(), Do: action(k.doRecoveryValidate)},
		{Name: "recovery-use", Role: subsystem.Admin, Do: action(k.doRecoveryUse)},
		{Name: "secret-put", Role: subsystem.Admin, Do: action(k.doSecretPut)},
		{Name: "secret-remove", Role: subsystem.Admin, Do: action(k.doSecretRemove)},
	}...)
}

func (k *KeyServers) verifiesRecovery() []fault.Key {
	return []fault.Key{{Code: CodeRecoveryUnproven, Resource: recoveryResource}}
}

// action reads the request of an action; none at all is an empty one.
func action[In, Out any](do func(context.Context, In, func(wire.Progress)) (Out, error)) func(context.Context, json.RawMessage, func(wire.Progress)) (any, error) {
	return func(ctx context.Context, raw json.RawMessage, tell func(wire.Progress)) (any, error) {
		var in In
		if len(raw) > 0 && string(raw) != "null" {
			if err := strictly(raw, &in); err != nil {
				return nil, fmt.Errorf("read the request: %w", err)
			}
		}
		if tell == nil {
			tell = func(wire.Progress) {}
		}
		return do(ctx, in, tell)
	}
}

func (k *KeyServers) doAdd(ctx context.Context, in wire.KeyServerAdd, tell func(wire.Progress)) (wire.KeyServerReply, error) {
	o := object{
		Name: in.Name, Address: in.Address, Group: orMain(in.Group), Profile: orGeneric(in.Profile), Primary: in.Primary,
		ServerName: in.ServerName, Pin: in.Pin, CA: in.CA, ClientCert: in.ClientCert, ClientKey: in.ClientKey,
	}
	err := k.change(func(st *state) error {
		if why := k.checkObject(o, nil); len(why) > 0 {
			return &RefusedError{"add key server " + cleaned(o.Name), why}
		}
		if len(st.Servers) >= maxObjects {
			return &RefusedError{"add key server " + o.Name, []string{fmt.Sprintf("%d are defined already", maxObjects)}}
		}
		st.Servers = append(st.Servers, o)
		return nil
	})
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	return k.changed(ctx, o.Name, fault.TriggerCreated, tell)
}

// maxObjects bounds the servers that commands define.
const maxObjects = 256

// changed has the checks planned anew and validates a server at once (R2-2).
func (k *KeyServers) changed(ctx context.Context, name string, t fault.Trigger, tell func(wire.Progress)) (wire.KeyServerReply, error) {
	if err := k.chooseRing(); err != nil {
		k.warn(ctx, "the key's group not chosen", err)
	}
	tell(wire.Progress{Stage: name, Text: "is validated"})
	res, err := k.validate(ctx, name, t)
	if err != nil { // whoever asked may be gone: its check looks at it instead
		return wire.KeyServerReply{}, errors.Join(fmt.Errorf("%s is defined, and was not validated: %w", name, err), k.planned(ctx))
	}
	k.mu.Lock()
	if w := k.seen[name]; w != nil {
		w.command = res // for the look that planning it starts
	}
	k.mu.Unlock()
	if err := k.planned(ctx); err != nil {
		return wire.KeyServerReply{}, err
	}
	k.report(ctx, serverID(name), t, res.judge)
	w, err := k.wireServer(name)
	made := res.wire()
	w.Last = &made // the one that was asked for, whatever looked since
	return wire.KeyServerReply{Server: w, Queued: []string{}}, err
}

// planned tells who plans checks that the objects have changed, whether or not
// somebody still waits for the command that did it.
func (k *KeyServers) planned(ctx context.Context) error {
	if changed := k.options().Changed; changed != nil {
		return changed(context.WithoutCancel(ctx))
	}
	return nil
}

func (k *KeyServers) doSet(ctx context.Context, in wire.KeyServerSet, tell func(wire.Progress)) (wire.KeyServerReply, error) {
	s, _, err := k.one(in.Name)
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	what := "set key server " + s.Name
	fields := in
	fields.Name, fields.Primary = "", false
	plain := fields == (wire.KeyServerSet{})
	switch {
	case !s.command && !plain:
		return wire.KeyServerReply{}, &RefusedError{what, []string{"it is defined in the configuration file: change it there and reload; only the primary can be set here"}}
	case plain && !in.Primary:
		return wire.KeyServerReply{}, &RefusedError{what, []string{"nothing to set was named"}}
	}
	var old []string
	err = k.change(func(st *state) error {
		if !plain {
			if err := k.edit(st, &s, in); err != nil {
				return &RefusedError{what, []string{err.Error()}}
			}
		}
		if in.Primary {
			old = k.promote(st, s)
		}
		return nil
	})
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	k.mu.Lock()
	k.forget()
	k.mu.Unlock()
	reply, err := k.changed(ctx, s.Name, fault.TriggerChanged, tell)
	for _, name := range old {
		k.ask(serverID(name), fault.TriggerChanged)
	}
	reply.Queued = append([]string{}, old...)
	return reply, err
}

// edit changes the fields of an object that a command has defined.
func (k *KeyServers) edit(st *state, s *Server, in wire.KeyServerSet) error {
	i, ok := st.object(s.Name)
	if !ok {
		return errors.New("it was removed")
	}
	o := st.Servers[i]
	for _, f := range []struct {
		from *string
		to   *string
	}{
		{in.Address, &o.Address},
		{in.Group, &o.Group},
		{in.Profile, &o.Profile},
		{in.ServerName, &o.ServerName},
		{in.CA, &o.CA},
		{in.Pin, &o.Pin},
		{in.ClientCert, &o.ClientCert},
		{in.ClientKey, &o.ClientKey},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	o.Group, o.Profile = orMain(o.Group), orGeneric(o.Profile)
	if o.Group != s.Group {
		if err := k.mayLose(s); err != nil {
			return err
		}
	}
	if why := k.checkObject(o, s); len(why) > 0 {
		return errors.New(strings.Join(why, "; "))
	}
	st.Servers[i] = o
	s.Group = o.Group
	return nil
}

// promote makes a server the primary of its group and answers those that were.
func (k *KeyServers) promote(st *state, s Server) (old []string) {
	instead := ""
	k.mu.Lock()
	for _, c := range k.opts.Servers {
		if orMain(c.Group) == s.Group && c.Primary && instead == "" {
			instead = c.Name
		}
	}
	for _, o := range k.servers {
		if o.Group == s.Group && o.Primary && o.Name != s.Name {
			old = append(old, o.Name)
		}
	}
	k.mu.Unlock()
	for i := range st.Servers {
		if o := &st.Servers[i]; o.Name != s.Name && o.Group == s.Group {
			o.Primary = false
		}
	}
	st.Primaries[s.Group] = choice{Server: s.Name, Instead: instead}
	return old
}

// doTest validates one server, or all at the same time: a dead one delays no other.
func (k *KeyServers) doTest(ctx context.Context, in wire.KeyServerRequest, tell func(wire.Progress)) (wire.List[wire.KeyServerReply], error) {
	list := wire.List[wire.KeyServerReply]{Items: []wire.KeyServerReply{}}
	var names []string
	if in.Name != "" {
		if _, _, err := k.one(in.Name); err != nil {
			return list, err
		}
		names = []string{in.Name}
	} else {
		for _, s := range k.all() {
			names = append(names, s.Name)
		}
	}
	if err := k.test(ctx, names, fault.TriggerOperator, tell); err != nil {
		return list, err
	}
	for _, name := range names {
		w, err := k.wireServer(name)
		if err != nil {
			continue // it was removed meanwhile
		}
		list.Items = append(list.Items, wire.KeyServerReply{Server: w, Queued: []string{}})
	}
	return list, nil
}

// maxParallel bounds the validations that go at once.
const maxParallel = 256

// test validates servers at the same time and has each result recorded.
func (k *KeyServers) test(ctx context.Context, names []string, t fault.Trigger, tell func(wire.Progress)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed, and lets one at a time tell
	var failed []error
	places := make(chan struct{}, maxParallel)
	for _, name := range names {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			res, err := k.validate(ctx, name, t)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, fmt.Errorf("validate %s: %w", name, err))
				return
			}
			text := "passed"
			if f := res.worst(); f != nil {
				text = fmt.Sprintf("%s: %v", f.code, f.err)
			}
			tell(wire.Progress{Stage: name, Text: text})
			k.report(ctx, serverID(name), t, res.judge)
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (k *KeyServers) doRemove(ctx context.Context, in wire.KeyServerRequest, tell func(wire.Progress)) (wire.KeyServerReply, error) {
	s, _, err := k.one(in.Name)
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	what := "remove key server " + s.Name
	if !s.command {
		return wire.KeyServerReply{}, &RefusedError{what, []string{"it is defined in the configuration file: take it out there and reload"}}
	}
	w, err := k.wireServer(s.Name)
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	var others []string
	for _, o := range k.of(s.Group) {
		if o.Name != s.Name {
			others = append(others, o.Name)
		}
	}
	if err := k.test(ctx, others, fault.TriggerOperator, tell); err != nil { // what others hold is proved now, not remembered
		return wire.KeyServerReply{}, err
	}
	err = k.change(func(st *state) error {
		if err := k.mayLose(&s); err != nil {
			return &RefusedError{what, []string{err.Error()}}
		}
		i, ok := st.object(s.Name)
		if !ok {
			return &RefusedError{what, []string{"it was removed already"}}
		}
		st.Servers = slices.Delete(st.Servers, i, i+1)
		delete(st.Tests, s.Name)
		if st.Primaries[s.Group].Server == s.Name {
			delete(st.Primaries, s.Group)
		}
		return nil
	})
	if err != nil {
		return wire.KeyServerReply{}, err
	}
	k.mu.Lock()
	k.forget()
	k.mu.Unlock()
	err = k.planned(ctx)
	k.ask(groupID(s.Group), fault.TriggerChanged)
	return wire.KeyServerReply{Server: w, Queued: []string{}, Removed: true}, err
}

// mayLose claims that no key in use here would be orphaned if a server left its
// group: every thing that hangs on a key of the group opens without it, and so
// does what is sealed from now on.
func (k *KeyServers) mayLose(s *Server) error {
	used, newest, err := k.inUse(s.Group)
	if err != nil {
		return fmt.Errorf("which keys hang on it is not known: %w", err)
	}
	var lost []string
	if newest != nil {
		used = append(used, *newest)
	}
	for _, u := range used {
		if !k.heldElsewhere(s, u.ref) {
			lost = append(lost, u.ref.String())
		}
	}
	_, rows, err := k.survive()
	if err != nil {
		return fmt.Errorf("what hangs on it is not known: %w", err)
	}
	var things []string
	for _, row := range rows {
		in, err := k.keeper.Describe(row.ID)
		hangs := err == nil && slices.ContainsFunc(in.Slots, func(r envelope.SlotRef) bool { return r.Kind == envelope.KindKMIP && r.Group == s.Group })
		if hangs && !row.Opens(s.Name) {
			things = append(things, row.ID)
		}
	}
	switch {
	case len(things) > 0:
		return fmt.Errorf("no other server was found to have %s, which %s would need: add another server and let it replicate, or renew the key, first",
			joined(lost), joined(things))
	case len(lost) > 0 && k.currentAmong(used, s, lost):
		return fmt.Errorf("no other server was found to have %s, under which new things are sealed", joined(lost))
	}
	return nil
}

// currentAmong claims that the current key is among those that would be lost.
func (k *KeyServers) currentAmong(used []usedKey, s *Server, lost []string) bool {
	st, err := k.present().Status()
	if err != nil || st.Current == nil {
		return err != nil
	}
	return slices.ContainsFunc(used, func(u usedKey) bool { return u.ref.Same(*st.Current) && slices.Contains(lost, u.ref.String()) }) &&
		st.Current.Group == s.Group
}

func (k *KeyServers) heldElsewhere(s *Server, ref envelope.SlotRef) bool {
	return slices.ContainsFunc(k.of(s.Group), func(o Server) bool { return o.Name != s.Name && k.holds(o.Name, ref) })
}

func (k *KeyServers) doSecretPut(ctx context.Context, in wire.SecretRequest, _ func(wire.Progress)) (wire.KeyThing, error) {
	defer clear(in.Secret)
	id := "secret/" + in.Name
	if err := envelope.CheckID(id); err != nil {
		return wire.KeyThing{}, err
	}
	err := k.keeper.Protect(ctx, id, in.Secret)
	if errors.Is(err, envelope.ErrExists) && in.Replace {
		err = k.keeper.Replace(ctx, id, in.Secret)
	}
	if err != nil {
		return wire.KeyThing{}, err
	}
	return k.wireThing(id)
}

func (k *KeyServers) doSecretRemove(_ context.Context, in wire.SecretRequest, _ func(wire.Progress)) (wire.KeyThing, error) {
	id := "secret/" + in.Name
	w, err := k.wireThing(id)
	if err != nil {
		return w, err
	}
	return w, k.keeper.Remove(id)
}

// keyNamed claims that a request is about the key there is.
func keyNamed(name string) error {
	if cmp.Or(name, ringName) != ringName {
		return fmt.Errorf("no key %q: everything on this node hangs on one, %q", cleaned(name), ringName)
	}
	return nil
}

// reportKey has the state of the node's key judged.
func (k *KeyServers) reportKey(ctx context.Context) {
	k.report(context.WithoutCancel(ctx), k.keyID(), fault.TriggerOperator, func(r *check.Report) { k.judgeKey(r) })
}
