package ttlv_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"allclear/kmip/ttlv"
)

// The examples of KMIP 2.1 section 10.1.2.
func TestTheExamplesOfTheSpecification(t *testing.T) {
	at := time.Date(2008, 3, 14, 11, 56, 40, 0, time.UTC)
	for _, tt := range []struct {
		name, want string
		v          ttlv.Value
		write      func(e *ttlv.Encoder)
	}{
		{"integer", "42 00 20 02 00000004 0000000800000000", ttlv.IntegerValue(8), func(e *ttlv.Encoder) { e.Integer(0x420020, 8) }},
		{
			"long integer", "42 00 20 03 00000008 01B69B4BA5749200", ttlv.LongIntegerValue(123456789000000000),
			func(e *ttlv.Encoder) { e.LongInteger(0x420020, 123456789000000000) },
		},
		{
			"big integer", "42 00 20 04 00000010 00000000 03FD35EB6BC2DF4618080000",
			ttlv.Value{Type: ttlv.TypeBigInteger, Body: unhex("0000000003FD35EB6BC2DF4618080000")},
			func(e *ttlv.Encoder) {
				e.Value(0x420020, ttlv.Value{Type: ttlv.TypeBigInteger, Body: unhex("0000000003FD35EB6BC2DF4618080000")})
			},
		},
		{"enumeration", "42 00 20 05 00000004 000000FF00000000", ttlv.EnumerationValue(255), func(e *ttlv.Encoder) { e.Enumeration(0x420020, 255) }},
		{"boolean", "42 00 20 06 00000008 0000000000000001", ttlv.BooleanValue(true), func(e *ttlv.Encoder) { e.Boolean(0x420020, true) }},
		{
			"text", "42 00 20 07 0000000B 48656C6C6F20576F726C640000000000", ttlv.TextValue("Hello World"),
			func(e *ttlv.Encoder) { e.TextString(0x420020, "Hello World") },
		},
		{"bytes", "42 00 20 08 00000003 0102030000000000", ttlv.BytesValue([]byte{1, 2, 3}), func(e *ttlv.Encoder) { e.ByteString(0x420020, []byte{1, 2, 3}) }},
		{"date", "42 00 20 09 00000008 0000000047DA67F8", ttlv.DateTimeValue(at), func(e *ttlv.Encoder) { e.DateTime(0x420020, at) }},
		{"interval", "42 00 20 0A 00000004 000D2F0000000000", ttlv.IntervalValue(864000), func(e *ttlv.Encoder) { e.Interval(0x420020, 864000) }},
		{
			"structure", "42 00 20 01 00000020 42 00 04 05 00000004 000000FE00000000 42 00 05 02 00000004 000000FF00000000",
			ttlv.StructureValue(unhex("42000405 00000004 000000FE00000000 42000502 00000004 000000FF00000000")),
			func(e *ttlv.Encoder) {
				m := e.Begin(0x420020)
				e.Enumeration(0x420004, 254)
				e.Integer(0x420005, 255)
				e.End(m)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e, byValue ttlv.Encoder
			tt.write(&e)
			byValue.Value(0x420020, tt.v)
			if want := unhex(tt.want); !bytes.Equal(e.Bytes(), want) || !bytes.Equal(byValue.Bytes(), want) {
				t.Errorf("got %x and %x, want %x", e.Bytes(), byValue.Bytes(), want)
			}
			if err := ttlv.Check(e.Bytes()); err != nil {
				t.Error(err)
			}
			var d ttlv.Decoder
			d.Reset(e.Bytes())
			if v := d.Value(0x420020); v.Type != tt.v.Type || !bytes.Equal(v.Body, tt.v.Body) || d.Err() != nil {
				t.Errorf("read %s, %v", v, d.Err())
			}
		})
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestMalformedItemsAreRefused(t *testing.T) {
	nested := func(depth int) []byte {
		var e ttlv.Encoder
		var open []int
		for range depth {
			open = append(open, e.Begin(0x420020))
		}
		for i := range open {
			e.End(open[len(open)-1-i])
		}
		return e.Bytes()
	}
	if err := ttlv.Check(nested(ttlv.MaxDepth)); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		name, want string
		in         []byte
	}{
		{"nothing", "header cut short", nil},
		{"half a header", "header cut short: 7 bytes", unhex("42002002000000")},
		{"tag of no range", "no legal range", unhex("41002002 00000004 0000000800000000")},
		{"type 0", "unknown type 0x00", unhex("42002000 00000004 0000000800000000")},
		{"type 12", "unknown type 0x0C", unhex("4200200C 00000004 0000000800000000")},
		{"cut short", "length 4, but only 4 bytes are left", unhex("42002002 00000004 00000008")},
		{"length of 4 GiB", "length 4294967295, at most", unhex("42002008 FFFFFFFF")},
		{"length below 2 GiB", "length 2147483647, at most", unhex("42002008 7FFFFFFF 00")},
		{"integer of 8 bytes", "Integer of 8 bytes, must have 4", unhex("42002002 00000008 0000000800000000")},
		{"padding", "padding that is not zero", unhex("42002002 00000004 0000000800000001")},
		{"boolean of 2", "neither 0 nor 1", unhex("42002006 00000008 0000000000000002")},
		{"empty big integer", "multiple of 8", unhex("42002004 00000000")},
		{"text that is not UTF-8", "not UTF-8", unhex("42002007 00000001 FF00000000000000")},
		{"structure of 4 bytes", "must be a multiple of 8", unhex("42002001 00000004 0000000000000000")},
		{"item longer than its structure", "only 0 bytes are left", unhex("42002001 00000008 42000502 00000004 000000FF00000000")},
		{"bytes behind the end", "8 bytes after the end", unhex("42002002 00000004 0000000800000000 0000000000000000")},
		{"depth", "more than 32 structures", nested(ttlv.MaxDepth + 1)},
		{"size", "at most 1048576", make([]byte, ttlv.MaxSize+8)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ttlv.Check(tt.in)
			e, ok := errors.AsType[*ttlv.Error](err)
			if !ok || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := ttlv.Text(tt.in, ttlv.HideSecrets); err == nil {
				t.Error("was rendered")
			}
		})
	}
}

