// Package source reads what is to be backed up: a tree of files with all their metadata ([Tree]) or the output of a
// command ([Command]).
//
// It decides what is read, in which order, and what is said about things that could not be read ([Report]). Where the
// bytes go, and in which form, is the business of packages archive and repository; putting them back is package
// extract's. Nothing here writes to the tree that it reads, not even access times where the system allows that.
//
// The tree changes while it is read, and others may change it on purpose. So everything is opened relative to an open
// folder, links are never followed, and what was opened is looked at again before it is read. Nothing that can be left
// out is left out silently.
package source

import (
	"io/fs"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Type is the kind of a thing in a file system, in the words of the repository format.
type Type string

// The kinds. Sockets are not backed up; the word is needed to read what others wrote.
const (
	Regular    Type = "file"
	Dir        Type = "dir"
	Symlink    Type = "symlink"
	Device     Type = "dev"
	CharDevice Type = "chardev"
	Fifo       Type = "fifo"
	Socket     Type = "socket"
)

// Xattr is an extended attribute. POSIX access lists are those named system.posix_acl_access and
// system.posix_acl_default.
type Xattr struct {
	Name  string
	Value []byte
}

// Meta is all that is kept of one thing besides its name and its content.
type Meta struct {
	Type Type
	// Mode holds the permissions, the type and the setuid, setgid and sticky bits, as package fs has them.
	Mode fs.FileMode
	// The times have nanoseconds and the local zone. They may lie outside the years 1677 to 2262, so never turn them
	// into nanoseconds since 1970.
	ModTime, AccessTime, ChangeTime time.Time
	UID, GID                        uint32
	// User and Group are names, "" where the numbers have none. Restoring goes by number.
	User, Group string
	// Inode and DeviceID together name the file on this machine; Links is the number of its names.
	Inode, DeviceID, Links uint64
	// Size is in bytes, of regular files only.
	Size int64
	// LinkTarget is what a symbolic link holds, byte by byte.
	LinkTarget string
	// Xattrs are in the order in which the system lists them, together at most [MaxXattrBytes].
	Xattrs []Xattr
	// Device is the number of a device as Linux's 64-bit dev_t.
	Device uint64
}

// TypeOf answers the kind for the file type bits of st_mode, "" for one that Linux does not have.
func TypeOf(mode uint32) Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return Regular
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFLNK:
		return Symlink
	case unix.S_IFBLK:
		return Device
	case unix.S_IFCHR:
		return CharDevice
	case unix.S_IFIFO:
		return Fifo
	case unix.S_IFSOCK:
		return Socket
	}
	return ""
}

// FileMode answers Go's mode for the kind and the twelve low bits of a Unix mode.
func (t Type) FileMode(unixMode uint32) fs.FileMode {
	mode := fs.FileMode(unixMode & 0o777)
	switch t {
	case Dir:
		mode |= fs.ModeDir
	case Symlink:
		mode |= fs.ModeSymlink
	case Device:
		mode |= fs.ModeDevice
	case CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case Fifo:
		mode |= fs.ModeNamedPipe
	case Socket:
		mode |= fs.ModeSocket
	}
	if unixMode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if unixMode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if unixMode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// UnixMode answers the twelve low bits of a Unix mode: permissions, setuid, setgid, sticky.
func UnixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= unix.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	return bits
}

// fill sets everything that stat knows.
func (m *Meta) fill(st *unix.Stat_t, o *owners) {
	m.Type = TypeOf(st.Mode)
	m.Mode = m.Type.FileMode(st.Mode)
	m.ModTime = timeOf(st.Mtim)
	m.AccessTime = timeOf(st.Atim)
	m.ChangeTime = timeOf(st.Ctim)
	m.UID, m.GID = st.Uid, st.Gid
	m.User, m.Group = o.user(st.Uid), o.group(st.Gid)
	m.Inode, m.DeviceID, m.Links = st.Ino, st.Dev, uint64(st.Nlink)
	m.Size, m.Device = 0, 0
	switch m.Type {
	case Regular:
		m.Size = st.Size
	case Device, CharDevice:
		m.Device = st.Rdev
	}
}

func timeOf(t unix.Timespec) time.Time { return time.Unix(t.Unix()) }

// show makes a path fit for one line of text: as it is, or quoted where it holds anything that does not print.
func show(path string) string {
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}
