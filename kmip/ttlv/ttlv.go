// Package ttlv reads and writes the tag-type-length-value encoding of KMIP
// (KMIP 2.1 section 10.1) and holds the names of all tags, enumerations and masks
// of KMIP 1.4 and 2.1.
//
// An [Encoder] appends items to one buffer, a [Decoder] walks over one without
// copying; neither uses reflection. [Check] tells whether bytes are one well-formed
// item; everything is bounded by [MaxSize] and [MaxDepth] before anything is
// allocated, and no input makes this package panic. [Text] renders an item for
// people.
//
// What a KMIP message may contain is not here but in package kmip.
package ttlv

import "fmt"

// Limits of what is read and written.
const (
	MaxSize  = 1 << 20 // bytes of an item with its header
	MaxDepth = 32      // structures in one another
)

const headerLen = 8

// Tag is the number of a field: 0x420000 to 0x42FFFF are of the specification,
// 0x540000 to 0x54FFFF are extensions of vendors.
type Tag uint32

// Type is the type of an item.
type Type uint8

// Extension tells whether the tag is of the range left to vendors.
func (t Tag) Extension() bool { return t>>16 == 0x54 }

func (t Tag) valid() bool { return t>>16 == 0x42 || t.Extension() }

// fixed is the length that every item of the type has, or -1.
func (t Type) fixed() int {
	switch t {
	case TypeInteger, TypeEnumeration, TypeInterval:
		return 4
	case TypeLongInteger, TypeBoolean, TypeDateTime, TypeDateTimeExtended:
		return 8
	}
	return -1
}

// Error is a fault in the encoding. It never holds bytes of a value.
type Error struct {
	Offset int // of the item, in bytes from the start of what was read
	Tag    Tag // 0: not known
	Reason string
}

// Error says what is wrong and where.
func (e *Error) Error() string {
	if e.Tag == 0 {
		return fmt.Sprintf("TTLV at byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("TTLV at byte %d, %s: %s", e.Offset, e.Tag, e.Reason)
}

// padded is n rounded up to a multiple of 8.
func padded(n int) int { return (n + 7) &^ 7 }
