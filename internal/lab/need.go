package lab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Skipper is the part of testing.TB that [Need] uses. The package is also linked into the program, which has no use
// for package testing.
type Skipper interface {
	Helper()
	Skip(args ...any)
}

// Need skips the test unless the machine has all that is named: "root" (effective uid 0), "loop" (root and loop
// devices to mount), "fuse" (root and /dev/fuse), "netns" (root and ip, to make network namespaces), "ipv6" (a loopback
// address ::1), "soak" (asked for by ALLCLEAR_SOAK=1: tests of many minutes), a program's name, or the path of a file.
// The skip says what is missing as "needs: a, b"; the run of all tests lists these at its end and fails on one that the
// machine could meet.
func Need(t Skipper, what ...string) {
	t.Helper()
	if missing := Missing(what...); len(missing) > 0 {
		t.Skip("needs: " + strings.Join(missing, ", "))
	}
}

// Missing answers which of the needs, in the words of [Need], the machine does not meet, in the given order.
func Missing(what ...string) []string {
	return slices.DeleteFunc(slices.Clone(what), met)
}

func met(need string) bool {
	switch need {
	case "root":
		return os.Geteuid() == 0
	case "loop":
		_, err := os.Stat("/dev/loop-control")
		return err == nil && met("root") && met("mount") && met("umount")
	case "ipv6":
		ln, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			return false
		}
		return ln.Close() == nil
	case "fuse":
		_, err := os.Stat("/dev/fuse")
		return err == nil && met("root")
	case "soak":
		return os.Getenv("ALLCLEAR_SOAK") == "1"
	case "netns":
		_, err := os.Stat("/proc/self/ns/net")
		return err == nil && met("root") && met("ip")
	}
	if strings.HasPrefix(need, "/") {
		_, err := os.Stat(need)
		return err == nil
	}
	return Program(need) != ""
}

// Program answers the path of an installed program or "". It also looks where Debian keeps servers and disk tools,
// which an ordinary user's PATH leaves out.
func Program(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	return ""
}
