package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

// ErrTruncated: the data end before their end.
var ErrTruncated = errors.New("is truncated")

// tarReader reads entries one by one, of our tar streams or of others: each entry's Content is valid until the next one is
// asked for. Names are handed on as they are, without the slash of folders; whoever writes files checks them
// ([extract.CheckName]). A stream that lacks its end yields [ErrTruncated] after its last entry.
type tarReader struct {
	tr      *tar.Reader
	end     *endWatch
	comment string // of the global header
	ours    bool
	last    string // path of the entry before
}

func newTarReader(r io.Reader) *tarReader {
	end := &endWatch{r: r}
	return &tarReader{tr: tar.NewReader(end), end: end}
}

// next answers the next entry, io.EOF at the true end.
func (t *tarReader) next() (*extract.Entry, error) {
	for {
		// What is left of the entry before is no part of the end, however many zeros it has; what pads it is less than a
		// block.
		if _, err := io.Copy(io.Discard, t.tr); err != nil {
			return nil, t.damaged(truncated(err))
		}
		t.end.zeros = 0
		h, err := t.tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			if t.end.zeros < tarEnd {
				return nil, t.damaged(ErrTruncated)
			}
			return nil, io.EOF
		case err != nil:
			return nil, t.damaged(truncated(err))
		case h.Typeflag == tar.TypeXGlobalHeader:
			if t.comment == "" && t.last == "" {
				t.comment = h.PAXRecords[paxComment]
				t.ours = strings.HasPrefix(t.comment, "allclear ")
			}
			continue
		}
		e, err := t.entry(h)
		if err != nil {
			return nil, t.damaged(err)
		}
		t.last = e.Path
		return e, nil
	}
}

// tarEnd is the length of the two blocks of zeros that end a tar stream.
const tarEnd = 1024

func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return err
}

// damaged says where the stream went wrong.
func (t *tarReader) damaged(err error) error {
	if t.last == "" {
		return fmt.Errorf("tar stream, at its beginning: %w", err)
	}
	return fmt.Errorf("tar stream, at or after %s: %w", strconv.Quote(t.last), err)
}

// types are the kinds that a tar can hold. Sparse files, of which a few bytes can claim to be of any size, are not ours.
var types = map[byte]source.Type{
	tar.TypeReg: source.Regular, tar.TypeLink: source.Regular, tar.TypeDir: source.Dir, tar.TypeSymlink: source.Symlink, tar.TypeFifo: source.Fifo,
	tar.TypeBlock: source.Device, tar.TypeChar: source.CharDevice,
}

func (t *tarReader) entry(h *tar.Header) (*extract.Entry, error) {
	kind, ok := types[h.Typeflag]
	switch {
	case !ok || h.PAXRecords["GNU.sparse.realsize"] != "" || h.PAXRecords["GNU.sparse.size"] != "":
		return nil, fmt.Errorf("entry %s is of the unknown kind %q", strconv.Quote(h.Name), h.Typeflag)
	case h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-1 || int64(h.Gid) > 1<<32-1:
		return nil, fmt.Errorf("entry %s belongs to %d:%d", strconv.Quote(h.Name), h.Uid, h.Gid)
	case h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 1<<32-1 || h.Devminor > 1<<32-1:
		return nil, fmt.Errorf("entry %s is device %d:%d", strconv.Quote(h.Name), h.Devmajor, h.Devminor)
	}
	e := &extract.Entry{Path: h.Name, Meta: source.Meta{
		Type: kind, Mode: kind.FileMode(uint32(h.Mode & 0o7777)), ModTime: h.ModTime, AccessTime: h.AccessTime, ChangeTime: h.ChangeTime,
		UID: uint32(h.Uid), GID: uint32(h.Gid), User: h.Uname, Group: h.Gname, Links: 1,
	}}
	m := &e.Meta
	switch {
	case h.Typeflag == tar.TypeLink:
		e.HardLink, m.Links = strings.TrimPrefix(h.Linkname, "./"), 2
	case kind == source.Regular:
		m.Size = h.Size
		if h.Size > 0 {
			e.Content = t.tr
		}
		m.Links = t.links(h)
	case kind == source.Dir:
		e.Path = strings.TrimSuffix(e.Path, "/")
	case kind == source.Symlink:
		m.LinkTarget = h.Linkname
	case m.Mode&fs.ModeDevice != 0:
		m.Device = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	if !t.ours { // tar c . of other programs
		e.Path = strings.TrimPrefix(e.Path, "./")
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			m.Xattrs = append(m.Xattrs, source.Xattr{Name: unescapeXattr(name), Value: []byte(h.PAXRecords[key])})
		}
	}
	return e, nil
}

// links answers how many names a file has. Other programs do not say: then any file may have another.
func (t *tarReader) links(h *tar.Header) uint64 {
	if !t.ours {
		return 2
	}
	text, ok := strings.CutPrefix(h.PAXRecords[paxComment], linksComment)
	if n, err := strconv.ParseUint(text, 10, 32); ok && err == nil && n > 1 {
		return n
	}
	return 1
}

// endWatch counts the zero bytes at the end of what was read, up to the 1024 that end a tar stream: package tar takes a
// missing end for an end.
type endWatch struct {
	r     io.Reader
	zeros int
}

func (e *endWatch) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	i := n
	for i > max(0, n-tarEnd) && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		e.zeros = 0
	}
	e.zeros = min(e.zeros+n-i, tarEnd)
	return n, err
}
