package archive_test

import (
	"io"
	"os"
	"testing"

	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/source"
)

// corpusOf makes files of 8 MiB, 128 MiB in all: text as in /etc, or noise.
func corpusOf(b *testing.B, text bool) string {
	b.Helper()
	dir := b.TempDir()
	x := uint32(1)
	words := []string{"server", "address", "10.0.0.", "enable", "\n\t", " = ", "true", "log", "/var/lib/", "#", "policy", "interface"}
	for i := range 16 {
		data := make([]byte, 0, 8<<20+20)
		for len(data) < 8<<20 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			if text {
				data = append(data, words[x%uint32(len(words))]...)
				data = append(data, byte('0'+x>>8%10))
			} else {
				data = append(data, byte(x), byte(x>>8), byte(x>>16), byte(x>>24))
			}
		}
		if err := os.WriteFile(dir+"/"+string(rune('a'+i)), data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func BenchmarkTree(b *testing.B) {
	for _, c := range []struct {
		name string
		text bool
	}{{"text", true}, {"noise", false}} {
		b.Run(c.name, func(b *testing.B) {
			o := newOwner(b)
			tree, err := source.New(source.Options{Roots: []string{corpusOf(b, c.text)}})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(128 << 20)
			b.ReportAllocs()
			for b.Loop() {
				w, err := archive.NewWriter(io.Discard, o.id.Recipient().String())
				if err != nil {
					b.Fatal(err)
				}
				if err := w.Tree(b.Context(), tree, &source.Report{}); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
