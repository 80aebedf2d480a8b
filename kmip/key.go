package kmip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// SecretBytes are the bytes of a key. They show themselves to nobody who prints them.
type SecretBytes []byte

const secret = "[secret]"

// String says that it is a secret; so do the methods below.
func (SecretBytes) String() string { return secret }

// GoString is for %#v.
func (SecretBytes) GoString() string { return secret }

// Format is for every other verb.
func (SecretBytes) Format(f fmt.State, _ rune) { fmt.Fprint(f, secret) }

// LogValue is for slog.
func (SecretBytes) LogValue() slog.Value { return slog.StringValue(secret) }

// MarshalText is for JSON, XML and YAML.
func (SecretBytes) MarshalText() ([]byte, error) { return []byte(secret), nil }

// Key is a key that can be used.
type Key struct {
	UniqueID  string
	Type      ObjectType             // symmetric key or secret data
	Algorithm CryptographicAlgorithm // 0: not told
	Bytes     SecretBytes            // overwrite them when done
}

// KeySpec describes a symmetric key to be made.
type KeySpec struct {
	Name       string // must be unique on the server: put something random into it
	Algorithm  CryptographicAlgorithm
	Bits       int32
	Usage      CryptographicUsageMask
	Attributes []Attribute // further ones
}

// Created names a new key.
type Created struct {
	UniqueID string
	Adopted  bool // the answer to Create was lost, and the key was found by its name
}

// CreateKey makes a symmetric key with a unique name. Create is sent once. When its answer is lost, the
// server is asked, over a new connection, for the name: a single key of the right algorithm and length is
// adopted. A name that is taken before is a *NameTakenError; a Create whose outcome is
// not known is a *CreateError.
func (c *Client) CreateKey(ctx context.Context, s KeySpec) (Created, error) {
	if s.Name == "" {
		return Created{}, errors.New("create key: it has no name to find it by")
	}
	taken, err := c.Locate(ctx, NameAttr(s.Name))
	if err != nil {
		return Created{}, fmt.Errorf("look whether the name %q is taken: %w", s.Name, err)
	}
	if len(taken) > 0 {
		return Created{}, &NameTakenError{s.Name, taken}
	}
	list := []Attribute{AlgorithmAttr(s.Algorithm), LengthAttr(s.Bits), UsageAttr(s.Usage), NameAttr(s.Name)}
	r, err := c.Create(ctx, &CreateRequest{
		ObjectType: ObjectTypeSymmetricKey, Template: Attributes(append(list, s.Attributes...)...),
	})
	if err == nil {
		return Created{UniqueID: r.UniqueID}, nil
	}
	if !lost(err) {
		return Created{}, err
	}
	return c.adopt(ctx, s, err)
}

// lost tells whether an operation may have been done though it ended in the error.
func lost(err error) bool {
	if te, ok := errors.AsType[*TransportError](err); ok {
		return te.Sent
	}
	_, ok := errors.AsType[*ProtocolError](err)
	return ok
}

// adopt looks for a key whose Create ended in the error.
func (c *Client) adopt(ctx context.Context, s KeySpec, broke error) (Created, error) {
	found, err := c.Locate(ctx, NameAttr(s.Name))
	if err != nil {
		return Created{}, &CreateError{Name: s.Name, Err: errors.Join(broke, err)}
	}
	if len(found) != 1 {
		return Created{}, &CreateError{Name: s.Name, Looked: true, Found: found, Err: broke}
	}
	got, err := c.GetAttributes(ctx, found[0], "Cryptographic Algorithm", "Cryptographic Length")
	if err != nil {
		return Created{}, &CreateError{Name: s.Name, Looked: true, Found: found, Err: errors.Join(broke, err)}
	}
	algorithm, _ := Find(got, "Cryptographic Algorithm")
	length, _ := Find(got, "Cryptographic Length")
	a, okA := algorithm.Value.Enumeration()
	n, okN := length.Value.Integer()
	if !okA || !okN || CryptographicAlgorithm(a) != s.Algorithm || n != s.Bits {
		return Created{}, &CreateError{Name: s.Name, Looked: true, Found: found, Err: errors.Join(broke,
			fmt.Errorf("the object with the name is not a %s key of %d bits", s.Algorithm, s.Bits))}
	}
	return Created{UniqueID: found[0], Adopted: true}, nil
}
