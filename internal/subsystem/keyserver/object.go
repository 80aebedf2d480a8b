package keyserver

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"allclear/internal/netdiag"
)

// RefusedError says why a command was refused. Nothing was changed.
type RefusedError struct {
	What string // "add key server ks3"
	Why  []string
}

func (e *RefusedError) Error() string { return e.What + ": " + strings.Join(e.Why, "; ") }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// checkAddress takes host:port and nothing else: key servers listen on many ports,
// and the wrong one is a fault that people look for too long.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		if bare := strings.Trim(address, "[]"); bare != "" && (!strings.Contains(bare, ":") || isIPv6(bare)) {
			return fmt.Errorf("address %q has no port: it is host:port, KMIP's own port is 5696", cleaned(address))
		}
		return fmt.Errorf("address %q is not host:port, an IPv6 address in brackets", cleaned(address))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("address %q: port %q is not 1 to 65535", cleaned(address), cleaned(port))
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/@?#", r) }) {
		return fmt.Errorf("address %q has no host name or address", cleaned(address))
	}
	return nil
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// checkObject answers everything that is wrong with an object before anybody is
// asked: with its words, with its files, and with it among the others.
func (k *KeyServers) checkObject(o object, before *Server) (why []string) {
	add := func(err error) {
		if err != nil {
			why = append(why, err.Error())
		}
	}
	for what, name := range map[string]string{"name": o.Name, "group": o.Group} {
		if !nameForm.MatchString(name) {
			add(fmt.Errorf("%s %q is not 1 to 63 letters, digits, dots, dashes and underscores", what, cleaned(name)))
		}
	}
	add(checkAddress(o.Address))
	_, err := profileOf(o.Profile)
	add(err)
	add(checkPin(o.Pin))
	add(k.checkAmong(o, before))
	slices.Sort(why)
	return append(why, k.checkFiles(o)...)
}

func checkPin(pin string) error {
	if pin == "" {
		return nil
	}
	code, ok := strings.CutPrefix(pin, "SHA256:")
	if sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(code, "=")); !ok || err != nil || len(sum) != 32 {
		return fmt.Errorf("pin %q is not \"SHA256:\" and the base64 of 32 bytes", cleaned(pin))
	}
	return nil
}

// checkAmong compares an object with the other servers.
func (k *KeyServers) checkAmong(o object, before *Server) error {
	var errs []error
	for _, s := range k.all() {
		if before != nil && s.Name == before.Name {
			continue
		}
		if s.Name == o.Name {
			errs = append(errs, fmt.Errorf("a key server %q is defined already, at %s", s.Name, s.Address))
			continue
		}
		if s.Address == o.Address {
			errs = append(errs, fmt.Errorf("%s has the address %s already", s.Name, s.Address))
		}
		if s.Group != o.Group {
			continue
		}
		if s.Profile != o.Profile {
			errs = append(errs, fmt.Errorf("the servers of group %s have profile %s, not %s", s.Group, s.Profile, o.Profile))
		}
		if s.Primary && o.Primary {
			errs = append(errs, fmt.Errorf("group %s has the primary %s already: define it without, then \"allclear keyserver set --primary %s\"", s.Group, s.Name, o.Name))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(slices.Compact(texts), "; "))
}

// checkFiles reads what the object refers to, and compares certificate and key.
// That they are current is not its matter: a validation says that.
func (k *KeyServers) checkFiles(o object) (why []string) {
	opts := k.options()
	content := map[string][]byte{}
	for _, f := range []struct {
		which, text string
		private     bool
		needed      bool
	}{{"ca", o.CA, false, false}, {"client_cert", o.ClientCert, false, true}, {"client_key", o.ClientKey, true, true}} {
		if f.text == "" {
			if f.needed {
				why = append(why, f.which+" is missing")
			}
			continue
		}
		m, err := opts.reference(f.text, f.private)
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", f.which, err))
			continue
		}
		b, err := m.read()
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", f.which, err))
			continue
		}
		content[f.which] = b
	}
	defer clear(content["client_key"])
	if b, ok := content["ca"]; ok {
		why = append(why, pemProblems("ca "+o.CA, netdiag.CertificateInput{Cert: b}, netdiag.CertUnreadable, netdiag.CertEmpty)...)
	}
	if b, ok := content["client_cert"]; ok {
		in := netdiag.CertificateInput{Cert: b, Key: content["client_key"]}
		why = append(why, pemProblems("client_cert "+o.ClientCert, in, netdiag.CertUnreadable, netdiag.CertEmpty, netdiag.CertKeyUnreadable, netdiag.CertKeyMismatch)...)
	}
	return why
}

// pemProblems are those findings about a file that no time will mend.
func pemProblems(what string, in netdiag.CertificateInput, bad ...netdiag.CertStatus) (why []string) {
	rep := netdiag.CheckCertificate(in, earliest, netdiag.CertificateOptions{MaxChain: 1 << 16})
	for _, f := range rep.Findings {
		if slices.Contains(bad, f.Status) {
			why = append(why, fmt.Sprintf("%s: %s: %s", what, f.Status, f.Detail))
		}
	}
	return why
}