func TestDecoderTellsItsFirstFault(t *testing.T) {
	var e ttlv.Encoder
	m := e.Begin(ttlv.TagName)
	e.Integer(0x540001, 1) // of a vendor: nobody asks for it
	e.TextString(ttlv.TagNameValue, "a")
	e.Enumeration(ttlv.TagNameType, 1)
	e.End(m)
	for _, tt := range []struct {
		name, want string
		read       func(d *ttlv.Decoder)
	}{
		{"good", "", func(d *ttlv.Decoder) {
			d.Enter(ttlv.TagName)
			if s := d.TextString(ttlv.TagNameValue); s != "a" {
				d.Fail("got " + s)
			}
			d.Enumeration(ttlv.TagNameType)
			d.Leave()
		}},
		{"another tag", "Name instead of State", func(d *ttlv.Decoder) { d.Integer(ttlv.TagState) }},
		{"another type", "Structure, must be Integer", func(d *ttlv.Decoder) { d.Integer(ttlv.TagName) }},
		{"not all read", "unexpected Name Type", func(d *ttlv.Decoder) {
			d.Enter(ttlv.TagName)
			d.TextString(ttlv.TagNameValue)
			d.Leave()
		}},
		{"missing", "State is missing", func(d *ttlv.Decoder) {
			d.Enter(ttlv.TagName)
			d.Rest()
			d.Integer(ttlv.TagState)
			d.Leave()
		}},
		{"the first stays", "Name instead of State", func(d *ttlv.Decoder) {
			d.Integer(ttlv.TagState)
			d.Enter(ttlv.TagName)
			d.Leave()
			d.Any()
			d.Fail("another")
		}},
		{"any at the end", "an item is missing", func(d *ttlv.Decoder) {
			d.Any()
			d.Any()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d ttlv.Decoder
			d.Reset(e.Bytes())
			tt.read(&d)
			got := fmt.Sprint(d.Err())
			if tt.want == "" && d.Err() != nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %q", got, tt.want)
			}
		})
	}
}

func TestAWindowHasFaultsOfItsOwn(t *testing.T) {
	var e ttlv.Encoder
	m := e.Begin(ttlv.TagName)
	e.TextString(ttlv.TagNameValue, "a")
	e.End(m)
	e.Integer(ttlv.TagBatchCount, 1)
	var d, sub ttlv.Decoder
	d.Reset(e.Bytes())
	d.Within(ttlv.TagName, &sub)
	sub.Integer(ttlv.TagNameValue)
	fault, ok := errors.AsType[*ttlv.Error](sub.Err())
	if !ok || fault.Offset != 8 {
		t.Errorf("got %v", sub.Err())
	}
	if n := d.Integer(ttlv.TagBatchCount); n != 1 || d.Err() != nil {
		t.Errorf("got %d, %v", n, d.Err())
	}
}

