package ttlv

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Check tells whether b is exactly one well-formed item: lengths, padding of zero
// bytes, known types, tags of the two legal ranges, valid text, no more than
// MaxDepth structures in one another and MaxSize bytes. Its error is an *Error.
func Check(b []byte) error {
	if len(b) > MaxSize {
		return &Error{Reason: fmt.Sprintf("%d bytes, at most %d", len(b), MaxSize)}
	}
	n, err := check(b, 0, 0)
	if err == nil && n != len(b) {
		err = &Error{Offset: n, Reason: fmt.Sprintf("%d bytes after the end", len(b)-n)}
	}
	if err != nil {
		return err
	}
	return nil
}

// check reads one item at b[off:] and answers where it ends. It answers *Error so
// that nothing is allocated when all is well.
func check(b []byte, off, depth int) (int, *Error) {
	it, err := read(b, off)
	if err != nil {
		return 0, err
	}
	if it.value.Type != TypeStructure {
		if reason := it.value.check(); reason != "" {
			return 0, &Error{off, it.tag, reason}
		}
		return it.end, nil
	}
	if depth++; depth > MaxDepth {
		return 0, &Error{off, it.tag, fmt.Sprintf("more than %d structures in one another", MaxDepth)}
	}
	for at := off + headerLen; at < it.end; {
		if at, err = check(b[:it.end], at, depth); err != nil {
			return 0, err
		}
	}
	return it.end, nil
}

// item is what read finds.
type item struct {
	tag   Tag
	value Value
	end   int // where the next item begins
}

// read reads the header at b[off:] and checks that the whole item with its padding lies within b.
func read(b []byte, off int) (item, *Error) {
	rest := b[off:]
	if len(rest) < headerLen {
		return item{}, &Error{off, 0, fmt.Sprintf("header cut short: %d bytes of %d", len(rest), headerLen)}
	}
	tag := Tag(rest[0])<<16 | Tag(rest[1])<<8 | Tag(rest[2])
	if !tag.valid() {
		return item{}, &Error{off, tag, "the tag is of no legal range"}
	}
	t := Type(rest[3])
	n := binary.BigEndian.Uint32(rest[4:8])
	if n > MaxSize {
		return item{}, &Error{off, tag, fmt.Sprintf("length %d, at most %d", n, MaxSize)}
	}
	rest = rest[headerLen:]
	size := padded(int(n))
	if size > len(rest) {
		return item{}, &Error{off, tag, fmt.Sprintf("length %d, but only %d bytes are left", n, len(rest))}
	}
	if t == TypeStructure && n%8 != 0 {
		return item{}, &Error{off, tag, fmt.Sprintf("Structure of %d bytes, must be a multiple of 8", n)}
	}
	for _, c := range rest[n:size] {
		if c != 0 {
			return item{}, &Error{off, tag, "padding that is not zero"}
		}
	}
	return item{tag, Value{t, rest[:n:n]}, off + headerLen + size}, nil
}

// Decoder walks over encoded items in their order. Its first fault stays: from then
// on every method answers a zero value, and Err tells the fault. Bytes and values
// that it answers lie in the buffer; texts are copied.
//
// Extensions of vendors (tags 0x54XXXX) that nobody asks for are passed over; any
// other item that is not asked for is a fault when the structure is left.
type Decoder struct {
	buf   []byte
	off   int // of the next item
	end   int // of the structure that is open
	depth int
	ends  [MaxDepth]int // of the structures around it
	open  [MaxDepth]Tag
	err   *Error
}

// Reset begins reading b, a row of items.
func (d *Decoder) Reset(b []byte) { d.buf, d.off, d.end, d.depth, d.err = b, 0, len(b), 0, nil }

// Within reads the structure with the tag and makes sub walk over its items. A fault of
// sub is its own, and tells its place in the buffer of d.
func (d *Decoder) Within(t Tag, sub *Decoder) {
	v := d.typed(t, TypeStructure)
	sub.Reset(d.buf)
	sub.off, sub.end = d.off-len(v.Body), d.off
}

// Err is the first fault, an *Error, or nil.
func (d *Decoder) Err() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

// Fail records a fault at the next item, unless there is one already.
func (d *Decoder) Fail(reason string) {
	if d.err == nil {
		var tag Tag
		if d.depth > 0 {
			tag = d.open[d.depth-1]
		}
		d.err = &Error{d.off, tag, reason}
	}
}

// More tells whether another item follows in the structure that is open.
func (d *Decoder) More() bool { return d.err == nil && d.off < d.end }

// Left is the number of bytes that follow in the structure that is open: a bound for
// every count of what may follow.
func (d *Decoder) Left() int { return d.end - d.off }

