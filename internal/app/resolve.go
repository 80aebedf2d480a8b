package app

import (
	"context"
	"errors"
	"net"
)

// dialer connects by names as the configured resolvers know them; nil without
// any, which is the system's own way. Addresses are never asked about.
func (p *plan) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	resolvers := p.DNS.Resolvers
	if len(resolvers) == 0 {
		return nil
	}
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		for _, resolver := range resolvers {
			if conn, err = dialBy(ctx, resolver, network, addr); !unanswered(err) {
				break // the first resolver with a firm answer counts, as it does for the system's
			}
		}
		return conn, err
	}
}

// dialBy connects by what one resolver says, and names it where it fails.
func dialBy(ctx context.Context, resolver, network, addr string) (net.Conn, error) {
	d := net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, resolver)
		},
	}}
	conn, err := d.DialContext(ctx, network, addr)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		dns.Server = resolver // the library names the system's, whose place ours has taken
	}
	return conn, err
}

// unanswered claims that the resolver gave no firm answer.
func unanswered(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && !dns.IsNotFound
}
