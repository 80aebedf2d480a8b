package sshpolicy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// SCP is a folder at the server, by the old copy protocol: one program at the
// server for each operation. It meets Files.
//
// An account with a shell gets what SFTP gives: a temporary name, a checksum
// made at the server, a rename. An account that may only run scp gets what scp
// can do: the file goes straight under its name, is read back and compared, and
// is made empty when it is not right; nothing can be removed.
type SCP struct {
	s      *Session
	folder string
	shell  bool // commands other than scp work
	notes  []string
}

var _ Files = (*SCP)(nil)

// SCP opens a folder by SCP.
func (s *Session) SCP(ctx context.Context, folder string) (*SCP, error) {
	if s.Transport() == OpenSSH {
		return nil, &FileError{Op: "start", Path: "scp", Kind: FileUnsupported, Err: errors.New("the openssh transport carries SFTP only")}
	}
	if s.result.Server.Family == "proftpd" {
		// mod_sftp keeps the options of one scp for the next in the same
		// connection (scp_opts in its scp.c): after a read, a write sends.
		return nil, &FileError{Op: "start", Path: "scp", Kind: FileUnsupported, Err: errors.New("ProFTPD's mod_sftp mixes up reading and writing by SCP within a connection; use SFTP there")}
	}
	folder, err := folderName(folder)
	if err != nil {
		return nil, err
	}
	f := &SCP{s: s, folder: folder}
	if f.shell, err = f.hasShell(ctx); err != nil {
		return nil, err
	}
	if !f.shell {
		f.notes = append(f.notes,
			"the account may run nothing but scp: files are stored under their final name at once, read back and compared; old ones cannot be removed from here")
	}
	info, err := f.Stat(ctx, ".")
	if err != nil {
		return nil, renamed(err, "open folder")
	}
	if !info.IsDir() {
		return nil, &FileError{Op: "open folder", Path: folder, Kind: FileOther, Err: errors.New("it is no folder")}
	}
	return f, nil
}

// renamed is the error of a part, told as that of the whole.
func renamed(err error, op string) error {
	if e, ok := errors.AsType[*FileError](err); ok {
		e.Op = op
	}
	return err
}

// Protocol implements Files.
func (f *SCP) Protocol() Protocol { return ProtocolSCP }

// Notes implements Files.
func (f *SCP) Notes() []string { return slices.Clone(f.notes) }

// Bare claims that the account may run nothing but scp: what is stored there can
// be overwritten and never removed.
func (f *SCP) Bare() bool { return !f.shell }

// Close implements Files. Each operation has ended by itself.
func (f *SCP) Close() error { return nil }

// Save implements Files. SCP announces the size first, so size must be known.
func (f *SCP) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	full, err := fullName("save", f.folder, name)
	if err != nil {
		return 0, err
	}
	if size < 0 {
		return 0, &FileError{Op: "save", Path: full, Kind: FileUnsupported, Err: errors.New("SCP must know the size beforehand")}
	}
	target := full
	if f.shell {
		target = tempName(full)
	}
	sum := sha256.New()
	stored, err := f.send(ctx, full, target, io.TeeReader(r, sum), size)
	if err == nil {
		err = f.verify(ctx, full, target, size, hex.EncodeToString(sum.Sum(nil)))
	}
	if err == nil && f.shell {
		err = f.command(ctx, "save", full, "mv -f "+quote(target)+" "+quote(full), nil)
	}
	if err != nil {
		return 0, f.undo(ctx, target, err)
	}
	return stored, nil
}

// undo takes away what a failed Save has left.
func (f *SCP) undo(ctx context.Context, target string, cause error) error {
	if f.s.Err() != nil {
		return cause
	}
	// A cancelled Save cleans up too; the guard bounds it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.s.options.Timeout)
	defer cancel()
	e, ok := errors.AsType[*FileError](cause)
	if f.shell {
		_ = f.command(ctx, "remove", target, "rm -f "+quote(target), nil) // the first error is the one to tell
		if ok && (e.Kind == FileNoSpace || e.Kind == FileQuota) {
			if free, _, err := f.Space(ctx); err == nil {
				e.Free = free
			}
		}
		return cause
	}
	if ok && (e.Kind == FileNotFound || e.Kind == FileDenied) {
		return cause // nothing was stored
	}
	if _, err := f.send(ctx, target, target, strings.NewReader(""), 0); err != nil {
		return fmt.Errorf("%w; what stands under %s is not whole and could not be made empty", cause, printable(target, 512))
	}
	return cause
}

