package app

import (
	"context"
	"errors"
	"testing"

	"allclear/internal/netdiag"
	"allclear/internal/wire"
)

func TestTargetsOfAProbe(t *testing.T) {
	cases := []struct {
		http                bool
		in, address, path   string
		plain, shouldBeGood bool
	}{
		{false, "hub.example", "hub.example:443", "", false, true},
		{false, "hub.example:8443", "hub.example:8443", "", false, true},
		{false, "192.0.2.1", "192.0.2.1:443", "", false, true},
		{false, "2001:db8::1", "[2001:db8::1]:443", "", false, true},
		{false, "[2001:db8::1]", "[2001:db8::1]:443", "", false, true},
		{false, "[2001:db8::1]:636", "[2001:db8::1]:636", "", false, true},
		{false, "a:b:c:d", "", "", false, false},
		{false, "", "", "", false, false},
		{false, "host:0", "", "", false, false},
		{false, "host:70000", "", "", false, false},
		{false, "https://hub.example/", "", "", false, false},
		{true, "hub.example", "hub.example:443", "/", false, true},
		{true, "http://hub.example/x?y=z", "hub.example:80", "/x?y=z", true, true},
		{true, "https://hub.example:8443/healthz", "hub.example:8443", "/healthz", false, true},
		{true, "https://[2001:db8::1]/", "[2001:db8::1]:443", "/", false, true},
		{true, "ftp://hub.example/", "", "", false, false},
		{true, "https://user:pw@hub.example/", "", "", false, false},
		{true, "https://", "", "", false, false},
	}
	for _, c := range cases {
		got, err := EndpointProbe{HTTP: c.http}.parse(netdiag.Target{}, c.in)
		if !c.shouldBeGood {
			if _, ok := errors.AsType[*UsageError](err); !ok {
				t.Errorf("%q: %+v, %v; a usage error is wanted", c.in, got, err)
			}
			continue
		}
		if err != nil || got.Address != c.address || got.Plain != c.plain || (got.HTTP != nil) != c.http || c.http && got.HTTP.Path != c.path {
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
	}
}

func TestNothingIsProbedWhenOneTargetIsWrong(t *testing.T) {
	tell := func(int, wire.SSHProbe) { t.Error("a server was looked at") }
	err := ProbeSSH(t.Context(), []string{"127.0.0.1:1", "a:b:c:d"}, SSHProbe{}, tell)
	if _, ok := errors.AsType[*UsageError](err); !ok {
		t.Errorf("got %v", err)
	}
	err = ProbeSSH(t.Context(), []string{"127.0.0.1:1"}, SSHProbe{Policy: "none-such"}, tell)
	if _, ok := errors.AsType[*UsageError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestAnInterruptedProbeSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ProbeEndpoints(ctx, []string{"127.0.0.1:1"}, EndpointProbe{}, func(int, wire.EndpointProbe) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
