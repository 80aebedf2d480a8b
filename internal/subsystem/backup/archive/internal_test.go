package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

func TestAFileHasTheSizeOfItsHeaderWhateverBecomesOfIt(t *testing.T) {
	disk := errors.New("input/output error")
	for _, c := range []struct {
		name   string
		r      io.Reader
		want   string
		padded int64
		err    error
	}{
		{"as it was", strings.NewReader("12345"), "12345", 0, nil},
		{"shrunk", strings.NewReader("123"), "123\x00\x00", 2, nil},
		{"grown", strings.NewReader("1234567"), "12345", 0, nil},
		{"unreadable", io.MultiReader(strings.NewReader("1"), iotest.ErrReader(disk)), "1\x00\x00\x00\x00", 4, disk},
	} {
		x := &exact{ctx: t.Context(), r: iotest.OneByteReader(c.r), left: 5}
		got, err := io.ReadAll(x)
		if err != nil || string(got) != c.want || x.padded != c.padded || !errors.Is(x.err, c.err) {
			t.Errorf("%s: %q, padded %d, %v, %v", c.name, got, x.padded, x.err, err)
		}
	}
}

// treeOf archives the roots and answers the report and what the archive holds.
func treeOf(t *testing.T, before func(w *Writer), roots ...string) (*source.Report, map[string]string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := source.New(source.Options{Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	before(w)
	report := &source.Report{}
	if err := errors.Join(w.Tree(t.Context(), tree, report), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(&out, nil, id.String())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for e, err := range r.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Path] = e.HardLink
		if e.Content != nil {
			data, err := io.ReadAll(e.Content)
			if err != nil {
				t.Fatal(err)
			}
			got[e.Path] = string(data)
		}
	}
	return report, got
}

func TestFilesThatHoldMoreThanTheirSizeAreReported(t *testing.T) {
	report, got := treeOf(t, func(*Writer) {}, "/proc/sys/kernel/ostype")
	if s := report.Skips(); len(s) != 1 || s[0].Reason != source.Changed || got["proc/sys/kernel/ostype"] != "" {
		t.Errorf("%v, %q", s, got)
	}
}

func TestWhatNoTarCanCarryIsLeftOutAndReported(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/after", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := newTarWriter(io.Discard, "x")
	if err != nil {
		t.Fatal(err)
	}
	long := &extract.Entry{Path: "f", Meta: source.Meta{Type: source.Regular, Xattrs: []source.Xattr{{Name: "user.a", Value: make([]byte, maxHeader)}}}}
	for _, e := range []*extract.Entry{long, {Path: "s", Meta: source.Meta{Type: source.Socket}}, {Path: "../x", Meta: source.Meta{Type: source.Dir}}} {
		if err := w.write(e); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
	long.Meta.Xattrs[0].Value = make([]byte, source.MaxXattrBytes)
	if err := w.write(long); err != nil {
		t.Errorf("as much as a source gives: %v", err)
	}
}

func TestNamesBeyondTheTableAreKeptWithTheirContent(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/a", []byte("x"), 0o600), os.Link(dir+"/a", dir+"/b")); err != nil {
		t.Fatal(err)
	}
	a, b := strings.TrimPrefix(dir+"/a", "/"), strings.TrimPrefix(dir+"/b", "/")
	if _, got := treeOf(t, func(*Writer) {}, dir); got[a] != "x" || got[b] != a {
		t.Errorf("%q", got)
	}
	full := func(w *Writer) {
		for i := range uint64(maxTracked) {
			w.remember(&source.Meta{Links: 2, Inode: i + 1, DeviceID: ^uint64(0)}, "x")
		}
	}
	if _, got := treeOf(t, full, dir); got[a] != "x" || got[b] != "x" {
		t.Errorf("with a full table: %q", got)
	}
}

func TestTheListOfHashesIsTheSameHoweverItIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 100).Draw(t, "entries")
		limit := 1 << rapid.IntRange(1, 5).Draw(t, "limit")
		bounded, entries := newHasher([]byte("salt"), limit), []*extract.Entry{}
		for i := range n {
			e := &extract.Entry{Path: string(rune('a' + i)), Meta: source.Meta{Type: source.Dir}}
			entries = append(entries, e)
			bounded.entry(e, nil)
		}
		got := bounded.sum()
		if err := got.check(); err != nil || len(got.List) > 32*limit || got.Entries != int64(n) {
			t.Fatalf("%+v, %v", got, err)
		}
		// As a reader does it, who knows the size of the groups.
		direct := newHasher([]byte("salt"), 1<<30)
		direct.each = got.Each
		for _, e := range entries {
			direct.entry(e, nil)
		}
		if want := direct.sum(); !bytes.Equal(got.List, want.List) {
			t.Errorf("%d entries, each %d: %x, want %x", n, got.Each, got.List, want.List)
		}
	})
}

func TestAFullDiskUnderTheSpoolIsNamed(t *testing.T) {
	lab.Need(t, "root", "mount")
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := NewSpool(dir, 1<<30)
	defer s.Close()
	var err error
	for err == nil && s.Size() < 10<<20 {
		_, err = s.Write(make([]byte, 300<<10))
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "keep output in "+dir+", at byte ") {
		t.Errorf("%v", err)
	}
}

func TestAnEndedContextEndsTheArchive(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the job was stopped")
	cancel(why)
	if _, err := io.ReadAll(&exact{ctx: ctx, r: strings.NewReader("x"), left: 1}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if _, err := io.ReadAll(&watched{ctx: ctx, r: strings.NewReader("x")}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}
