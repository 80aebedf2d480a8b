package repository

import (
	"errors"
	"fmt"
)

var (
	// ErrWrongPassword says that no key file opens with the password.
	ErrWrongPassword = errors.New("no key of the repository opens with this password")
	// ErrNoRepository says that the folder holds no repository (it has no config file).
	ErrNoRepository = errors.New("no repository here: the config file is missing")
	// ErrExists says that a repository, or the rest of one, is there already.
	ErrExists = errors.New("a repository is here already")
	// ErrLockLost says that our lock could not be refreshed in time or was removed by somebody: writing had to stop.
	ErrLockLost = errors.New("the repository lock was lost")
	// ErrNotFound says that no snapshot, path or key has the name that was asked for.
	ErrNotFound = errors.New("not found in the repository")
	// ErrAmbiguous says that a short ID fits several snapshots.
	ErrAmbiguous = errors.New("several snapshots begin like this")

	errNoIndex = errors.New("it is in no index")
	errTag     = errors.New("the authentication tag is wrong")
)

// DamageError names an object of the repository that is not what it must be: truncated, altered, missing while it is
// needed, or not decodable.
type DamageError struct {
	What string // "config", "key", "index", "snapshot", "lock", "pack", "tree", "data" (a blob of a file)
	ID   ID     // zero for config
	Err  error  // the fact
}

func (e *DamageError) Error() string {
	if e.ID.IsZero() {
		return fmt.Sprintf("%s: %v", e.What, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.What, e.ID, e.Err)
}

// Unwrap answers the fact.
func (e *DamageError) Unwrap() error { return e.Err }

// damaged wraps err, unless it already names the damaged object.
func damaged(what string, id ID, err error) error {
	if err == nil {
		return nil
	}
	if d, ok := errors.AsType[*DamageError](err); ok && d.What == what && d.ID == id {
		return err
	}
	return &DamageError{What: what, ID: id, Err: err}
}
