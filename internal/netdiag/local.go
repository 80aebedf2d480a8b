package netdiag

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// local looks at everything that needs no packet: the target's own settings,
// the clock against its floor, our certificate, our addresses.
func (r *run) local(context.Context) bool {
	st := begin(StepLocal)
	now := r.t.Now()
	st.Evidence["clock"] = now.UTC().Format(time.RFC3339)
	if now.Before(r.t.ClockFloor) {
		return r.fail(st, ClockBeforeFloor, fmt.Sprintf("the clock shows %s, which is before %s",
			now.UTC().Format(time.RFC3339), r.t.ClockFloor.UTC().Format(time.RFC3339)))
	}
	if err := r.settle(); err != nil {
		return r.fail(st, BadTarget, err.Error())
	}
	if len(r.t.ClientCert) > 0 || len(r.t.ClientKey) > 0 {
		own, cause, err := loadOwnCert(r.t.ClientCert, r.t.ClientKey, now)
		if own != nil {
			st.Evidence["client_subject"] = own.leaf.Subject.String()
			st.Evidence["client_serial"] = own.leaf.SerialNumber.String()
			st.Evidence["client_not_after"] = own.leaf.NotAfter.UTC().Format(time.RFC3339)
		}
		if err != nil {
			return r.fail(st, cause, err.Error())
		}
		r.own = own
	}
	if cause, detail := r.families(st); cause != "" {
		return r.fail(st, cause, detail)
	}
	return r.ok(st, "")
}

// settle parses the target's settings.
func (r *run) settle() (err error) {
	if r.goal, err = parseHop(r.t.Address); err != nil {
		return err
	}
	switch r.t.Network {
	case "tcp", "tcp4", "tcp6":
	default:
		return fmt.Errorf("network %q is none of tcp, tcp4, tcp6", r.t.Network)
	}
	if r.name = r.t.ServerName; r.name == "" {
		r.name = r.goal.host
	}
	r.via = r.goal
	if r.proxyURL, r.via, err = parseProxy(r.t.Proxy); err != nil {
		return err
	}
	if r.proxyURL == nil {
		r.via = r.goal
	}
	r.trust, err = newTrust(r.t)
	return err
}

// families demands an address of the wanted family on some interface, unless
// the goal is this machine itself.
func (r *run) families(st *Step) (Cause, string) {
	if a, err := netip.ParseAddr(r.via.host); err == nil {
		if a.Is4() && r.t.Network == "tcp6" || a.Is6() && r.t.Network == "tcp4" {
			return BadTarget, fmt.Sprintf("address %s is not of network %s", a, r.t.Network)
		}
		return routeTo(netip.AddrPortFrom(a.Unmap(), r.via.port))
	}
	v4, v6 := ownFamilies()
	st.Evidence["families"] = fmt.Sprintf("ip4=%t ip6=%t", v4, v6)
	switch {
	case r.t.Network == "tcp4" && !v4:
		return NoAddressV4, "no interface has an IPv4 address"
	case r.t.Network == "tcp6" && !v6:
		return NoAddressV6, "no interface has an IPv6 address other than link-local"
	}
	return "", ""
}

// ownFamilies tells which families have an address worth connecting from. A
// machine with nothing but loopback counts loopback: its names may be local.
func ownFamilies() (v4, v6 bool) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true, true // cannot tell; the connect will
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := p.Addr().Unmap(); {
		case ip.Is4():
			v4 = true
		case !ip.IsLinkLocalUnicast():
			v6 = true
		}
	}
	return v4, v6
}

// routeTo asks the kernel, without sending anything, whether it would know
// where to send packets for a: connecting a UDP socket only looks up the route.
func routeTo(a netip.AddrPort) (Cause, string) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a))
	if err == nil {
		_ = c.Close() // nothing was sent on it
		return "", ""
	}
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return TCPDenied, err.Error()
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		if a.Addr().Is4() {
			return NoAddressV4, err.Error()
		}
		return NoAddressV6, err.Error()
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EINVAL):
		return NoRoute, err.Error() // EINVAL: a "blackhole" route
	}
	return "", "" // not about the route; the connect will tell
}

// ownCert is our client certificate.
type ownCert struct {
	tls  tls.Certificate
	leaf *x509.Certificate
}

// loadOwnCert reads our client certificate and judges it by our clock. The
// certificate is returned with an error too, as far as it could be read.
func loadOwnCert(cert, key []byte, now time.Time) (*ownCert, Cause, error) {
	chain, err := parseCerts(cert)
	if err != nil {
		return nil, OwnCertUnreadable, fmt.Errorf("client certificate: %w", err)
	}
	o := &ownCert{leaf: chain[0]}
	signer, err := parseKey(key)
	if err != nil {
		return o, OwnCertUnreadable, fmt.Errorf("client key: %w", err)
	}
	if !keyMatches(o.leaf, signer) {
		return o, OwnCertKeyMismatch, errors.New("the client key does not belong to the client certificate")
	}
	if now.After(o.leaf.NotAfter) {
		return o, OwnCertExpired, fmt.Errorf("expired at %s", o.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(o.leaf.NotBefore) {
		return o, OwnCertNotYetValid, fmt.Errorf("valid from %s", o.leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	o.tls = tls.Certificate{PrivateKey: signer, Leaf: o.leaf}
	for _, c := range chain {
		o.tls.Certificate = append(o.tls.Certificate, c.Raw)
	}
	return o, "", nil
}
