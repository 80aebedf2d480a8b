package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// namePattern is what [CheckName] accepts, for the schema.
const namePattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

// CheckName says what is wrong with a name for a node, a target or a policy: names are part of resources, commands and
// metric labels, so they hold letters, digits, dots, dashes and underscores only, begin with a letter or digit, and
// have at most 63 characters.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > 63:
		return errors.New("the name is longer than 63 characters")
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fmt.Errorf("%q is not a name", printable(s))
		}
	}
	return nil
}

func checkFilled(s string) error {
	if strings.TrimSpace(s) == "" {
		return ErrEmpty
	}
	return nil
}

// checkWord refuses what would be read as two words or as an option by a program that gets it as an argument.
func checkWord(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case strings.ContainsFunc(s, unicode.IsSpace):
		return errors.New("this holds a space")
	case s[0] == '-':
		return errors.New("this begins with a dash")
	}
	return nil
}

func checkUser(s string) error { return checkWord(s) }

func checkURLPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, unicode.IsSpace) {
		return errors.New("a path begins with / and holds no space")
	}
	if _, err := url.ParseRequestURI(s); err != nil {
		return errors.New("this is not the path of a URL")
	}
	return nil
}

// checkProxy never repeats what it was given, because that may hold a password.
func checkProxy(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("this is not a URL")
	case u.User != nil:
		return errors.New("credentials are never written into this file: use proxy_login")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("a proxy is reached by http:// or https://")
	case u.Hostname() == "":
		return errors.New("the URL names no host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the URL of a proxy ends with its host and port")
	}
	return checkPort(u.Port(), true)
}

func checkPort(s string, mayLack bool) error {
	if s == "" && mayLack {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a port from 1 to 65535", printable(s))
	}
	return nil
}

func checkHost(s string) error {
	if s != strings.ToLower(s) {
		return errors.New("a host name is compared in lower case")
	}
	return CheckName(s)
}

func checkPrefix(s string) error {
	_, err := ParsePrefix(s)
	return err
}

// ParsePrefix reads an address, or a prefix of addresses such as 169.254.0.0/16.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix", printable(s))
	}
	return p.Masked(), nil
}

// checkListen takes "" and every loopback address. Port 0 lets the system choose.
func checkListen(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an address with a port", printable(s))
	}
	if port != "0" {
		if err := checkPort(port, false); err != nil {
			return err
		}
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address: only programs of this host may read the figures", printable(host))
}

// address takes host or host:port and stores it with its port. ipOnly refuses names.
func address(p *string, port string, ipOnly bool) value {
	want := "host or host:port, an IPv6 address in brackets"
	if ipOnly {
		want = "an IP address, or one with a port; IPv6 with a port in brackets"
	}
	return text{want: want, shape: schema{Type: "string", MinLength: 1}, parse: func(s string) error {
		host, prt, err := splitAddress(s, port)
		if err != nil {
			return err
		}
		if _, err := netip.ParseAddr(host); ipOnly && err != nil {
			return fmt.Errorf("%q is not an IP address", printable(host))
		}
		*p = net.JoinHostPort(host, prt)
		return nil
	}}
}

// splitAddress takes apart "host", "host:port", "::1", "[::1]" and "[::1]:port".
func splitAddress(s, port string) (host, prt string, err error) {
	host, prt = s, port
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	} else if _, err := netip.ParseAddr(s); err != nil && strings.Contains(s, ":") {
		if host, prt, err = net.SplitHostPort(s); err != nil {
			return "", "", fmt.Errorf("%q is not an address", printable(s))
		}
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", "", fmt.Errorf("%q is not an IPv6 address", printable(host))
		}
	}
	if err := checkWord(host); err != nil {
		return "", "", fmt.Errorf("the host is no good: %w", err)
	}
	if strings.ContainsAny(host, "/@?#\\\"'") || len(host) > 255 {
		return "", "", fmt.Errorf("%q is not a host", printable(host))
	}
	return host, prt, checkPort(prt, false)
}
