package repository

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"allclear/internal/subsystem/backup/source"
)

// The text before and after the nodes of a tree.
const (
	treeHead = `{"nodes":[`
	treeTail = "]}\n"
)

// appendNode appends one node exactly as encoding/json writes the reference program's structure.
func appendNode(b []byte, n *Node) []byte {
	quoted := strconv.Quote(n.Name)
	b = appendString(append(b, `{"name":`...), quoted[1:len(quoted)-1])
	b = appendString(append(b, `,"type":`...), string(n.Type))
	b = appendNumber(b, `,"mode":`, uint64(n.Mode), false)
	b = appendTime(append(b, `,"mtime":`...), n.ModTime)
	b = appendTime(append(b, `,"atime":`...), n.AccessTime)
	b = appendTime(append(b, `,"ctime":`...), n.ChangeTime)
	b = appendNumber(b, `,"uid":`, uint64(n.UID), true)
	b = appendNumber(b, `,"gid":`, uint64(n.GID), true)
	if n.User != "" {
		b = appendString(append(b, `,"user":`...), n.User)
	}
	if n.Group != "" {
		b = appendString(append(b, `,"group":`...), n.Group)
	}
	b = appendNumber(b, `,"inode":`, n.Inode, false)
	b = appendNumber(b, `,"device_id":`, n.DeviceID, false)
	b = appendNumber(b, `,"size":`, uint64(max(n.Size, 0)), false)
	b = appendNumber(b, `,"links":`, n.Links, false)
	if n.LinkTarget != "" {
		b = appendString(append(b, `,"linktarget":`...), n.LinkTarget)
		if !utf8.ValidString(n.LinkTarget) {
			b = appendBytes(append(b, `,"linktarget_raw":`...), []byte(n.LinkTarget))
		}
	}
	b = appendXattrs(b, n.Xattrs)
	if len(n.generic) > 0 {
		b = append(append(b, `,"generic_attributes":`...), n.generic...)
	}
	b = appendNumber(b, `,"device":`, n.Device, false)
	b = appendContent(b, n)
	if !n.Subtree.IsZero() {
		b = appendIDField(b, `,"subtree":"`, n.Subtree)
	}
	if n.Error != "" {
		b = appendString(append(b, `,"error":`...), n.Error)
	}
	return append(b, '}')
}

func appendContent(b []byte, n *Node) []byte {
	b = append(b, `,"content":`...)
	if n.Type != source.Regular || n.noContent {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range n.Content {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendIDField(b, `"`, n.Content[i])
	}
	return append(b, ']')
}

func appendXattrs(b []byte, all []source.Xattr) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(b, `,"extended_attributes":[`...)
	for i, x := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), x.Name)
		b = appendBytes(append(b, `,"value":`...), x.Value)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendNumber(b []byte, before string, v uint64, zero bool) []byte {
	if v == 0 && !zero {
		return b
	}
	return strconv.AppendUint(append(b, before...), v, 10)
}

func appendBytes(b, v []byte) []byte {
	b = append(b, '"')
	return append(base64.StdEncoding.AppendEncode(b, v), '"')
}

// appendTime writes RFC 3339 in the time's own zone; a year that it cannot say is moved to the nearest it can.
func appendTime(b []byte, t time.Time) []byte {
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Date(min(max(y, 0), 9999), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	}
	b = append(b, '"')
	return append(t.AppendFormat(b, time.RFC3339Nano), '"')
}

// appendString writes a JSON string as encoding/json does with its default of escaping for HTML.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + n
		} else if r == '\u2028' || r == '\u2029' {
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, digits[r&15])
			start = i + n
		}
		i += n
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
