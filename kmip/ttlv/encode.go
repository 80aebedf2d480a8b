package ttlv

import (
	"encoding/binary"
	"time"
)

// Encoder appends items to a buffer. The zero value is ready; it never fails, but
// whoever sends its bytes keeps them below the limit of the receiver.
type Encoder struct {
	buf []byte
}

// Use makes the encoder append to b.
func (e *Encoder) Use(b []byte) { e.buf = b }

// Reset empties the encoder, wipes what it held, and keeps the memory.
func (e *Encoder) Reset() {
	clear(e.buf[:cap(e.buf)])
	e.buf = e.buf[:0]
}

// Bytes is what was written since Reset, behind what Use gave; it is overwritten by what comes next.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len is the number of bytes written.
func (e *Encoder) Len() int { return len(e.buf) }

func (e *Encoder) header(t Tag, ty Type, n int) {
	e.buf = append(e.buf, byte(t>>16), byte(t>>8), byte(t), byte(ty), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// Begin opens a structure; what Begin answers goes to End.
func (e *Encoder) Begin(t Tag) int {
	e.header(t, TypeStructure, 0)
	return len(e.buf)
}

// End closes the structure that Begin opened.
func (e *Encoder) End(begin int) {
	binary.BigEndian.PutUint32(e.buf[begin-4:], uint32(len(e.buf)-begin))
}

func (e *Encoder) four(t Tag, ty Type, v uint32) {
	e.header(t, ty, 4)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)<<32)
}

func (e *Encoder) eight(t Tag, ty Type, v uint64) {
	e.header(t, ty, 8)
	e.buf = binary.BigEndian.AppendUint64(e.buf, v)
}

// pad fills up a value of n bytes.
func (e *Encoder) pad(n int) {
	for range padded(n) - n {
		e.buf = append(e.buf, 0)
	}
}

// Integer appends an Integer.
func (e *Encoder) Integer(t Tag, v int32) { e.four(t, TypeInteger, uint32(v)) }

// Enumeration appends an Enumeration.
func (e *Encoder) Enumeration(t Tag, v uint32) { e.four(t, TypeEnumeration, v) }

// Interval appends an Interval of whole seconds.
func (e *Encoder) Interval(t Tag, seconds uint32) { e.four(t, TypeInterval, seconds) }

// LongInteger appends a Long Integer.
func (e *Encoder) LongInteger(t Tag, v int64) { e.eight(t, TypeLongInteger, uint64(v)) }

// DateTime appends a Date-Time; parts of a second are dropped.
func (e *Encoder) DateTime(t Tag, v time.Time) { e.eight(t, TypeDateTime, uint64(v.Unix())) }

// Boolean appends a Boolean.
func (e *Encoder) Boolean(t Tag, v bool) {
	var n uint64
	if v {
		n = 1
	}
	e.eight(t, TypeBoolean, n)
}

// TextString appends a Text String; the text is UTF-8.
func (e *Encoder) TextString(t Tag, v string) {
	e.header(t, TypeTextString, len(v))
	e.buf = append(e.buf, v...)
	e.pad(len(v))
}

// ByteString appends a Byte String.
func (e *Encoder) ByteString(t Tag, v []byte) {
	e.header(t, TypeByteString, len(v))
	e.buf = append(e.buf, v...)
	e.pad(len(v))
}

// Value appends a value of any type.
func (e *Encoder) Value(t Tag, v Value) {
	e.header(t, v.Type, len(v.Body))
	e.buf = append(e.buf, v.Body...)
	e.pad(len(v.Body))
}

// Raw appends whole items that are encoded already.
func (e *Encoder) Raw(items []byte) { e.buf = append(e.buf, items...) }
