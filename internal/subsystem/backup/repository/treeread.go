package repository

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"time"

	"allclear/internal/subsystem/backup/source"
)

// maxTree bounds a tree blob, in bytes: about three million entries in one folder.
const maxTree = 1 << 30

// decodeTree reads the plaintext of a tree blob. Names and types are judged by [Node.valid], node by node.
func decodeTree(b []byte) ([]Node, error) {
	var nodes []Node
	p := &jsonReader{b: b}
	err := p.object(func(key []byte) error {
		if string(key) != "nodes" {
			return p.skip()
		}
		return p.array(func() error {
			n, err := decodeNode(p)
			nodes = append(nodes, n)
			return err
		})
	})
	if err == nil {
		err = p.end()
	}
	return nodes, err
}

func decodeNode(p *jsonReader) (Node, error) {
	n := Node{noContent: true}
	var raw []byte
	err := p.object(func(key []byte) error { return nodeField(p, &n, &raw, string(key)) })
	if raw != nil {
		n.LinkTarget = string(raw)
	}
	if n.Type != source.Regular {
		n.Content, n.noContent = nil, false
	}
	return n, err
}

func nodeField(p *jsonReader, n *Node, raw *[]byte, key string) (err error) {
	switch key {
	case "name":
		n.Name, err = nameField(p)
	case "type":
		err = textField(p, (*string)(&n.Type))
	case "mtime":
		err = timeField(p, &n.ModTime)
	case "atime":
		err = timeField(p, &n.AccessTime)
	case "ctime":
		err = timeField(p, &n.ChangeTime)
	case "user":
		err = textField(p, &n.User)
	case "group":
		err = textField(p, &n.Group)
	case "linktarget":
		err = textField(p, &n.LinkTarget)
	case "linktarget_raw":
		*raw, err = bytesField(p)
	case "extended_attributes":
		err = p.array(func() error { return xattrField(p, n) })
	case "generic_attributes":
		p.space()
		start := p.i
		if err = p.skip(); err == nil {
			n.generic = slices.Clone(p.b[start:p.i])
		}
	case "content":
		n.noContent = p.peek() == 'n'
		err = p.array(func() error {
			id, err := p.id()
			n.Content = append(n.Content, id)
			return err
		})
	case "subtree":
		if !p.null() {
			n.Subtree, err = p.id()
		}
	case "error":
		err = textField(p, &n.Error)
	default:
		err = numberField(p, n, key)
	}
	if err != nil {
		err = fmt.Errorf("field %s: %w", key, err)
	}
	return err
}

func numberField(p *jsonReader, n *Node, key string) error {
	var small *uint32
	var large *uint64
	switch key {
	case "mode":
		v, err := p.number(32)
		n.Mode = fs.FileMode(v) //nolint:gosec // 32 bits
		return err
	case "size":
		v, err := p.number(64)
		n.Size = int64(min(v, math.MaxInt64)) //nolint:gosec // bounded
		return err
	case "uid":
		small = &n.UID
	case "gid":
		small = &n.GID
	case "inode":
		large = &n.Inode
	case "device_id":
		large = &n.DeviceID
	case "links":
		large = &n.Links
	case "device":
		large = &n.Device
	default:
		return p.skip()
	}
	if small != nil {
		v, err := p.number(32)
		*small = uint32(v) //nolint:gosec // 32 bits
		return err
	}
	v, err := p.number(64)
	*large = v
	return err
}

// nameField reads a name: a JSON string that holds the inside of a Go string literal.
func nameField(p *jsonReader) (string, error) {
	t, err := p.text()
	if err != nil {
		return "", err
	}
	if !slices.Contains(t, '\\') && !slices.Contains(t, '"') && !slices.Contains(t, '\n') {
		return string(t), nil
	}
	name, err := strconv.Unquote(`"` + string(t) + `"`)
	if err != nil {
		return "", fmt.Errorf("name %.300q: %w", t, err)
	}
	return name, nil
}

func textField(p *jsonReader, to *string) error {
	if p.null() {
		return nil
	}
	t, err := p.text()
	*to = string(t)
	return err
}

func timeField(p *jsonReader, to *time.Time) error {
	if p.null() {
		return nil
	}
	t, err := p.text()
	if err != nil {
		return err
	}
	return to.UnmarshalText(t)
}

func bytesField(p *jsonReader) ([]byte, error) {
	if p.null() {
		return nil, nil
	}
	t, err := p.text()
	if err != nil {
		return nil, err
	}
	out, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(t))), t)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func xattrField(p *jsonReader, n *Node) error {
	var x source.Xattr
	err := p.object(func(key []byte) (err error) {
		switch string(key) {
		case "name":
			err = textField(p, &x.Name)
		case "value":
			x.Value, err = bytesField(p)
		default:
			err = p.skip()
		}
		return err
	})
	n.Xattrs = append(n.Xattrs, x)
	return err
}
