// Package fscrypt locks and unlocks directories that the kernel encrypts (ext4, f2fs, btrfs and others with the
// "encrypt" feature; Documentation/filesystems/fscrypt.rst of Linux). It speaks to the kernel itself: the fscrypt
// program, its metadata and its passphrases are not used. Only policies of version 2 are made or unlocked.
//
// Where the master key comes from is the caller's business. It is the secret of a protected thing, so that key servers
// can be left and keys renewed without a file being encrypted anew.
//
// The kernel keeps an added key in its own memory until it is removed or the file system is unmounted.
package fscrypt

import (
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// KeyID is what the kernel calls a master key: derived from its bytes, no secret.
type KeyID [unix.FSCRYPT_KEY_IDENTIFIER_SIZE]byte

// String answers 32 hexadecimal digits.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// The lengths of a master key, in bytes. AES-256-XTS asks for at least 32.
const (
	MinKey = 32
	MaxKey = unix.FSCRYPT_MAX_KEY_SIZE
)

// Identify answers the identifier that the kernel will give to a master key of 32 to 64 bytes: HKDF-SHA-512 with the
// information "fscrypt", a zero byte and the context 1 (HKDF_CONTEXT_KEY_IDENTIFIER). So a wrong key is found out
// without the kernel being given it.
func Identify(key []byte) (KeyID, error) {
	if len(key) < MinKey || len(key) > MaxKey {
		return KeyID{}, fmt.Errorf("master key has %d bytes, need %d to %d", len(key), MinKey, MaxKey)
	}
	b, err := hkdf.Key(sha512.New, key, nil, "fscrypt\x00\x01", len(KeyID{}))
	return KeyID(b), err
}

// The fixed facts.
var (
	// ErrUnsupported says that the file system cannot encrypt or has the feature off.
	ErrUnsupported = errors.New("the file system does not encrypt: it needs the encrypt feature (tune2fs -O encrypt DEVICE) and a kernel with CONFIG_FS_ENCRYPTION")
	// ErrNotEncrypted says that a directory has no policy.
	ErrNotEncrypted = errors.New("the directory is not encrypted")
	// ErrVersion1 says that a directory has a policy of the old kind.
	ErrVersion1 = errors.New("the directory has an encryption policy of version 1")
	// ErrWrongKey says that a key is not that of the directory.
	ErrWrongKey = errors.New("this is not the directory's key")
	// ErrBusy says that files are still open: they stay readable until they are closed.
	ErrBusy = errors.New("files are still in use, the key is only partly removed")
)

// State is what the kernel knows of a key.
type State string

// The states.
const (
	Absent  State = "absent"
	Present State = "present"
	// Busy: the key was removed, but files that were open still are.
	Busy State = "incompletely removed"
)

// Encrypt has the kernel encrypt whatever will be made in an empty directory, under a key that [Unlock] or this call
// adds: names by AES-256-CBC-CTS padded to 32 bytes, contents by AES-256-XTS. It leaves the directory unlocked.
// Repeating it with the same key changes nothing.
func Encrypt(dir string, key []byte) (KeyID, error) {
	d, err := openDir(dir)
	if err != nil {
		return KeyID{}, err
	}
	defer d.Close()
	id, err := addKey(d, key)
	if err != nil {
		return KeyID{}, fmt.Errorf("encrypt %s: %w", dir, err)
	}
	if err := setPolicy(d, id); err != nil {
		if errors.Is(err, unix.ENOTEMPTY) {
			err = fmt.Errorf("it is not empty, and what is there cannot be encrypted in place: %w", err)
		}
		return KeyID{}, fmt.Errorf("encrypt %s: %w", dir, err)
	}
	return id, nil
}

// Unlock makes an encrypted directory, and every other one under the same key, readable. A wrong key is [ErrWrongKey]
// and never reaches the kernel.
func Unlock(dir string, key []byte) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	want, err := policy(d)
	if err != nil {
		return fmt.Errorf("unlock %s: %w", dir, err)
	}
	got, err := Identify(key)
	if err != nil {
		return fmt.Errorf("unlock %s: %w", dir, err)
	}
	if got != want {
		return fmt.Errorf("unlock %s with key %s, it has %s: %w", dir, got, want, ErrWrongKey)
	}
	if id, err := addKey(d, key); err != nil {
		return fmt.Errorf("unlock %s: %w", dir, err)
	} else if id != want {
		return fmt.Errorf("unlock %s: the kernel calls the key %s, not %s", dir, id, want)
	}
	return nil
}

// Lock takes the key of an encrypted directory away: names and contents are unreadable after it, here and in every
// other directory under the same key. [ErrBusy] if files are in use; Lock again once they are closed. A directory that
// is locked already stays so.
func Lock(dir string) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	id, err := policy(d)
	root := d
	if err == nil {
		root, err = fsRoot(d)
	}
	if root != d {
		_ = d.Close() // only read from; it would itself be a file in use
	}
	defer root.Close()
	if err == nil {
		err = removeKey(root, id)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil
}

// fsRoot opens the highest directory of the file system of d that can be reached upwards. It may answer d
// itself.
func fsRoot(d *os.File) (*os.File, error) {
	var here, above unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &here); err != nil {
		return d, err
	}
	at := d
	for {
		fd, err := unix.Openat(int(at.Fd()), "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return at, fmt.Errorf("open the directory above %s: %w", at.Name(), err)
		}
		up := os.NewFile(uintptr(fd), at.Name()+"/..")
		if err := unix.Fstat(fd, &above); err != nil || above.Dev != here.Dev || above.Ino == here.Ino {
			_ = up.Close()
			return at, err
		}
		if at != d {
			_ = at.Close()
		}
		at, here = up, above
	}
}

// Status answers the key of an encrypted directory and whether the kernel has it.
func Status(dir string) (KeyID, State, error) {
	d, err := openDir(dir)
	if err != nil {
		return KeyID{}, "", err
	}
	defer d.Close()
	id, err := policy(d)
	if err != nil {
		return KeyID{}, "", fmt.Errorf("encryption of %s: %w", dir, err)
	}
	state, err := keyStatus(d, id)
	if err != nil {
		return KeyID{}, "", fmt.Errorf("encryption of %s: %w", dir, err)
	}
	return id, state, nil
}

// openDir opens a directory, never by a link in its last part.
func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}
