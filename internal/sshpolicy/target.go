package sshpolicy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Target is a server to look at.
type Target struct {
	Name string // what the operator calls it
	Addr string // "host:port"
}

// ParseTarget reads "host", "host:2222", "192.0.2.1", "[2001:db8::1]:22",
// "2001:db8::1" or "ssh://host:22". The port is 22 where none is given. A host
// that begins with "-" or holds spaces or control bytes is refused: it could
// become an option of a program.
func ParseTarget(s string) (Target, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "ssh://"), "/")
	host, port := text, "22"
	if _, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		host = strings.Trim(text, "[]")
	} else if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.ContainsAny(text, ":[]") {
		return Target{}, fmt.Errorf("target %q: want HOST or HOST:PORT, [ADDRESS]:PORT for IPv6", printable(s, 120))
	}
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '@' }) {
		return Target{}, fmt.Errorf("target %q: %q is no host", printable(s, 120), printable(host, 120))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Target{}, fmt.Errorf("target %q: port %q is not between 1 and 65535", printable(s, 120), printable(port, 20))
	}
	return Target{Name: strings.TrimSpace(s), Addr: net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
}