// verify proves that the server holds what was sent: by the server's own
// checksum program where there is one, and by reading it back otherwise.
func (f *SCP) verify(ctx context.Context, full, target string, size int64, want string) error {
	got := ""
	if f.shell {
		var out strings.Builder
		if err := f.command(ctx, "save", full, "sha256sum < "+quote(target), &out); err == nil {
			got, _, _ = strings.Cut(out.String(), " ")
		} else if f.s.Err() != nil || ctx.Err() != nil {
			return err
		}
	}
	if len(got) != len(want) { // no such program, or not its answer
		var err error
		if got, err = f.readBack(ctx, full, target, size); err != nil {
			return err
		}
	}
	if got != want {
		return &FileError{Op: "save", Path: full, Kind: FileShort, Err: errors.New("the server holds other bytes than were sent (SHA-256)")}
	}
	return nil
}

func (f *SCP) readBack(ctx context.Context, full, target string, size int64) (string, error) {
	r, err := f.receive(ctx, "save", target, 0, -1)
	if err != nil {
		return "", fmt.Errorf("read back what was stored: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if closed := r.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", fmt.Errorf("read back what was stored: %w", err)
	}
	if n != size {
		return "", &FileError{Op: "save", Path: full, Kind: FileShort, Err: fmt.Errorf("the server holds %d bytes, %d were sent", n, size)}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Open implements Files. SCP sends files from the beginning, so what lies
// before offset is read and thrown away.
func (f *SCP) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	full, err := fullName("open", f.folder, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 {
		return nil, &FileError{Op: "open", Path: full, Kind: FileOther, Err: fmt.Errorf("no part of a file: %d bytes at %d", length, offset)}
	}
	return f.receive(ctx, "open", full, offset, length)
}

// Stat implements Files: scp says what it would send, and is refused.
func (f *SCP) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	full, err := fullName("stat", f.folder, name)
	if err != nil {
		return nil, err
	}
	var found fs.FileInfo
	err = f.tree(ctx, "stat", full, func(depth int, info scpInfo) bool {
		if depth == 0 {
			info.name = path.Base(full)
			found = info
		}
		return false
	})
	if err == nil && found == nil {
		err = &FileError{Op: "stat", Path: full, Kind: FileOther, Err: errors.New("scp said nothing about it")}
	}
	return found, err
}

// List implements Files: scp walks the tree, and each file is refused.
func (f *SCP) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	full, err := fullName("list", f.folder, dir)
	if err != nil {
		return nil, err
	}
	all := []fs.FileInfo{}
	isDir := false
	err = f.tree(ctx, "list", full, func(depth int, info scpInfo) bool {
		switch depth {
		case 0:
			isDir = info.IsDir()
			return isDir
		case 1:
			all = append(all, info)
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if !isDir {
		return nil, &FileError{Op: "list", Path: full, Kind: FileOther, Err: errors.New("it is no folder")}
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// Mkdir implements Files. Without a shell scp makes the folders that it is sent.
func (f *SCP) Mkdir(ctx context.Context, dir string) error {
	full, err := fullName("mkdir", f.folder, dir)
	if err != nil || dir == "." {
		return err
	}
	if f.shell {
		return f.command(ctx, "mkdir", full, "umask 077; mkdir -p "+quote(full), nil)
	}
	if info, err := f.Stat(ctx, dir); err == nil && info.IsDir() {
		return nil
	}
	return f.sendFolders(ctx, strings.Split(dir, "/"))
}

// Remove implements Files.
func (f *SCP) Remove(ctx context.Context, name string) error {
	full, err := fullName("remove", f.folder, name)
	if err != nil {
		return err
	}
	if !f.shell {
		return &FileError{Op: "remove", Path: full, Kind: FileUnsupported, Err: errors.New("the account may run nothing but scp, which cannot remove")}
	}
	return f.command(ctx, "remove", full, "rm "+quote(full)+" || rmdir "+quote(full), nil)
}

// Space implements Files.
func (f *SCP) Space(ctx context.Context) (free, total uint64, err error) {
	unsupported := &FileError{Op: "space", Path: f.folder, Kind: FileUnsupported, Err: errors.New("the account has no df")}
	if !f.shell {
		return 0, 0, unsupported
	}
	var out strings.Builder
	if err := f.command(ctx, "space", f.folder, "LC_ALL=C df -Pk "+quote(f.folder), &out); err != nil {
		if f.s.Err() != nil || ctx.Err() != nil {
			return 0, 0, err
		}
		return 0, 0, unsupported
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 6 {
		return 0, 0, unsupported
	}
	size, err1 := strconv.ParseUint(fields[1], 10, 54)
	left, err2 := strconv.ParseUint(fields[3], 10, 54)
	if err1 != nil || err2 != nil {
		return 0, 0, unsupported
	}
	return left << 10, size << 10, nil
}
