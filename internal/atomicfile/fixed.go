package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Fixed is a file whose blocks were all written when it was made, so that writing in place later needs no new block
// and works when the file system is full. (File systems that copy on write, such as btrfs and ZFS, need free space all
// the same.) A power cut in the middle of a write may leave old and new bytes side by side: the caller's records carry
// their own checksum.
type Fixed struct {
	f    *os.File
	name string
	size int64
}

// OpenFixed opens the file name below root, of size bytes and mode 0600. A missing file is made of zeros: it appears
// whole or not at all. A shorter one is filled up with zeros; a longer one is used up to size.
func OpenFixed(root *os.Root, name string, size int64) (*Fixed, error) {
	if size <= 0 {
		return nil, fmt.Errorf("open %s: size %d is not positive", name, size)
	}
	f, err := root.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createZeros(root, name, size); err != nil {
			return nil, err
		}
		f, err = root.OpenFile(name, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if err := fill(f, size); err != nil {
		return nil, errors.Join(fmt.Errorf("fill %s up to %d bytes: %w", name, size, err), f.Close())
	}
	return &Fixed{f: f, name: name, size: size}, nil
}

func createZeros(root *os.Root, name string, size int64) error {
	w, err := Create(root, name, 0o600)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		return err
	}
	return w.Commit()
}

// fill appends zeros until f has size bytes.
func fill(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is a %v, not a regular file", info.Mode().Type())
	}
	if info.Size() >= size {
		return nil
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if _, err := io.CopyN(f, zeros{}, size-info.Size()); err != nil {
		return err
	}
	return f.Sync()
}

// zeros reads as endless zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Size is the number of bytes that can be read and written.
func (x *Fixed) Size() int64 { return x.size }

// ReadAt reads like [io.ReaderAt]; the file ends at its fixed size.
func (x *Fixed) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(x.f, 0, x.size).ReadAt(p, off)
}

// WriteAt writes all of p at off. A write that would pass the fixed size is refused whole.
func (x *Fixed) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > x.size || off > x.size-int64(len(p)) {
		return 0, fmt.Errorf("write %d bytes at %d of %s: it has %d bytes", len(p), off, x.name, x.size)
	}
	n, err := x.f.WriteAt(p, off)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", x.name, err)
	}
	return n, nil
}

// Sync makes what was written durable.
func (x *Fixed) Sync() error {
	if err := x.f.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", x.name, err)
	}
	return nil
}

// Close closes the file without a Sync.
func (x *Fixed) Close() error { return x.f.Close() }
