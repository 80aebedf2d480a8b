package app

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/api"
	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/stream"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// office is a subsystem with one view, action and download for each role.
type office struct {
	did  []string
	send func(q url.Values, w io.Writer) error
}

func (o *office) Name() string                          { return "office" }
func (o *office) Faults() []fault.Entry                 { return nil }
func (o *office) Checks() []check.Check                 { return nil }
func (o *office) Run(context.Context, check.Sink) error { return nil }
func (o *office) Subsystems() []subsystem.Subsystem     { return []subsystem.Subsystem{o} }
func (o *office) note(format string, args ...any) (any, error) {
	o.did = append(o.did, fmt.Sprintf(format, args...))
	return "well", nil
}

func (o *office) Views() []subsystem.View {
	return []subsystem.View{
		{Path: "/open", Role: subsystem.Viewer, Get: func(_ context.Context, q url.Values) (any, error) { return o.note("open %s", q.Encode()) }},
		{Path: "shut", Role: subsystem.Admin, Get: func(context.Context, url.Values) (any, error) { return o.note("shut") }},
	}
}

func (o *office) Actions() []subsystem.Action {
	return []subsystem.Action{{Name: "work", Role: subsystem.Operator, Do: func(_ context.Context, in json.RawMessage, _ func(wire.Progress)) (any, error) {
		return o.note("work %s", in)
	}}}
}

func (o *office) Downloads() []subsystem.Download {
	return []subsystem.Download{
		{Path: "other", Role: subsystem.Viewer, Type: "text/plain", Send: func(context.Context, url.Values, io.Writer) error { return errors.New("not this one") }},
		{Path: "restore", Role: subsystem.Admin, Type: stream.ContentType, Send: func(_ context.Context, q url.Values, w io.Writer) error { return o.send(q, w) }},
	}
}

func (o *office) Do(ctx context.Context, _, _ string, in json.RawMessage, tell func(wire.Progress)) (any, []fault.Event, error) {
	out, err := o.Actions()[0].Do(ctx, in, tell)
	return out, nil, err
}

func TestThePageHasTheRightsOfItsSession(t *testing.T) {
	o := &office{send: func(url.Values, io.Writer) error { return errors.New("sent") }}
	w := works{o}
	nowhere := func(web.Restored) (io.Writer, error) { return io.Discard, nil }
	for _, c := range []struct {
		what string
		need api.Role
		do   func(role api.Role) error
	}{
		{"open", api.Viewer, func(r api.Role) error { _, err := w.View(t.Context(), r, "office", "open", nil); return err }},
		{"shut", api.Admin, func(r api.Role) error { _, err := w.View(t.Context(), r, "office", "shut", nil); return err }},
		{"work", api.Operator, func(r api.Role) error {
			_, err := w.Do(t.Context(), r, "office", "work", wire.BackupJobRequest{Job: "x"}, nil)
			return err
		}},
		{"restore", api.Admin, func(r api.Role) error { return w.Restore(t.Context(), r, web.Restore{Path: "/x"}, nowhere) }},
	} {
		for _, role := range []api.Role{"", api.Viewer, api.Operator, api.Admin} {
			before := len(o.did)
			err := c.do(role)
			if refused := errors.Is(err, web.ErrRole); refused == c.need.Allows(role) {
				t.Errorf("%s as %q: %v", c.what, role, err)
			} else if refused && len(o.did) != before {
				t.Errorf("%s as %q was refused, and done: %q", c.what, role, o.did)
			}
		}
	}
	for what, do := range map[string]func() error{
		"a view":    func() error { _, err := w.View(t.Context(), api.Admin, "office", "gone", nil); return err },
		"an action": func() error { _, err := w.Do(t.Context(), api.Admin, "elsewhere", "work", nil, nil); return err },
	} {
		if err := do(); !errors.Is(err, web.ErrNoWork) {
			t.Errorf("%s that is not there: %v", what, err)
		}
	}
	if last := o.did[len(o.did)-1]; last != `work {"job":"x"}` {
		t.Errorf("the action got %s", last)
	}
}

// given is a stream of these things.
func given(entries ...*extract.Entry) func(url.Values, io.Writer) error {
	return func(_ url.Values, w io.Writer) error {
		_, err := stream.Write(w, wire.BackupSnapshot{ID: "s1"}, func(yield func(*extract.Entry, error) bool) {
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		})
		return err
	}
}

func thing(path string, kind source.Type, content string) *extract.Entry {
	e := &extract.Entry{Path: path, Meta: source.Meta{Type: kind, Mode: 0o640, ModTime: time.Unix(1_700_000_000, 5), Size: int64(len(content))}}
	if kind == source.Dir {
		e.Meta.Mode = fs.ModeDir | 0o750
	}
	if content != "" {
		e.Content = strings.NewReader(content)
	}
	return e
}

