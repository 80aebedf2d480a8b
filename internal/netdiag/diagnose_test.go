package netdiag_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

func TestEveryCauseIsExplained(t *testing.T) {
	seen := map[netdiag.Cause]bool{}
	for _, c := range netdiag.Causes() {
		if seen[c] {
			t.Errorf("cause %s is listed twice", c)
		}
		seen[c] = true
		if c.Text() == "" || c.Step() == "" || len(c.Remedies()) == 0 {
			t.Errorf("cause %s: text %q, step %q, %d remedies", c, c.Text(), c.Step(), len(c.Remedies()))
		}
		if c.Code() == "" && c != netdiag.Cancelled && c != netdiag.BadTarget {
			t.Errorf("cause %s belongs to no code", c)
		}
		if c.Code() != "" && c.Qualifier() == "" {
			t.Errorf("cause %s of %s has no qualifier", c, c.Code())
		}
		for _, r := range c.Remedies() {
			if r.Text == "" || !strings.HasPrefix(r.Command, "allclear ") {
				t.Errorf("cause %s: remedy %+v", c, r)
			}
		}
	}
	if none := netdiag.Cause(""); none.Code() != "" || none.Remedies() != nil {
		t.Error("no cause has a code or remedies")
	}
}

// TestDeadTargetsAnswerInFiveSeconds holds the goal for the default deadlines.
func TestDeadTargetsAnswerInFiveSeconds(t *testing.T) {
	e := newEnv(t)
	dead := map[string]netdiag.Target{
		"black hole":        e.target(must(e.lab.BlackHole())(e).Addr()),
		"silent":            e.served(lab.TLSOptions{Manner: lab.Silent}),
		"resolver silent":   e.named(lab.TLSOptions{}, lab.DNSOptions{Silent: true}),
		"proxy hangs":       e.proxied("http", lab.ProxyOptions{Hang: true}),
		"request unheard":   e.asking(lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Hang: true}}, netdiag.HTTPCheck{}),
		"silent, by a slow": e.target(e.fault(e.tls(lab.TLSOptions{Manner: lab.Silent}).Addr(), lab.FaultOptions{Delay: 100 * time.Millisecond}).Addr()),
	}
	for name, target := range dead {
		target.Timeouts = netdiag.Timeouts{}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r := netdiag.Diagnose(t.Context(), target)
			if took := time.Since(start); r.OK || took > 5500*time.Millisecond {
				t.Errorf("cause %q after %s, want one within 5 s", r.Cause, took)
			}
		})
	}
}

func TestCancelledLookSaysSo(t *testing.T) {
	e := newEnv(t)
	seen := make(chan struct{})
	target := e.served(lab.TLSOptions{Manner: lab.Silent, AfterHello: func() { close(seen) }})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-seen
		cancel(errors.New("the operator pressed ^C"))
	}()
	r := netdiag.Diagnose(ctx, target)
	if r.Cause != netdiag.Cancelled || r.OK || !strings.Contains(r.Detail, "pressed ^C") || r.Code() != "" {
		t.Errorf("cause = %q (%s), code %q", r.Cause, r.Detail, r.Code())
	}
}

