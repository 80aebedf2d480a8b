package envelope

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxSecret bounds a protected secret, in bytes. An age identity has 74, a password a few dozen.
const maxSecret = 16 << 10

// hidden is what every way of printing a [Secret] says.
const hidden = "[secret]"

// Secret is a few bytes in pages of their own: outside of the Go heap, locked against swapping when the system lets
// us, left out of core dumps and of forked processes, and wiped by [Secret.Destroy]. Whoever got one destroys it.
type Secret struct {
	mu     sync.Mutex // guards the fields below
	pages  []byte     // whole pages; nil after Destroy
	n      int
	locked bool
}

// NewSecret moves b, of 1 to 16384 bytes, into a Secret and wipes b, even when it answers an error.
func NewSecret(b []byte) (*Secret, error) {
	defer clear(b)
	if len(b) == 0 || len(b) > maxSecret {
		return nil, fmt.Errorf("keep a secret of %d bytes: it must have 1 to %d", len(b), maxSecret)
	}
	page := os.Getpagesize()
	size := (len(b) + page - 1) / page * page
	pages, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for a secret: %w", size, err)
	}
	s := &Secret{pages: pages, n: len(b)}
	// Each of these may be refused (RLIMIT_MEMLOCK, an old kernel). The secret is needed all the same; Locked tells.
	s.locked = unix.Mlock(pages) == nil
	_ = unix.Madvise(pages, unix.MADV_DONTDUMP)
	_ = unix.Madvise(pages, unix.MADV_WIPEONFORK)
	copy(pages, b)
	return s, nil
}

// Bytes are the secret itself, valid until [Secret.Destroy] and nil after it. They are not for keeping.
func (s *Secret) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		return nil
	}
	return s.pages[:s.n:s.n]
}

// Clone answers a second Secret with the same bytes.
func (s *Secret) Clone() (*Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		return nil, errDestroyed
	}
	b := make([]byte, s.n)
	copy(b, s.pages)
	return NewSecret(b)
}

// Locked claims that the secret cannot be swapped out.
func (s *Secret) Locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.locked
}

// Destroy wipes the secret and gives its memory back. Nobody may still read what [Secret.Bytes] answered. A second
// Destroy does nothing, and neither does one of a nil Secret.
func (s *Secret) Destroy() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		return
	}
	clear(s.pages)
	_ = unix.Munmap(s.pages) // fails only for memory that is not mapped; it also unlocks
	s.pages, s.n, s.locked = nil, 0, false
}

// String hides the secret.
func (s *Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s *Secret) GoString() string { return hidden }

// Format hides the secret from every verb.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the secret from logs.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON hides the secret from JSON.
func (s *Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

var errDestroyed = errors.New("the secret was destroyed")
