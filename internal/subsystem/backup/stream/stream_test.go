package stream_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/stream"
	"allclear/internal/wire"
)

// thing is an entry with its content.
type thing struct {
	Entry   extract.Entry
	Content string
	Err     string
}

func streamOf(things []thing, last error) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		for _, t := range things {
			e := t.Entry
			switch {
			case t.Err != "":
				e.Content = io.MultiReader(strings.NewReader(t.Content), failing(t.Err))
			case t.Content != "":
				e.Content = strings.NewReader(t.Content)
			}
			if !yield(&e, nil) {
				return
			}
		}
		if last != nil {
			yield(nil, last)
		}
	}
}

type failing string

func (f failing) Read([]byte) (int, error) { return 0, errors.New(string(f)) }

func file(path, content string) thing {
	return thing{Entry: extract.Entry{Path: path, Meta: source.Meta{Type: source.Regular, Size: int64(len(content)), Mode: 0o644}}, Content: content}
}

func things() []thing {
	when := time.Date(2026, 11, 22, 14, 0, 0, 123456789, time.UTC)
	odd := file("etc/na\xffme\nwith", strings.Repeat("0123456789abcdef", 100_000))
	odd.Entry.Meta = source.Meta{
		Type: source.Regular, Size: odd.Entry.Meta.Size, Mode: 0o4755, ModTime: when, AccessTime: when, ChangeTime: when, UID: 1000, GID: 100,
		User: "anna", Group: "users", Inode: 7, DeviceID: 8, Links: 2, Xattrs: []source.Xattr{{Name: "user.a", Value: []byte{0, 0xff}}},
	}
	return []thing{
		{Entry: extract.Entry{Path: "etc", Meta: source.Meta{Type: source.Dir, Mode: 0o755}}},
		odd,
		{Entry: extract.Entry{Path: "etc/other", HardLink: "etc/na\xffme\nwith", Meta: source.Meta{Type: source.Regular, Size: odd.Entry.Meta.Size}}},
		{Entry: extract.Entry{Path: "etc/link", Meta: source.Meta{Type: source.Symlink, LinkTarget: "../\xfe"}}},
		file("etc/empty", ""),
		file("etc/last", "end"),
	}
}

func send(t *testing.T, all []thing, last error) ([]byte, stream.End, error) {
	t.Helper()
	var b bytes.Buffer
	end, err := stream.Write(&b, wire.BackupSnapshot{ID: "abc"}, streamOf(all, last))
	return b.Bytes(), end, err
}

// receive reads a stream to its end; skip leaves contents unread.
func receive(b []byte, skip bool) (all []thing, end stream.End, err error) {
	in, err := stream.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, end, err
	}
	for e, err := range in.Entries() {
		if err != nil {
			return all, end, err
		}
		got := thing{Entry: *e}
		if e.Content != nil && !skip {
			c, err := io.ReadAll(e.Content)
			got.Content = string(c)
			if err != nil {
				got.Err = err.Error()
			}
		}
		got.Entry.Content = nil
		all = append(all, got)
	}
	end, ok := in.End()
	if !ok {
		return all, end, errors.New("no end")
	}
	return all, end, nil
}

func TestWhatIsSentArrivesByteForByte(t *testing.T) {
	b, sent, err := send(t, things(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, end, err := receive(b, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(things(), got); diff != "" {
		t.Errorf("want, got:\n%s", diff)
	}
	if end != sent || end.Entries != 6 || end.Problems != 0 || end.Bytes != 1_600_003 {
		t.Errorf("end %+v, sent %+v", end, sent)
	}
	if skipped, _, err := receive(b, true); err != nil || len(skipped) != 6 {
		t.Errorf("without reading contents: %d entries, %v", len(skipped), err)
	}
}

func TestOneBadFileDoesNotKeepTheRest(t *testing.T) {
	bad := file("etc/bad", "half of it")
	bad.Entry.Meta.Size, bad.Err = 20, "pack 12ab is damaged"
	b, end, err := send(t, []thing{file("etc/a", "a"), bad, file("etc/z", "z")}, nil)
	if err != nil || end.Problems != 1 {
		t.Fatalf("end %+v, %v", end, err)
	}
	got, _, err := receive(b, false)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	if got[1].Content != "half of it" || !strings.Contains(got[1].Err, "pack 12ab is damaged") || got[2].Content != "z" {
		t.Errorf("got %+v", got[1:])
	}
}

func TestASenderThatGivesUpSaysWhy(t *testing.T) {
	why := errors.New("the target went away")
	b, _, err := send(t, things(), why)
	if !errors.Is(err, why) {
		t.Errorf("Write answered %v", err)
	}
	_, _, err = receive(b, false)
	if p, ok := errors.AsType[*stream.ProblemError](err); !ok || p.Text != why.Error() {
		t.Errorf("the reader learnt %v", err)
	}
}

func TestAStreamCutAnywhereIsNeverTakenForWhole(t *testing.T) {
	b, _, err := send(t, append(things()[2:], file("etc/more", strings.Repeat("x", 1000))), nil)
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(b) {
		if all, _, err := receive(b[:at], false); err == nil {
			t.Fatalf("cut at %d of %d: %d entries and no error", at, len(b), len(all))
		}
	}
}

func TestAChangedByteIsSeen(t *testing.T) {
	b, _, err := send(t, []thing{file("a", strings.Repeat("x", 1000))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("xxxx"))+500] = 'y'
	got, _, err := receive(b, false)
	if err == nil && (len(got) != 1 || got[0].Err == "") {
		t.Errorf("a changed byte was not seen: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	if _, err := stream.Write(&b, wire.BackupSnapshot{}, streamOf(things()[2:], nil)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("allclear restore 1\nS\x00\x00\x00\x02{}D\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, skip := range []bool{false, true} { // neither may hang, panic or give more than was promised
			all, _, _ := receive(b, skip)
			for _, got := range all {
				if int64(len(got.Content)) > got.Entry.Meta.Size {
					t.Errorf("%q has %d bytes, %d were promised", got.Entry.Path, len(got.Content), got.Entry.Meta.Size)
				}
			}
		}
	})
}