func TestReportTellsWhatWasSeen(t *testing.T) {
	e := newEnv(t)
	pair := e.client()
	s := e.tls(lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.lab.CA()}})
	target := withCert(e.target(s.Addr()), pair)
	target.HTTP = &netdiag.HTTPCheck{ExpectStatus: 200}
	r := netdiag.Diagnose(t.Context(), target)
	if !r.OK || r.TLS == nil || r.HTTP == nil || r.ClockOffsetMS == nil {
		t.Fatalf("report = %+v", r)
	}
	if r.TLS.Version != "1.3" || r.TLS.ALPN != "h2" || !r.TLS.ClientCertSent || len(r.TLS.AcceptedIssuers) != 1 {
		t.Errorf("tls = %+v", r.TLS)
	}
	if a := r.TLS.Acceptance; a != "ticket" && a != "settings" && a != "data" {
		t.Errorf("acceptance = %q, want a proof", a)
	}
	if got := s.Seen(); got.ClientSerial != pair.Leaf.SerialNumber.String() || got.Requests != 1 {
		t.Errorf("the server saw %+v", got)
	}
	for _, st := range r.Steps {
		if st.Name == netdiag.StepTransport && (st.TCP == nil || st.BytesIn == 0 || st.BytesOut == 0 || st.Address != s.Addr()) {
			t.Errorf("transport step = %+v", st)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestSenseNamesTheServersListAndOurSerial(t *testing.T) {
	e := newEnv(t)
	target := withCert(e.served(lab.TLSOptions{Client: lab.ClientVerify, ClientCAs: []*lab.CA{e.foreign}}), e.client())
	sense := netdiag.Diagnose(t.Context(), target).Sense()
	for key, want := range map[string]string{
		"step": "client-certificate", "cause": "client-cert-issuer-not-accepted", "sent": "false",
		"accepted_issuers": "CN=foreign authority", "alert": "certificate_required (116)",
	} {
		if sense[key] != want {
			t.Errorf("sense[%s] = %q, want %q", key, sense[key], want)
		}
	}
}

// TestQuietServerWithoutTicketsIsNotRefusing covers the acceptance that only
// silence shows: no tickets, no HTTP/2.
func TestQuietServerWithoutTicketsIsNotRefusing(t *testing.T) {
	e := newEnv(t)
	target := e.refusing(0, lab.TLSOptions{NoTickets: true, NextProtos: []string{"http/1.1"}})
	target.Timeouts.Quiet = 50 * time.Millisecond
	if r := netdiag.Diagnose(t.Context(), target); !r.OK || r.TLS.Acceptance != "silence" {
		t.Errorf("report = %+v, tls = %+v", r, r.TLS)
	}
}

func TestProbeVersionForetellsAHigherMinimum(t *testing.T) {
	e := newEnv(t)
	for _, c := range []struct {
		name     string
		opt      lab.TLSOptions
		low      uint16
		accepted bool
		best     string
		cause    netdiag.Cause
	}{
		{"modern", lab.TLSOptions{}, tls.VersionTLS13, true, "1.3", ""},
		{"stops at 1.2", lab.TLSOptions{MaxVersion: tls.VersionTLS12}, tls.VersionTLS13, false, "1.2", netdiag.TLSVersion},
		{"1.2 is enough", lab.TLSOptions{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, true, "1.2", ""},
		{"stops at 1.0", lab.TLSOptions{MaxVersion: tls.VersionTLS10}, tls.VersionTLS12, false, "1.0", netdiag.TLSVersion},
		{"certificate of nobody", lab.TLSOptions{Pair: e.issue(lab.CertOptions{SelfSigned: true})}, tls.VersionTLS13, true, "1.3", ""},
	} {
		got := netdiag.ProbeVersion(t.Context(), e.served(c.opt), c.low)
		if !got.Reached || got.Accepted != c.accepted || got.Best != c.best || got.Cause != c.cause {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	got := netdiag.ProbeVersion(t.Context(), e.target(must(e.lab.RefusedAddr())(e)), tls.VersionTLS13)
	if got.Reached || got.Accepted || got.Cause != netdiag.TCPRefused {
		t.Errorf("nobody there: %+v", got)
	}
}

func TestVersionNamesReadBack(t *testing.T) {
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		for _, form := range []string{"", "TLS ", "tls", "TLSv"} {
			if got, err := netdiag.ParseTLSVersion(form + netdiag.VersionName(v)); err != nil || got != v {
				t.Errorf("ParseTLSVersion(%q) = %#x, %v", form+netdiag.VersionName(v), got, err)
			}
		}
	}
	if _, err := netdiag.ParseTLSVersion("1.4"); err == nil {
		t.Error("TLS 1.4 is accepted")
	}
}

// TestTwoLooksAtOneFaultSayTheSame keeps ports and times out of the facts: a
// change of them would be told as a change of the fault.
func TestTwoLooksAtOneFaultSayTheSame(t *testing.T) {
	e := newEnv(t)
	for name, target := range map[string]netdiag.Target{
		"refused":     e.target(must(e.lab.RefusedAddr())(e)),
		"cut":         e.target(e.fault(e.tls(lab.TLSOptions{}).Addr(), lab.FaultOptions{CutAfter: 100, CutReset: true}).Addr()),
		"not TLS":     e.served(lab.TLSOptions{Manner: lab.BannerFirst, Banner: "220 mail.test\r\n"}),
		"of tomorrow": e.served(lab.TLSOptions{Pair: e.issue(lab.CertOptions{NotBefore: time.Now().Add(time.Hour)})}),
		"refusing":    e.refusing(0, lab.TLSOptions{ClientAlert: lab.AlertCertificateRevoked}),
		"portal":      e.asking(lab.TLSOptions{HTTPOptions: lab.HTTPOptions{Portal: true}}, netdiag.HTTPCheck{ExpectType: "application/json"}),
		"hung up":     e.proxied("http", lab.ProxyOptions{Close: true}),
		"NXDOMAIN":    e.named(lab.TLSOptions{}, lab.DNSOptions{}),
	} {
		first, second := netdiag.Diagnose(t.Context(), target), netdiag.Diagnose(t.Context(), target)
		if first.OK || !maps.Equal(first.Sense(), second.Sense()) {
			t.Errorf("%s:\n%v\n%v", name, first.Sense(), second.Sense())
		}
	}
}

// TestRepairIsSeen breaks and repairs one server, as a drill does.
func TestRepairIsSeen(t *testing.T) {
	e := newEnv(t)
	s := e.tls(lab.TLSOptions{})
	target := e.target(s.Addr())
	target.HTTP = &netdiag.HTTPCheck{}
	for _, c := range []struct {
		want netdiag.Cause
		set  func(*lab.TLSOptions)
	}{
		{"", func(*lab.TLSOptions) {}},
		{netdiag.HTTPServerError, func(o *lab.TLSOptions) { o.Status = 503 }},
		{netdiag.TCPClosed, func(o *lab.TLSOptions) { o.Manner = lab.CloseAtOnce }},
		{"", func(o *lab.TLSOptions) { *o = lab.TLSOptions{} }},
	} {
		s.Set(c.set)
		if r := netdiag.Diagnose(t.Context(), target); r.Cause != c.want {
			t.Errorf("cause = %q (%s), want %q", r.Cause, r.Detail, c.want)
		}
	}
}
