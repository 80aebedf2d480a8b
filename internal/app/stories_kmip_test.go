package app_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// kmipCommands work real key servers in a story. The first one makes the
// authority of all of them, kmip-ca.pem, and our certificate, client.pem with
// client.key.
var kmipCommands = map[string]command{"kmip": cmdKMIP, "kmipclient": cmdKMIPClient, "identity": cmdIdentity}

// kmipSite is what the key servers of a story share.
type kmipSite struct {
	pki     *kmiptest.PKI
	follows map[string]*kmiptest.Replication // by the clone's name
}

const kmipSiteName = "key servers"

func kmipSiteOf(ts *testscript.TestScript) *kmipSite {
	if s, ok := storyOf(ts).servers[kmipSiteName].(*kmipSite); ok {
		return s
	}
	pki, err := kmiptest.NewPKI("the story's authority of key servers")
	ts.Check(err)
	s := &kmipSite{pki: pki, follows: map[string]*kmiptest.Replication{}}
	keep(ts, kmipSiteName, s)
	ts.Check(os.WriteFile(ts.MkAbs("kmip-ca.pem"), pki.RootPEM, 0o644))
	s.client(ts, "good")
	return s
}

const year = 365 * 24 * time.Hour

// client writes our certificate: good, expired, ending (in 40 days) or foreign.
func (s *kmipSite) client(ts *testscript.TestScript, kind string) {
	now, pki := time.Now(), s.pki
	r := kmiptest.CertRequest{CommonName: "node1", NotAfter: now.Add(year)}
	switch kind {
	case "good":
	case "expired":
		r.NotBefore, r.NotAfter = now.Add(-2*year), now.Add(-time.Hour)
	case "ending":
		r.NotBefore, r.NotAfter = now.Add(-year), now.Add(40*24*time.Hour)
	case "foreign":
		var err error
		pki, err = kmiptest.NewPKI("an authority that no key server accepts")
		ts.Check(err)
	default:
		ts.Fatalf("kmipclient: good, expired, ending or foreign, not %q", kind)
	}
	id, err := pki.Issue(r)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("client.pem"), id.CertPEM, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("client.key"), id.KeyPEM, 0o600))
}

// kmipclient good|expired|ending|foreign replaces our certificate.
func cmdKMIPClient(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: kmipclient good|expired|ending|foreign")
	}
	kmipSiteOf(ts).client(ts, args[0])
}

// kmip start|set NAME [role=R] [vendor=V] [versions=1.2,1.3] [cert=foreign]
// [follows=MASTER] starts a server, or changes one; vendor has _ for spaces.
// kmip down|up|well NAME; kmip break NAME FAULT as "allclear kmip serve" takes it;
// kmip hold|release NAME stops what a clone is given; kmip lose|spoil|restore NAME
// works on every key of a server, the last from the master that it follows.
func cmdKMIP(ts *testscript.TestScript, neg bool, args []string) {
	do, name, rest := verb(ts, "kmip", args)
	site := kmipSiteOf(ts)
	if do == "start" {
		site.start(ts, name, rest)
		return
	}
	s := kept[*kmiptest.Server](ts, name)
	switch do {
	case "set":
		w := wordsOf(ts, rest)
		ts.Check(s.Set(site.change(ts, w)))
		site.follow(ts, name, w.take("follows"))
		w.done()
	case "down":
		s.Down()
	case "up":
		ts.Check(s.Up(context.Background()))
	case "break":
		for _, text := range rest {
			f, err := kmiptest.ParseFault(text)
			ts.Check(err)
			ts.Check(s.Break(f))
		}
	case "well":
		s.ClearFaults()
	case "hold":
		site.follows[name].Hold()
	case "release":
		site.follows[name].Release()
	case "lose", "spoil", "restore":
		site.keys(ts, do, s, rest)
	default:
		ts.Fatalf("kmip: unknown word %q", do)
	}
}

func (s *kmipSite) start(ts *testscript.TestScript, name string, rest []string) {
	w := wordsOf(ts, rest)
	id, err := s.pki.Issue(kmiptest.CertRequest{CommonName: name, NotAfter: time.Now().Add(year)})
	ts.Check(err)
	o := kmiptest.Options{Certificate: id.TLS, ClientCAs: s.pki.Pool(), Vendor: "IBM SKLM 4.1.1.0"}
	change := s.change(ts, w)
	change(&o)
	srv, err := kmiptest.Start(context.Background(), o)
	ts.Check(err)
	storyOf(ts).lab.OnClose(srv.Close)
	keep(ts, name, srv)
	publish(ts, name, srv.Address())
	s.follow(ts, name, w.take("follows"))
	w.done()
}

// change reads the words that say what a server is.
func (s *kmipSite) change(ts *testscript.TestScript, w *words) func(*kmiptest.Options) {
	role, vendor, versions, cert := w.take("role"), w.take("vendor"), w.list("versions"), w.take("cert")
	return func(o *kmiptest.Options) {
		var err error
		if role != "" {
			o.Role, err = kmiptest.ParseRole(role)
			ts.Check(err)
		}
		if vendor != "" {
			o.Vendor = strings.ReplaceAll(vendor, "_", " ")
		}
		if versions != nil {
			o.Versions = nil
		}
		for _, text := range versions {
			v, err := kmip.ParseVersion(text)
			ts.Check(err)
			o.Versions = append(o.Versions, v)
		}
		pki := s.pki
		if cert == "foreign" {
			pki, err = kmiptest.NewPKI("an authority that nobody trusts")
			ts.Check(err)
		}
		if cert != "" {
			id, err := pki.Issue(kmiptest.CertRequest{NotAfter: time.Now().Add(year)})
			ts.Check(err)
			o.Certificate = id.TLS
		}
	}
}

func (s *kmipSite) follow(ts *testscript.TestScript, name, master string) {
	if master == "" {
		return
	}
	r, err := kept[*kmiptest.Server](ts, name).Follow(kept[*kmiptest.Server](ts, master), 0)
	ts.Check(err)
	s.follows[name] = r
}

// keys does something to every symmetric key of a server.
func (s *kmipSite) keys(ts *testscript.TestScript, do string, srv *kmiptest.Server, rest []string) {
	found := 0
	for _, o := range srv.Objects() {
		if o.Type != kmip.ObjectTypeSymmetricKey || o.Material == nil { // test keys are destroyed
			continue
		}
		found++
		switch do {
		case "lose":
			ts.Check(srv.Lose(o.ID))
		case "spoil":
			ts.Check(srv.Overwrite(o.ID, bytes.Repeat([]byte{0x5a}, 32)))
		case "restore":
			whole, ok := kept[*kmiptest.Server](ts, rest[0]).Find(o.ID)
			if !ok {
				ts.Fatalf("%s has no key %s", rest[0], o.ID)
			}
			ts.Check(srv.Overwrite(o.ID, whole.Material))
		}
	}
	if found == 0 {
		ts.Fatalf("the server has no key to %s", do)
	}
}

// identity FILE takes the recovery key from the output of the command before and
// puts it into FILE.
func cmdIdentity(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: identity FILE")
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(line), 0o600))
			return
		}
	}
	ts.Fatalf("the command before has printed no recovery key")
}
