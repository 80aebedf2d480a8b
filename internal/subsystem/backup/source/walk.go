package source

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// walker is one walk. It lives in one goroutine.
type walker struct {
	tree   *Tree
	ctx    context.Context
	report *Report
	visit  func(*Entry) error
	owners *owners
}

// parent goes through a folder above the roots, of which only the named children count.
func (w *walker) parent(in *folder, b *branch) error {
	if b.root { // the root is / itself
		return w.top()
	}
	for _, c := range b.below {
		path := in.path + "/" + c.name
		if c.root {
			if err := w.root(in, path, c.name); err != nil {
				return err
			}
			continue
		}
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		sub, err := w.openParent(in, path, c.name)
		if err != nil {
			return &RootError{Path: path, Err: err}
		}
		if err := w.inside(sub, &Entry{Path: path, Name: c.name, Meta: sub.meta, Parent: true}, func() error {
			return w.parent(sub, c)
		}); err != nil {
			return err
		}
	}
	return nil
}

// openParent opens a folder above a root for looking only. A link on the way is followed if root or our own user made
// it: the operator named the path, and nobody else may turn it elsewhere.
func (w *walker) openParent(in *folder, path, name string) (*folder, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	fd, err := openat(in.fd, name, flags|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOTDIR) {
		var st unix.Stat_t
		if err := fstatat(in.fd, name, &st); err != nil {
			return nil, err
		}
		if TypeOf(st.Mode) == Symlink && !trustedOwner(st.Uid) {
			return nil, fmt.Errorf("is a symbolic link made by user %d: name the place to which it leads", st.Uid)
		}
		fd, err = openat(in.fd, name, flags)
	}
	if err != nil {
		return nil, err
	}
	f, err := w.opened(in, fd, path)
	if err != nil {
		return nil, err
	}
	f.lookOnly = true
	in.park()
	return f, nil
}

// opened takes an open folder with its metadata.
func (w *walker) opened(in *folder, fd int, path string) (*folder, error) {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	m := &Meta{}
	m.fill(&st, w.owners)
	var err error
	if m.Xattrs, err = xattrsOf(fd); err != nil {
		w.report.Add(Skip{Path: path, Reason: Metadata, Err: err})
	}
	return &folder{fd: fd, dev: st.Dev, ino: st.Ino, path: path, above: in, meta: m, device: in.device}, nil
}

// top walks the root "/".
func (w *walker) top() error {
	fd, err := openat(unix.AT_FDCWD, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &RootError{Path: "/", Err: err}
	}
	f, err := w.opened(&folder{}, fd, "")
	if err != nil {
		return &RootError{Path: "/", Err: err}
	}
	defer f.close()
	f.device = f.dev
	return w.children(f)
}

// root walks one root, which is never left out.
func (w *walker) root(in *folder, path, name string) error {
	var st unix.Stat_t
	if err := fstatat(in.fd, name, &st); err != nil {
		return &RootError{Path: path, Err: err}
	}
	if TypeOf(st.Mode) == Symlink {
		target, _ := readlinkat(in.fd, name)
		w.report.Add(Skip{Path: path, Reason: LinkSource, Err: fmt.Errorf("the source is a symbolic link to %s: only the link is kept; name what it leads to", show(target))})
	}
	if TypeOf(st.Mode) == Dir { // a source that cannot be listed is no backup with one fault, it is no backup
		fd, err := openNoAtime(in.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return &RootError{Path: path, Err: err}
		}
		unix.Close(fd)
	}
	in.device = st.Dev
	return w.entry(in, path, name, &st)
}

