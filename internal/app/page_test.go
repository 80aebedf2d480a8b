package app

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"allclear/internal/lab"
	"allclear/internal/wire"
)

var errRefused = errors.New("not for you")

func TestThePagesProbeKeepsAwayFromTheHostsOwnServices(t *testing.T) {
	p := prober{}
	for _, target := range []string{
		"169.254.169.254", "169.254.169.254:80", "http://169.254.169.254/latest/meta-data", "[fe80::1]:22", "[fd00:ec2::254]:80",
		"100.100.100.200:80", "168.63.129.16", "224.0.0.1:22", "0.0.0.0:22", "[::ffff:169.254.169.254]:80", "[::]:22",
	} {
		if err := p.check(target); err == nil || !strings.Contains(err.Error(), "probe_allow") {
			t.Errorf("%s: %v, want it refused", target, err)
		}
	}
	for _, target := range []string{"127.0.0.1:22", "10.0.0.1", "example.net:22", "https://example.net/x", "[2001:db8::1]:443"} {
		if err := p.check(target); err != nil {
			t.Errorf("%s: %v, want it looked at", target, err)
		}
	}
	p.allow = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}
	if err := p.check("169.254.20.10:53"); err != nil {
		t.Errorf("an address that the configuration allows: %v", err)
	}
}

// A name may resolve to anything, and to something else a moment later: what
// counts is the address that is dialed.
func TestThePermissionIsAskedAtTheConnection(t *testing.T) {
	l, err := lab.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ssh, err := l.SSH(lab.SSHOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web, err := l.TLS(lab.TLSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := (prober{}).SSH(t.Context(), ssh.Addr(), ""); err != nil || !found.OK {
		t.Fatalf("without a reason to refuse: %+v, %v", found, err)
	}
	refuseAll := func(netip.Addr) error { return errRefused }
	var wells []bool
	err = ProbeSSH(t.Context(), []string{ssh.Addr()}, SSHProbe{Permit: refuseAll}, func(_ int, r wire.SSHProbe) {
		wells = append(wells, r.OK || !strings.Contains(r.Error, errRefused.Error()))
	})
	if err != nil || len(wells) != 1 || wells[0] {
		t.Errorf("ssh connected to what is refused: %v, %v", wells, err)
	}
	err = ProbeEndpoints(t.Context(), []string{web.Addr()}, EndpointProbe{Permit: refuseAll}, func(_ int, r wire.EndpointProbe) {
		wells = append(wells, r.OK || !strings.Contains(r.Error, errRefused.Error()))
	})
	if err != nil || len(wells) != 2 || wells[1] {
		t.Errorf("tls connected to what is refused: %v, %v", wells, err)
	}
	if seen := web.Seen(); seen.Connections != 0 {
		t.Errorf("the refused server saw %d connections", seen.Connections)
	}
}
