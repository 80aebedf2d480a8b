package envelope

import (
	"errors"
	"fmt"
	"strings"
)

// The fixed facts.
var (
	// ErrExists says that a thing of this id is protected already. Open it.
	ErrExists = errors.New("it is protected already")
	// ErrNotFound says that no thing of this id is protected.
	ErrNotFound = errors.New("nothing of this name is protected")
	// ErrNoSource says that no source of keys of the slot's kind is at hand.
	ErrNoSource = errors.New("no source of keys of this kind is configured")
	// ErrNoKey says that the source is sure not to have the key.
	ErrNoKey = errors.New("the key does not exist there")
	// ErrNoRecovery says that there is no recovery key.
	ErrNoRecovery = errors.New("there is no recovery key")
	// ErrOtherRecovery says that the identity is not the one that the things were protected with.
	ErrOtherRecovery = errors.New("this is another recovery key")
	// ErrOneCopy says that a change is stored, but only in one of the two copies. Asking again writes the other.
	ErrOneCopy = errors.New("stored in one copy of two only")
)

// WrongKeyError says that somebody handed out other bytes than those the slot was made with.
type WrongKeyError struct {
	Ref SlotRef
	Got Check
}

func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("%s has check value %s, the slot was made with %s", e.Ref, e.Got, e.Ref.Check)
}

// DamageError says that a file is there and cannot be trusted.
type DamageError struct {
	Name string // of the thing or record
	Err  error  // what is wrong with each copy
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Name, e.Err) }

// Unwrap answers what is wrong.
func (e *DamageError) Unwrap() error { return e.Err }

// SlotError says why one slot did not open.
type SlotError struct {
	Ref SlotRef
	Err error
}

func (e *SlotError) Error() string { return fmt.Sprintf("%s: %v", e.Ref, e.Err) }

// Unwrap answers the cause.
func (e *SlotError) Unwrap() error { return e.Err }

// OpenError says that no slot of a thing opened, and why for each that was tried. Recovery slots are never tried.
type OpenError struct {
	ID    string
	Tried []*SlotError
}

func (e *OpenError) Error() string {
	if len(e.Tried) == 0 {
		return "open " + e.ID + ": it has no slot but for the recovery key"
	}
	why := make([]string, len(e.Tried))
	for i, t := range e.Tried {
		why[i] = t.Error()
	}
	return "open " + e.ID + ": no slot opens: " + strings.Join(why, "; ")
}

// Unwrap answers the causes.
func (e *OpenError) Unwrap() []error {
	out := make([]error, len(e.Tried))
	for i, t := range e.Tried {
		out[i] = t
	}
	return out
}
