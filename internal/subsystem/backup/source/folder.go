package source

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxOpenFolders bounds the descriptors of a walk, however deep the tree is. Folders further up are closed and found
// again through ".." when the walk returns to them.
const maxOpenFolders = 64

// folder is a folder on the way from the top to where the walk stands.
type folder struct {
	fd       int // -1: closed for now, or never opened
	dev, ino uint64
	path     string // absolute; "" is the top
	above    *folder
	meta     *Meta
	device   uint64 // the file system of the root in which the folder lies
	lookOnly bool   // above the roots: open for looking, which needs no right to list it
}

func (f *folder) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// park closes the folder that lies maxOpenFolders above this one, into which the walk now goes down.
func (f *folder) park() {
	for range maxOpenFolders {
		if f = f.above; f == nil || f.above == nil { // the top stays open
			return
		}
	}
	f.close()
}

// errMoved means that the rest of the folders above cannot be found any more.
var errMoved = errors.New("was moved elsewhere while it was read: the rest of the folders above it could not be found again")

// leave closes the folder and opens the one above again if it was parked. The way back leads through "..", so it must
// end in the very same folder: whoever moves a folder while it is read must not lead the walk out of the tree.
func (f *folder) leave() error {
	defer f.close()
	up := f.above
	if up.fd >= 0 || f.fd < 0 {
		return nil
	}
	fd, err := up.reopen(f.fd)
	if err != nil {
		return fmt.Errorf("return from %s to the folder above: %w", show(f.path), err)
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil || st.Dev != up.dev || st.Ino != up.ino {
		unix.Close(fd)
		return fmt.Errorf("folder %s: %w", show(f.path), errMoved)
	}
	up.fd = fd
	return nil
}

func (f *folder) reopen(below int) (int, error) {
	if f.lookOnly {
		return openat(below, "..", unix.O_PATH|unix.O_DIRECTORY)
	}
	return openNoAtime(below, "..", unix.O_RDONLY|unix.O_DIRECTORY)
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

// openNoAtime leaves the access time alone where we may (our own files, or as root).
func openNoAtime(dir int, name string, flags int) (int, error) {
	fd, err := openat(dir, name, flags|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) {
		return openat(dir, name, flags)
	}
	return fd, err
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fstatat never follows a link and never starts an automounter.
func fstatat(dir int, name string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readlinkat answers the target whole, however long it is.
func readlinkat(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
