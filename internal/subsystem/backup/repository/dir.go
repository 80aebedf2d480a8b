package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Dir is a [Store] in a local folder: files 0400 in folders 0700, each put in place by fsync and rename.
type Dir struct{ root *os.Root }

// OpenDir opens a local folder and makes it, with its parents, when it is missing.
func OpenDir(name string) (*Dir, error) {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, fmt.Errorf("make folder %s: %w", name, err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", name, err)
	}
	return &Dir{root}, nil
}

// Close lets go of the folder.
func (d *Dir) Close() error { return d.root.Close() }

// Save writes a file under a temporary name and moves it into place when all its bytes are on disk. A size of -1 is
// not known before.
func (d *Dir) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	var random [16]byte
	rand.Read(random[:]) //nolint:errcheck // never fails
	temp := name + "-allclear-temp-" + hex.EncodeToString(random[:])
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := copyAll(ctx, f, r)
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("%d of %d bytes came: %w", n, size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o400)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.root.Rename(temp, name)
	}
	if err != nil {
		return 0, errors.Join(err, d.root.Remove(temp))
	}
	return n, d.syncDir(path.Dir(name))
}

// syncDir makes a rename survive a power cut.
func (d *Dir) syncDir(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

func copyAll(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, context.Cause(ctx)
		}
		m, err := r.Read(buf)
		if m > 0 {
			if _, err := w.Write(buf[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Open reads length bytes from offset, to the end if length is -1.
func (d *Dir) Open(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = 1<<63 - 1 - offset
	}
	return &section{io.NewSectionReader(f, offset, length), f}, nil
}

type section struct {
	*io.SectionReader
	io.Closer
}

// Stat answers what is known of a file.
func (d *Dir) Stat(_ context.Context, name string) (fs.FileInfo, error) { return d.root.Stat(name) }

// List answers what a folder holds.
func (d *Dir) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	f, err := d.root.Open(dir)
	if err != nil {
		return nil, err
	}
	infos, err := f.Readdir(-1)
	return infos, errors.Join(err, f.Close())
}

// Remove deletes a file.
func (d *Dir) Remove(_ context.Context, name string) error { return d.root.Remove(name) }

// Mkdir makes a folder with its parents.
func (d *Dir) Mkdir(_ context.Context, dir string) error { return d.root.MkdirAll(dir, 0o700) }

// Space answers the free and the total bytes of the file system.
func (d *Dir) Space(context.Context) (free, total uint64, err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil { //nolint:gosec // a descriptor is an int
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil //nolint:gosec // the kernel's block size is positive
}
