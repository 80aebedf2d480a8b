package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"allclear/internal/subsystem/backup/extract"
)

// Reader receives a stream. It is not safe for concurrent use.
type Reader struct {
	r    *bufio.Reader
	snap Snapshot
	end  End
	done bool
	kind byte
	left uint32 // of the payload of the frame under way
	open *content
}

// NewReader reads the beginning of a stream.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{r: bufio.NewReaderSize(r, maxPiece)}
	got := make([]byte, len(magic))
	if _, err := io.ReadFull(in.r, got); err != nil {
		return nil, early(err)
	}
	if string(got) != magic {
		return nil, errors.New("this is no restore stream of this version")
	}
	if err := in.next(); err != nil {
		return nil, err
	}
	if in.kind != kindSnapshot {
		return nil, fmt.Errorf("the restore stream begins with frame %q", in.kind)
	}
	return in, in.json(&in.snap)
}

// Snapshot is where the entries come from.
func (in *Reader) Snapshot() Snapshot { return in.snap }

// End is what the sender counted; ok is false before the end has come.
func (in *Reader) End() (e End, ok bool) { return in.end, in.done }

// Entries are the entries. A file whose rest cannot be read ends its content
// with a *ProblemError; a stream that ends early, or that its sender gives up,
// ends with an error.
func (in *Reader) Entries() extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		for !in.done {
			e, err := in.entry()
			if err != nil {
				yield(nil, err)
				return
			}
			if e != nil && !yield(e, nil) {
				return
			}
		}
	}
}

// entry is the next entry; nil with a nil error at the end.
func (in *Reader) entry() (*extract.Entry, error) {
	if err := in.finish(); err != nil {
		return nil, err
	}
	if err := in.next(); err != nil {
		return nil, err
	}
	switch in.kind {
	case kindEntry:
		var h header
		if err := in.json(&h); err != nil {
			return nil, err
		}
		e := h.entry()
		if e.Meta.Size < 0 {
			return nil, fmt.Errorf("the restore stream gives %q a size of %d", e.Path, e.Meta.Size)
		}
		if hasContent(e) {
			in.open = &content{in: in, path: e.Path, size: e.Meta.Size, sum: newSum()}
			e.Content = in.open
		}
		return e, nil
	case kindEnd:
		err := in.json(&in.end)
		in.done = err == nil
		return nil, err
	case kindAbort:
		return nil, in.problem()
	}
	return nil, fmt.Errorf("the restore stream has frame %q where an entry belongs", in.kind)
}

// finish passes over what was not read of the entry before.
func (in *Reader) finish() error {
	if in.open == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, in.open)
	in.open = nil
	if p, ok := errors.AsType[*ProblemError](err); ok && p != nil {
		return nil // the reader of the entry had it, or did not care
	}
	return err
}

// next reads the head of a frame.
func (in *Reader) next() error {
	var head [5]byte
	if _, err := io.ReadFull(in.r, head[:]); err != nil {
		return early(err)
	}
	in.kind, in.left = head[0], binary.BigEndian.Uint32(head[1:])
	limit := uint32(maxHeader)
	if in.kind == kindData {
		limit = maxPiece
	}
	if in.left > limit {
		return fmt.Errorf("the restore stream has a frame of %d bytes, more than %d", in.left, limit)
	}
	return nil
}

func (in *Reader) payload() ([]byte, error) {
	b := make([]byte, in.left)
	_, err := io.ReadFull(in.r, b)
	in.left = 0
	return b, early(err)
}

func (in *Reader) json(v any) error {
	b, err := in.payload()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read frame %q of the restore stream: %w", in.kind, err)
	}
	return nil
}

func (in *Reader) problem() error {
	var p Problem
	if err := in.json(&p); err != nil {
		return err
	}
	return &ProblemError{Path: string(p.Path), Text: p.Text}
}

// early says that an end came too early.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrIncomplete
	}
	return err
}

// content is the content of one file.
type content struct {
	in   *Reader
	path string
	size int64
	got  int64
	sum  hash.Hash
	err  error // how it ended; io.EOF when whole
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	for c.err == nil && (c.in.kind != kindData || c.in.left == 0) {
		c.err = c.advance()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.in.r.Read(p[:min(len(p), int(c.in.left))])
	c.in.left -= uint32(n)
	c.got += int64(n)
	c.sum.Write(p[:n]) // a hash takes all
	if err != nil {
		c.err = early(err)
	}
	return n, c.err
}

// advance reads the head of the next frame of the content; io.EOF says that the
// file was whole.
func (c *content) advance() error {
	if err := c.in.next(); err != nil {
		return err
	}
	switch c.in.kind {
	case kindData:
		if c.got+int64(c.in.left) > c.size {
			return fmt.Errorf("the restore stream gives %q more than its %d bytes", c.path, c.size)
		}
		return nil
	case kindProblem:
		return c.in.problem()
	case kindFileEnd:
		want, err := c.in.payload()
		switch {
		case err != nil:
			return err
		case c.got != c.size || !bytes.Equal(want, c.sum.Sum(nil)):
			return fmt.Errorf("the restore stream was damaged on its way: %q", c.path)
		}
		return io.EOF
	}
	return fmt.Errorf("the restore stream has frame %q within the content of %q", c.in.kind, c.path)
}
