package stream

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"allclear/internal/subsystem/backup/extract"
)

// Write sends a stream of entries. What a single thing cannot give is sent as
// its problem, and the rest follows; an error of the stream itself is sent as
// its end and answered. An error of w ends all.
func Write(w io.Writer, snap Snapshot, entries extract.Stream) (End, error) {
	s := &sender{w: bufio.NewWriterSize(w, maxPiece+64)}
	if _, err := s.w.WriteString(magic); err != nil {
		return s.end, fmt.Errorf("send the restore stream: %w", err)
	}
	s.json(kindSnapshot, snap)
	var failed error
	for e, err := range entries {
		if err != nil {
			failed = err
			break
		}
		if s.entry(e); s.err != nil {
			break
		}
	}
	switch {
	case s.err != nil:
	case failed != nil:
		s.json(kindAbort, Problem{Text: failed.Error()})
	default:
		s.json(kindEnd, s.end)
	}
	if s.err == nil {
		s.err = s.w.Flush()
	}
	if s.err != nil {
		return s.end, errors.Join(failed, fmt.Errorf("send the restore stream: %w", s.err))
	}
	return s.end, failed
}

// sender writes frames. Its first error stays.
type sender struct {
	w   *bufio.Writer
	end End
	err error
	buf []byte // for content
}

func (s *sender) frame(kind byte, payload []byte) {
	if s.err != nil {
		return
	}
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload))) // bounded by its callers
	if _, s.err = s.w.Write(head[:]); s.err == nil {
		_, s.err = s.w.Write(payload)
	}
}

func (s *sender) json(kind byte, v any) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxHeader {
		err = fmt.Errorf("a header of %d bytes, more than %d", len(b), maxHeader)
	}
	if err != nil && s.err == nil {
		s.err = err
	}
	s.frame(kind, b)
}

func (s *sender) problem(path string, err error) {
	s.end.Problems++
	s.json(kindProblem, Problem{Path: []byte(path), Text: err.Error()})
}

func (s *sender) entry(e *extract.Entry) {
	s.json(kindEntry, headerOf(e))
	s.end.Entries++
	if !hasContent(e) {
		return
	}
	p := &pieces{s: s, sum: newSum()}
	n, err := int64(0), errors.New("its content is not there")
	if e.Content != nil {
		if s.buf == nil {
			s.buf = make([]byte, maxPiece)
		}
		n, err = io.CopyBuffer(p, io.LimitReader(e.Content, e.Meta.Size+1), s.buf)
	}
	switch {
	case s.err != nil:
	case err != nil:
		s.problem(e.Path, err)
	case n != e.Meta.Size:
		s.problem(e.Path, fmt.Errorf("%d bytes came, %d were saved", n, e.Meta.Size))
	default:
		s.end.Bytes += n
		s.frame(kindFileEnd, p.sum.Sum(nil))
	}
}

// newSum makes the sum that ends a file.
func newSum() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// pieces sends what is written to it.
type pieces struct {
	s   *sender
	sum hash.Hash
}

func (p *pieces) Write(b []byte) (int, error) {
	n := len(b)
	p.sum.Write(b) // a hash takes all
	for len(b) > 0 && p.s.err == nil {
		k := min(len(b), maxPiece)
		p.s.frame(kindData, b[:k])
		b = b[k:]
	}
	if p.s.err != nil {
		return 0, p.s.err
	}
	return n, nil
}
