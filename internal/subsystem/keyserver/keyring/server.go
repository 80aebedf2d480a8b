package keyring

import (
	"context"
	"errors"
	"time"

	"allclear/internal/envelope"
)

// Server is one key server as this package uses it. Errors say which server and which operation. Each call keeps its
// own deadline below ctx and is safe for concurrent use.
type Server interface {
	// Name is what the operator calls it.
	Name() string
	// Create makes an AES-256 key with that Name and answers its Unique Identifier. It sends the request once. An error
	// that is [ErrNotMade] is certain: there is no such key. After any other it may exist.
	Create(ctx context.Context, name string) (uid string, err error)
	// Find answers the identifiers of all keys with that Name.
	Find(ctx context.Context, name string) ([]string, error)
	// Activate makes a key active; one that is active already stays so.
	Activate(ctx context.Context, uid string) error
	// Get answers a key. [envelope.ErrNoKey] means that the server said it has none of that identifier (or destroyed
	// it), [ErrRefused] that it answered and does not give it.
	Get(ctx context.Context, uid string) (*envelope.Secret, error)
	// Destroy revokes and destroys a key; one that is gone already is no error.
	Destroy(ctx context.Context, uid string) error
}

// ErrNotMade says that a key was certainly not made: the request was never sent, or the server refused it.
var ErrNotMade = errors.New("no key was made")

// ErrRefused says that a server could be asked and does not give the key.
var ErrRefused = errors.New("the key server refuses it")

// Groups knows the servers.
type Groups interface {
	// Servers answers the servers of a group in the order in which to ask them, and the defined primary, which is one
	// of them; nil if none is defined.
	Servers(group string) (primary Server, all []Server)
}

// Validator tells whether a key may be relied upon.
type Validator interface {
	// Green answers nil if a validation that began after since found the key with the right bytes on every server of
	// its group, from every node; otherwise why not.
	Green(ctx context.Context, ref envelope.SlotRef, since time.Time) error
}
