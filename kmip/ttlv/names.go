package ttlv

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// tagInfo is a row of the table of tags.
type tagInfo struct {
	tag      Tag
	id, name string
	types    uint16 // bits 1<<Type; 0: any
	set      int16  // index in sets; 0: none, -1: the values are tags
	versions uint8  // 1: in KMIP 1.4, 2: in 2.1
}

// valueSet is an enumeration or a bit mask.
type valueSet struct {
	id     string
	mask   bool
	values []valueName
}

// valueName is a row of a valueSet.
type valueName struct {
	value    uint32
	id, name string
	versions uint8
}

func (t Tag) info() *tagInfo {
	i, ok := slices.BinarySearchFunc(tags[:], t, func(r tagInfo, t Tag) int { return int(r.tag) - int(t) })
	if !ok {
		return nil
	}
	return &tags[i]
}

// ID is the name of the tag in XML, such as UniqueIdentifier, or 0x42XXXX for a
// tag that is in no table.
func (t Tag) ID() string {
	if r := t.info(); r != nil {
		return r.id
	}
	return fmt.Sprintf("0x%06X", uint32(t))
}

// String is the name of the tag in the specification, such as Unique Identifier,
// or its number.
func (t Tag) String() string {
	if r := t.info(); r != nil {
		return r.name
	}
	return fmt.Sprintf("0x%06X", uint32(t))
}

// Allows tells whether the tables give the tag this type; a tag that is in no
// table may have any.
func (t Tag) Allows(ty Type) bool {
	r := t.info()
	return r == nil || r.types == 0 || r.types>>ty&1 == 1
}

// In tells whether the tag is defined in KMIP 1.4 (major 1) or 2.1 (major 2).
func (t Tag) In(major int) bool {
	r := t.info()
	return r != nil && (major == 1 || major == 2) && r.versions>>(major-1)&1 == 1
}

// TagByID finds a tag by its name in XML or by 0xXXXXXX.
func TagByID(id string) (Tag, bool) {
	if hex, ok := strings.CutPrefix(id, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 24)
		return Tag(n), err == nil && Tag(n).valid()
	}
	for i := range tags {
		if tags[i].id == id {
			return tags[i].tag, true
		}
	}
	return 0, false
}

// TagByName finds a tag by what String gives: its name in the specification, such as
// Unique Identifier, or 0xXXXXXX.
func TagByName(name string) (Tag, bool) {
	if strings.HasPrefix(name, "0x") {
		return TagByID(name)
	}
	for i := range tags {
		if tags[i].name == name {
			return tags[i].tag, true
		}
	}
	return 0, false
}

// set is the enumeration or mask of the tag's values, nil when it has none.
func (t Tag) set() *valueSet {
	if r := t.info(); r != nil && r.set > 0 {
		return &sets[r.set]
	}
	return nil
}

// Mask tells whether the tag's integers are bit masks.
func (t Tag) Mask() bool {
	s := t.set()
	return s != nil && s.mask
}

// ValueName is the name in the specification of a value of the tag's enumeration, or the number.
// For a mask it is the names of the bits set, with "|" between them.
func (t Tag) ValueName(v uint32) string {
	if t.Mask() {
		return t.bits(v, "|", func(n *valueName) string { return n.name })
	}
	if n := t.value(v); n != nil {
		return n.name
	}
	return fmt.Sprintf("0x%08X", v)
}

// ValueID is ValueName as XML has it: PreActive for Pre-Active, and a space between bits.
func (t Tag) ValueID(v uint32) string {
	if t.Mask() {
		return t.bits(v, " ", func(n *valueName) string { return n.id })
	}
	if r := t.info(); r != nil && r.set == -1 {
		return Tag(v).ID()
	}
	if n := t.value(v); n != nil {
		return n.id
	}
	return fmt.Sprintf("0x%08X", v)
}

func (t Tag) value(v uint32) *valueName {
	s := t.set()
	if s == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(s.values, v, func(n valueName, v uint32) int {
		return int(int64(n.value) - int64(v))
	})
	if !ok {
		return nil
	}
	// Where two versions name a number differently, the first row is the older name.
	for i > 0 && s.values[i-1].value == v {
		i--
	}
	return &s.values[i]
}

// bits names the bits of a mask; what has no name is written as one number at the end.
func (t Tag) bits(v uint32, sep string, name func(*valueName) string) string {
	var out []string
	values := t.set().values
	for i := range values {
		if n := &values[i]; v&n.value != 0 {
			out = append(out, name(n))
			v &^= n.value
		}
	}
	if v != 0 || len(out) == 0 {
		out = append(out, fmt.Sprintf("0x%08X", v))
	}
	return strings.Join(out, sep)
}

// ValueByID finds a value by what ValueID gives; a number may also be written as 0xXXXXXXXX or decimal.
func (t Tag) ValueByID(id string) (uint32, bool) {
	if t.Mask() {
		return t.maskByID(id)
	}
	if s := t.set(); s != nil {
		for i := range s.values {
			if s.values[i].id == id {
				return s.values[i].value, true
			}
		}
	}
	if r := t.info(); r != nil && r.set == -1 {
		if tag, ok := TagByID(id); ok {
			return uint32(tag), true
		}
	}
	n, err := strconv.ParseUint(id, 0, 32)
	return uint32(n), err == nil
}

func (t Tag) maskByID(id string) (uint32, bool) {
	var v uint32
	words := strings.FieldsFunc(id, func(r rune) bool { return r == ' ' || r == '|' || r == '\n' || r == '\t' })
	for _, word := range words {
		i := slices.IndexFunc(t.set().values, func(n valueName) bool { return n.id == word })
		if i >= 0 {
			v |= t.set().values[i].value
			continue
		}
		n, err := strconv.ParseInt(word, 0, 64)
		if err != nil || n < -1<<31 || n >= 1<<32 {
			return 0, false
		}
		v |= uint32(n)
	}
	return v, len(words) > 0
}

// String is the name of the type, such as TextString, or its number.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type 0x%02X", uint8(t))
}

// TypeByName finds a type by its name.
func TypeByName(name string) (Type, bool) {
	for i, n := range typeNames {
		if n == name && n != "" {
			return Type(i), true
		}
	}
	return 0, false
}
