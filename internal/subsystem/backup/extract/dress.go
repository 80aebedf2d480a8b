package extract

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/source"
)

// target is a thing that is given its metadata: open as fd, a link or special file only for looking.
type target struct {
	fd       int
	in       *level // where it stands
	name     string // in there
	path     string // for reports
	inherits bool   // it is new and may have taken access lists over from the folder
}

// dress gives owner, attributes, times and, last because a change of owner takes setuid bits away, the mode. What cannot
// be set is in the report.
func (x *writer) dress(t target, m *source.Meta) {
	var wrong []error
	note := func(what string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", what, err))
		}
	}
	note("owner", x.own(t.fd, m))
	x.xattrs(t, m, note)
	note("times", setTimes(t, m))
	if m.Type != source.Symlink {
		note("mode", chmod(t.fd, x.mode(m), m.Type))
	}
	if len(wrong) > 0 {
		x.r.incomplete(t.path, errors.Join(wrong...))
	}
}

// own sets owner and group. Without root the owner is who restores, and the group is set where he is in it.
func (x *writer) own(fd int, m *source.Meta) error {
	if x.root {
		return fchown(fd, int(m.UID), int(m.GID))
	}
	if int(m.GID) == os.Getegid() && int(m.UID) == os.Geteuid() {
		return nil
	}
	if err := fchown(fd, -1, int(m.GID)); err != nil || int(m.UID) != os.Geteuid() {
		x.r.Held.Owners++
	}
	return nil
}

func fchown(fd, uid, gid int) error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) }

// mode answers the bits to set.
func (x *writer) mode(m *source.Meta) uint32 {
	bits := source.UnixMode(m.Mode)
	const setID = unix.S_ISUID | unix.S_ISGID
	if m.Type == source.Dir || bits&setID == 0 || x.Privileged {
		return bits
	}
	x.r.Held.SetID++
	return bits &^ setID
}

// chmod changes what is open, also if only for looking.
func chmod(fd int, mode uint32, t source.Type) error {
	if t == source.Regular || t == source.Dir {
		return unix.Fchmod(fd, mode)
	}
	return unix.Fchmodat(unix.AT_FDCWD, procFD(fd), mode, 0)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inheritable are the attributes that a new thing takes over from its folder.
var inheritable = [...]string{"system.posix_acl_access", "system.posix_acl_default"}

// xattrs sets the attributes. One that the new thing took over from its folder but did not have is taken away.
func (x *writer) xattrs(t target, m *source.Meta, note func(string, error)) {
	path := procFD(t.fd)
	set := func(name string, value []byte) error { return unix.Setxattr(path, name, value, 0) }
	if m.Type == source.Symlink {
		path = procFD(t.in.fd) + "/" + t.name
		set = func(name string, value []byte) error { return unix.Lsetxattr(path, name, value, 0) }
	}
	had := map[string]bool{}
	for _, a := range m.Xattrs {
		if system(a.Name) && !x.Privileged {
			x.r.Held.Xattrs++
			continue
		}
		if t.inherits {
			had[a.Name] = true
		}
		if a.Name == "" || strings.IndexByte(a.Name, 0) >= 0 {
			note("extended attribute", fmt.Errorf("name %q: %w", a.Name, fs.ErrInvalid))
			continue
		}
		note("extended attribute "+strconv.Quote(a.Name), set(a.Name, a.Value))
	}
	if !t.inherits || m.Type == source.Symlink {
		return
	}
	for _, name := range inheritable {
		if had[name] || name == inheritable[1] && m.Type != source.Dir {
			continue
		}
		if err := unix.Removexattr(path, name); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			note("take an inherited access list away", err)
		}
	}
}

// system tells which attributes only a privileged restore may set: capabilities, labels, overlay marks.
func system(name string) bool {
	return strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.")
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// setTimes sets access and modification time, in seconds and nanoseconds: no year is too far.
func setTimes(t target, m *source.Meta) error {
	access := m.AccessTime
	if access.IsZero() {
		access = m.ModTime
	}
	ts := [2]unix.Timespec{timespec(access), timespec(m.ModTime)}
	if m.Type == source.Regular || m.Type == source.Dir {
		return unix.UtimesNanoAt(unix.AT_FDCWD, procFD(t.fd), ts[:], 0)
	}
	return unix.UtimesNanoAt(t.in.fd, t.name, ts[:], unix.AT_SYMLINK_NOFOLLOW) // the way over /proc would follow a link
}
