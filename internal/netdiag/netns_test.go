package netdiag_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/lab"
	"allclear/internal/netdiag"
)

// inside is set for the child that runs in the network of its own: to the
// router's namespace and the name of the test there.
const inside = "ALLCLEAR_TEST_NETNS"

// insideTests run in the child; they get the name of the router's namespace.
var insideTests = map[string]func(t *testing.T, router string){"us": insideUs, "no4": insideNo4, "no6": insideNo6}

// TestInANetworkOfItsOwn makes network namespaces: us, a router that is also
// the server, a machine without IPv4 and one without IPv6. There it asks for what cannot
// be had on loopback: routes that are missing or forbidden, a router that
// refuses, real lost packets, a path MTU nobody tells of.
func TestInANetworkOfItsOwn(t *testing.T) {
	if where, test, child := strings.Cut(os.Getenv(inside), " "); child {
		t.Run(test, func(t *testing.T) { insideTests[test](t, where) })
		return
	}
	lab.Need(t, "netns")
	tag := fmt.Sprintf("ac%d", os.Getpid())
	us, router, no4, no6 := tag+"u", tag+"r", tag+"6", tag+"4"
	for _, ns := range []string{us, router, no4, no6} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Fatalf("ip netns add %s: %v: %s", ns, err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("ip netns del %s: %v: %s", ns, err, out)
			}
		})
	}
	for line := range strings.Lines(strings.NewReplacer("US", us, "ROUTER", router, "NO4", no4, "NO6", no6).Replace(topology)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	for ns, test := range map[string]string{us: "us", no4: "no4", no6: "no6"} {
		child := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), inside+"="+router+" "+test)
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/"+test) {
			t.Errorf("in the network of its own: %v\n%s", err, out)
		}
	}
}

// topology is run by sh, line by line. The server's end of the cable has an
// MTU of 1300 and announces an MSS of 1460: bigger packets vanish. One segment
// a packet, or the kernel would hand over big packets whole.
const topology = `
ip -n US link set lo up
ip -n ROUTER link set lo up
ip -n NO4 link set lo up
ip -n US link add u0 type veth peer name r0 netns ROUTER
ip -n US link set u0 gso_max_segs 1 up
ip -n ROUTER link set r0 up
ip -n US addr add 10.94.0.1/24 dev u0
ip -n US addr add fd00:94::1/64 dev u0 nodad
ip -n ROUTER addr add 10.94.0.2/24 dev r0
ip -n ROUTER addr add 10.94.0.3/24 dev r0
ip -n ROUTER addr add fd00:94::2/64 dev r0 nodad
ip netns exec ROUTER sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
ip -n US route add 10.99.0.0/16 via 10.94.0.2
ip -n US route add 10.97.0.0/16 via 10.94.0.2
ip -n ROUTER route add unreachable 10.97.0.0/16
ip -n US route add prohibit 10.96.0.0/16
ip -n US addr add 10.95.0.1/24 dev u0
ip -n US neigh add 10.95.0.2 lladdr 02:00:00:00:00:99 dev u0
ip -n US link add u1 type veth peer name r1 netns ROUTER
ip -n US link set u1 gso_max_segs 1 up
ip -n ROUTER link set r1 mtu 1300 up
ip -n US addr add 10.93.0.1/24 dev u1
ip -n ROUTER addr add 10.93.0.2/24 dev r1
ip -n ROUTER route change 10.93.0.0/24 dev r1 src 10.93.0.2 advmss 1460
ip -n NO4 link add only6 type veth peer name other6
ip -n NO4 link set other6 up
ip -n NO4 link set only6 up
ip -n NO4 addr add fd00:66::1/64 dev only6 nodad
ip -n NO6 link set lo up
ip -n NO6 link add only4 type veth peer name other4
ip -n NO6 link set other4 up
ip -n NO6 link set only4 up
ip -n NO6 addr add 10.66.0.1/24 dev only4
`

