package keyserver_test

import (
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

// another is a PyKMIP server: another maker's, in another language.
func (n *node) another(r kmiptest.CertRequest) *kmiptest.PyKMIP {
	n.t.Helper()
	p := must(kmiptest.StartPyKMIP(n.t.Context(), n.t.TempDir(), n.issue(r), n.pki.RootPEM))(n.t)
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Log(p.Log())
		}
		if err := p.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return p
}

// onPyKMIP has the node's configuration name nothing but that server.
func (n *node) onPyKMIP(p *kmiptest.PyKMIP, legacy bool) {
	n.t.Helper()
	o := n.opts
	o.Groups = []keyserver.Group{{
		Name: "py", LegacyTLS: legacy, Interval: time.Hour, Exception: time.Hour, Slow: patient, Timeout: patient, Grace: time.Hour,
	}}
	s := n.object("py1", n.master, true)
	s.Address, s.Group, s.Profile = p.Address(), "py", "pykmip"
	o.Servers = []keyserver.Server{s}
	n.opts = o
	n.fails(n.keys.Configure(o))
	n.fails(n.sched.Set(n.keys.Checks(), nil))
}

func TestPyKMIPIsValidatedAndKeepsOurKey(t *testing.T) {
	lab.Need(t, kmiptest.PyKMIPPackage)
	n := newNode(t, bare)
	n.onPyKMIP(n.another(kmiptest.CertRequest{}), false)
	n.create()
	for _, j := range n.verify("py1").Judgements {
		if j.Verdict != fault.Absent {
			t.Errorf("%s is %s: %s", j.Key, j.Verdict, j.Why)
		}
	}
	s := view[wire.List[wire.KeyServer]](n, "servers", "server=py1").Items[0]
	if s.Status != "online" || s.Product != "PyKMIP" || s.Role != "stand-alone" || s.LifeTested == nil || len(s.Last.Keys) != 1 || s.Last.Keys[0].State != "Active" {
		t.Errorf("shown is %+v, last %+v", s, s.Last)
	}
	t.Logf("validated in %.0f ms, with a test key; connecting took %.0f ms", s.Last.DurationMS, s.History[len(s.History)-1].ConnectMS)
	must(n.rekey("prepare"))(t)
	k := must(n.rekey("commit"))(t)
	if info := n.opens("secret/mail", "hunter2"); info.From != "py1" || k.Current.Gen != 2 {
		t.Errorf("opened by %+v", info.Slot)
	}
}

func TestAPyKMIPWithAnRSAKeyNeedsLegacySuites(t *testing.T) {
	lab.Need(t, kmiptest.PyKMIPPackage)
	n := newNode(t, bare)
	p := n.another(kmiptest.CertRequest{RSA: true})
	n.onPyKMIP(p, false)
	n.verify("py1")
	v, _ := n.view(keyserver.CodeTLSFailed, "py1")
	if !v.Active || v.Sense.Get("qualifier") != "cipher" {
		t.Fatalf("without legacy_tls: %+v", v)
	}
	n.onPyKMIP(p, true)
	if n.verify("py1"); n.active(keyserver.CodeTLSFailed, "py1") {
		v, _ := n.view(keyserver.CodeTLSFailed, "py1")
		t.Errorf("with legacy_tls: %s", v.Text)
	}
}

// The server's clock is a reading, not a fault: no time is ever sent to a server.
func TestAClockThatIsOffIsMarkedAndNoFault(t *testing.T) {
	n := newNode(t, nil)
	n.become(n.master, func(o *kmiptest.Options) { o.ClockOffset = 3 * time.Minute })
	last := n.verify("ks1")
	for _, j := range last.Judgements {
		if j.Verdict == fault.Present {
			t.Errorf("found %s", j.Key)
		}
	}
	p := view[wire.List[wire.KeyServer]](n, "servers", "server=ks1").Items[0].Last
	if p.Steps[8].Name != "clock" || p.Steps[8].Outcome != "warning" || p.KMIP.ClockOffsetS == nil || *p.KMIP.ClockOffsetS < 179 || *p.KMIP.ClockOffsetS > 181 {
		t.Errorf("clock step %+v, facts %+v", p.Steps[8], p.KMIP)
	}
}
