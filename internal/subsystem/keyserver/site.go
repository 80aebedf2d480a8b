package keyserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// site is a private installation in a lab: a master with a clone that follows it,
// and a node that keeps its key on them.
type site struct {
	lab           *lab.Lab
	pki           *kmiptest.PKI
	master, clone *kmiptest.Server
	replication   *kmiptest.Replication
	node          *KeyServers
	opts          Options
	ours          *kmiptest.Identity
	ahead         atomic.Int64 // how far the node's clock is set ahead, ns
}

// The names of the things of a site.
const (
	siteMaster = "ks1"
	siteClone  = "ks2"
	clientCert = "client.pem"
	clientKey  = "client.key"
)

// drillSlow is the limit of an exchange in a lab: a busy machine keeps below it.
const drillSlow = 2 * time.Second

// newSite builds a healthy site.
func newSite(ctx context.Context, l *lab.Lab) (_ *site, err error) {
	s := &site{lab: l}
	if s.pki, err = kmiptest.NewPKI("the lab's authority of key servers"); err != nil {
		return nil, err
	}
	if s.master, err = s.start(ctx, kmiptest.Master); err != nil {
		return nil, err
	}
	if s.clone, err = s.start(ctx, kmiptest.Clone); err != nil {
		return nil, err
	}
	if s.replication, err = s.clone.Follow(s.master, 0); err != nil {
		return nil, err
	}
	if s.ours, err = s.issue(kmiptest.CertRequest{CommonName: "node1"}); err != nil {
		return nil, err
	}
	if err := s.put(s.ours); err != nil {
		return nil, err
	}
	keys, err := envelope.OpenFolder(filepath.Join(l.Dir(), "keys"))
	if err != nil {
		return nil, err
	}
	s.opts = Options{
		Dir: filepath.Join(l.Dir(), "keyserver"), Keys: keys, Node: "node1", prefix: l.Resource(""),
		Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		Groups: []Group{{
			Name: l.Resource(mainGroup), Interval: time.Hour, Exception: time.Hour, Slow: drillSlow, Timeout: 10 * time.Second, Grace: time.Hour,
		}},
		Servers: []Server{s.object(siteMaster, s.master.Address(), true), s.object(siteClone, s.clone.Address(), false)},
	}
	if s.node, err = New(s.opts); err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	l.OnClose(func() error { return errors.Join(s.node.Close(), keys.Close()) })
	return s, nil
}

// issue makes a certificate that is good for a year.
func (s *site) issue(r kmiptest.CertRequest) (*kmiptest.Identity, error) {
	if r.NotAfter.IsZero() {
		r.NotAfter = time.Now().Add(365 * day)
	}
	return s.pki.Issue(r)
}

func (s *site) start(ctx context.Context, role kmiptest.Role) (*kmiptest.Server, error) {
	id, err := s.issue(kmiptest.CertRequest{CommonName: string(role)})
	if err != nil {
		return nil, err
	}
	srv, err := kmiptest.Start(ctx, kmiptest.Options{Certificate: id.TLS, ClientCAs: s.pki.Pool(), Role: role, Vendor: "IBM SKLM 4.1.1.0"})
	if err != nil {
		return nil, err
	}
	s.lab.OnClose(srv.Close)
	return srv, nil
}

// put makes a certificate the node's.
func (s *site) put(id *kmiptest.Identity) error {
	_, err := s.lab.WriteFile(clientCert, id.CertPEM)
	_, err2 := s.lab.WriteFile(clientKey, id.KeyPEM)
	return errors.Join(err, err2)
}

// object defines a server as the configuration would.
func (s *site) object(name, address string, primary bool) Server {
	file := func(name string) Material {
		return Material{Where: "file:" + name, Read: func() ([]byte, error) { return os.ReadFile(filepath.Join(s.lab.Dir(), name)) }}
	}
	return Server{
		Name: s.lab.Resource(name), Address: address, Group: s.lab.Resource(mainGroup), Profile: "isklm", Primary: primary,
		CA: given("the lab's authority", s.pki.RootPEM), ClientCert: file(clientCert), ClientKey: file(clientKey),
	}
}