func TestValuesAnswerOnlyTheirType(t *testing.T) {
	v := ttlv.IntegerValue(math.MinInt32)
	if n, ok := v.Integer(); n != math.MinInt32 || !ok {
		t.Error(n, ok)
	}
	_, enum := v.Enumeration()
	_, long := v.LongInteger()
	_, interval := v.Interval()
	_, text := v.Text()
	_, b := v.Bytes()
	_, date := v.DateTime()
	_, boolean := v.Boolean()
	if enum || long || interval || text || b || date || boolean {
		t.Error("an Integer is also something else")
	}
	if _, ok := (ttlv.Value{Type: ttlv.TypeInteger}).Integer(); ok {
		t.Error("an Integer without bytes was read")
	}
	if !(ttlv.Value{}).IsZero() || v.IsZero() {
		t.Error("IsZero is wrong")
	}
	micro := ttlv.Value{Type: ttlv.TypeDateTimeExtended, Body: unhex("00000000000F4241")}
	if at, ok := micro.DateTime(); !ok || !at.Equal(time.Unix(1, 1000)) {
		t.Error(at, ok)
	}
}

func TestNothingShowsAKey(t *testing.T) {
	const key = "0102030405060708"
	v := ttlv.BytesValue(unhex(key))
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var e ttlv.Encoder
	m := e.Begin(ttlv.TagKeyBlock)
	k := e.Begin(ttlv.TagKeyMaterial)
	e.Value(ttlv.TagKey, v)
	e.TextString(ttlv.TagP, key)
	e.End(k)
	e.Value(ttlv.TagKeyValue, v)
	e.TextString(ttlv.TagPassword, key)
	e.Value(ttlv.TagOpaqueDataValue, v)
	e.Value(0x540001, v)
	e.ByteString(ttlv.TagDigestValue, []byte{0xAB})
	e.End(m)
	hidden, err := ttlv.Text(e.Bytes(), ttlv.HideSecrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{v.String(), fmt.Sprintf("%v %+v %#v %s", v, v, v, v), string(j), hidden} {
		if strings.Contains(s, "01020304") || strings.Contains(s, "1, 2, 3") || strings.Contains(s, "1 2 3") || strings.Contains(s, "AQID") {
			t.Errorf("shows the key: %s", s)
		}
	}
	if !strings.Contains(hidden, "Digest Value: ab\n") {
		t.Errorf("a digest is no secret: %s", hidden)
	}
	shown, err := ttlv.Text(e.Bytes(), ttlv.ShowSecrets)
	if err != nil || strings.Count(shown, key) != 6 {
		t.Errorf("%v: %s", err, shown)
	}
}

func TestTextNamesWhatItCan(t *testing.T) {
	var e ttlv.Encoder
	m := e.Begin(ttlv.TagTemplateAttribute)
	for _, a := range []struct {
		name string
		v    ttlv.Value
	}{
		{"Cryptographic Algorithm", ttlv.EnumerationValue(3)},
		{"Cryptographic Usage Mask", ttlv.IntegerValue(0xC)},
		{"x-\x1b[31mred", ttlv.TextValue("a\nb")},
		{"Activation Date", ttlv.DateTimeValue(time.Unix(0, 0))},
		{"Lease Time", ttlv.IntervalValue(3600)},
		{"Fresh", ttlv.BooleanValue(true)},
		{"Usage Limits", ttlv.LongIntegerValue(-5)},
	} {
		n := e.Begin(ttlv.TagAttribute)
		e.TextString(ttlv.TagAttributeName, a.name)
		e.Value(ttlv.TagAttributeValue, a.v)
		e.End(n)
	}
	e.End(m)
	got, err := ttlv.Text(e.Bytes(), ttlv.HideSecrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Template-Attribute\n  Attribute\n    Attribute Name: \"Cryptographic Algorithm\"\n    Attribute Value: AES\n",
		"Attribute Value: 12 (Encrypt|Decrypt)\n", `"x-\x1b[31mred"`, `"a\nb"`, "1970-01-01T00:00:00Z", "3600 s", "true", "-5",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

func TestResetLeavesNoKeyBehind(t *testing.T) {
	var e ttlv.Encoder
	e.Use(make([]byte, 0, 64))
	e.ByteString(ttlv.TagKey, bytes.Repeat([]byte{7}, 32))
	b := e.Bytes()
	e.Reset()
	if bytes.Contains(b, []byte{7}) || e.Len() != 0 {
		t.Errorf("%x", b)
	}
}
