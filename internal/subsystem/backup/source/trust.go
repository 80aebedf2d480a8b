package source

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// TrustError says why a file that configuration names may not be used: somebody other than root or the agent's own user
// could change what it says or does.
type TrustError struct {
	Path string // what was asked for
	At   string // the file, folder or link that is at fault
	UID  uint32 // its owner
	Mode uint32 // its twelve permission bits
	Why  string
}

func (e *TrustError) Error() string {
	text := fmt.Sprintf("%s %s (owner %d, mode %04o)", show(e.At), e.Why, e.UID, e.Mode)
	if e.At != e.Path {
		return fmt.Sprintf("%s cannot be trusted: %s", show(e.Path), text)
	}
	return text
}

// maxLinks bounds the links on the way to a file, as the kernel does.
const maxLinks = 40

// CheckTrusted makes sure that the file, every folder above it and every link on the way belong to root or to our own
// user and cannot be written by anybody else: group root may write, the sticky bit makes a folder as /tmp good enough.
// It answers [*TrustError], or why the path cannot be looked at.
func CheckTrusted(path string) error {
	if !strings.HasPrefix(path, "/") {
		return &RootError{Path: path, Err: errNotAbsolute}
	}
	at, rest, links := "", split(path), 0
	if err := trusted(path, "/"); err != nil {
		return err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
			continue
		}
		next := at + "/" + name
		if err := trusted(path, next); err != nil {
			return err
		}
		target, err := os.Readlink(next)
		if err != nil {
			at = next // no link; what it is instead was looked at above
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: %w", show(path), unix.ELOOP)
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		}
		rest = append(split(target), rest...)
	}
	return nil
}

// split answers the names of a path, without the empty ones and those that are ".".
func split(path string) []string {
	var out []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			out = append(out, name)
		}
	}
	return out
}

// trusted judges one element of the way to path.
func trusted(path, at string) error {
	var st unix.Stat_t
	if err := fstatat(unix.AT_FDCWD, at, &st); err != nil {
		return fmt.Errorf("look at %s: %w", show(at), err)
	}
	wrong := func(why string) error {
		return &TrustError{Path: path, At: at, UID: st.Uid, Mode: st.Mode & 0o7777, Why: why}
	}
	kind := TypeOf(st.Mode)
	switch {
	case !trustedOwner(st.Uid):
		return wrong("belongs to another user")
	case kind == Symlink: // its mode means nothing
		return nil
	case kind == Dir && st.Mode&unix.S_ISVTX != 0:
		return nil
	case st.Mode&0o002 != 0:
		return wrong("can be written by everybody")
	case st.Mode&0o020 != 0 && st.Gid != 0:
		return wrong(fmt.Sprintf("can be written by group %d", st.Gid))
	}
	return nil
}

// trustedOwner: root can do anything anyway, and our own user already is us.
func trustedOwner(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// errNotExecutable is what is wrong with a command that exists.
var errNotExecutable = errors.New("is not an executable file")
