package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// The classes of a result: the four suspects of seed 000 (ip, password, space,
// access) and what else an appliance's one text hid.
const (
	classOK          = "ok"
	classSkips       = "ok-with-skips"
	classIP          = "ip"
	classPassword    = "password"
	classSpace       = "space"
	classAccess      = "access"
	classTimeout     = "timeout"
	classAlgorithm   = "algorithm"
	classTrust       = "trust"
	classProtocol    = "protocol"
	classTransfer    = "transfer"
	classSource      = "source"
	classKey         = "key"
	classVerify      = "verify"
	classInterrupted = "interrupted"
	classInternal    = "internal"
)

// cause is why a try ended: the fault that names it, and what can be done.
type cause struct {
	class     string
	code      fault.Code
	qualifier string
	remote    string
	path      string
	free      uint64 // with no-space: what the server has, if it says so
	need      uint64
	again     bool // another try may end otherwise
	err       error
}

func (c cause) result() wire.BackupResult {
	return wire.BackupResult{Class: c.class, Code: c.code, Qualifier: c.qualifier, Remote: c.remote, Path: c.path, Text: c.err.Error()}
}

// connectError is a connection to a target that came to nothing.
type connectError struct {
	target string
	result sshpolicy.Result
	err    error
}

func (e *connectError) Error() string { return fmt.Sprintf("connect to %s: %v", e.target, e.err) }
func (e *connectError) Unwrap() error { return e.err }

// credentialError is a login whose key or password could not be read here.
type credentialError struct {
	target string
	err    error
}

func (e *credentialError) Error() string {
	return fmt.Sprintf("read the credential for %s: %v", e.target, e.err)
}
func (e *credentialError) Unwrap() error { return e.err }

// heldError is a connection that was not tried.
type heldError struct {
	target   string
	failures int
}

func (e *heldError) Error() string {
	return fmt.Sprintf("not connected to %s: its login was refused %d times in a row, one more may lock the account; a run asked for by an operator, or a changed credential, tries again", e.target, e.failures)
}

// keyError is a job's key that could not be opened or sealed.
type keyError struct {
	id  string
	err error
}

func (e *keyError) Error() string { return fmt.Sprintf("open the key %s: %v", e.id, e.err) }
func (e *keyError) Unwrap() error { return e.err }

// localError is this machine's own failure to make the content.
type localError struct {
	qualifier string
	path      string
	err       error
}

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// verifyError is a copy that is not what was stored.
type verifyError struct {
	kind             string // hash, decrypt, truncated, missing
	path             string
	expected, actual string
	err              error
}

func (e *verifyError) Error() string { return e.err.Error() }
func (e *verifyError) Unwrap() error { return e.err }

// errRunTime is the cause of a try's context when its time is over.
var errRunTime = errors.New("the run took longer than its timeout")

// scpOnly is the qualifier of errScpOnly.
const scpOnly = "scp-only"

// errScpOnly says that a repository cannot be kept through an account that may
// run nothing but scp: it could be written, and never unlocked or pruned.
var errScpOnly = errors.New("a repository needs its locks and old packs removed, which an account that may run nothing but scp cannot do: offer SFTP, give the account a shell, or make the job's kind archive")

// classify says what an error of a run means. What is met first along the chain
// decides: this package's own words, then the connection's, then the files'.
func classify(err error) cause {
	c := cause{class: classInternal, code: CodeJobFailed, err: err}
	if v, ok := errors.AsType[*verifyError](err); ok {
		c.class, c.code, c.qualifier, c.path, c.again = classVerify, CodeVerify, v.kind, v.path, v.kind != "missing"
		return c
	}
	if k, ok := errors.AsType[*keyError](err); ok && errors.Is(err, syscall.ENOSPC) {
		c.class, c.code, c.qualifier, c.path = classSource, CodeLocal, "no-space", pathOf(k.err)
		return c
	} else if ok {
		c.class, c.code, c.path, c.again = classKey, CodeKeyUnavailable, k.id, !errors.Is(err, envelope.ErrNotFound)
		return c
	}
	if h, ok := errors.AsType[*heldError](err); ok {
		c.class, c.code, c.remote = classPassword, sshpolicy.CodeAuthFailed, fmt.Sprintf("%d refusals", h.failures)
		return c
	}
	if _, ok := errors.AsType[*credentialError](err); ok {
		c.class, c.code, c.qualifier = classPassword, sshpolicy.CodeAuthFailed, "credential"
		return c
	}
	if d, ok := errors.AsType[*connectError](err); ok {
		return classifyConnect(c, d)
	}
	if errors.Is(err, errScpOnly) {
		c.class, c.qualifier = classProtocol, scpOnly
		return c
	}
	if f, ok := errors.AsType[*sshpolicy.FileError](err); ok {
		return classifyFile(c, f)
	}
	return classifyLocal(c, err)
}

