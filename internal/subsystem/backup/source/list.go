package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// listBudget bounds the bytes that the names of one folder take at a time: about a million names of usual length. A
// folder with more is listed several times, each time for the next smallest names.
const listBudget = 32 << 20

// nameCost is what a name takes beside its own bytes.
const nameCost = 8

// names are the names of a part of a folder, in one piece of memory.
type names struct {
	text []byte
	at   []span
}

type span struct{ from, to uint32 }

func (n *names) get(s span) []byte { return n.text[s.from:s.to] }

func (n *names) add(name []byte) {
	from := uint32(len(n.text))
	n.text = append(n.text, name...)
	n.at = append(n.at, span{from, uint32(len(n.text))})
}

func (n *names) size() int { return len(n.text) + nameCost*len(n.at) }

// all yields the names in order, once each, even if the system listed one twice.
func (n *names) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		var last []byte
		for i, s := range n.at {
			name := n.get(s)
			if i > 0 && bytes.Equal(name, last) {
				continue
			}
			if last = name; !yield(string(name)) {
				return
			}
		}
	}
}

func (n *names) sort() {
	slices.SortFunc(n.at, func(a, b span) int { return bytes.Compare(n.get(a), n.get(b)) })
}

// halve keeps the smaller half, in new memory, and answers the first name that it dropped.
func (n *names) halve() []byte {
	n.sort()
	keep := len(n.at) / 2
	limit := bytes.Clone(n.get(n.at[keep]))
	var less names
	for _, s := range n.at[:keep] {
		less.add(n.get(s))
	}
	*n = less
	return limit
}

// lister lists one folder, in as many parts as the budget asks for.
type lister struct {
	budget int
	after  []byte // the last name of the part before, nil at the start
}

// next answers the next names in raw byte order, and whether there may be more.
func (l *lister) next(fd int) (*names, bool, error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, false, err
	}
	out := &names{}
	var limit []byte // names from here on belong to a later part
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if n == 0 {
			break
		}
		for name := range direntNames(buf[:n]) {
			if l.after != nil && bytes.Compare(name, l.after) <= 0 || limit != nil && bytes.Compare(name, limit) >= 0 {
				continue
			}
			if out.add(name); out.size() > l.budget && len(out.at) > 1 {
				limit = out.halve()
			}
		}
	}
	out.sort()
	if len(out.at) > 0 {
		l.after = bytes.Clone(out.get(out.at[len(out.at)-1]))
	}
	return out, limit != nil, nil
}

// direntNames yields the names in what getdents64(2) filled: inode (8), offset (8), record length (2), type (1), name
// with a zero byte at its end. The names are valid until the buffer is filled again.
func direntNames(buf []byte) iter.Seq[[]byte] {
	const head = 19
	return func(yield func([]byte) bool) {
		for len(buf) >= head {
			size := int(binary.NativeEndian.Uint16(buf[16:]))
			if size < head || size > len(buf) {
				return
			}
			name := buf[head:size]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			buf = buf[size:]
			if len(name) == 0 || string(name) == "." || string(name) == ".." || bytes.IndexByte(name, '/') >= 0 {
				continue
			}
			if !yield(name) {
				return
			}
		}
	}
}