// restored is what a page would send.
func restored(send func(url.Values, io.Writer) error, path string) (what *web.Restored, content []byte, err error) {
	var b bytes.Buffer
	err = works{&office{send: send}}.Restore(context.Background(), api.Admin, web.Restore{Job: "etc", Snapshot: "s1", Path: path}, func(r web.Restored) (io.Writer, error) {
		if what != nil {
			return nil, errors.New("opened twice")
		}
		what = &r
		return &b, nil
	})
	return what, b.Bytes(), err
}

func TestAFileComesAsItIs(t *testing.T) {
	above, file := thing("etc", source.Dir, ""), thing("etc/hosts", source.Regular, "127.0.0.1")
	what, got, err := restored(given(above, file), "/etc/hosts")
	if err != nil || what == nil || *what != (web.Restored{Name: "hosts", Size: 9}) || string(got) != "127.0.0.1" {
		t.Errorf("%+v %q %v", what, got, err)
	}
	if what, _, err := restored(given(above, thing("etc/empty", source.Regular, "")), "/etc/empty"); err != nil || what == nil || what.Size != 0 {
		t.Errorf("an empty file: %+v, %v", what, err)
	}
}

func TestAFolderComesAsTar(t *testing.T) {
	link := thing("etc/link", source.Symlink, "")
	link.Meta.LinkTarget = "../../outside"
	again := thing("etc/same", source.Regular, "")
	again.HardLink, again.Meta.Size = "etc/hosts", 9
	entries := []*extract.Entry{thing("etc", source.Dir, ""), thing("etc/hosts", source.Regular, "127.0.0.1"), link, thing("etc/pipe", source.Fifo, ""), again}
	what, got, err := restored(given(entries...), "/etc")
	if err != nil || what == nil || *what != (web.Restored{Name: "etc", Folder: true, Size: -1}) {
		t.Fatalf("%+v %v", what, err)
	}
	var names []string
	for in := tar.NewReader(bytes.NewReader(got)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%c %s %o %s", h.Typeflag, h.Name, h.Mode, h.Linkname))
	}
	want := []string{"5 etc/ 750 ", "0 etc/hosts 640 ", "2 etc/link 640 ../../outside", "1 etc/same 640 etc/hosts"}
	if !slices.Equal(names, want) {
		t.Errorf("the archive holds %q, want %q", names, want)
	}
	if what, _, err := restored(given(thing("etc", source.Dir, "")), "/"); err != nil || what == nil || what.Name != "" || !what.Folder {
		t.Errorf("everything: %+v, %v", what, err)
	}
}

func TestWhatCannotBeRestoredIsSaid(t *testing.T) {
	cut := func(n int) func(url.Values, io.Writer) error {
		return func(q url.Values, w io.Writer) error {
			var b bytes.Buffer
			if err := given(thing("f", source.Regular, strings.Repeat("x", 1000)))(q, &b); err != nil {
				return err
			}
			_, err := w.Write(b.Bytes()[:n])
			return err
		}
	}
	damaged := thing("f", source.Regular, "short")
	damaged.Meta.Size = 99
	other := thing("f", source.Regular, "")
	other.HardLink, other.Meta.Size = "g", 5
	for name, c := range map[string]struct {
		send    func(url.Values, io.Writer) error
		path    string
		want    string
		started bool // a part of it was sent
	}{
		"not there":           {given(thing("etc", source.Dir, "")), "/etc/gone", `holds no "/etc/gone"`, false},
		"a pipe":              {given(thing("p", source.Fifo, "")), "/p", "only files and folders", false},
		"another name":        {given(other), "/f", `another name of "/g"`, false},
		"fails at once":       {func(url.Values, io.Writer) error { return errors.New("no such copy") }, "/f", "no such copy", false},
		"cut in the header":   {cut(15), "/f", "ended early", false},
		"cut in the content":  {cut(600), "/f", "ended early", true},
		"cut before its end":  {cut(1330), "/f", "ended early", true},
		"shorter than it was": {given(damaged), "/f", "5 bytes came, 99 were saved", true},
		"leads outside":       {given(thing("a", source.Dir, ""), thing("a/../../b", source.Regular, "x")), "/a", `holds ".."`, true},
	} {
		what, _, err := restored(c.send, c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) || (what != nil) != c.started {
			t.Errorf("%s: %v, begun %v; want %q, %v", name, err, what != nil, c.want, c.started)
		}
	}
	slow := errors.New("the browser is gone")
	endless := given(thing("f", source.Regular, strings.Repeat("x", 4<<20)))
	err := works{&office{send: endless}}.Restore(t.Context(), api.Admin, web.Restore{Path: "/f"}, func(web.Restored) (io.Writer, error) { return nil, slow })
	if !errors.Is(err, slow) {
		t.Errorf("a browser that is gone: %v", err)
	}
}
