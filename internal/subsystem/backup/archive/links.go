package archive

import "allclear/internal/subsystem/backup/source"

// maxTracked bounds the files with several names that are remembered at a time. Beyond it, a further file is kept once
// for each of its names.
const maxTracked = 200_000

type inode struct{ device, inode uint64 }

// linked is a file of which one name is in the archive.
type linked struct {
	path string
	left uint64 // names that may still come
}

// linkTo answers the path under which the file is in the archive already, "" for none.
func (a *Writer) linkTo(m *source.Meta) string {
	if m.Links < 2 {
		return ""
	}
	id := inode{m.DeviceID, m.Inode}
	first := a.links[id]
	if first == nil {
		return ""
	}
	if first.left--; first.left == 0 {
		delete(a.links, id)
	}
	return first.path
}

// remember notes a file that went into the archive with its content.
func (a *Writer) remember(m *source.Meta, path string) {
	if m.Links > 1 && len(a.links) < maxTracked {
		a.links[inode{m.DeviceID, m.Inode}] = &linked{path: path, left: m.Links - 1}
	}
}
