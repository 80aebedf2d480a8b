package extract

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/source"
)

// Options say how to restore.
type Options struct {
	// Privileged restores setuid and setgid bits, devices and the attributes security.* and trusted.*. It takes root.
	Privileged bool
	// Replace are paths of the stream below which everything is removed that the stream does not have: "replace" instead
	// of "merge". "." is the whole destination. Nothing is removed unless the whole stream was restored without a
	// single thing missing; only a folder in whose very place the stream has something else goes at once.
	Replace []string
	// SkipSame leaves the content of files alone that are there already with the same size and modification time, as
	// after a restore that was broken off.
	SkipSame bool
	// Sync asks the kernel to write everything to the disk before To returns.
	Sync bool
	// Progress, if not nil, is called after each entry with the report so far. It must not keep it.
	Progress func(r *Report)
}

// TempPrefix begins the names of files that are not whole yet. Only a killed process leaves one behind.
const TempPrefix = ".allclear-restore-"

// ErrNotRoot: Privileged needs root.
var ErrNotRoot = errors.New("restoring setuid bits, devices and system attributes takes root")

// errFolder: a folder is never removed to make room for something else, unless that was asked for.
var errFolder = errors.New("a folder of this name is there")

// To restores a stream below the folder dest, which is made if it is not there. What goes wrong with one entry is in
// the report, and To goes on; it stops, with an error, when the stream does, when ctx ends, or when nothing more can
// be written (no space, read-only, input/output error). Folders are given their metadata in every case; no file stands
// half written under its name. Folders that the stream only implies are made with mode 0700.
//
// A file of the same name is replaced, in one step; a link is replaced, not followed; a folder stays and keeps what
// the stream does not have (see Options.Replace).
func To(ctx context.Context, dest string, stream Stream, o Options) (*Report, error) {
	r := &Report{}
	if o.Privileged && os.Geteuid() != 0 {
		return r, ErrNotRoot
	}
	for _, p := range o.Replace {
		if err := CheckName(p); err != nil && p != "." {
			return r, fmt.Errorf("replace: %w", err)
		}
	}
	if err := os.MkdirAll(dest, 0o700); err != nil {
		return r, fmt.Errorf("destination: %w", err)
	}
	fd, err := openat(unix.AT_FDCWD, dest, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return r, fmt.Errorf("destination %s: %w", show(dest), err)
	}
	x := &writer{Options: o, r: r, root: os.Geteuid() == 0, made: map[fileID]bool{}, temp: TempPrefix + rand.Text()[:16]}
	x.stack = []*level{{fd: fd, inherits: hasDefaultACL(fd), replace: slices.Contains(o.Replace, ".")}}
	if x.stack[0].replace {
		x.stack[0].have = map[string]bool{}
	}
	err = x.all(ctx, stream)
	for len(x.stack) > 1 {
		err = errors.Join(err, x.leave())
	}
	x.compare(x.stack[0])
	if err == nil && len(x.extra) > 0 {
		err = x.removeExtra(ctx)
	}
	if o.Sync && err == nil {
		if err = unix.Syncfs(fd); err != nil {
			err = fmt.Errorf("write %s to the disk: %w", show(dest), err)
		}
	}
	unix.Close(fd)
	r.Complete = err == nil
	return r, err
}

// writer is one restore.
type writer struct {
	Options
	r     *Report
	root  bool
	stack []*level // from the destination to where we stand
	temp  string   // the name of the one unfinished thing
	made  map[fileID]bool
	buf   []byte
	extra []string // paths that the stream does not have
}

type fileID struct{ dev, ino uint64 }

// all goes through the stream.
func (x *writer) all(ctx context.Context, stream Stream) error {
	for e, err := range stream {
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := x.entry(ctx, e); err != nil {
			if fatal(err) || ctx.Err() != nil {
				return fmt.Errorf("restore %s: %w", show(e.Path), err)
			}
			x.r.missing(e.Path, err)
		} else {
			x.r.Last = e.Path
		}
		if x.Progress != nil {
			x.Progress(x.r)
		}
	}
	return nil
}

// fatal tells whether an error would meet every further file too.
func fatal(err error) bool {
	if _, ok := errors.AsType[*contentError](err); ok {
		return false
	}
	return slices.ContainsFunc([]error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, errMoved}, func(e error) bool {
		return errors.Is(err, e)
	})
}

// errHeld: held back and counted; nothing is wrong.
var errHeld = errors.New("held back")

