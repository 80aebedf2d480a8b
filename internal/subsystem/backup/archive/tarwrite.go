package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

// PAX words. Extended attributes are as GNU tar writes them (--xattrs); "comment" is the one word that every tar
// ignores in silence (POSIX.1-2017, pax: "shall be ignored").
const (
	paxXattr   = "SCHILY.xattr."
	paxComment = "comment"
	paxMtime   = "mtime"
	// linksComment begins the comment of a file with several names: their number.
	linksComment = "links="
)

// maxHeader bounds the extended header of one entry. Go's reader, as others, takes 1 MiB.
const maxHeader = 960 << 10

// errHeaderTooBig: the path and the attributes of one thing together are more than any tar can carry.
var errHeaderTooBig = fmt.Errorf("its name, link target and extended attributes take more than %d bytes", maxHeader)

// tarWriter writes a tar stream in PAX format, which carries all of [source.Meta] that a restore needs: any bytes in
// names, times with nanoseconds in any year, extended attributes, hard links, devices, numbers of any size. Holes are
// written as zeros. Its reader is
// [tarReader], or any tar.
type tarWriter struct {
	tw  *tar.Writer
	buf []byte
}

// newTarWriter starts a stream with a global header that holds the comment and nothing else.
func newTarWriter(w io.Writer, comment string) (*tarWriter, error) {
	t := &tarWriter{tw: tar.NewWriter(w), buf: make([]byte, copyBuffer)}
	err := t.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{paxComment: comment}})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// copyBuffer is how much content is held at a time.
const copyBuffer = 256 << 10

// write writes one entry with its content, which must have Meta.Size bytes. An error that wraps [ErrEntry] concerns
// this entry only, of which nothing was written; after any other the stream is unusable.
func (t *tarWriter) write(e *extract.Entry) error {
	h, err := header(e)
	if err != nil {
		return err
	}
	if err := t.tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	if e.Content == nil {
		return fmt.Errorf("%s: has %d bytes, but no content", e.Path, h.Size)
	}
	n, err := io.CopyBuffer(onlyWriter{t.tw}, onlyReader{io.LimitReader(e.Content, h.Size)}, t.buf)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%s: content ended at byte %d of %d: %w", e.Path, n, h.Size, io.ErrUnexpectedEOF)
	}
	return err
}

// onlyReader and onlyWriter hide shortcuts, so that the buffer given is the one used.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// close writes the end of the stream. Without it a reader knows that something is missing.
func (t *tarWriter) close() error { return t.tw.Close() }

// ErrEntry marks what cannot be put into a tar stream.
var ErrEntry = errors.New("cannot be put into an archive")

// header answers the tar header of an entry.
func header(e *extract.Entry) (*tar.Header, error) {
	if err := extract.CheckName(e.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	m := &e.Meta
	h := &tar.Header{
		Format: tar.FormatPAX, Name: e.Path, Mode: int64(source.UnixMode(m.Mode)), ModTime: m.ModTime,
		Uid: int(m.UID), Gid: int(m.GID), Uname: m.User, Gname: m.Group, PAXRecords: map[string]string{},
	}
	switch m.Type {
	case source.Regular:
		h.Typeflag, h.Size = tar.TypeReg, m.Size
		if m.Links > 1 {
			h.PAXRecords[paxComment] = linksComment + strconv.FormatUint(m.Links, 10)
		}
		if e.HardLink != "" {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, e.HardLink
		}
	case source.Dir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case source.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.LinkTarget
	case source.Fifo:
		h.Typeflag = tar.TypeFifo
	case source.Device:
		h.Typeflag = tar.TypeBlock
	case source.CharDevice:
		h.Typeflag = tar.TypeChar
	default:
		return nil, fmt.Errorf("%w: is a %q", ErrEntry, m.Type)
	}
	if h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar {
		h.Devmajor, h.Devminor = int64(unix.Major(m.Device)), int64(unix.Minor(m.Device))
	}
	size := len(h.Name) + len(h.Linkname) + len(h.Uname) + len(h.Gname) + 200
	for _, a := range m.Xattrs {
		key := paxXattr + escapeXattr(a.Name)
		h.PAXRecords[key] = string(a.Value)
		size += len(key) + len(a.Value) + 20
	}
	if size > maxHeader {
		return nil, fmt.Errorf("%w: %w", ErrEntry, errHeaderTooBig)
	}
	return h, nil
}

// escapeXattr hides the equals sign, which would end the word, as GNU tar does.
func escapeXattr(name string) string {
	return strings.NewReplacer("%", "%25", "=", "%3D").Replace(name)
}

func unescapeXattr(name string) string {
	return strings.NewReplacer("%25", "%", "%3D", "=").Replace(name)
}
