package keyserver

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"allclear/internal/netdiag"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// Views implements subsystem.Shower. None connects to a server.
func (k *KeyServers) Views() []subsystem.View {
	return []subsystem.View{
		{Path: "servers", Role: subsystem.Viewer, Get: k.viewServers},
		{Path: "groups", Role: subsystem.Viewer, Get: k.viewGroups},
		{Path: "keys", Role: subsystem.Viewer, Get: k.viewKeys},
		{Path: "survival", Role: subsystem.Viewer, Get: k.viewSurvival},
	}
}

func (k *KeyServers) viewServers(_ context.Context, q url.Values) (any, error) {
	list := wire.List[wire.KeyServer]{Items: []wire.KeyServer{}}
	if only := q.Get("server"); only != "" {
		w, err := k.wireServer(only)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, w)
		return list, nil
	}
	for _, s := range k.all() {
		if w, err := k.wireServer(s.Name); err == nil { // else it was removed in between
			list.Items = append(list.Items, w)
		}
	}
	slices.SortStableFunc(list.Items, func(a, b wire.KeyServer) int {
		if a.Group != b.Group {
			return strings.Compare(a.Group, b.Group)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, nil
}

func (k *KeyServers) wireServer(name string) (wire.KeyServer, error) {
	s, _, err := k.one(name)
	if err != nil {
		return wire.KeyServer{}, err
	}
	w := wire.KeyServer{
		Name: s.Name, Group: s.Group, Address: s.Address, Profile: s.Profile, Primary: s.Primary, Origin: "configuration",
		ServerName: s.ServerName, CA: s.CA.Where, Pin: s.Pin, ClientCert: s.ClientCert.Where, ClientKey: s.ClientKey.Where,
		Status: "unknown", Certificates: []wire.KeyServerCertificate{}, History: []wire.KeyServerPoint{}, Faults: []string{},
	}
	if s.command {
		w.Origin = "command"
	}
	k.mu.Lock()
	w.LifeTested = moment(k.state.Tests[s.Name].Last)
	k.mu.Unlock()
	seen, ok := k.sight(name)
	if !ok {
		return w, nil
	}
	w.Last, w.Status = &seen.Last, "offline"
	if seen.Online {
		w.Status = "online"
	}
	if seen.Certificates != nil {
		w.Certificates = seen.Certificates
	}
	w.History = append(w.History, seen.History...)
	w.Faults = append(w.Faults, seen.Faults...)
	if f := seen.Last.KMIP; f != nil {
		w.Role, w.Vendor, w.Product, w.Level, w.KMIP = f.Role, f.Vendor, f.Product, f.Level, f.Version
	}
	if t := seen.Last.TLS; t != nil {
		w.TLS = t.Version
	}
	return w, nil
}

func (k *KeyServers) viewGroups(context.Context, url.Values) (any, error) {
	list := wire.List[wire.KeyServerGroup]{Items: []wire.KeyServerGroup{}}
	for _, g := range k.groups() {
		w := wire.KeyServerGroup{
			Name: g.Name, Device: g.Device, MinKMIP: g.MinKMIP.String(), MinTLS: netdiag.VersionName(g.MinTLS), Legacy: g.LegacyTLS,
			Interval: g.Interval.String(), Fast: g.Exception.String(), Grace: g.Grace.String(), Servers: []string{}, Usable: []string{},
		}
		primaries := 0
		for _, s := range k.of(g.Name) {
			w.Servers = append(w.Servers, s.Name)
			if s.Primary {
				w.Primary = s.Name
				primaries++
			}
			if seen, ok := k.sight(s.Name); ok && seen.usable {
				w.Usable = append(w.Usable, s.Name)
			}
		}
		if primaries != 1 {
			w.Primary = ""
		}
		list.Items = append(list.Items, w)
	}
	return list, nil
}

func (k *KeyServers) viewKeys(context.Context, url.Values) (any, error) {
	w, err := k.wireKey()
	if err != nil {
		return nil, err
	}
	return wire.List[wire.Key]{Items: []wire.Key{w}}, nil
}

// viewSurvival shows what could still be opened if a server were gone.
func (k *KeyServers) viewSurvival(context.Context, url.Values) (any, error) {
	servers, rows, err := k.survive()
	if err != nil {
		return nil, err
	}
	w := wire.Survivability{Servers: servers, Things: []wire.SurvivalThing{}, Lost: []wire.SurvivalIfServer{}}
	if w.Servers == nil {
		w.Servers = []string{}
	}
	for _, row := range rows {
		w.Things = append(w.Things, wire.SurvivalThing{
			ID: row.ID, Openers: append([]string{}, row.Openers...), Sole: row.Sole, Local: row.Local, Recovery: row.Recovery, Opens: row.Opens(""),
		})
	}
	for _, name := range servers {
		lost := wire.SurvivalIfServer{Server: name, Things: []string{}, Keys: []string{}}
		for _, row := range rows {
			if row.Opens("") && !row.Opens(name) {
				lost.Things = append(lost.Things, row.ID)
			}
		}
		lost.Keys = append(lost.Keys, k.soleKeys(name)...)
		w.Lost = append(w.Lost, lost)
	}
	return w, nil
}

// soleKeys are the keys in use here that no other server was found to have.
func (k *KeyServers) soleKeys(name string) []string {
	s, _, err := k.one(name)
	if err != nil {
		return nil
	}
	used, _, err := k.inUse(s.Group)
	if err != nil {
		return nil
	}
	var out []string
	for _, u := range used {
		if k.holds(name, u.ref) && !k.heldElsewhere(&s, u.ref) {
			out = append(out, u.ref.String())
		}
	}
	return out
}