// withKey creates the node's key and seals something with it.
func (s *site) withKey(ctx context.Context) error {
	if err := s.node.renewer().Prepare(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.node.renewer().Commit(ctx), s.node.renewer().EndFirst()); err != nil {
		return err
	}
	return s.node.keeper.Protect(ctx, "secret/drill", []byte("sealed for the drill"))
}

// current is the identifier of the node's key at the servers.
func (s *site) current() (string, error) {
	st, err := s.node.present().Status()
	if err != nil {
		return "", err
	}
	if st.Current == nil {
		return "", errors.New("the node of the lab has no key")
	}
	return st.Current.UID, nil
}

// all looks at every server of the site.
func (s *site) all(ctx context.Context) error {
	return s.node.test(ctx, []string{s.lab.Resource(siteMaster), s.lab.Resource(siteClone)}, fault.TriggerTimer, tellNobody)
}

// step is something that is done to a site.
type siteStep func(ctx context.Context, s *site) error

// drillOf makes a drill of a site, of the check to ask, and of what breaks and
// mends it.
func drillOf(code fault.Code, of func(*site) check.Check, ready, broken, whole siteStep) subsystem.Drill {
	var s *site
	return subsystem.Drill{
		Code: code,
		Prepare: func(ctx context.Context, l *lab.Lab) (check.Check, error) {
			var err error
			if s, err = newSite(ctx, l); err != nil {
				return check.Check{}, err
			}
			if err := ready(ctx, s); err != nil {
				return check.Check{}, err
			}
			c := of(s)
			// A look at the causes, which a raise starts, might see the repair before the
			// drill does.
			c.Causes = nil
			return c, nil
		},
		Break:  func(ctx context.Context, _ *lab.Lab) error { return broken(ctx, s) },
		Repair: func(ctx context.Context, _ *lab.Lab) error { return whole(ctx, s) },
	}
}

// The checks that drills ask.
func masterOf(s *site) check.Check { return s.node.serverCheck(s.lab.Resource(siteMaster)) }
func cloneOf(s *site) check.Check  { return s.node.serverCheck(s.lab.Resource(siteClone)) }

// groupOf looks at the servers before the group is judged, as their own checks do
// in production.
func groupOf(s *site) check.Check {
	c := s.node.groupCheck(s.opts.group(s.lab.Resource(mainGroup)))
	judge := c.Run
	c.Run = func(ctx context.Context, r *check.Report) {
		if s.all(ctx) == nil {
			judge(ctx, r)
		}
	}
	return c
}

func keyOf(s *site) check.Check      { return s.node.keyCheck() }
func recoveryOf(s *site) check.Check { return s.node.recoveryCheck() }

// become changes what a server is, from its next connection on.
func become(of func(*site) *kmiptest.Server, change func(*kmiptest.Options)) siteStep {
	return func(_ context.Context, s *site) error { return of(s).Set(change) }
}

func theMaster(s *site) *kmiptest.Server { return s.master }
func theClone(s *site) *kmiptest.Server  { return s.clone }

func withKey(ctx context.Context, s *site) error { return s.withKey(ctx) }

// break and mend a server's behaviour.
func misbehave(of func(*site) *kmiptest.Server, f kmiptest.Fault) siteStep {
	return func(_ context.Context, s *site) error { return of(s).Break(f) }
}

func behave(of func(*site) *kmiptest.Server) siteStep {
	return func(_ context.Context, s *site) error { of(s).ClearFaults(); return nil }
}

func down(of ...func(*site) *kmiptest.Server) siteStep {
	return func(_ context.Context, s *site) error {
		for _, srv := range of {
			srv(s).Down()
		}
		return nil
	}
}

func up(of ...func(*site) *kmiptest.Server) siteStep {
	return func(ctx context.Context, s *site) error {
		var errs []error
		for _, srv := range of {
			errs = append(errs, srv(s).Up(ctx))
		}
		return errors.Join(errs...)
	}
}

// versions makes a server speak only these.
func versions(all ...kmip.Version) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Versions = all }
}
