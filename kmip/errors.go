package kmip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
)

// Error is an operation that the server refused or could not do.
type Error struct {
	Op      Operation // asked for
	Status  ResultStatus
	Reason  ResultReason // 0: none was told; servers differ in what they tell for one cause
	Message string       // the server's words, made printable and cut to 256 characters
	Version Version      // of the answer
}

// Error says what was refused, and why in the server's words.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: server answers %s", e.Op, e.Status)
	if e.Reason != 0 {
		fmt.Fprintf(&b, ", %s", e.Reason)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	return b.String()
}

// ProtocolError is an answer that no server may give. The connection is closed after it.
type ProtocolError struct {
	Op     Operation // asked for
	Reason string
	Err    error // a *ttlv.Error when the encoding is wrong, or nil
}

// Error says what is wrong with the answer.
func (e *ProtocolError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Op, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Op, e.Reason)
}

// Unwrap is the cause.
func (e *ProtocolError) Unwrap() error { return e.Err }

// TransportError is a connection that could not be made or did not bring the answer.
type TransportError struct {
	Op   Operation // 0: while connecting
	Addr string
	Sent bool // the request, or a part of it, was sent: the server may have done what it asks
	Err  error
}

// Error says what was tried and what came between.
func (e *TransportError) Error() string {
	if e.Op == 0 {
		return fmt.Sprintf("connect to key server %s: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("%s at key server %s: %v", e.Op, e.Addr, e.Err)
}

// Unwrap is the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Timeout tells whether the time was up.
func (e *TransportError) Timeout() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded)
}

// VersionError is a server that speaks no wanted version.
type VersionError struct {
	Wanted  []Version
	Offered []Version // what it speaks, as far as could be learnt
	Err     error     // its last refusal, or nil
}

// Error says which versions each side has.
func (e *VersionError) Error() string {
	offered := "none that is known"
	if len(e.Offered) > 0 {
		offered = versionList(e.Offered)
	}
	text := fmt.Sprintf("server offers KMIP %s, wanted is one of %s", offered, versionList(e.Wanted))
	if e.Err != nil {
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	return text
}

// Unwrap is the last refusal.
func (e *VersionError) Unwrap() error { return e.Err }

func versionList(list []Version) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ", ")
}

// NameTakenError is a name that was to be unique but has objects already.
type NameTakenError struct {
	Name      string
	UniqueIDs []string
}

// Error says which name and how many objects have it.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q is taken by %d objects, the first is %s", e.Name, len(e.UniqueIDs), e.UniqueIDs[0])
}

// CreateError is a Create that broke and could not be brought to an end: the key may exist.
type CreateError struct {
	Name   string
	Looked bool     // a later Locate was answered, and found
	Found  []string // these with the name: none, several, or one that is no such key
	Err    error    // what broke; with what broke the later look, if that is what did
}

// Error says what is known of the key.
func (e *CreateError) Error() string {
	switch {
	case !e.Looked:
		return fmt.Sprintf("create key %q: it may exist, the server could not be asked: %v", e.Name, e.Err)
	case len(e.Found) == 0:
		return fmt.Sprintf("create key %q: it did not exist when the server was asked again: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("create key %q: %d objects have the name: %v", e.Name, len(e.Found), e.Err)
}

// Unwrap is what broke.
func (e *CreateError) Unwrap() error { return e.Err }

// printable makes a text of the server fit for a terminal and a log.
func printable(s string) string {
	const most = 256
	n := 0
	cut := len(s)
	for i := range s {
		if n++; n > most {
			cut = i
			break
		}
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s[:cut])
	if cut < len(s) {
		text += "..."
	}
	return text
}
