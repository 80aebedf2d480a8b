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
	if cause, detail := r.families(); cause != "" {
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

// families refuses an address that is not of the wanted family. Whether this
// machine has the family at all is seen when an address is known: a name may
// resolve to the machine itself.
func (r *run) families() (Cause, string) {
	a, err := netip.ParseAddr(r.via.host)
	if err != nil {
		return "", ""
	}
	if a.Unmap().Is4() && r.t.Network == "tcp6" || !a.Unmap().Is4() && r.t.Network == "tcp4" {
		return BadTarget, fmt.Sprintf("address %s is not of network %s", a, r.t.Network)
	}
	return routeTo(netip.AddrPortFrom(a.Unmap(), r.via.port))
}

// hasFamily reports whether an interface other than loopback has an address of
// the family, one that reaches beyond the link.
func hasFamily(v4 bool) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // cannot tell
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		if ip.Is4() == v4 && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return true
		}
	}
	return false
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
		return TCPDenied, plain(err)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EINVAL), // EINVAL: a "blackhole" route
		errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		switch {
		case hasFamily(a.Addr().Is4()):
			return NoRoute, plain(err)
		case a.Addr().Is4():
			return NoAddressV4, plain(err)
		}
		return NoAddressV6, plain(err)
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
