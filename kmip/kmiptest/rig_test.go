package kmiptest_test

import (
	"context"
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// authority is one for all tests of a run.
var authority = sync.OnceValues(func() (*kmiptest.PKI, error) { return kmiptest.NewPKI("kmiptest tests") })

func testPKI(t testing.TB) *kmiptest.PKI {
	t.Helper()
	p, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func issue(t testing.TB, r kmiptest.CertRequest) *kmiptest.Identity {
	t.Helper()
	id, err := testPKI(t).Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// rig is a server of a test.
type rig struct{ *kmiptest.Server }

// start runs a server that asks for client certificates of the test's authority, until the test ends.
func start(t testing.TB, o kmiptest.Options) *rig {
	t.Helper()
	o.Certificate = issue(t, kmiptest.CertRequest{}).TLS
	o.ClientCAs = testPKI(t).Pool()
	s, err := kmiptest.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{s}
}

// client answers the TLS configuration of a client with that common name.
func (r *rig) client(t testing.TB, name string) *tls.Config {
	t.Helper()
	return &tls.Config{
		RootCAs: testPKI(t).Pool(), ServerName: "localhost",
		Certificates: []tls.Certificate{issue(t, kmiptest.CertRequest{CommonName: name}).TLS},
	}
}

// dial connects a client for the rest of the test.
func (r *rig) dial(t testing.TB, o kmip.Options) *kmip.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := kmip.Dial(ctx, r.Address(), r.client(t, "tester"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually polls what another process or goroutine brings about, for ten seconds at most.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("it did not come about")
		}
	}
}
