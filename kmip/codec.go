package kmip

import (
	"time"

	"allclear/kmip/ttlv"
)

// enc writes the parts of one message in the form of its version.
type enc struct {
	ttlv.Encoder
	v Version
}

// two tells whether the attributes have the form of KMIP 2.x.
func (e *enc) two() bool { return e.v.Major() >= 2 }

// dec reads the parts of one message in the form of its version.
type dec struct {
	ttlv.Decoder
	v Version
}

func (d *dec) two() bool { return d.v.Major() >= 2 }

// What is optional and absent: an empty text, a nil byte string, an enumeration of 0,
// a nil pointer, a nil slice.

func (e *enc) optText(t ttlv.Tag, s string) {
	if s != "" {
		e.TextString(t, s)
	}
}

func (e *enc) optBytes(t ttlv.Tag, b []byte) {
	if b != nil {
		e.ByteString(t, b)
	}
}

func (e *enc) optValue(t ttlv.Tag, v ttlv.Value) {
	if !v.IsZero() {
		e.Value(t, v)
	}
}

func (e *enc) optInt(t ttlv.Tag, n *int32) {
	if n != nil {
		e.Integer(t, *n)
	}
}

func (e *enc) optLong(t ttlv.Tag, n *int64) {
	if n != nil {
		e.LongInteger(t, *n)
	}
}

func (e *enc) optInterval(t ttlv.Tag, n *uint32) {
	if n != nil {
		e.Interval(t, *n)
	}
}

func (e *enc) optBool(t ttlv.Tag, b *bool) {
	if b != nil {
		e.Boolean(t, *b)
	}
}

func (e *enc) optTime(t ttlv.Tag, at time.Time) {
	if !at.IsZero() {
		e.DateTime(t, at)
	}
}

func optEnum[T ~uint32](e *enc, t ttlv.Tag, v T) {
	if v != 0 {
		e.Enumeration(t, uint32(v))
	}
}

func enums[T ~uint32](e *enc, t ttlv.Tag, list []T) {
	for _, v := range list {
		e.Enumeration(t, uint32(v))
	}
}

func (e *enc) texts(t ttlv.Tag, list []string) {
	for _, s := range list {
		e.TextString(t, s)
	}
}

func (e *enc) values(t ttlv.Tag, list []ttlv.Value) {
	for _, v := range list {
		e.Value(t, v)
	}
}

func (d *dec) optText(t ttlv.Tag) string {
	if d.Is(t) {
		return d.TextString(t)
	}
	return ""
}

func (d *dec) optBytes(t ttlv.Tag) []byte {
	if d.Is(t) {
		return d.ByteString(t)
	}
	return nil
}

func (d *dec) optValue(t ttlv.Tag) ttlv.Value {
	if d.Is(t) {
		return d.Value(t)
	}
	return ttlv.Value{}
}

func (d *dec) optInt(t ttlv.Tag) *int32 {
	if d.Is(t) {
		return new(d.Integer(t))
	}
	return nil
}

func (d *dec) optLong(t ttlv.Tag) *int64 {
	if d.Is(t) {
		return new(d.LongInteger(t))
	}
	return nil
}

func (d *dec) optInterval(t ttlv.Tag) *uint32 {
	if d.Is(t) {
		return new(d.Interval(t))
	}
	return nil
}

func (d *dec) optBool(t ttlv.Tag) *bool {
	if d.Is(t) {
		return new(d.Boolean(t))
	}
	return nil
}

// optTime also reads the extended form, which KMIP 2.1 allows for some fields.
func (d *dec) optTime(t ttlv.Tag) time.Time {
	if !d.Is(t) {
		return time.Time{}
	}
	at, ok := d.Value(t).DateTime()
	if !ok {
		d.Fail(t.String() + " is no date")
	}
	return at
}

func enum[T ~uint32](d *dec, t ttlv.Tag) T { return T(d.Enumeration(t)) }

func optionalEnum[T ~uint32](d *dec, t ttlv.Tag) T {
	if d.Is(t) {
		return T(d.Enumeration(t))
	}
	return 0
}

func enumList[T ~uint32](d *dec, t ttlv.Tag) []T {
	var list []T
	for d.Is(t) {
		list = append(list, T(d.Enumeration(t)))
	}
	return list
}

func (d *dec) textList(t ttlv.Tag) []string {
	var list []string
	for d.Is(t) {
		list = append(list, d.TextString(t))
	}
	return list
}

func (d *dec) structureList(t ttlv.Tag) []ttlv.Value {
	var list []ttlv.Value
	for d.Is(t) {
		list = append(list, d.structure(t))
	}
	return list
}

// structure reads a structure as it is.
func (d *dec) structure(t ttlv.Tag) ttlv.Value {
	v := d.Value(t)
	if d.Err() == nil && v.Type != ttlv.TypeStructure {
		d.Fail(t.String() + " is no structure")
	}
	return v
}

// id reads a Unique Identifier. An empty one is a fault: it must not be taken for an absent one, which in a
// request stands for the ID placeholder.
func (d *dec) id(t ttlv.Tag) string {
	s := d.TextString(t)
	if s == "" {
		d.Fail(t.String() + " is empty")
	}
	return s
}

func (d *dec) optID(t ttlv.Tag) string {
	if d.Is(t) {
		return d.id(t)
	}
	return ""
}
