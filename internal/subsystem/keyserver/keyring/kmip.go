package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"allclear/internal/envelope"
	"allclear/kmip"
)

// KMIPServer is a [Server] that is spoken to by KMIP. It keeps one connection, made when it is first needed and made
// anew after it broke.
type KMIPServer struct {
	name    string
	dial    func(ctx context.Context) (*kmip.Client, error)
	timeout time.Duration

	mu     sync.Mutex // guards client; held while a connection is made, so that a crowd makes one
	client *kmip.Client
}

// NewKMIPServer answers a server. dial connects and negotiates the version; each call, a connection included, may take
// timeout.
func NewKMIPServer(name string, dial func(ctx context.Context) (*kmip.Client, error), timeout time.Duration) *KMIPServer {
	return &KMIPServer{name: name, dial: dial, timeout: timeout}
}

// Name is what the operator calls it.
func (s *KMIPServer) Name() string { return s.name }

// Close ends the connection. The next call makes another.
func (s *KMIPServer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	err := s.client.Close()
	s.client = nil
	return err
}

// do lets f speak to the server within the time of one call.
func (s *KMIPServer) do(ctx context.Context, f func(context.Context, *kmip.Client) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("key server %s took longer than %v", s.name, s.timeout))
	defer cancel()
	c, err := s.connected(ctx)
	if err != nil {
		return err
	}
	return f(ctx, c)
}

func (s *KMIPServer) connected(ctx context.Context) (*kmip.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to key server %s: %w", s.name, err)
	}
	s.client = c
	return c, nil
}

// Create makes an AES-256 key of that Name.
func (s *KMIPServer) Create(ctx context.Context, name string) (string, error) {
	sent := false
	var made kmip.Created
	err := s.do(ctx, func(ctx context.Context, c *kmip.Client) error {
		sent = true
		var err error
		made, err = c.CreateKey(ctx, kmip.KeySpec{
			Name: name, Algorithm: kmip.CryptographicAlgorithmAES, Bits: 8 * envelope.KeySize,
			Usage: kmip.CryptographicUsageMaskEncrypt | kmip.CryptographicUsageMaskDecrypt,
		})
		return err
	})
	if err == nil {
		return made.UniqueID, nil
	}
	_, unknown := errors.AsType[*kmip.CreateError](err)
	_, taken := errors.AsType[*kmip.NameTakenError](err)
	if !sent || !unknown && !taken {
		return "", fmt.Errorf("%w: %w", ErrNotMade, err)
	}
	return "", err
}

// Find answers the identifiers of all keys of that Name.
func (s *KMIPServer) Find(ctx context.Context, name string) (uids []string, err error) {
	err = s.do(ctx, func(ctx context.Context, c *kmip.Client) error {
		uids, err = c.Locate(ctx, kmip.NameAttr(name))
		return err
	})
	return uids, err
}

// Get answers a key.
func (s *KMIPServer) Get(ctx context.Context, uid string) (key *envelope.Secret, err error) {
	err = s.do(ctx, func(ctx context.Context, c *kmip.Client) error {
		k, err := c.GetKey(ctx, uid)
		if err != nil {
			return answered(err)
		}
		key, err = envelope.NewSecret(k.Bytes)
		return err
	})
	return key, err
}

// answered tells the server's own answers from what came between. A missing key is told from a refused one by the
// result reason, on which nothing but words depends: servers differ in it.
func answered(err error) error {
	e, ok := errors.AsType[*kmip.Error](err)
	switch {
	case !ok:
		return err
	case e.Reason == kmip.ResultReasonItemNotFound:
		return fmt.Errorf("%w: %w", envelope.ErrNoKey, err)
	default:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
}

// Activate makes a key active if it is not.
func (s *KMIPServer) Activate(ctx context.Context, uid string) error {
	return s.do(ctx, func(ctx context.Context, c *kmip.Client) error {
		state, err := stateOf(ctx, c, uid)
		if err != nil || state == kmip.StateActive {
			return err
		}
		return c.Activate(ctx, uid)
	})
}

// Destroy revokes a key if it is active, and destroys it. Each step is skipped when it was done before, so that a
// Destroy whose answer was lost may be repeated. A server
// that does not know the key has none to destroy.
func (s *KMIPServer) Destroy(ctx context.Context, uid string) error {
	return s.do(ctx, func(ctx context.Context, c *kmip.Client) error {
		state, err := stateOf(ctx, c, uid)
		if e, ok := errors.AsType[*kmip.Error](err); ok && e.Reason == kmip.ResultReasonItemNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		switch state {
		case kmip.StateDestroyed, kmip.StateDestroyedCompromised:
			return nil
		case kmip.StateActive:
			if err := c.Revoke(ctx, uid, kmip.RevocationReasonCodeCessationOfOperation, "replaced", time.Time{}); err != nil {
				return err
			}
		}
		return c.Destroy(ctx, uid)
	})
}

func stateOf(ctx context.Context, c *kmip.Client, uid string) (kmip.State, error) {
	const name = "State"
	got, err := c.GetAttributes(ctx, uid, name)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(got, func(a kmip.Attribute) bool { return a.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("the server does not tell the state of %s", uid)
	}
	v, ok := got[i].Value.Enumeration()
	if !ok {
		return 0, fmt.Errorf("the server tells no state of %s that is one", uid)
	}
	return kmip.State(v), nil
}
