package kmiptest

import (
	"bytes"
	"time"

	"allclear/kmip/ttlv"
)

// item is an item of a message with those in it. The server works on such trees and not on the payload types of
// package kmip: what it does not know it keeps, and a client of those types is judged by something else than them.
// Items that were stored are never changed.
type item struct {
	tag  ttlv.Tag
	val  ttlv.Value // without body when it is a structure
	kids []*item
}

// parse reads one item; b is checked first and is kept by the tree.
func parse(b []byte) (*item, error) {
	if err := ttlv.Check(b); err != nil {
		return nil, err
	}
	var d ttlv.Decoder
	d.Reset(b)
	tag, v := d.Any()
	if err := d.Err(); err != nil {
		return nil, err
	}
	return grow(tag, v)
}

// grow makes the tree of a value. Its depth was bounded by ttlv.Check.
func grow(tag ttlv.Tag, v ttlv.Value) (*item, error) {
	it := &item{tag: tag, val: v}
	if v.Type != ttlv.TypeStructure {
		return it, nil
	}
	it.val.Body = nil
	var d ttlv.Decoder
	d.Reset(v.Body)
	for d.More() {
		t, kv := d.Any()
		if d.Err() != nil {
			break
		}
		kid, err := grow(t, kv)
		if err != nil {
			return nil, err
		}
		it.kids = append(it.kids, kid)
	}
	return it, d.Err()
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

// add appends items that are not nil.
func (it *item) add(kids ...*item) *item {
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

func text(t ttlv.Tag, v string) *item     { return &item{tag: t, val: ttlv.TextValue(v)} }
func integer(t ttlv.Tag, v int32) *item   { return &item{tag: t, val: ttlv.IntegerValue(v)} }
func long(t ttlv.Tag, v int64) *item      { return &item{tag: t, val: ttlv.LongIntegerValue(v)} }
func interval(t ttlv.Tag, v uint32) *item { return &item{tag: t, val: ttlv.IntervalValue(v)} }
func boolean(t ttlv.Tag, v bool) *item    { return &item{tag: t, val: ttlv.BooleanValue(v)} }
func octets(t ttlv.Tag, v []byte) *item   { return &item{tag: t, val: ttlv.BytesValue(v)} }
func date(t ttlv.Tag, v time.Time) *item  { return &item{tag: t, val: ttlv.DateTimeValue(v)} }
func enum[E ~uint32](t ttlv.Tag, v E) *item {
	return &item{tag: t, val: ttlv.EnumerationValue(uint32(v))}
}
