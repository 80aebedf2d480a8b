package sshpolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/pkg/sftp"
)

// The library's WriteTo takes a short answer in mid-file for data that is not
// there and goes on behind it; its Read waits for each answer. So chunks are
// read side by side here, each by ReadAt, which asks again for what is missing.

// sftpReader reads one file, or a part of it, ahead of its user.
type sftpReader struct {
	f    *SFTP
	ctx  context.Context
	file *sftp.File
	full string
	next int64 // offset of the next chunk to ask for
	left int64 // bytes to ask for; -1: to the end of the file

	wg     sync.WaitGroup
	flying []*chunk // in the order of the file
	free   [][]byte
	have   []byte // of the first chunk, what is not yet read
	err    error  // sticky
}

// chunk is one request.
type chunk struct {
	buf  []byte
	n    int
	err  error
	done chan struct{}
}

// Open implements Files. The reader is for one goroutine at a time, and its
// Close waits for the answers under way. It also implements io.WriterTo.
func (f *SFTP) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	full, err := fullName("open", f.folder, name)
	if err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 {
		return nil, &FileError{Op: "open", Path: full, Kind: FileOther, Err: fmt.Errorf("no part of a file: %d bytes at %d", length, offset)}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("open %s: %w", full, context.Cause(ctx))
	}
	g := f.s.guard(ctx, f.m, true)
	defer g.release()
	file, err := f.client.OpenFile(full, os.O_RDONLY)
	if err != nil {
		return nil, f.fail(ctx, "open", full, err)
	}
	r := &sftpReader{f: f, ctx: ctx, file: file, full: full, next: offset, left: length}
	if length == -1 { // the size saves asking for what is not there
		info, err := file.Stat()
		if err != nil {
			return nil, errors.Join(f.fail(ctx, "open", full, err), file.Close())
		}
		if info.Size() > 0 { // 0 may mean that the server does not say
			r.left = max(0, info.Size()-offset)
		}
	}
	return r, nil
}

// ask keeps the window full.
func (r *sftpReader) ask() {
	for len(r.flying) < r.f.window() && r.left != 0 {
		size := int64(r.f.packet)
		if r.left >= 0 {
			size = min(size, r.left)
			r.left -= size
		} else if len(r.flying) > 0 {
			return // nobody knows where the end is: one after the other
		}
		c := &chunk{buf: r.buffer(size), done: make(chan struct{})}
		offset := r.next
		r.next += size
		r.flying = append(r.flying, c)
		r.wg.Go(func() {
			defer close(c.done)
			g := r.f.s.guard(r.ctx, r.f.m, false)
			defer g.release()
			c.n, c.err = r.file.ReadAt(c.buf, offset)
			r.f.s.got.Add(int64(c.n))
		})
	}
}

func (r *sftpReader) buffer(size int64) []byte {
	if n := len(r.free); n > 0 && int64(cap(r.free[n-1])) >= size {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b[:size]
	}
	return make([]byte, size)
}

// fetch makes have hold bytes, or sets err.
func (r *sftpReader) fetch() {
	for len(r.have) == 0 && r.err == nil {
		if r.ctx.Err() != nil {
			r.err = fmt.Errorf("read %s: %w", r.full, context.Cause(r.ctx))
			return
		}
		r.ask()
		if len(r.flying) == 0 {
			r.err = io.EOF
			return
		}
		c := r.flying[0]
		<-c.done // the guard of the request ends it
		r.have = c.buf[:c.n]
		switch {
		case c.err == nil || c.n == len(c.buf):
		case errors.Is(c.err, io.EOF) && r.left < 0:
			r.left, r.err = 0, io.EOF
		case errors.Is(c.err, io.EOF):
			r.err = &FileError{Op: "read", Path: r.full, Kind: FileShort, Err: io.ErrUnexpectedEOF}
		default:
			r.err = r.f.fail(r.ctx, "read", r.full, c.err)
		}
		if len(r.have) == 0 {
			r.used()
		}
	}
}

// used drops the first chunk, all of which was read.
func (r *sftpReader) used() {
	c := r.flying[0]
	r.flying = r.flying[1:]
	r.free = append(r.free, c.buf[:0])
}

// Read implements io.Reader.
func (r *sftpReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.fetch()
	if len(r.have) == 0 {
		return 0, r.err
	}
	n := copy(p, r.have)
	if r.have = r.have[n:]; len(r.have) == 0 {
		r.used()
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *sftpReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		r.fetch()
		if len(r.have) == 0 {
			if errors.Is(r.err, io.EOF) {
				return total, nil
			}
			return total, r.err
		}
		n, err := w.Write(r.have)
		total += int64(n)
		if r.have = r.have[n:]; len(r.have) == 0 {
			r.used()
		}
		if err != nil {
			return total, err
		}
	}
}

// errReaderClosed is what a reader says after its Close.
var errReaderClosed = errors.New("the reader is closed")

// Close implements io.Closer. It answers what the server said to it, except
// that a file which was read whole is read, whatever becomes of its handle.
func (r *sftpReader) Close() error {
	if errors.Is(r.err, errReaderClosed) {
		return nil
	}
	r.wg.Wait()
	g := r.f.s.guard(r.ctx, r.f.m, true)
	defer g.release()
	err := r.file.Close()
	whole := errors.Is(r.err, io.EOF)
	r.err, r.have, r.left = errReaderClosed, nil, 0
	if whole {
		return nil
	}
	return r.f.fail(r.ctx, "read", r.full, err)
}
