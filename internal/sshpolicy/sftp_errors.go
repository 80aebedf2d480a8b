package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"strings"

	"github.com/pkg/sftp"
)

// fail makes a *FileError of an error of the library; nil stays nil.
func (f *SFTP) fail(ctx context.Context, op, full string, err error) error {
	if err == nil {
		return nil
	}
	if e := f.s.ended(ctx, op, full, err); e != nil {
		return e
	}
	e := &FileError{Op: op, Path: full, Kind: FileOther, Err: err}
	status, isStatus := errors.AsType[*sftp.StatusError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = FileNotFound
		if f.chroot {
			e.Why = WhyChroot
		}
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Why = FileDenied, WhyPermission
	case isStatus && status.FxCode() == sftp.ErrSSHFxOpUnsupported:
		e.Kind = FileUnsupported
	case isStatus:
		e.Kind, e.Why = kindOfWords(status.Error())
	}
	return e
}

// ended makes the error of an operation that the end of ctx, of the session or
// of its channel cut short; nil when none of them did.
func (s *Session) ended(ctx context.Context, op, full string, err error) error {
	_, network := errors.AsType[*net.OpError](err)
	lost := network || isEnd(err) || errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed)
	cause := s.Err()
	if lost && cause == nil {
		cause = s.endedSoon()
	}
	if ctx.Err() != nil && (cause != nil || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return fmt.Errorf("%s %s: %w", op, printable(full, 512), context.Cause(ctx))
	}
	if _, stalled := errors.AsType[*StallError](cause); stalled {
		return &FileError{Op: op, Path: full, Kind: FileStall, Err: cause}
	}
	if cause != nil {
		return &FileError{Op: op, Path: full, Kind: FileReset, Err: cause}
	}
	if lost {
		return &FileError{Op: op, Path: full, Kind: FileReset, Err: errors.New("the program at the server ended in the middle")}
	}
	return nil
}

// kindOfWords reads what servers say beside a plain "Failure": most hand on the
// text of their system's error.
func kindOfWords(words string) (kind FileErrorKind, why string) {
	words = strings.ToLower(words)
	for _, w := range []struct {
		text string
		kind FileErrorKind
		why  string
	}{
		{"no space left", FileNoSpace, ""},
		{"disk full", FileNoSpace, ""},
		{"quota", FileQuota, ""},
		{"read-only file system", FileDenied, WhyReadOnly},
		{"permission denied", FileDenied, WhyPermission},
		{"operation not permitted", FileDenied, WhyPermission},
		{"no such file", FileNotFound, ""},
		{"file exists", FileExists, ""},
		{"already exists", FileExists, ""},
	} {
		if strings.Contains(words, w.text) {
			return w.kind, w.why
		}
	}
	return FileOther, ""
}

// littleSpace is when a file system counts as full for a file of unknown size.
const littleSpace = 1 << 20

// readOnlyFlag is SSH_FXE_STATVFS_ST_RDONLY (OpenSSH PROTOCOL section 4.4).
const readOnlyFlag = 1

// refine finds out what is behind a plain "Failure" to store something: a disk
// that is full, read-only, or has room that is not for us. size is -1 when
// unknown. It asks the server, so the caller's guard must still stand.
func (f *SFTP) refine(err error, size, stored int64) error {
	e, ok := errors.AsType[*FileError](err)
	if !ok || e.Kind != FileOther && e.Kind != FileNoSpace && e.Kind != FileQuota || f.s.Err() != nil {
		return err
	}
	if _, isStatus := errors.AsType[*sftp.StatusError](e.Err); !isStatus || !f.has(statVFS) {
		return err
	}
	v, asked := f.client.StatVFS(f.folder)
	if asked != nil {
		return err // the first error is the one to tell
	}
	now := saturate(v.Frsize, v.Bavail)
	left := uint64(littleSpace)
	if size > stored {
		left = max(left, uint64(size-stored))
	}
	e.Free = now + uint64(max(stored, 0)) // what was stored is given back
	if size > 0 {
		e.Need = uint64(size)
	}
	switch {
	case v.Flag&readOnlyFlag != 0:
		e.Kind, e.Why = FileDenied, WhyReadOnly
	case e.Kind != FileOther:
	case now < left, v.Files > 0 && v.Favail == 0:
		e.Kind = FileNoSpace
	case stored > 0:
		e.Kind = FileQuota
	}
	return e
}

// saturate multiplies without going around.
func saturate(a, b uint64) uint64 {
	if b != 0 && a > math.MaxUint64/b {
		return math.MaxUint64
	}
	return a * b
}
