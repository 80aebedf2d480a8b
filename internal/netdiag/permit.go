package netdiag

import (
	"context"
	"net/netip"
)

type permitKey struct{}

// WithPermit returns a context under which a diagnosis connects only to
// addresses that permit accepts, whatever a name resolved to.
func WithPermit(ctx context.Context, permit func(netip.Addr) error) context.Context {
	return context.WithValue(ctx, permitKey{}, permit)
}

// permitted asks whether a connection to a is allowed under this context.
func permitted(ctx context.Context, a netip.Addr) error {
	if permit, ok := ctx.Value(permitKey{}).(func(netip.Addr) error); ok {
		return permit(a)
	}
	return nil
}