func classifyConnect(c cause, d *connectError) cause {
	c.code, c.qualifier, c.remote = fault.Code(d.result.Code), d.result.Qualifier, d.result.Error
	c.again = !sshpolicy.LockOut(d.err)
	switch d.result.Code {
	case sshpolicy.CodeNameNotResolved:
		c.class = classIP
	case sshpolicy.CodeUnreachable:
		c.class = classIP
		if c.qualifier == "timeout" {
			c.class = classTimeout
		}
	case sshpolicy.CodeAuthFailed:
		c.class = classPassword
	case sshpolicy.CodeNoCommonAlgorithm, sshpolicy.CodeCryptoError:
		c.class = classAlgorithm
	case sshpolicy.CodeHostKeyUnknown, sshpolicy.CodeHostKeyChanged:
		c.class, c.again = classTrust, false
	case sshpolicy.CodeNotSSH:
		c.class = classProtocol
	default: // we could not look: nothing is said of the server
		c.class, c.code = classInternal, CodeJobFailed
	}
	return c
}

func classifyFile(c cause, f *sshpolicy.FileError) cause {
	c.path, c.qualifier, c.free, c.need, c.again = f.Path, string(f.Kind), f.Free, f.Need, true
	if f.Err != nil {
		c.remote = f.Err.Error()
	}
	switch f.Kind {
	case sshpolicy.FileNoSpace, sshpolicy.FileQuota:
		c.class, c.code = classSpace, CodeNoSpace
		if f.Kind == sshpolicy.FileNoSpace {
			c.qualifier = ""
		}
	case sshpolicy.FileDenied:
		c.class, c.code, c.qualifier, c.again = classAccess, CodeAccessDenied, f.Why, false
	case sshpolicy.FileNotFound:
		c.class, c.code, c.qualifier, c.again = classAccess, CodeAccessDenied, "path", false
		if f.Why == "chroot" {
			c.qualifier = f.Why
		}
	case sshpolicy.FileStall:
		c.class, c.code = classTimeout, CodeTransfer
	case sshpolicy.FileReset, sshpolicy.FileShort:
		c.class, c.code = classTransfer, CodeTransfer
	case sshpolicy.FileUnsupported:
		c.class, c.code, c.again = classProtocol, CodeNoSFTP, false
		c.qualifier = "scp-disabled"
		if errors.Is(f, sshpolicy.ErrNoSFTP) {
			c.qualifier = "subsystem"
		}
	default:
		c.class, c.code, c.qualifier = classTransfer, CodeTransfer, ""
		if f.Op == "start" || f.Op == "open folder" { // neither protocol could be opened
			c.class, c.code, c.qualifier, c.again = classProtocol, CodeNoSFTP, "scp-disabled", false
		}
	}
	return c
}

func classifyLocal(c cause, err error) cause {
	switch root, command, trust, local := asType[*source.RootError](err), asType[*source.CommandError](err), asType[*source.TrustError](err), asType[*localError](err); {
	case root != nil:
		c.class, c.code, c.qualifier, c.path = classSource, CodeLocal, "source", (*root).Path
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, archive.ErrSpoolFull):
		c.class, c.code, c.qualifier, c.path = classSource, CodeLocal, "no-space", pathOf(err)
	case trust != nil:
		c.class, c.code, c.qualifier, c.path = classSource, CodeLocal, "untrusted", (*trust).Path
	case command != nil:
		c.class, c.code, c.qualifier, c.again = classSource, CodeLocal, "command", true
	case local != nil:
		c.class, c.code, c.qualifier, c.path = classSource, CodeLocal, (*local).qualifier, (*local).path
	case errors.Is(err, errRunTime):
		c.class, c.code, c.qualifier = classTimeout, CodeTransfer, "stall"
	case errors.Is(err, errPanic): // what it broke is not known: class internal
	case errors.Is(err, context.Canceled):
		c.class, c.qualifier = classInterrupted, "interrupted"
	}
	return c
}

// asType is the first error of type E along the chain, or nil.
func asType[E error](err error) *E {
	if e, ok := errors.AsType[E](err); ok {
		return &e
	}
	return nil
}

func pathOf(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Path
	}
	return ""
}
