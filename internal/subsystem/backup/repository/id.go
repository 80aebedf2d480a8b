package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID names a file of the repository (SHA-256 of its bytes as stored) or a blob (SHA-256 of its plaintext).
type ID [sha256.Size]byte

// Hash answers the ID of some bytes.
func Hash(b []byte) ID { return sha256.Sum256(b) }

// ParseID reads 64 lower-case hex digits.
func ParseID(s string) (ID, error) {
	var id ID
	if !isID(s) {
		return id, fmt.Errorf("ID %.80q: 64 lower-case hex digits are needed", s)
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// isID tells an ID from the other names in a folder, which readers must skip.
func isID(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// String answers the 64 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short answers the first eight hex digits, which is what people use.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero tells the value that stands for no ID.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText answers the 64 hex digits.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the 64 hex digits.
func (id *ID) UnmarshalText(b []byte) error {
	got, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = got
	return nil
}
