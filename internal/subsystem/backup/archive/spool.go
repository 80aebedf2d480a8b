package archive

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory is how much a spool holds without a file: the usual configuration of a device.
const inMemory = 1 << 20

// Spool keeps the output of a command until its size and its exit status are known. A small output stays in memory. A
// larger one goes to a file without a name, which is gone with the process however that ends, and is encrypted under a
// key that is never stored: nothing of it can be read from the disk.
type Spool struct {
	dir   string
	limit int64
	size  int64
	mem   []byte
	file  *os.File
	out   cipher.Stream
	block cipher.Block
	buf   []byte
}

// ErrSpoolFull: there is more than the spool may hold.
var ErrSpoolFull = errors.New("is more than may be kept before it is sent")

// NewSpool keeps at most limit bytes, beyond the first MiB in dir.
func NewSpool(dir string, limit int64) *Spool { return &Spool{dir: dir, limit: limit} }

// Size answers the bytes written so far.
func (s *Spool) Size() int64 { return s.size }

// Write appends.
func (s *Spool) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > s.limit {
		return 0, fmt.Errorf("output %w: %d bytes", ErrSpoolFull, s.limit)
	}
	if s.file == nil && s.size+int64(len(p)) > inMemory {
		if err := s.spill(); err != nil {
			return 0, fmt.Errorf("keep output in %s: %w", s.dir, err)
		}
	}
	if s.file == nil {
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if err := s.append(p); err != nil {
		return 0, fmt.Errorf("keep output in %s, at byte %d: %w", s.dir, s.size, err)
	}
	return len(p), nil
}

// spill moves what is in memory to a file.
func (s *Spool) spill() error {
	f, err := unnamed(s.dir)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if s.block, err = aes.NewCipher(key); err != nil {
		f.Close()
		return err
	}
	s.file, s.out = f, s.stream()
	mem := s.mem
	s.mem, s.size = nil, 0
	return s.append(mem)
}

// stream is the key stream from the first byte. The key serves this one file, so the counter may start at 0.
func (s *Spool) stream() cipher.Stream { return cipher.NewCTR(s.block, make([]byte, aes.BlockSize)) }

func (s *Spool) append(p []byte) error {
	if cap(s.buf) < len(p) {
		s.buf = make([]byte, len(p))
	}
	buf := s.buf[:len(p)]
	s.out.XORKeyStream(buf, p)
	if _, err := s.file.WriteAt(buf, s.size); err != nil {
		return err
	}
	s.size += int64(len(p))
	return nil
}

// unnamed makes a file that no folder holds.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".allclear-spool-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Reader answers all that was written, from the start, as often as it is asked: once for each try. Nothing may be
// written any more.
func (s *Spool) Reader() (io.Reader, error) {
	if s.file == nil {
		return &memory{s.mem}, nil
	}
	return cipher.StreamReader{S: s.stream(), R: io.NewSectionReader(s.file, 0, s.size)}, nil
}

// memory reads a slice.
type memory struct{ left []byte }

func (m *memory) Read(p []byte) (int, error) {
	if len(m.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

// Close gives the space back.
func (s *Spool) Close() error {
	s.mem, s.block, s.out = nil, nil, nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
