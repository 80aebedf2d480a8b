package oasis

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"allclear/kmip/ttlv"
)

// naming is the tag by whose names a value is written: that of its attribute for an Attribute Value.
func naming(tag, attribute ttlv.Tag) ttlv.Tag {
	if tag == ttlv.TagAttributeValue && attribute != 0 {
		return attribute
	}
	return tag
}

// parse reads a value as XML has it.
func parse(tag, attribute ttlv.Tag, t ttlv.Type, s string) (ttlv.Value, error) {
	names := naming(tag, attribute)
	switch t {
	case ttlv.TypeInteger:
		if names.Mask() {
			if n, ok := names.ValueByID(s); ok {
				return ttlv.IntegerValue(int32(n)), nil
			}
		}
		n, err := strconv.ParseInt(s, 0, 32)
		return ttlv.IntegerValue(int32(n)), err
	case ttlv.TypeLongInteger:
		n, err := strconv.ParseInt(s, 0, 64)
		return ttlv.LongIntegerValue(n), err
	case ttlv.TypeEnumeration:
		n, ok := names.ValueByID(s)
		if !ok {
			return ttlv.Value{}, fmt.Errorf("%q is no value of %s", s, names)
		}
		return ttlv.EnumerationValue(n), nil
	case ttlv.TypeInterval:
		n, err := strconv.ParseUint(s, 0, 32)
		return ttlv.IntervalValue(uint32(n)), err
	case ttlv.TypeBoolean:
		b, err := strconv.ParseBool(s)
		return ttlv.BooleanValue(b), err
	case ttlv.TypeTextString:
		if tag == ttlv.TagAttributeName {
			s = unwrapped(s)
		}
		return ttlv.TextValue(s), nil
	case ttlv.TypeDateTime:
		at, err := time.Parse(time.RFC3339, s)
		return ttlv.DateTimeValue(at), err
	case ttlv.TypeByteString, ttlv.TypeBigInteger:
		b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
		return ttlv.Value{Type: t, Body: b}, err
	}
	return ttlv.Value{}, fmt.Errorf("no value of type %s is read from XML", t)
}

// format writes a value as XML has it.
func format(tag, attribute ttlv.Tag, v ttlv.Value) string {
	names := naming(tag, attribute)
	switch v.Type {
	case ttlv.TypeInteger:
		n, _ := v.Integer()
		if names.Mask() && n != 0 {
			return names.ValueID(uint32(n))
		}
		return strconv.Itoa(int(n))
	case ttlv.TypeLongInteger:
		n, _ := v.LongInteger()
		return strconv.FormatInt(n, 10)
	case ttlv.TypeEnumeration:
		n, _ := v.Enumeration()
		return names.ValueID(n)
	case ttlv.TypeInterval:
		n, _ := v.Interval()
		return strconv.FormatUint(uint64(n), 10)
	case ttlv.TypeBoolean:
		b, _ := v.Boolean()
		return strconv.FormatBool(b)
	case ttlv.TypeTextString:
		return string(v.Body)
	case ttlv.TypeDateTime:
		at, _ := v.DateTime()
		return at.Format("2006-01-02T15:04:05-07:00")
	}
	return hex.EncodeToString(v.Body)
}

// XML writes one encoded item, indented like the published cases but with the end tags below their start.
func XML(item []byte) ([]byte, error) {
	if err := ttlv.Check(item); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	write(&out, item, 0)
	return out.Bytes(), nil
}

func write(out *bytes.Buffer, items []byte, depth int) {
	var d ttlv.Decoder
	var attribute ttlv.Tag
	for d.Reset(items); d.More(); {
		tag, v := d.Any()
		name := tag.ID()
		start := name
		if strings.HasPrefix(name, "0x") {
			name, start = "TTLV", `TTLV tag="`+name+`"`
		}
		indent := strings.Repeat("  ", depth)
		if v.Type == ttlv.TypeStructure {
			fmt.Fprintf(out, "%s<%s>\n", indent, start)
			write(out, v.Body, depth+1)
			fmt.Fprintf(out, "%s</%s>\n", indent, name)
			continue
		}
		if tag == ttlv.TagAttributeName {
			attribute, _ = ttlv.TagByName(string(v.Body))
		}
		fmt.Fprintf(out, `%s<%s type="%s" value="`, indent, start, v.Type)
		_ = xml.EscapeText(out, []byte(format(tag, attribute, v))) // a buffer takes everything
		out.WriteString("\" />\n")
	}
}

// XML writes the message in the form that XML gives an item, from what the file says and not by way of TTLV:
// variables replaced, line breaks in names undone, the words of a mask in the order of their bits.
func (m Message) XML(vs *Vars) ([]byte, error) {
	var out bytes.Buffer
	err := m.root.write(&out, vs, 0, 0)
	return out.Bytes(), err
}

func (x *element) write(out *bytes.Buffer, vs *Vars, attribute ttlv.Tag, depth int) error {
	t, err := x.itemType()
	if err != nil {
		return err
	}
	indent, name := strings.Repeat("  ", depth), x.XMLName.Local
	start := name
	if x.Number != "" {
		start += ` tag="` + x.Number + `"`
	}
	if t == ttlv.TypeStructure {
		fmt.Fprintf(out, "%s<%s>\n", indent, start)
		var inner ttlv.Tag
		for i := range x.Items {
			if x.Items[i].XMLName.Local == "AttributeName" {
				inner, _ = ttlv.TagByName(unwrapped(x.Items[i].Value))
			}
			if err := x.Items[i].write(out, vs, inner, depth+1); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "%s</%s>\n", indent, name)
		return nil
	}
	value := vs.value(x.Value, t)
	switch tag, err := x.tag(); {
	case err != nil:
		return err
	case tag == ttlv.TagAttributeName:
		value = unwrapped(value)
	case t == ttlv.TypeInteger && naming(tag, attribute).Mask():
		if n, ok := naming(tag, attribute).ValueByID(value); ok && n != 0 {
			value = naming(tag, attribute).ValueID(n)
		}
	case t == ttlv.TypeDateTime:
		value = strings.Replace(value, "Z", "+00:00", 1)
	}
	fmt.Fprintf(out, `%s<%s type="%s" value="`, indent, start, t)
	_ = xml.EscapeText(out, []byte(value)) // a buffer takes everything
	out.WriteString("\" />\n")
	return nil
}