// entry restores one thing.
func (x *writer) entry(ctx context.Context, e *Entry) error {
	if err := CheckName(e.Path); err != nil {
		return err
	}
	if e.Meta.Type == source.Dir {
		if err := x.goTo(e.Path); err != nil {
			return err
		}
		x.stack[len(x.stack)-1].meta = &e.Meta
		return nil
	}
	dir, name := path.Split(e.Path)
	if err := x.goTo(strings.TrimSuffix(dir, "/")); err != nil {
		return err
	}
	in := x.stack[len(x.stack)-1]
	in.has(name)
	err := x.item(ctx, in, name, e)
	if errors.Is(err, errHeld) {
		return nil
	}
	return err
}

// item restores anything but a folder, first under the temporary name.
func (x *writer) item(ctx context.Context, in *level, name string, e *Entry) error {
	switch {
	case e.HardLink != "":
		if err := x.hardLink(in, name, e); err != nil {
			return err
		}
		x.r.HardLinks++
		return nil
	case e.Meta.Type == source.Regular:
		if err := x.file(ctx, in, name, e); err != nil {
			return err
		}
		x.r.Files++
		return nil
	case e.Meta.Type == source.Socket:
		x.r.Held.Sockets++
		return errHeld
	case e.Meta.Type == source.Symlink:
		if err := x.special(in, name, e, func() error { return unix.Symlinkat(e.Meta.LinkTarget, in.fd, x.temp) }); err != nil {
			return err
		}
		x.r.Links++
		return nil
	}
	var mode uint32
	switch e.Meta.Type {
	case source.Fifo:
		mode = unix.S_IFIFO
	case source.Device:
		mode = unix.S_IFBLK
	case source.CharDevice:
		mode = unix.S_IFCHR
	default:
		return fmt.Errorf("unknown kind %q", e.Meta.Type)
	}
	if mode != unix.S_IFIFO && !x.Privileged {
		x.r.Held.Devices++
		return errHeld
	}
	if err := x.special(in, name, e, func() error { return unix.Mknodat(in.fd, x.temp, mode|0o600, int(e.Meta.Device)) }); err != nil {
		return err
	}
	x.r.Specials++
	return nil
}

// place gives the finished thing its name.
func (x *writer) place(in *level, name string) error {
	err := unix.Renameat(in.fd, x.temp, in.fd, name)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		if !in.replace {
			return errFolder
		}
		if err = removeAll(in.fd, name); err == nil {
			err = unix.Renameat(in.fd, x.temp, in.fd, name)
		}
	}
	if err != nil {
		return fmt.Errorf("give it its name: %w", err)
	}
	return nil
}

// drop removes what is not finished.
func (x *writer) drop(in *level) { _ = unix.Unlinkat(in.fd, x.temp, 0) } // not there is as good

// special restores what has no content. Between making and owning it nobody may have put another thing in its place,
// which would be given away then: it is held open for looking and looked at first.
func (x *writer) special(in *level, name string, e *Entry, mk func() error) (err error) {
	if err := mk(); err != nil {
		return fmt.Errorf("make %s: %w", e.Meta.Type, err)
	}
	defer func() {
		if err != nil {
			x.drop(in)
		}
	}()
	fd, err := openat(in.fd, x.temp, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("look at the new %s: %w", e.Meta.Type, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return fmt.Errorf("look at the new %s: %w", e.Meta.Type, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Nlink != 1 || typeOf(&st) != e.Meta.Type {
		return errors.New("another process put something else in its place")
	}
	x.dress(target{fd: fd, in: in, name: x.temp, path: e.Path, inherits: in.inherits}, &e.Meta)
	return x.place(in, name)
}

func typeOf(st *unix.Stat_t) source.Type { return source.TypeOf(st.Mode) }

// hardLink makes another name for a file of this restore, and of no other: what stands under the earlier name must be
// what was put there.
func (x *writer) hardLink(in *level, name string, e *Entry) error {
	if err := CheckName(e.HardLink); err != nil {
		return fmt.Errorf("is a hard link to a bad name: %w", err)
	}
	dir, base := path.Split(e.HardLink)
	from, err := x.open(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return fmt.Errorf("is a hard link to %s, whose folder cannot be reached: %w", show(e.HardLink), err)
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := fstatat(from, base, &st); err != nil || !x.made[fileID{st.Dev, st.Ino}] {
		return fmt.Errorf("is a hard link to %s, which was not restored", show(e.HardLink))
	}
	if err := unix.Linkat(from, base, in.fd, x.temp, 0); err != nil {
		return fmt.Errorf("link to %s: %w", show(e.HardLink), err)
	}
	err = x.place(in, name)
	x.drop(in) // renaming one name of a file over another one does nothing, successfully
	return err
}
