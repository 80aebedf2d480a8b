package ttlv

import (
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"
)

// Value is the value of an item of any type, as it is encoded but without header
// and padding: 4 or 8 bytes of a number, the bytes of a text, the items of a structure.
// It may hold a key, so it does not print itself: see [Value.String].
type Value struct {
	Type Type
	Body []byte
}

// The constructors of values.

// IntegerValue makes an Integer.
func IntegerValue(v int32) Value { return Value{TypeInteger, four(uint32(v))} }

// EnumerationValue makes an Enumeration.
func EnumerationValue(v uint32) Value { return Value{TypeEnumeration, four(v)} }

// IntervalValue makes an Interval of whole seconds.
func IntervalValue(seconds uint32) Value { return Value{TypeInterval, four(seconds)} }

// LongIntegerValue makes a Long Integer.
func LongIntegerValue(v int64) Value { return Value{TypeLongInteger, eight(uint64(v))} }

// DateTimeValue makes a Date-Time; parts of a second are dropped.
func DateTimeValue(v time.Time) Value { return Value{TypeDateTime, eight(uint64(v.Unix()))} }

// BooleanValue makes a Boolean.
func BooleanValue(v bool) Value {
	if v {
		return Value{TypeBoolean, eight(1)}
	}
	return Value{TypeBoolean, eight(0)}
}

// TextValue makes a Text String.
func TextValue(v string) Value { return Value{TypeTextString, []byte(v)} }

// BytesValue makes a Byte String; the bytes are not copied.
func BytesValue(v []byte) Value { return Value{TypeByteString, v} }

// StructureValue makes a Structure of encoded items, which are not copied.
func StructureValue(items []byte) Value { return Value{TypeStructure, items} }

func four(v uint32) []byte  { return binary.BigEndian.AppendUint32(nil, v) }
func eight(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// IsZero tells whether there is no value at all.
func (v Value) IsZero() bool { return v.Type == 0 }

func (v Value) four(t Type) (uint32, bool) {
	if v.Type != t || len(v.Body) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v.Body), true
}

func (v Value) eight(t Type) (uint64, bool) {
	if v.Type != t || len(v.Body) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v.Body), true
}

// Integer reads an Integer; the bool is false when the value is something else. So with all below.
func (v Value) Integer() (int32, bool) {
	n, ok := v.four(TypeInteger)
	return int32(n), ok
}

// Enumeration reads an Enumeration.
func (v Value) Enumeration() (uint32, bool) { return v.four(TypeEnumeration) }

// Interval reads an Interval in seconds.
func (v Value) Interval() (uint32, bool) { return v.four(TypeInterval) }

// LongInteger reads a Long Integer.
func (v Value) LongInteger() (int64, bool) {
	n, ok := v.eight(TypeLongInteger)
	return int64(n), ok
}

// DateTime reads a Date-Time, or a Date-Time-Extended to the microsecond; in UTC.
func (v Value) DateTime() (time.Time, bool) {
	if n, ok := v.eight(TypeDateTime); ok {
		return time.Unix(int64(n), 0).UTC(), true
	}
	n, ok := v.eight(TypeDateTimeExtended)
	return time.UnixMicro(int64(n)).UTC(), ok
}

// Boolean reads a Boolean.
func (v Value) Boolean() (value, ok bool) {
	n, ok := v.eight(TypeBoolean)
	return n == 1, ok
}

// Text reads a Text String.
func (v Value) Text() (string, bool) { return string(v.Body), v.Type == TypeTextString }

// Bytes reads a Byte String without copying it.
func (v Value) Bytes() ([]byte, bool) { return v.Body, v.Type == TypeByteString }

// String names the type and the length but never the value, which may be a secret.
func (v Value) String() string {
	if v.Type == 0 {
		return "no value"
	}
	return v.Type.String() + " of " + strconv.Itoa(len(v.Body)) + " bytes"
}

// GoString is String, so that %#v shows no secret either.
func (v Value) GoString() string { return "ttlv.Value{" + v.String() + "}" }

// MarshalJSON writes what String says.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + v.String() + `"`), nil }

// check tells what is wrong with a value that is no structure, "" when nothing is.
func (v Value) check() string {
	if want := v.Type.fixed(); want >= 0 && len(v.Body) != want {
		return v.Type.String() + " of " + strconv.Itoa(len(v.Body)) + " bytes, must have " + strconv.Itoa(want)
	}
	switch v.Type {
	case TypeBigInteger:
		if len(v.Body) == 0 || len(v.Body)%8 != 0 {
			return "BigInteger of " + strconv.Itoa(len(v.Body)) + " bytes, must be a multiple of 8"
		}
	case TypeBoolean:
		if binary.BigEndian.Uint64(v.Body) > 1 {
			return "Boolean that is neither 0 nor 1"
		}
	case TypeTextString:
		if !utf8.Valid(v.Body) {
			return "TextString that is not UTF-8"
		}
	case TypeInteger, TypeLongInteger, TypeEnumeration, TypeByteString, TypeDateTime, TypeInterval, TypeDateTimeExtended:
	default:
		return "unknown " + v.Type.String()
	}
	return ""
}
