package archive_test

import (
	"bytes"
	"testing"

	"allclear/internal/subsystem/backup/archive"
)

func FuzzManifest(f *testing.F) {
	o := newOwner(f)
	_, manifest := corpus(f, o)
	f.Add(manifest)
	f.Add([]byte(`{"manifest":{},"signature":{"algorithm":"ed25519","key":"","value":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _, err := archive.ParseManifest(data)
		if (m == nil) != (err != nil) {
			t.Errorf("%v, %v", m, err)
		}
		if _, _, err := archive.ParseManifest(data, o.trusted()); err == nil && !bytes.Equal(data, manifest) && !bytes.Contains(data, manifest[12:200]) {
			t.Errorf("forged: %q", data)
		}
	})
}
