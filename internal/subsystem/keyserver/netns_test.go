package keyserver_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver"
)

// withinNetns is set for the child that runs in a network of its own: to the
// target it is to probe.
const withinNetns = "ALLCLEAR_TEST_KEYSERVER_NETNS"

// TestANodeWithoutLinkOrAddressIsToldFromADeadServer makes network namespaces:
// one whose only cable is out at the other end, one without IPv4 and one without
// IPv6 (seed 002, event 086008, actions 1 and 2).
func TestANodeWithoutLinkOrAddressIsToldFromADeadServer(t *testing.T) {
	if target := os.Getenv(withinNetns); target != "" {
		p := keyserver.Probe(t.Context(), keyserver.ProbeOptions{Address: target, Timeout: 2 * time.Second})
		t.Logf("found %s (%s) at step %s: %s", p.Code, p.Qualifier, p.Step, p.Error)
		return
	}
	lab.Need(t, "netns")
	for i, c := range []struct{ name, network, target, want string }{
		{"cable out", "ip -n NS link set us up; ip -n NS addr add 10.66.0.1/24 dev us", "10.66.0.2:5696", "keyserver/unreachable (link-down) at step connect"},
		{
			"nobody there", "ip -n NS link set far up; ip -n NS link set us up; ip -n NS addr add 10.66.0.1/24 dev us", "10.66.0.2:5696",
			"keyserver/unreachable (timeout) at step connect",
		},
		{
			"no IPv4", "ip -n NS link set far up; ip -n NS link set us up; ip -n NS addr add fd00:66::1/64 dev us nodad", "10.66.0.2:5696",
			"keyserver/unreachable (no-source-address-v4) at step address",
		},
		{
			"no IPv6", "ip -n NS link set far up; ip -n NS link set us up; ip -n NS addr add 10.66.0.1/24 dev us", "[fd00:66::2]:5696",
			"keyserver/unreachable (no-source-address-v6) at step address",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := "ac" + strconv.Itoa(os.Getpid()) + "k" + strconv.Itoa(i)
			sh(t, "ip netns add "+ns)
			t.Cleanup(func() { sh(t, "ip netns del "+ns) })
			sh(t, strings.ReplaceAll("ip -n NS link add us type veth peer name far; "+c.network, "NS", ns))
			child := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, os.Args[0], "-test.run=^TestANodeWithoutLinkOrAddressIsToldFromADeadServer$", "-test.v")
			child.Env = append(os.Environ(), withinNetns+"="+c.target)
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("want %s: %v\n%s", c.want, err, out)
			}
		})
	}
}

func sh(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}
