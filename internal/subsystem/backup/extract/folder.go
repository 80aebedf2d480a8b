package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/source"
)

// maxOpen bounds the open folders, however deep the tree is; those further up are found again through "..".
const maxOpen = 64

// maxExtra bounds how many things Replace removes.
const maxExtra = 1 << 20

// level is a folder on the way from the destination to where we stand.
type level struct {
	fd       int // -1: closed for now
	id       fileID
	name     string
	path     string
	meta     *source.Meta    // given to it when we leave; nil: not in the stream, or the destination itself
	inherits bool            // has a default access list, which new files take over
	fresh    bool            // made by us
	replace  bool            // what the stream does not have is removed
	have     map[string]bool // names that the stream has, with replace
}

func (l *level) has(name string) {
	if l.have != nil {
		l.have[name] = true
	}
}

// goTo makes the folder the place where we stand: leaves those that it is not in and enters, or makes, the others.
func (x *writer) goTo(folder string) error {
	names := []string{}
	if folder != "" {
		names = strings.Split(folder, "/")
	}
	common := 0
	for common < len(names) && common+1 < len(x.stack) && x.stack[common+1].name == names[common] {
		common++
	}
	for len(x.stack) > common+1 {
		if err := x.leave(); err != nil {
			return err
		}
	}
	for _, name := range names[common:] {
		if err := x.enter(name); err != nil {
			return err
		}
	}
	return nil
}

// enter goes into a folder of the one where we stand. A new one is closed to all others until we leave it.
func (x *writer) enter(name string) error {
	in := x.stack[len(x.stack)-1]
	in.has(name)
	l := &level{name: name, path: path.Join(in.path, name), replace: in.replace}
	err := unix.Mkdirat(in.fd, name, 0o700)
	l.fresh = err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make folder %s: %w", show(l.path), err)
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	l.fd, err = openat(in.fd, name, flags)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // something else is there: it makes room
		if err = unix.Unlinkat(in.fd, name, 0); err == nil {
			err = unix.Mkdirat(in.fd, name, 0o700)
		}
		if err == nil {
			l.fresh = true
			l.fd, err = openat(in.fd, name, flags)
		}
	}
	if err != nil {
		return fmt.Errorf("open folder %s: %w", show(l.path), err)
	}
	var st unix.Stat_t
	if err := fstat(l.fd, &st); err != nil {
		unix.Close(l.fd)
		return fmt.Errorf("look at folder %s: %w", show(l.path), err)
	}
	l.id = fileID{st.Dev, st.Ino}
	l.inherits = in.inherits || !l.fresh && hasDefaultACL(l.fd)
	if l.replace = l.replace || slices.Contains(x.Replace, l.path); l.replace {
		l.have = map[string]bool{}
	}
	x.stack = append(x.stack, l)
	if far := len(x.stack) - 1 - maxOpen; far > 0 {
		x.stack[far].close()
	}
	return nil
}

func (l *level) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
		l.fd = -1
	}
}

// errMoved ends a restore: the folders above cannot be found any more.
var errMoved = errors.New("was moved elsewhere while it was restored")

// leave gives the innermost folder its metadata and goes back to the one above.
func (x *writer) leave() error {
	l, up := x.stack[len(x.stack)-1], x.stack[len(x.stack)-2]
	x.stack = x.stack[:len(x.stack)-1]
	defer l.close()
	x.compare(l)
	var moved error
	if up.fd < 0 && len(x.stack) > 1 {
		moved = l.reopenAbove(up)
	}
	if l.meta != nil {
		x.dress(target{fd: l.fd, in: up, name: l.name, path: l.path, inherits: l.fresh && up.inherits}, l.meta)
		x.r.Folders++
	}
	return moved
}

// reopenAbove finds the folder above again, which must be the very same one.
func (l *level) reopenAbove(up *level) error {
	fd, err := openat(l.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("return from %s to the folder above: %w", show(l.path), err)
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil || up.id != (fileID{st.Dev, st.Ino}) {
		unix.Close(fd)
		return fmt.Errorf("folder %s: %w", show(l.path), errMoved)
	}
	up.fd = fd
	return nil
}

// open opens a folder below the destination, without any link on the way. The caller closes it.
func (x *writer) open(folder string) (int, error) {
	fd, err := unix.FcntlInt(uintptr(x.stack[0].fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || folder == "" {
		return fd, err
	}
	for name := range strings.SplitSeq(folder, "/") {
		next, err := openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// compare notes what a folder holds beyond the stream.
func (x *writer) compare(l *level) {
	if !l.replace || l.fresh || l.fd < 0 {
		return
	}
	fd, err := openat(l.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		x.r.incomplete(l.path, fmt.Errorf("list folder: %w", err))
		return
	}
	dir := os.NewFile(uintptr(fd), l.path)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if !l.have[name] && len(x.extra) <= maxExtra {
				x.extra = append(x.extra, path.Join(l.path, name))
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

// removeExtra removes what the stream does not have, once all that it has is in place.
func (x *writer) removeExtra(ctx context.Context) error {
	switch {
	case x.r.Missing > 0:
		return fmt.Errorf("nothing was removed: %d things could not be restored", x.r.Missing)
	case len(x.extra) > maxExtra:
		return fmt.Errorf("nothing was removed: more than %d things are not in the backup", maxExtra)
	}
	for _, p := range x.extra {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		dir, name := path.Split(p)
		fd, err := x.open(strings.TrimSuffix(dir, "/"))
		if err == nil {
			err = removeAll(fd, name)
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			x.r.incomplete(p, fmt.Errorf("remove: %w", err))
			continue
		}
		x.r.Removed++
	}
	return nil
}

// removeAll removes a thing with everything in it, never through a link.
func removeAll(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	root, rerr := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir))
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	defer root.Close()
	return root.RemoveAll(name)
}

// hasDefaultACL tells whether what is made in the folder takes an access list over from it.
func hasDefaultACL(fd int) bool {
	n, err := unix.Fgetxattr(fd, "system.posix_acl_default", nil)
	return err == nil && n > 0
}

// openat opens with O_CLOEXEC, again when a signal came in between.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func fstatat(dir int, name string, st *unix.Stat_t) error {
	for {
		if err := unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
