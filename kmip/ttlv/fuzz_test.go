package ttlv_test

import (
	"bytes"
	"testing"

	"allclear/kmip/ttlv"
)

// FuzzTTLV: whatever is well-formed comes back the same when it is taken apart and put together, can be
// rendered, and nothing makes the package panic.
func FuzzTTLV(f *testing.F) {
	f.Add(unhex("42002001 00000020 42000405 00000004 000000FE00000000 42000502 00000004 000000FF00000000"))
	f.Add(unhex("42002007 0000000B 48656C6C6F20576F726C640000000000"))
	f.Add(unhex("42007801 00000008 42002008 FFFFFFFF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d ttlv.Decoder
		for d.Reset(b); d.More(); { // what is not checked may be walked over too
			d.Any()
		}
		if err := ttlv.Check(b); err != nil {
			if _, err := ttlv.Text(b, ttlv.ShowSecrets); err == nil {
				t.Fatal("rendered what is malformed")
			}
			return
		}
		var e ttlv.Encoder
		copyItems(&e, b)
		if !bytes.Equal(e.Bytes(), b) {
			t.Fatalf("got %x, want %x", e.Bytes(), b)
		}
		if _, err := ttlv.Text(b, ttlv.ShowSecrets); err != nil {
			t.Fatal(err)
		}
	})
}

func copyItems(e *ttlv.Encoder, b []byte) {
	var d ttlv.Decoder
	for d.Reset(b); d.More(); {
		tag, v := d.Any()
		if v.Type != ttlv.TypeStructure {
			e.Value(tag, v)
			continue
		}
		m := e.Begin(tag)
		copyItems(e, v.Body)
		e.End(m)
	}
}
