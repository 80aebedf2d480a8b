// Command keyserver measures what it costs to validate key servers: all twelve steps against our test server and
// against PyKMIP, with a key in use and a test key that lives and dies each time, and 200 servers at once of which one
// is dead. Servers of kmiptest run in this process.
//
//	go run ./bench/keyserver [-times 50] [-pairs 200]
//
// What a node remembers of a server and of the test key on it is made durable (fsync), below TMPDIR: on a slow disk that
// is most of the time. TMPDIR=/dev/shm shows the rest.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

func main() {
	times := flag.Int("times", 50, "validations of one server")
	pairs := flag.Int("pairs", 200, "servers that are validated at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *times, *pairs); err != nil {
		fmt.Fprintln(os.Stderr, "bench/keyserver:", err)
		os.Exit(1)
	}
}

// patience is how long a server may take for an exchange: what the dead one costs.
const patience = 2 * time.Second

func run(ctx context.Context, times, pairs int) (err error) {
	if times < 1 || pairs < 2 {
		return fmt.Errorf("%d validations, %d servers at once: at least 1 and 2", times, pairs)
	}
	dir, err := os.MkdirTemp("", "bench-keyserver-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h, err := newHouse(ctx, dir)
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Printf("Validation of key servers; %s, %s, %d processors, state in %s, load %s at the start\n\n", time.Now().Format(time.DateOnly),
		runtime.Version(), runtime.NumCPU(), os.TempDir(), strings.Fields(string(load))[0])
	if err := h.singles(ctx, times); err != nil {
		return err
	}
	return h.many(ctx, pairs)
}

// house is what all measurements share.
type house struct {
	dir       string
	pki       *kmiptest.PKI
	own, user *kmiptest.Identity
}

func newHouse(ctx context.Context, dir string) (*house, error) {
	pki, err := kmiptest.NewPKI("bench/keyserver")
	if err != nil {
		return nil, err
	}
	own, err := pki.Issue(kmiptest.CertRequest{})
	if err != nil {
		return nil, err
	}
	user, err := pki.Issue(kmiptest.CertRequest{CommonName: "bench"})
	return &house{dir, pki, own, user}, err
}

// start runs a server of ours until ctx ends.
func (h *house) start(ctx context.Context) (*kmiptest.Server, error) {
	return kmiptest.Start(ctx, kmiptest.Options{Certificate: h.own.TLS, ClientCAs: h.pki.Pool()})
}

// node is an agent's subsystem with servers defined, the first of them primary.
type node struct {
	*keyserver.KeyServers
	close func() error
}

func (h *house) node(name string, profile string, addresses ...string) (_ *node, err error) {
	dir := filepath.Join(h.dir, name)
	keys, err := envelope.OpenFolder(filepath.Join(dir, "keys"))
	if err != nil {
		return nil, err
	}
	o := keyserver.Options{
		Dir: filepath.Join(dir, "keyserver"), Keys: keys, Node: "bench",
		Groups: []keyserver.Group{{Name: "main", Timeout: patience}},
	}
	material := func(b []byte) keyserver.Material {
		return keyserver.Material{Where: "file:memory", Read: func() ([]byte, error) { return slices.Clone(b), nil }}
	}
	for i, a := range addresses {
		o.Servers = append(o.Servers, keyserver.Server{
			Name: fmt.Sprintf("s%d", i), Address: a, Group: "main", Profile: profile, Primary: i == 0, ServerName: "localhost",
			CA: material(h.pki.RootPEM), ClientCert: material(h.user.CertPEM), ClientKey: material(h.user.KeyPEM),
		})
	}
	k, err := keyserver.New(o)
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	return &node{k, func() error { return errors.Join(k.Close(), keys.Close()) }}, nil
}

// do asks for an action of the subsystem as the API does.
func do[Out any](ctx context.Context, n *node, name string, in any, tell func(wire.Progress)) (out Out, err error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	for _, a := range n.Actions() {
		if a.Name == name {
			v, err := a.Do(ctx, raw, tell)
			if err != nil {
				return out, fmt.Errorf("%s: %w", name, err)
			}
			out, ok := v.(Out)
			if !ok {
				return out, fmt.Errorf("%s answers %T", name, v)
			}
			return out, nil
		}
	}
	return out, fmt.Errorf("there is no action %s", name)
}

type replies = wire.List[wire.KeyServerReply]

// singles validates one server again and again.
func (h *house) singles(ctx context.Context, times int) (err error) {
	fmt.Println("| one server, all steps | p50 | p99 | goal | of it the test key's life, p50 |\n|---|---|---|---|---|")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := h.start(ctx)
	if err != nil {
		return err
	}
	if err := h.single(ctx, "kmiptest", "generic", s.Address(), "20 ms", times); err != nil {
		return err
	}
	if missing := lab.Missing(kmiptest.PyKMIPPackage); len(missing) > 0 {
		fmt.Println("missing: PyKMIP (Debian: python3-pykmip)")
		return nil
	}
	py, err := kmiptest.StartPyKMIP(ctx, h.dir, h.own, h.pki.RootPEM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, py.Close()) }()
	return h.single(ctx, "PyKMIP", "pykmip", py.Address(), "150 ms", times)
}