// inNamespace runs f in another network namespace; sockets that f makes stay
// in it.
func inNamespace(t *testing.T, ns string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in namespace %s: %v", ns, err)
	}
}

// serveInRouter runs a TLS server on every address of the router, and returns
// its port. The lab's own servers keep to loopback.
func serveInRouter(t *testing.T, e *env, router string) string {
	t.Helper()
	var ln net.Listener
	inNamespace(t, router, func() (err error) {
		ln, err = net.Listen("tcp", "[::]:0")
		return err
	})
	pair := e.issue(lab.CertOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, NextProtos: []string{"h2", "http/1.1"}})
				if s.Handshake() == nil {
					_, _ = s.Read(make([]byte, 1)) // until the client leaves
				}
			}()
		}
	}()
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// hostsFile writes a hosts file.
func hostsFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func insideUs(t *testing.T, router string) {
	t.Helper()
	e := newEnv(t)
	port := serveInRouter(t, e, router)
	for _, c := range []struct {
		name, host string
		hosts      []string
		want, warn netdiag.Cause
	}{
		{name: "reachable", host: "10.94.0.2"},
		{name: "no route", host: "192.0.2.1", want: netdiag.NoRoute},
		{name: "prohibited here", host: "10.96.0.1", want: netdiag.TCPDenied},
		{name: "router knows no way", host: "10.99.0.1", want: netdiag.TCPNetUnreachable},
		{name: "router says not there", host: "10.97.0.1", want: netdiag.TCPHostUnreachable},
		{name: "packets vanish", host: "10.95.0.2", want: netdiag.TCPTimeout},
		{name: "big packets vanish", host: "10.93.0.2", want: netdiag.TLSMTU},
		{name: "IPv4 broken", host: "lab.test", hosts: []string{"10.97.0.1 lab.test", "fd00:94::2 lab.test"}, warn: netdiag.TCPIPv4Broken},
		{name: "IPv6 broken", host: "lab.test", hosts: []string{"10.94.0.2 lab.test", "fd00:94::3 lab.test"}, warn: netdiag.TCPIPv6Broken},
		{name: "one address of two", host: "lab.test", hosts: []string{"10.94.0.2 lab.test", "10.97.0.1 lab.test"}, warn: netdiag.TCPPartly},
		{name: "no IPv6 route is no fault of IPv6", host: "lab.test", hosts: []string{"10.94.0.2 lab.test", "2001:db8::1 lab.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := e.target(net.JoinHostPort(c.host, port))
			target.Timeouts.TLS = time.Second
			if c.want == netdiag.TCPTimeout {
				target.Timeouts.TCP = time.Second
			}
			target.HostsFile = hostsFile(t, c.hosts...)
			judge := row{want: c.want, warn: c.warn}
			if r := netdiag.Diagnose(t.Context(), target); judge.judge(r) != "" {
				t.Errorf("%s\n%+v", judge.judge(r), r)
			}
		})
	}
}

func insideNo4(t *testing.T, _ string) {
	t.Helper()
	withoutRoute(t, map[string]netdiag.Cause{"192.0.2.1": netdiag.NoAddressV4, "2001:db8::1": netdiag.NoRoute})
}

func insideNo6(t *testing.T, _ string) {
	t.Helper()
	withoutRoute(t, map[string]netdiag.Cause{"192.0.2.1": netdiag.NoRoute, "2001:db8::1": netdiag.NoAddressV6})
}

func withoutRoute(t *testing.T, causes map[string]netdiag.Cause) {
	t.Helper()
	e := newEnv(t)
	for host, want := range causes {
		if r := netdiag.Diagnose(t.Context(), e.target(net.JoinHostPort(host, "443"))); r.Cause != want {
			t.Errorf("%s: cause = %q, want %q: %s", host, r.Cause, want, r.Detail)
		}
	}
}
