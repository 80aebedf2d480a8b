package kmiptest

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"allclear/kmip/ttlv"
)

// item is an item of a message with those in it. The server works on such trees and not on the payload types of
// package kmip: what it does not know it keeps, and a client of those types is judged by something else than them.
// Items that were stored are never changed.
type item struct {
	tag   ttlv.Tag
	val   ttlv.Value // without body when it is a structure
	kids  []*item
	small [8]byte // the body of a number that was made here
}

// parse reads one item; b is checked first and is kept by the tree.
func parse(b []byte) (*item, error) {
	if err := ttlv.Check(b); err != nil {
		return nil, err
	}
	n := 0
	for off := 0; off < len(b); n++ {
		if ttlv.Type(b[off+3]) == ttlv.TypeStructure {
			off += headerLen
		} else {
			off += span(b[off:])
		}
	}
	g := grove{items: make([]item, n), kids: make([]*item, n)}
	return g.grow(b)[0], nil
}

// span is the number of bytes of the first item of b: header, value and padding (KMIP 1.4 section 9.1.1).
func span(b []byte) int {
	return headerLen + (int(binary.BigEndian.Uint32(b[4:]))+7)&^7
}

// grove is the room for the items of one message: two allocations instead of two for each structure.
type grove struct {
	items []item
	kids  []*item
}

// grow makes the trees of a row of items that were checked; that bounded their depth too.
func (g *grove) grow(b []byte) []*item {
	n := 0
	for off := 0; off < len(b); off += span(b[off:]) {
		n++
	}
	row := g.kids[:n:n]
	g.kids = g.kids[n:]
	for i := range row {
		it := &g.items[0]
		g.items, row[i] = g.items[1:], it
		size := headerLen + int(binary.BigEndian.Uint32(b[4:]))
		it.tag = ttlv.Tag(binary.BigEndian.Uint32(b) >> 8)
		it.val.Type = ttlv.Type(b[3])
		if body := b[headerLen:size:size]; it.val.Type == ttlv.TypeStructure {
			it.kids = g.grow(body)
		} else {
			it.val.Body = body
		}
		b = b[span(b):]
	}
	return row
}

// encode appends the item to e.
func (it *item) encode(e *ttlv.Encoder) {
	if it.val.Type != ttlv.TypeStructure {
		e.Value(it.tag, it.val)
		return
	}
	at := e.Begin(it.tag)
	for _, k := range it.kids {
		k.encode(e)
	}
	e.End(at)
}

func (it *item) bytes() []byte {
	var e ttlv.Encoder
	it.encode(&e)
	return e.Bytes()
}

// retag answers the same value under another tag; nil stays nil.
func (it *item) retag(t ttlv.Tag) *item {
	if it == nil {
		return nil
	}
	return &item{tag: t, val: it.val, kids: it.kids}
}

// kid answers the first item with the tag, nil when there is none or it is nil itself.
func (it *item) kid(t ttlv.Tag) *item {
	if it == nil {
		return nil
	}
	for _, k := range it.kids {
		if k.tag == t {
			return k
		}
	}
	return nil
}

// at walks down by tags.
func (it *item) at(path ...ttlv.Tag) *item {
	for _, t := range path {
		it = it.kid(t)
	}
	return it
}

// all answers every item with the tag.
func (it *item) all(t ttlv.Tag) []*item {
	var found []*item
	for _, k := range it.kids {
		if k.tag == t {
			found = append(found, k)
		}
	}
	return found
}

// count tells how many items have the tag.
func (it *item) count(t ttlv.Tag) int {
	n := 0
	for _, k := range it.kids {
		if k.tag == t {
			n++
		}
	}
	return n
}

// add appends items that are not nil.
func (it *item) add(kids ...*item) *item {
	it.kids = slices.Grow(it.kids, len(kids))
	for _, k := range kids {
		if k != nil {
			it.kids = append(it.kids, k)
		}
	}
	return it
}

// equal tells whether two values are the same, whatever their tags.
func (it *item) equal(other *item) bool {
	if it.val.Type != other.val.Type || !bytes.Equal(it.val.Body, other.val.Body) || len(it.kids) != len(other.kids) {
		return false
	}
	for i, k := range it.kids {
		if k.tag != other.kids[i].tag || !k.equal(other.kids[i]) {
			return false
		}
	}
	return true
}

// The readers answer a zero value for an item that is nil or of another type; where the difference matters the caller
// has looked before.

func (it *item) text() string {
	if it == nil || it.val.Type != ttlv.TypeTextString {
		return ""
	}
	return string(it.val.Body)
}

func (it *item) enum() uint32 {
	if it == nil {
		return 0
	}
	n, _ := it.val.Enumeration()
	return n
}

func (it *item) integer() int32 {
	if it == nil {
		return 0
	}
	n, _ := it.val.Integer()
	return n
}

func (it *item) long() int64 {
	if it == nil {
		return 0
	}
	n, _ := it.val.LongInteger()
	return n
}

func (it *item) flag() bool {
	if it == nil {
		return false
	}
	v, _ := it.val.Boolean()
	return v
}

func (it *item) octets() []byte {
	if it == nil || it.val.Type != ttlv.TypeByteString {
		return nil
	}
	return it.val.Body
}

func (it *item) time() time.Time {
	if it == nil {
		return time.Time{}
	}
	t, _ := it.val.DateTime()
	return t
}

func structure(t ttlv.Tag, kids ...*item) *item {
	return (&item{tag: t, val: ttlv.Value{Type: ttlv.TypeStructure}}).add(kids...)
}

func text(t ttlv.Tag, v string) *item    { return &item{tag: t, val: ttlv.TextValue(v)} }
func octets(t ttlv.Tag, v []byte) *item  { return &item{tag: t, val: ttlv.BytesValue(v)} }
func integer(t ttlv.Tag, v int32) *item  { return four(t, ttlv.TypeInteger, uint32(v)) }
func long(t ttlv.Tag, v int64) *item     { return eight(t, ttlv.TypeLongInteger, uint64(v)) }
func date(t ttlv.Tag, v time.Time) *item { return eight(t, ttlv.TypeDateTime, uint64(v.Unix())) }

func interval(t ttlv.Tag, v uint32) *item { return four(t, ttlv.TypeInterval, v) }

func boolean(t ttlv.Tag, v bool) *item {
	if v {
		return eight(t, ttlv.TypeBoolean, 1)
	}
	return eight(t, ttlv.TypeBoolean, 0)
}

func enum[E ~uint32](t ttlv.Tag, v E) *item { return four(t, ttlv.TypeEnumeration, uint32(v)) }

// four makes a number of four bytes, whose body lies in the item itself.
func four(t ttlv.Tag, ty ttlv.Type, v uint32) *item {
	it := &item{tag: t}
	binary.BigEndian.PutUint32(it.small[:], v)
	it.val = ttlv.Value{Type: ty, Body: it.small[:4]}
	return it
}

// eight makes a number of eight bytes.
func eight(t ttlv.Tag, ty ttlv.Type, v uint64) *item {
	it := &item{tag: t}
	binary.BigEndian.PutUint64(it.small[:], v)
	it.val = ttlv.Value{Type: ty, Body: it.small[:]}
	return it
}
