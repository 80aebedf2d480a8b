package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ballast is a file of no content that is given up when the disk is full, so
// that just this can still be recorded.
type ballast struct {
	path string
	size int64 // 0 or less: none is kept
	fail func(step string) error
}

// drop gives the space back and claims that there was some.
func (b *ballast) drop() bool {
	return b.size > 0 && b.there() && os.Remove(b.path) == nil
}

func (b *ballast) there() bool {
	info, err := os.Stat(b.path)
	return err == nil && info.Size() >= b.size
}

// make lays the ballast again if it is missing and the disk has room for it and
// as much again.
func (b *ballast) make() error {
	if b.size <= 0 || b.there() {
		return nil
	}
	if err := b.fail("ballast"); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(b.path), &st); err != nil {
		return fmt.Errorf("read the free space beside the ballast: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < 2*b.size {
		return nil // not yet
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, b.size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fillZeros(f, 0, b.size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if rm := os.Remove(b.path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return fmt.Errorf("make the ballast of %d bytes: %w", b.size, err)
	}
	return nil
}

// fillZeros writes zeros from offset from up to size.
func fillZeros(f *os.File, from, size int64) error {
	zeros := make([]byte, 64<<10)
	for at := from; at < size; {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
