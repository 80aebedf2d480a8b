package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"

	ovh "github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"

	"allclear/kmip"
)

// maker is whose client it is.
type maker struct {
	name string
	dial func(ctx context.Context, address string, config *tls.Config) (client, error)
}

// client gets a key and checks its bytes.
type client interface {
	get(ctx context.Context, id string, want []byte) error
	Close() error
}

// ours is where our client stands among the makers; the ratios are to it.
const ours = "allclear"

func makers() []maker {
	return []maker{{ours, dialOurs}, {"ovh/kmip-go", dialOVH}}
}

type ourClient struct{ *kmip.Client }

func dialOurs(ctx context.Context, address string, config *tls.Config) (client, error) {
	c, err := kmip.Dial(ctx, address, config, kmip.Options{})
	if err != nil {
		return nil, err
	}
	return ourClient{c}, nil
}

func (c ourClient) get(ctx context.Context, id string, want []byte) error {
	k, err := c.GetKey(ctx, id)
	if err != nil {
		return err
	}
	return same(k.Bytes, want)
}

type ovhClient struct{ *kmipclient.Client }

func dialOVH(ctx context.Context, address string, config *tls.Config) (client, error) {
	c, err := kmipclient.DialContext(ctx, address, kmipclient.WithTlsConfig(config))
	if err != nil {
		return nil, err
	}
	return ovhClient{c}, nil
}

func (c ovhClient) get(ctx context.Context, id string, want []byte) error {
	r, err := c.Get(id).ExecContext(ctx)
	if err != nil {
		return err
	}
	k, ok := r.Object.(*ovh.SymmetricKey)
	if !ok {
		return fmt.Errorf("object %s is a %T", id, r.Object)
	}
	b, err := k.KeyMaterial()
	if err != nil {
		return err
	}
	return same(b, want)
}

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("a key of %d bytes that is not the one registered", len(got))
	}
	return nil
}
