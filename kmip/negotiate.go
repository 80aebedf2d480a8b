package kmip

import (
	"context"
	"errors"
	"slices"
)

// Negotiation is what was learnt about the versions of a server.
type Negotiation struct {
	Version Version   // that is spoken from now on
	Offered []Version // by the server, in its order; it may list some that this package does not speak
}

// Negotiate finds the best of the client's versions that the server speaks: DiscoverVersions is asked in each
// version from the best down, until the server answers. When none of them helps, lower versions are
// tried too, only to tell in the *VersionError what the server offers.
func (c *Client) Negotiate(ctx context.Context) (Negotiation, error) {
	if err := c.enter(ctx); err != nil {
		return Negotiation{}, &TransportError{Op: OperationDiscoverVersions, Addr: c.addr, Err: err}
	}
	defer c.leave()
	try := slices.Clone(c.o.Versions)
	for _, v := range []Version{V1_4, V1_3, V2_1, V2_0, V1_2, V1_1, V1_0} {
		if !slices.Contains(try, v) {
			try = append(try, v)
		}
	}
	var last error
	for _, v := range try {
		offered, err := c.offers(ctx, v)
		if err == nil {
			return c.choose(offered)
		}
		if !refusal(err) || ctx.Err() != nil {
			return Negotiation{}, err
		}
		last = err
	}
	if _, ok := errors.AsType[*Error](last); !ok {
		return Negotiation{}, last
	}
	return Negotiation{}, &VersionError{Wanted: c.o.Versions, Err: last}
}

// refusal tells whether the server may only have disliked the version: it said so, or hung up on it.
func refusal(err error) bool {
	if te, ok := errors.AsType[*TransportError](err); ok {
		return te.Sent && !te.Timeout()
	}
	_, ok := errors.AsType[*Error](err)
	return ok
}

// offers asks in one version what the server speaks. KMIP 1.0 has no operation for that: there it
// is enough that the server answers a Query.
func (c *Client) offers(ctx context.Context, v Version) ([]Version, error) {
	var ask Payload = &DiscoverVersionsRequest{}
	if v == V1_0 {
		ask = &QueryRequest{Functions: []QueryFunction{QueryFunctionQueryServerInformation}}
	}
	items, err := c.exchange(ctx, v, []Payload{ask})
	if err != nil {
		return nil, err
	}
	if err := items[0].Failure(v); err != nil {
		return nil, err
	}
	if r, ok := items[0].Payload.(*DiscoverVersionsResponse); ok && len(r.Versions) > 0 {
		return r.Versions, nil
	}
	return []Version{v}, nil
}

func (c *Client) choose(offered []Version) (Negotiation, error) {
	for _, v := range c.o.Versions {
		if slices.Contains(offered, v) {
			c.mu.Lock()
			c.version = v
			c.mu.Unlock()
			return Negotiation{v, offered}, nil
		}
	}
	return Negotiation{}, &VersionError{Wanted: c.o.Versions, Offered: offered}
}