// Peek answers the tag and type of the next item, zeros when none follows.
func (d *Decoder) Peek() (Tag, Type) {
	if !d.More() {
		return 0, 0
	}
	it, err := read(d.buf[:d.end], d.off)
	if err != nil {
		d.err = err
		return 0, 0
	}
	return it.tag, it.value.Type
}

// Is tells whether the next item has the tag.
func (d *Decoder) Is(t Tag) bool {
	for {
		next, _ := d.Peek()
		if next == t && next != 0 {
			return true
		}
		if !next.Extension() {
			return false
		}
		d.Any()
	}
}

// Any reads the next item, whatever it is.
func (d *Decoder) Any() (Tag, Value) {
	if !d.More() {
		d.Fail("an item is missing")
		return 0, Value{}
	}
	it, err := read(d.buf[:d.end], d.off)
	if err == nil && it.value.Type != TypeStructure {
		if reason := it.value.check(); reason != "" {
			err = &Error{d.off, it.tag, reason}
		}
	}
	if err != nil {
		d.err = err
		return 0, Value{}
	}
	d.off = it.end
	return it.tag, it.value
}

// Value reads the next item, which must have the tag.
func (d *Decoder) Value(t Tag) Value {
	if d.err != nil {
		return Value{}
	}
	if !d.Is(t) {
		d.missing(t)
		return Value{}
	}
	_, v := d.Any()
	return v
}

func (d *Decoder) missing(t Tag) {
	if d.err != nil {
		return
	}
	if next, _ := d.Peek(); next != 0 {
		d.Fail(fmt.Sprintf("%s instead of %s", next, t))
		return
	}
	d.Fail(fmt.Sprintf("%s is missing", t))
}

func (d *Decoder) typed(t Tag, want Type) Value {
	at := d.off
	v := d.Value(t)
	if d.err == nil && v.Type != want {
		d.err = &Error{at, t, fmt.Sprintf("%s, must be %s", v.Type, want)}
		return Value{}
	}
	return v
}

// Enter opens the structure with the tag, which must be the next item. Whoever
// enters, leaves.
func (d *Decoder) Enter(t Tag) {
	v := d.typed(t, TypeStructure)
	if d.err == nil && d.depth == MaxDepth {
		d.Fail(fmt.Sprintf("more than %d structures in one another", MaxDepth))
	}
	if d.err != nil {
		return
	}
	d.ends[d.depth], d.open[d.depth] = d.end, t
	d.depth++
	d.end = d.off
	d.off -= len(v.Body)
}

// Leave closes the structure; all its items must have been read.
func (d *Decoder) Leave() {
	if d.err != nil {
		return
	}
	for d.More() {
		if next, _ := d.Peek(); !next.Extension() {
			if d.err == nil {
				d.Fail(fmt.Sprintf("unexpected %s", next))
			}
			return
		}
		d.Any()
	}
	if d.depth == 0 || d.err != nil {
		return
	}
	d.depth--
	d.off, d.end = d.end, d.ends[d.depth]
}

// Integer reads an Integer.
func (d *Decoder) Integer(t Tag) int32 {
	n, _ := d.typed(t, TypeInteger).Integer()
	return n
}

// Enumeration reads an Enumeration.
func (d *Decoder) Enumeration(t Tag) uint32 {
	n, _ := d.typed(t, TypeEnumeration).Enumeration()
	return n
}

// Interval reads an Interval in seconds.
func (d *Decoder) Interval(t Tag) uint32 {
	n, _ := d.typed(t, TypeInterval).Interval()
	return n
}

// LongInteger reads a Long Integer.
func (d *Decoder) LongInteger(t Tag) int64 {
	n, _ := d.typed(t, TypeLongInteger).LongInteger()
	return n
}

// DateTime reads a Date-Time, in UTC.
func (d *Decoder) DateTime(t Tag) time.Time {
	v, _ := d.typed(t, TypeDateTime).DateTime()
	return v
}

// Boolean reads a Boolean.
func (d *Decoder) Boolean(t Tag) bool {
	v, _ := d.typed(t, TypeBoolean).Boolean()
	return v
}

// TextString reads a Text String.
func (d *Decoder) TextString(t Tag) string { return string(d.typed(t, TypeTextString).Body) }

// ByteString reads a Byte String, which lies in the buffer.
func (d *Decoder) ByteString(t Tag) []byte { return d.typed(t, TypeByteString).Body }

// Rest answers all items that follow in the structure that is open, encoded, and passes over them.
func (d *Decoder) Rest() []byte {
	if d.err != nil {
		return nil
	}
	b := d.buf[d.off:d.end:d.end]
	d.off = d.end
	return b
}
