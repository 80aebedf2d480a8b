package sshpolicy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Protocol is how files travel within a session.
type Protocol string

// The protocols.
const (
	ProtocolSFTP Protocol = "sftp"
	ProtocolSCP  Protocol = "scp"
	ProtocolAny  Protocol = "any" // SFTP, and SCP where the server has no SFTP
)

// Files are the files below one folder at the server. Names are relative to
// it, with "/", never absolute and never with "..". It is safe for concurrent
// use. Errors are *FileError, except for those of ctx and of a source.
type Files interface {
	// Save stores what r gives under name: nothing partial ever stands there.
	// size is how many bytes r will give, -1 when unknown. It answers how many
	// bytes were stored. r must come to an end when ctx does.
	Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error)
	// Open reads length bytes from offset on, or to the end when length is -1.
	// A file that ends before is FileShort.
	Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
	// List is not recursive, and sorted by name; "." is the folder itself.
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
	Remove(ctx context.Context, name string) error
	// Mkdir makes a folder and those above it, mode 0700; one that is there is
	// no error.
	Mkdir(ctx context.Context, dir string) error
	// Space is in bytes: what the account may use, and what the disk has.
	Space(ctx context.Context) (free, total uint64, err error)
	Protocol() Protocol
	// Notes are what a person should know about the way files are stored here.
	Notes() []string
	// Close ends the use of the files, not the session.
	Close() error
}

// FileErrorKind is why an operation on files failed.
type FileErrorKind string

// The kinds.
const (
	FileNoSpace     FileErrorKind = "no-space"
	FileQuota       FileErrorKind = "quota"
	FileDenied      FileErrorKind = "denied"
	FileNotFound    FileErrorKind = "not-found"
	FileExists      FileErrorKind = "exists"
	FileStall       FileErrorKind = "stall"
	FileReset       FileErrorKind = "reset" // the connection or the program at the server is gone
	FileShort       FileErrorKind = "short" // fewer bytes, or other bytes, than there must be
	FileUnsupported FileErrorKind = "unsupported"
	FileOther       FileErrorKind = "other"
)

// Whys of a FileError: what lies behind FileDenied and FileNotFound.
const (
	WhyPermission = "permission"
	WhyReadOnly   = "read-only" // the file system is
	WhyChroot     = "chroot"    // the account sees another root than the server's own
)

// FileError is an operation on a file at the server that failed.
type FileError struct {
	Op   string // "save", "open", "read", "stat", "list", "remove", "mkdir", "space", "open folder", "start"
	Path string // as the server knows it
	Kind FileErrorKind
	Why  string // one of the Why constants, or ""
	// Free and Need are bytes, for FileNoSpace and FileQuota; Need is 0 when
	// the size was not known.
	Free, Need uint64
	Err        error
}

func (e *FileError) Error() string {
	text := e.Op + " " + printable(e.Path, 512) + ": "
	switch e.Kind {
	case FileNoSpace:
		text += fmt.Sprintf("no space at the server: %d bytes are free", e.Free)
		if e.Need > 0 {
			text += fmt.Sprintf(", %d are needed", e.Need)
		}
	case FileQuota:
		text += fmt.Sprintf("the server stores no more for this account, although %d bytes are free: a quota or a limit", e.Free)
	case FileDenied:
		text += "the server does not allow it"
		if e.Why == WhyReadOnly {
			text += ": the file system is read-only"
		}
	case FileNotFound:
		text += "no such file or folder"
		if e.Why == WhyChroot {
			text += "; the account is locked into a folder of its own (chroot), so paths begin there"
		}
	case FileExists:
		text += "it exists already"
	default:
		return text + fmt.Sprint(e.Err)
	}
	if e.Err != nil && e.Kind != FileNotFound && e.Kind != FileExists {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Is makes the kinds that package fs and errors know comparable with theirs.
func (e *FileError) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Kind == FileNotFound
	case fs.ErrExist:
		return e.Kind == FileExists
	case fs.ErrPermission:
		return e.Kind == FileDenied
	case errors.ErrUnsupported:
		return e.Kind == FileUnsupported
	}
	return false
}

// TempMark stands in the name of a file that is being saved: NAME, the mark, 32
// hexadecimal digits. One that stays belongs to a Save whose session died.
const TempMark = "-allclear-temp-"

// IsTemp claims that a file of this name was never finished.
func IsTemp(name string) bool {
	base := path.Base(name)
	i := strings.LastIndex(base, TempMark)
	if i < 0 || len(base)-i-len(TempMark) != 32 {
		return false
	}
	_, err := hex.DecodeString(base[i+len(TempMark):])
	return err == nil
}

func tempName(name string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return name + TempMark + hex.EncodeToString(b[:])
}

// fullName is the path at the server of a name below the folder.
func fullName(op, folder, name string) (string, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return "", &FileError{Op: op, Path: name, Kind: FileOther, Err: errors.New("the name is no relative path, or has . or .. in it")}
	}
	return path.Join(folder, name), nil
}

// folderName checks the folder that files are below of.
func folderName(folder string) (string, error) {
	if folder == "" {
		folder = "."
	}
	if strings.ContainsFunc(folder, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("folder %q: holds control bytes", folder)
	}
	return path.Clean(folder), nil
}

// Files opens a folder at the server. It must exist. With ProtocolAny (or "")
// SCP is used where the server has no SFTP, and Notes says so; any other
// failure of SFTP is an error.
func (s *Session) Files(ctx context.Context, folder string, p Protocol) (Files, error) {
	switch p {
	case ProtocolSFTP:
		return orNil(s.SFTP(ctx, folder))
	case ProtocolSCP:
		return orNil(s.SCP(ctx, folder))
	case ProtocolAny, "":
	default:
		return nil, fmt.Errorf("no protocol %q; known: %s, %s, %s", p, ProtocolSFTP, ProtocolSCP, ProtocolAny)
	}
	files, err := s.SFTP(ctx, folder)
	if !errors.Is(err, ErrNoSFTP) {
		return orNil(files, err)
	}
	scp, err := s.SCP(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("the server has no SFTP, and SCP failed: %w", err)
	}
	scp.notes = append([]string{"the server has no SFTP subsystem: files travel by SCP"}, scp.notes...)
	return scp, nil
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func orNil[T Files](files T, err error) (Files, error) {
	if err != nil {
		return nil, err
	}
	return files, nil
}

// source is a reader that is being saved: it counts, keeps its own error apart
// from the server's, and ends with ctx.
type source struct {
	ctx   context.Context
	r     io.Reader
	g     *guard
	count func(n int)
	got   int64
	err   error // of the reader, nil for its end
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	s.g.rest()
	n, err := s.r.Read(p)
	s.g.resume()
	s.got += int64(n)
	s.count(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
