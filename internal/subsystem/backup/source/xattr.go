package source

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// MaxXattrBytes bounds the names and values of the extended attributes of one thing. Linux allows 64 KiB of names and
// 64 KiB a value, which together could be gigabytes; a tar header of more than 1 MiB is refused by its readers.
const MaxXattrBytes = 512 << 10

var errXattrsTooBig = fmt.Errorf("more than %d bytes of extended attributes", MaxXattrBytes)

// xattrsBelow reads the attributes of name in the open folder fd, of a link's own if it is one. The way over /proc is
// free of any limit on the length of paths, and nothing need be opened.
func xattrsBelow(fd int, name string) ([]Xattr, error) {
	path := procFD(fd) + "/" + name
	return xattrs(
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(attr string, buf []byte) (int, error) { return unix.Lgetxattr(path, attr, buf) },
	)
}

// xattrsOf reads the attributes of what is open as fd, which may be open for looking only.
func xattrsOf(fd int) ([]Xattr, error) {
	path := procFD(fd)
	return xattrs(
		func(buf []byte) (int, error) { return unix.Listxattr(path, buf) },
		func(attr string, buf []byte) (int, error) { return unix.Getxattr(path, attr, buf) },
	)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// xattrs answers all attributes. One that vanishes between the list and the look is left out; those that cannot be
// read are left out too and the first error is answered with the rest.
func xattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]Xattr, error) {
	names, err := grown(list)
	switch {
	case errors.Is(err, unix.ENOTSUP) || err == nil && len(names) == 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	total := 0
	var out []Xattr
	var first error
	for raw := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		name := string(raw)
		value, err := grown(func(buf []byte) (int, error) { return get(name, buf) })
		switch {
		case errors.Is(err, unix.ENODATA):
			continue
		case err != nil:
			if first == nil {
				first = fmt.Errorf("read extended attribute %q: %w", name, err)
			}
			continue
		}
		if total += len(name) + len(value); total > MaxXattrBytes {
			return nil, errXattrsTooBig
		}
		out = append(out, Xattr{Name: name, Value: value})
	}
	return out, first
}

// grown asks for the size first and again while the answer grows under the look.
func grown(read func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := read(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = read(buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
