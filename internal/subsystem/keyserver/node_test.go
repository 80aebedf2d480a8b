package keyserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// node is a running subsystem with a real scheduler, a master and a clone that
// follows it.
type node struct {
	*world
	pki           *kmiptest.PKI
	ours          *kmiptest.Identity
	master, clone *kmiptest.Server
	replication   *kmiptest.Replication
	dir           string // of files that references name
	opts          keyserver.Options
	keys          *keyserver.KeyServers
	ahead         atomic.Int64 // of the node's clock, ns
	stop          func()       // ends the subsystem and waits
}

// file is a reference to a file of the node.
func (n *node) file(name string, content []byte) string {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), content, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return "file:" + name
}

func (n *node) reference(text string, _ bool) (keyserver.Material, error) {
	name, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return keyserver.Material{}, errors.New("this is no reference")
	}
	return keyserver.Material{Where: text, Read: func() ([]byte, error) { return os.ReadFile(filepath.Join(n.dir, name)) }}, nil
}

func (n *node) material(text string) keyserver.Material { return must(n.reference(text, false))(n.t) }

// newNode starts a node whose configuration names servers as configure says: "" the
// master and the clone.
func newNode(t *testing.T, configure func(*node) []keyserver.Server) *node {
	t.Helper()
	n := &node{world: newWorld(t), pki: must(kmiptest.NewPKI("our authority"))(t), dir: t.TempDir()}
	n.master, n.clone = n.start(kmiptest.Master), n.start(kmiptest.Clone)
	n.replication = must(n.clone.Follow(n.master, 0))(t)
	n.ours = n.issue(kmiptest.CertRequest{CommonName: "node1"})
	n.file("ca.pem", n.pki.RootPEM)
	n.file("client.pem", n.ours.CertPEM)
	n.file("client.key", n.ours.KeyPEM)
	keys := must(envelope.OpenFolder(filepath.Join(t.TempDir(), "keys")))(t)
	n.opts = keyserver.Options{
		Dir: filepath.Join(t.TempDir(), "keyserver"), Keys: keys, Node: "node1", Reference: n.reference,
		Now: func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) },
		// Nothing may be slow here but what is made so: the machine of a test is busy.
		DefaultGroup: func(name string) keyserver.Group {
			return keyserver.Group{Name: name, Interval: time.Hour, Exception: time.Hour, Slow: patient, Timeout: 8 * time.Second, Grace: time.Hour}
		},
		Changed: func(context.Context) error { return n.sched.Set(n.keys.Checks(), nil) },
	}
	if configure == nil {
		configure = func(n *node) []keyserver.Server {
			return []keyserver.Server{n.object("ks1", n.master, true), n.object("ks2", n.clone, false)}
		}
	}
	n.opts.Servers = configure(n)
	n.open()
	t.Cleanup(func() {
		n.stop()
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// open starts the subsystem with what lies in its folders.
func (n *node) open() {
	n.t.Helper()
	n.keys = must(keyserver.New(n.opts))(n.t)
	if err := n.sched.Set(n.keys.Checks(), nil); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.keys.Run(ctx, n.sched); err != nil {
			n.t.Errorf("run: %v", err)
		}
	})
	n.stop = func() {
		cancel()
		running.Wait()
		if err := n.keys.Close(); err != nil {
			n.t.Error(err)
		}
	}
}

func (n *node) issue(r kmiptest.CertRequest) *kmiptest.Identity {
	n.t.Helper()
	if r.NotAfter.IsZero() {
		r.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	return must(n.pki.Issue(r))(n.t)
}

func (n *node) start(role kmiptest.Role) *kmiptest.Server {
	n.t.Helper()
	s := must(kmiptest.Start(n.t.Context(), kmiptest.Options{
		Certificate: n.issue(kmiptest.CertRequest{}).TLS, ClientCAs: n.pki.Pool(), Role: role, Vendor: "IBM SKLM 4.1.1.0",
	}))(n.t)
	n.t.Cleanup(func() { s.Close() })
	return s
}

// object is a server as the configuration defines it.
func (n *node) object(name string, s *kmiptest.Server, primary bool) keyserver.Server {
	return keyserver.Server{
		Name: name, Address: s.Address(), Profile: "isklm", Primary: primary,
		CA: n.material("file:ca.pem"), ClientCert: n.material("file:client.pem"), ClientKey: n.material("file:client.key"),
	}
}

// addition is a server as a command defines it.
func (n *node) addition(name string, s *kmiptest.Server) wire.KeyServerAdd {
	return wire.KeyServerAdd{
		Name: name, Address: s.Address(), Profile: "isklm", CA: "file:ca.pem", ClientCert: "file:client.pem", ClientKey: "file:client.key",
	}
}

// act carries out an action through its JSON, as the API does.
func act[Out any](n *node, name string, in any) (Out, error) {
	n.t.Helper()
	var none Out
	actions := n.keys.Actions()
	i := slices.IndexFunc(actions, func(a actionOf) bool { return a.Name == name })
	if i < 0 {
		n.t.Fatalf("no action %s", name)
	}
	out, err := actions[i].Do(n.t.Context(), must(json.Marshal(in))(n.t), nil)
	if err != nil {
		return none, err
	}
	var back Out
	if err := json.Unmarshal(must(json.Marshal(out))(n.t), &back); err != nil {
		n.t.Fatal(err)
	}
	return back, nil
}

// view reads a view through its JSON.
func view[Out any](n *node, path, query string) Out {
	n.t.Helper()
	for _, v := range n.keys.Views() {
		if v.Path != path {
			continue
		}
		var out Out
		got := must(v.Get(n.t.Context(), must(parseQuery(query))(n.t)))(n.t)
		if err := json.Unmarshal(must(json.Marshal(got))(n.t), &out); err != nil {
			n.t.Fatal(err)
		}
		return out
	}
	n.t.Fatalf("no view %s", path)
	panic("unreachable")
}

// verify looks at a server as an operator does.
func (n *node) verify(server string) check.Last {
	n.t.Helper()
	return n.look("keyserver.server@"+server, fault.TriggerOperator)
}

// create makes the node's key and seals a secret under it.
func (n *node) create() wire.Key {
	n.t.Helper()
	k := must(act[wire.Key](n, "key-create", wire.KeyRequest{}))(n.t)
	must(act[wire.KeyThing](n, "secret-put", wire.SecretRequest{Name: "mail", Secret: []byte("hunter2")}))(n.t)
	return k
}

func (n *node) become(s *kmiptest.Server, change func(*kmiptest.Options)) {
	n.t.Helper()
	if err := s.Set(change); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) breaks(s *kmiptest.Server, f kmiptest.Fault) {
	n.t.Helper()
	if err := s.Break(f); err != nil {
		n.t.Fatal(err)
	}
}

func only(v ...kmip.Version) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Versions = v }
}