func (h *house) single(ctx context.Context, name, profile, address, goal string, times int) (err error) {
	n, err := h.node(name, profile, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := withKey(ctx, n); err != nil {
		return err
	}
	var all, life []time.Duration
	for range times {
		r, err := do[replies](ctx, n, "test", wire.KeyServerRequest{Name: "s0"}, nil)
		if err != nil {
			return err
		}
		last := r.Items[0].Server.Last
		if len(last.Keys) != 1 || !last.OK {
			return fmt.Errorf("%s: %d keys read, %s: %s", name, len(last.Keys), last.Code, last.Error)
		}
		all = append(all, ms(last.DurationMS))
		for _, step := range last.Steps {
			if step.Name == "life" {
				life = append(life, ms(step.DurationMS))
			}
		}
	}
	fmt.Printf("| %s | %s | %s | %s | %s |\n", name, at(all, .5), at(all, .99), goal, at(life, .5))
	return nil
}

// withKey has a key made that is in use from then on: every validation reads it.
func withKey(ctx context.Context, n *node) error {
	if _, err := do[replies](ctx, n, "test", wire.KeyServerRequest{Name: "s0"}, nil); err != nil {
		return err
	}
	_, err := do[wire.Key](ctx, n, "key-create", wire.KeyRequest{}, nil)
	return err
}

// many validates all servers at once, all well and then with a dead one among them.
func (h *house) many(ctx context.Context, pairs int) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []*kmiptest.Server
	for range 3 {
		s, err := h.start(ctx)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	primary, clone, dying := servers[0], servers[1], servers[2]
	addresses := []string{primary.Address(), dying.Address()}
	for i := range pairs - len(addresses) {
		addresses = append(addresses, servers[i%2].Address())
	}
	for _, s := range []*kmiptest.Server{clone, dying} {
		if _, err := s.Follow(primary, 0); err != nil {
			return err
		}
	}
	n, err := h.node("many", "generic", addresses...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := withKey(ctx, n); err != nil {
		return err
	}
	fmt.Printf("\n| %d servers at once | the well ones are done after | all are | well |\n|---|---|---|---|\n", pairs)
	if err := n.together(ctx, "all well"); err != nil {
		return err
	}
	if err := dying.Break(kmiptest.Fault{Kind: kmiptest.StallHandshake}); err != nil {
		return err
	}
	return n.together(ctx, fmt.Sprintf("one says nothing, time-out %s", patience))
}

func (n *node) together(ctx context.Context, title string) error {
	var well time.Duration
	passed := 0
	var failed []string
	began := time.Now()
	_, err := do[replies](ctx, n, "test", wire.KeyServerRequest{}, func(p wire.Progress) { // told one at a time
		if p.Text == "passed" {
			well, passed = time.Since(began), passed+1
		} else {
			failed = append(failed, fmt.Sprintf("%s after %s: %s", p.Stage, time.Since(began).Round(time.Millisecond), p.Text))
		}
	})
	if err != nil {
		return err
	}
	fmt.Printf("| %s | %s | %s | %d %s |\n", title, well.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), passed,
		strings.Join(failed, "; "))
	return nil
}

func ms(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

func at(d []time.Duration, p float64) time.Duration {
	slices.Sort(d)
	return d[int(p*float64(len(d)-1))].Round(100 * time.Microsecond)
}