// children walks all that is in a folder.
func (w *walker) children(f *folder) error {
	list := &lister{budget: listBudget}
	for {
		names, more, err := list.next(f.fd)
		if err != nil {
			w.report.Add(Skip{Path: f.path, Reason: Unreadable, Err: fmt.Errorf("list folder: %w", err)})
			return nil
		}
		for name := range names.all() {
			if err := w.child(f, name); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// child looks at one name in a folder below a root.
func (w *walker) child(f *folder, name string) error {
	path := f.path + "/" + name
	name = path[len(path)-len(name):] // one string for both
	var st unix.Stat_t
	if err := fstatat(f.fd, name, &st); err != nil {
		reason := Unreadable
		if errors.Is(err, unix.ENOENT) {
			reason = Vanished
		}
		w.report.Add(Skip{Path: path, Reason: reason, Err: fmt.Errorf("look: %w", err)})
		return nil
	}
	dir := TypeOf(st.Mode) == Dir
	tooBig := w.tree.maxFile > 0 && TypeOf(st.Mode) == Regular && st.Size > w.tree.maxFile
	if tooBig || w.tree.excluded(path, name, dir) || !dir && w.tree.oneFS && st.Dev != f.device {
		w.report.saw(func(s *Seen) { s.Excluded++ })
		return nil
	}
	return w.entry(f, path, name, &st)
}

// entry visits one thing.
func (w *walker) entry(in *folder, path, name string, st *unix.Stat_t) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	switch TypeOf(st.Mode) {
	case Dir:
		return w.dir(in, path, name, st)
	case Socket:
		w.report.saw(func(s *Seen) { s.Sockets++ })
		return nil
	case "":
		w.report.Add(Skip{Path: path, Reason: LeftOut, Err: fmt.Errorf("unknown kind of file, mode %#o", st.Mode)})
		return nil
	}
	m := &Meta{}
	m.fill(st, w.owners)
	if m.Type == Symlink {
		target, err := readlinkat(in.fd, name)
		if err != nil {
			w.report.Add(Skip{Path: path, Reason: Unreadable, Err: fmt.Errorf("read link: %w", err)})
			return nil
		}
		m.LinkTarget = target
	}
	var err error
	if m.Xattrs, err = xattrsBelow(in.fd, name); err != nil {
		w.report.Add(Skip{Path: path, Reason: Metadata, Err: err})
	}
	w.report.saw(func(s *Seen) {
		if m.Type != Regular {
			s.Others++
			return
		}
		s.Files++
		s.Bytes += m.Size
	})
	return w.visit(&Entry{Step: Item, Path: path, Name: name, Meta: m, w: w, in: in})
}

// dir walks a folder below a root. One that cannot be opened is kept with its metadata and nothing in it.
func (w *walker) dir(in *folder, path, name string, st *unix.Stat_t) error {
	fd, err := openNoAtime(in.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		w.report.Add(Skip{Path: path, Reason: Vanished, Err: err})
		return nil
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP):
		w.report.Add(Skip{Path: path, Reason: Swapped, Err: errors.New("is no folder any more")})
		return nil
	case err != nil:
		w.report.Add(Skip{Path: path, Reason: Unreadable, Err: fmt.Errorf("open folder: %w", err)})
		m := &Meta{}
		m.fill(st, w.owners)
		m.Xattrs, _ = xattrsBelow(in.fd, name) // what is told about the folder is that it cannot be read
		return w.inside(&folder{fd: -1, above: in, meta: m}, &Entry{Path: path, Name: name, Meta: m}, func() error { return nil })
	}
	f, err := w.opened(in, fd, path)
	if err != nil {
		w.report.Add(Skip{Path: path, Reason: Unreadable, Err: fmt.Errorf("look: %w", err)})
		return nil
	}
	in.park()
	return w.inside(f, &Entry{Path: path, Name: name, Meta: f.meta}, func() error {
		if w.foreign(f) {
			w.report.saw(func(s *Seen) { s.Excluded++ })
			return nil
		}
		return w.children(f)
	})
}

// inside visits a folder around what is in it, then closes it and makes the one above usable again.
func (w *walker) inside(f *folder, e *Entry, within func() error) (err error) {
	defer func() {
		if back := f.leave(); back != nil && err == nil {
			err = back
		}
	}()
	w.report.saw(func(s *Seen) { s.Dirs++ })
	enter, leave := *e, *e
	enter.Step, leave.Step = Enter, Leave
	if err := w.visit(&enter); err != nil {
		return err
	}
	if err := within(); err != nil {
		return err
	}
	return w.visit(&leave)
}

// foreign tells whether what is mounted on the folder is left out: because one file system only was asked for, or
// because it is a kernel's own, whose files mean nothing on another day.
func (w *walker) foreign(f *folder) bool {
	if f.dev == f.device {
		return false
	}
	if w.tree.oneFS {
		return true
	}
	var st unix.Statfs_t
	if f.above.dev == f.dev || unix.Fstatfs(f.fd, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
		unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC, unix.SELINUX_MAGIC:
		return true
	}
	return false
}
