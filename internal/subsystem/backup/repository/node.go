package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"allclear/internal/subsystem/backup/source"
)

// Node is one thing in a folder, as a tree blob holds it.
type Node struct {
	Name string // raw bytes
	source.Meta
	Content []ID   // of a file: the IDs of its data blobs, in order
	Subtree ID     // of a folder: the ID of its tree blob
	Error   string // a read error that another program noted
	// generic are attributes of other systems, kept as they were.
	generic json.RawMessage
	// noContent: a file whose content is null, which is damage.
	noContent bool
}

// ValidName answers nil for a name that may be restored into a folder.
func (n *Node) ValidName() error {
	switch {
	case n.Name == "":
		return errors.New("a name is empty")
	case n.Name == "." || n.Name == ".." || strings.ContainsAny(n.Name, "/\x00"):
		return fmt.Errorf("the name %q leads out of its folder", n.Name)
	}
	return nil
}

// valid answers what makes a node unusable.
func (n *Node) valid() error {
	if err := n.ValidName(); err != nil {
		return err
	}
	switch n.Type {
	case source.Regular:
		if n.noContent {
			return fmt.Errorf("the file %q has no list of content", n.Name)
		}
	case source.Dir:
		if n.Subtree.IsZero() {
			return fmt.Errorf("the folder %q has no tree", n.Name)
		}
	case source.Symlink, source.Device, source.CharDevice, source.Fifo, source.Socket:
	default:
		return fmt.Errorf("%q is of the unknown type %.40q", n.Name, n.Type)
	}
	return nil
}

// ContentHash answers one value for the content of a file: the hash of the hashes of its chunks. It is equal for equal
// lists of chunks.
func ContentHash(content []ID) ID {
	b := make([]byte, 0, len(content)*len(ID{}))
	for i := range content {
		b = append(b, content[i][:]...)
	}
	return Hash(b)
}
