package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/source"
)

// block is the unit of holes: a page, the block of nearly every file system.
const block = 4096

// chunk is how much content is held at a time.
const chunk = 256 << 10

// contentError is a file whose content could not be had whole. It does not end a restore, whatever the cause: if the
// stream cannot go on, it will say so when it is asked for the next entry.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }

func (e *contentError) Unwrap() error { return e.err }

// errLong: the stream says one size and gives more.
var errLong = errors.New("its content is longer than its size")

// file restores a regular file: content and metadata under the temporary name, then its own.
func (x *writer) file(ctx context.Context, in *level, name string, e *Entry) (err error) {
	if e.Meta.Size < 0 {
		return fmt.Errorf("has a size of %d bytes", e.Meta.Size)
	}
	if x.SkipSame && x.same(in, name, e) {
		return nil
	}
	fd, err := x.create(in)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() {
		if closed := unix.Close(fd); closed != nil && err == nil {
			err = fmt.Errorf("close: %w", closed) // some file systems tell only now that they are full
		}
		if err != nil {
			x.drop(in)
			return
		}
		err = x.place(in, name)
		if err != nil {
			x.drop(in)
		}
	}()
	if e.Meta.Size > 0 || e.Content != nil {
		if err := x.fill(ctx, fd, e); err != nil {
			return err
		}
	}
	if e.Meta.Links > 1 {
		var st unix.Stat_t
		if err := fstat(fd, &st); err != nil {
			return err
		}
		x.made[fileID{st.Dev, st.Ino}] = true
	}
	x.dress(target{fd: fd, in: in, name: x.temp, path: e.Path, inherits: in.inherits}, &e.Meta)
	return nil
}

func (x *writer) create(in *level) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for {
		fd, err := unix.Openat(in.fd, x.temp, flags, 0o600)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// same tells whether the file is there already, and gives it its other metadata.
func (x *writer) same(in *level, name string, e *Entry) bool {
	var st unix.Stat_t
	if fstatat(in.fd, name, &st) != nil || typeOf(&st) != source.Regular || st.Size != e.Meta.Size {
		return false // devices are not even opened
	}
	fd, err := openat(in.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if fstat(fd, &st) != nil || typeOf(&st) != source.Regular || st.Size != e.Meta.Size ||
		st.Mtim != timespec(e.Meta.ModTime) || st.Nlink > 1 != (e.Meta.Links > 1) || st.Nlink > 1 && x.root {
		return false // another name of the file may be anybody's: as root it is made anew
	}
	if st.Nlink > 1 {
		x.made[fileID{st.Dev, st.Ino}] = true
	}
	x.dress(target{fd: fd, in: in, name: name, path: e.Path}, &e.Meta)
	x.r.Same++
	return true
}

// fill writes the content, leaving out pages of zeros.
func (x *writer) fill(ctx context.Context, fd int, e *Entry) error {
	if e.Content == nil {
		return &contentError{fmt.Errorf("has no content, but %d bytes", e.Meta.Size)}
	}
	if x.buf == nil {
		x.buf = make([]byte, chunk)
	}
	var at int64
	hole := false // the file ends in one: its size must be set
	for at < e.Meta.Size {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		want := min(int64(len(x.buf)), e.Meta.Size-at)
		n, err := io.ReadFull(e.Content, x.buf[:want])
		var werr error
		if hole, werr = writeSparse(fd, x.buf[:n], at); werr != nil {
			return fmt.Errorf("write at byte %d of %d: %w", at, e.Meta.Size, werr)
		}
		at += int64(n)
		x.r.Bytes += int64(n)
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.ErrUnexpectedEOF
		}
		return &contentError{fmt.Errorf("content ended at byte %d of %d: %w", at, e.Meta.Size, err)}
	}
	switch n, err := io.ReadFull(e.Content, x.buf[:1]); {
	case n > 0:
		return &contentError{errLong}
	case !errors.Is(err, io.EOF):
		return &contentError{fmt.Errorf("after its %d bytes: %w", at, err)}
	}
	if !hole {
		return nil
	}
	if err := unix.Ftruncate(fd, e.Meta.Size); err != nil {
		return fmt.Errorf("set the size of %d bytes: %w", e.Meta.Size, err)
	}
	return nil
}

// writeSparse writes data at an offset that is a multiple of the block, without the blocks that hold only zeros: the
// file is new, so they are zeros already. It tells whether the last block was left out.
func writeSparse(fd int, data []byte, at int64) (hole bool, err error) {
	for len(data) > 0 {
		skip := 0
		for skip < len(data) && isZero(data[skip:min(skip+block, len(data))]) {
			skip = min(skip+block, len(data))
		}
		data, at = data[skip:], at+int64(skip)
		n := 0
		for n < len(data) && !isZero(data[n:min(n+block, len(data))]) {
			n = min(n+block, len(data))
		}
		if err := writeAll(fd, data[:n], at); err != nil {
			return false, err
		}
		data, at = data[n:], at+int64(n)
		hole = n == 0
	}
	return hole, nil
}

var zeros [block]byte

func isZero(data []byte) bool { return bytes.Equal(data, zeros[:len(data)]) }

func writeAll(fd int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n <= 0 {
			return io.ErrShortWrite
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}
