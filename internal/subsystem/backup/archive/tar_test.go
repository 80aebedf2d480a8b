package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

// tarOf writes entries as an archive has them.
func tarOf(t testing.TB, entries ...*extract.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newTarWriter(&out, "allclear test")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readTar reads them again.
func readTar(data []byte) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		r := newTarReader(bytes.NewReader(data))
		for {
			e, err := r.next()
			if errors.Is(err, io.EOF) || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func sample() []*extract.Entry {
	return []*extract.Entry{
		{Path: "d", Meta: source.Meta{Type: source.Dir, Mode: 1<<31 | 0o755}},
		{Path: "d/f", Meta: source.Meta{Type: source.Regular, Size: 3, Links: 2, Xattrs: []source.Xattr{{Name: "user.a=%3D", Value: []byte("\x00=")}}}, Content: strings.NewReader("abc")},
		{Path: "d/h", Meta: source.Meta{Type: source.Regular, Links: 2}, HardLink: "d/f"},
		{Path: "d/l", Meta: source.Meta{Type: source.Symlink, LinkTarget: "\xff"}},
	}
}

func TestAStreamWithoutItsEndIsTruncated(t *testing.T) {
	whole := tarOf(t, sample()...)
	read := func(data []byte) (n int, err error) {
		for e, err := range readTar(data) {
			if err != nil {
				return n, err
			}
			if e.Content != nil {
				if _, err := io.Copy(io.Discard, e.Content); err != nil {
					return n, err
				}
			}
			n++
		}
		return n, nil
	}
	if n, err := read(whole); n != 4 || err != nil {
		t.Fatalf("%d entries, %v", n, err)
	}
	for cut := range whole {
		_, err := read(whole[:cut])
		if !errors.Is(err, ErrTruncated) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the first %d of %d bytes: %v", cut, len(whole), err)
		}
	}
}

func TestZerosAtTheEndOfAFileAreNoEndOfTheStream(t *testing.T) {
	zeros := strings.Repeat("\x00", 4096)
	whole := tarOf(t, &extract.Entry{Path: "f", Meta: source.Meta{Type: source.Regular, Size: 4096}, Content: strings.NewReader(zeros)})
	var last error
	for _, err := range readTar(whole[:len(whole)-1024]) {
		last = err
	}
	if !errors.Is(last, ErrTruncated) {
		t.Errorf("got %v", last)
	}
}

func TestAStreamKeepsWhatItCarries(t *testing.T) {
	var got []*extract.Entry
	for e, err := range readTar(tarOf(t, sample()...)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	f, h, l := got[1], got[2], got[3]
	if f.Path != "d/f" || f.Meta.Links != 2 || len(f.Meta.Xattrs) != 1 || f.Meta.Xattrs[0].Name != "user.a=%3D" || string(f.Meta.Xattrs[0].Value) != "\x00=" {
		t.Errorf("%+v", f)
	}
	if h.HardLink != "d/f" || h.Meta.Type != source.Regular || l.Meta.LinkTarget != "\xff" || got[0].Path != "d" || got[0].Meta.Type != source.Dir {
		t.Errorf("%+v %+v %+v", got[0], h, l)
	}
}

func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, sample()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for e, err := range readTar(data) {
			if err != nil {
				return
			}
			if e.Meta.Type == "" || e.Meta.Size < 0 {
				t.Errorf("%+v", e)
			}
			if e.Content != nil {
				if n, err := io.Copy(io.Discard, e.Content); err == nil && n != e.Meta.Size {
					t.Errorf("%d bytes of %d", n, e.Meta.Size)
				}
			}
		}
	})
}
