package keyserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"allclear/internal/envelope"
)

// state is what commands have said, and what must outlive the process. It lies in
// two copies in the package's folder, apart from the configuration.
type state struct {
	Servers   []object          `json:"servers"`
	Primaries map[string]choice `json:"primaries"` // by group
	Tests     map[string]tests  `json:"tests"`     // by server
}

// object is a server that a command has defined.
type object struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Group      string `json:"group"`
	Profile    string `json:"profile"`
	Primary    bool   `json:"primary"`
	ServerName string `json:"server_name"`
	Pin        string `json:"pin"`
	CA         string `json:"ca"` // references
	ClientCert string `json:"client_cert"`
	ClientKey  string `json:"client_key"`
}

// choice is a primary that a command has put in the place of the one that the
// configuration names. It ends when the configuration names another.
type choice struct {
	Server  string `json:"server"`
	Instead string `json:"instead"`
}

// tests is what is known of the test keys on a server.
type tests struct {
	Last      time.Time `json:"last"`   // when one last went through its whole life
	Failed    bool      `json:"failed"` // since then one did not
	Leftovers []string  `json:"leftovers"`
}

func (t *tests) gone(name string) {
	t.Leftovers = slices.DeleteFunc(t.Leftovers, func(s string) bool { return s == name })
}

// stateName is the record of the state.
const stateName = "objects"

func loadState(r *envelope.Record) (state, error) {
	st := state{Primaries: map[string]choice{}, Tests: map[string]tests{}}
	content, err := r.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if err := strictly(content, &st); err != nil {
		return st, fmt.Errorf("read the key servers that commands have defined: %w", err)
	}
	if st.Primaries == nil {
		st.Primaries = map[string]choice{}
	}
	if st.Tests == nil {
		st.Tests = map[string]tests{}
	}
	return st, nil
}

func (st state) clone() state {
	st.Servers = slices.Clone(st.Servers)
	st.Primaries = maps.Clone(st.Primaries)
	st.Tests = maps.Clone(st.Tests)
	return st
}

func (st *state) object(name string) (int, bool) {
	i := slices.IndexFunc(st.Servers, func(o object) bool { return o.Name == name })
	return i, i >= 0
}

// change makes a change of the state durable, then takes it over. On an error
// nothing has changed.
func (k *KeyServers) change(edit func(*state) error) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	k.mu.Lock()
	next := k.state.clone()
	k.mu.Unlock()
	if err := edit(&next); err != nil {
		return err
	}
	content, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := k.record.Write(content); err != nil && !errors.Is(err, envelope.ErrOneCopy) {
		return fmt.Errorf("store the key servers: %w", err)
	}
	k.mu.Lock()
	k.state = next
	k.settle()
	k.mu.Unlock()
	return nil
}

// server makes a server of an object.
func (k *KeyServers) server(o object) Server {
	s := Server{
		Name: o.Name, Address: o.Address, Group: o.Group, Profile: o.Profile, Primary: o.Primary, ServerName: o.ServerName, Pin: o.Pin,
		command: true,
	}
	for _, m := range []struct {
		text    string
		private bool
		into    *Material
	}{{o.CA, false, &s.CA}, {o.ClientCert, false, &s.ClientCert}, {o.ClientKey, true, &s.ClientKey}} {
		if m.text == "" {
			continue
		}
		var err error
		if *m.into, err = k.opts.reference(m.text, m.private); err != nil {
			*m.into = Material{Where: m.text, Read: func() ([]byte, error) { return nil, err }}
		}
	}
	return s
}

func (o *Options) reference(text string, private bool) (Material, error) {
	if o.Reference == nil {
		return Material{}, errors.New("references cannot be read here")
	}
	return o.Reference(text, private)
}

// settle joins the configuration's servers and those of commands. Of two with one
// name the configuration's counts. The caller holds mu.
func (k *KeyServers) settle() {
	all := slices.Clone(k.opts.Servers)
	named := map[string]bool{}
	written := map[string]string{} // group: its primary in the configuration
	for i := range all {
		s := &all[i]
		s.Group, s.Profile = orMain(s.Group), orGeneric(s.Profile)
		named[s.Name] = true
		if s.Primary && written[s.Group] == "" {
			written[s.Group] = s.Name
		}
	}
	for _, o := range k.state.Servers {
		if !named[o.Name] {
			all = append(all, k.server(o))
		}
	}
	for group, c := range k.state.Primaries {
		if c.Instead != written[group] || !slices.ContainsFunc(all, func(s Server) bool { return s.Group == group && s.Name == c.Server }) {
			continue
		}
		for i := range all {
			if all[i].Group == group {
				all[i].Primary = all[i].Name == c.Server
			}
		}
	}
	k.servers = all
}

func orMain(group string) string {
	if group == "" {
		return mainGroup
	}
	return group
}

func orGeneric(profile string) string {
	if profile == "" {
		return genericProfile
	}
	return profile
}

// lifeDue answers the test of a primary's life that is due, or nil, and whether the
// last one failed.
func (k *KeyServers) lifeDue(s *Server, asked bool) (due *lifeTest, owed bool) {
	k.mu.Lock()
	t, node := k.state.Tests[s.Name], k.opts.Node
	k.mu.Unlock()
	if !s.Primary || !asked && !t.Failed && k.now().Sub(t.Last) < lifeEvery {
		return nil, t.Failed
	}
	edit := func(do func(*tests)) error {
		return k.change(func(st *state) error {
			t := st.Tests[s.Name]
			t.Leftovers = slices.Clone(t.Leftovers)
			do(&t)
			st.Tests[s.Name] = t
			return nil
		})
	}
	return &lifeTest{
		node: node, leftovers: t.Leftovers,
		begin: func(name string) error {
			return edit(func(t *tests) { t.Leftovers = append(t.Leftovers, name) })
		},
		gone: func(name string) error { return edit(func(t *tests) { t.gone(name) }) },
		lived: func(name string) error {
			return edit(func(t *tests) {
				t.gone(name)
				t.Last, t.Failed = k.now().UTC(), false
			})
		},
		failed: func() error { return edit(func(t *tests) { t.Failed = true }) },
	}, t.Failed
}
