package repository

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// PanicError is a defect of this program that a goroutine of an operation has met. It ends the operation as an error
// does; whoever logs the error can say where it was.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("the program is wrong (panic): %v", e.Value) }

// guarded is do with a panic made an error, for the start of a goroutine: the process that works here has other work
// too.
func guarded(do func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = errors.Join(err, &PanicError{p, debug.Stack()})
			}
		}()
		return do()
	}
}

// try is guarded for what has no error of its own, done at once.
func try(do func()) error {
	return guarded(func() error {
		do()
		return nil
	})()
}
