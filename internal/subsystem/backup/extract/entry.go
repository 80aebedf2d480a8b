// Package extract writes restored files to a folder: from an archive, from a repository, or from the stream in which
// the agent sends either to the command line.
//
// It runs with the rights of whoever calls it and never takes more: the agent sends, the operator's own process
// writes. What is restored is foreign: names lead nowhere but below the destination, one element at a time and never
// through a link; setuid bits, devices and attributes of the system are held back unless root asks for them; a file
// stands under its name only when it is whole.
//
// Where entries come from and whether they are genuine is not its business: a stream ends with an error when they are
// not, and [To] says what stands until then.
package extract

import (
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"allclear/internal/subsystem/backup/source"
)

// Entry is one thing to be restored.
type Entry struct {
	// Path is relative to the destination, with slashes, byte by byte: "etc/passwd". Folders come before what is in
	// them.
	Path string
	Meta source.Meta
	// HardLink is the Path of an earlier regular file of the stream that this one is another name of; "" is none.
	HardLink string
	// Content is what a regular file without HardLink holds: exactly Meta.Size bytes, or nil when that is 0. It must be
	// read before the next entry is asked for; what is not read is lost.
	Content io.Reader
}

// Stream is what is restored, in order. An error ends it.
type Stream = iter.Seq2[*Entry, error]

// Bounds of a name: what Linux allows an element, and more depth than anybody has.
const (
	maxElement = 255
	maxDepth   = 10000
)

// NameError is a name that must not be restored.
type NameError struct{ Path, Wrong string }

func (e *NameError) Error() string { return fmt.Sprintf("name %s %s", strconv.Quote(e.Path), e.Wrong) }

// CheckName refuses every path that does not lead to a place below the destination in plain steps: empty, absolute,
// with empty elements, "." or "..", zero bytes, or longer than Linux can name. Other bytes are all allowed.
func CheckName(path string) error {
	wrong := func(text string) error {
		return &NameError{Path: path[:min(len(path), 1000)], Wrong: text}
	}
	switch {
	case path == "":
		return wrong("is empty")
	case path[0] == '/':
		return wrong("is absolute")
	case strings.IndexByte(path, 0) >= 0:
		return wrong("holds a zero byte")
	case strings.Count(path, "/") >= maxDepth:
		return wrong(fmt.Sprintf("has more than %d elements", maxDepth))
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "":
			return wrong("has an empty element")
		case name == "." || name == "..":
			return wrong(fmt.Sprintf("holds %q", name))
		case len(name) > maxElement:
			return wrong(fmt.Sprintf("has an element of more than %d bytes", maxElement))
		}
	}
	return nil
}
