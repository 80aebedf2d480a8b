package repository_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
)

// fake is a source of made-up things: names in the order in which they come, "/" at the end for a folder, and ".." for
// its end. Files hold their path.
type fake struct {
	steps []string
	meta  func(path string, m *source.Meta)
	err   map[string]error // of reading
}

// Walk implements [repository.Source].
func (f fake) Walk(_ context.Context, visit func(*repository.Entry) error) error {
	var stack []*repository.Entry
	dir := func() string {
		if len(stack) == 0 {
			return ""
		}
		return stack[len(stack)-1].Path
	}
	for _, step := range f.steps {
		name, isDir := strings.CutSuffix(step, "/")
		e := &repository.Entry{Path: dir() + "/" + name, Meta: &source.Meta{Type: source.Regular, ModTime: time.Unix(1, 0)}}
		switch {
		case step == "..":
			e = stack[len(stack)-1]
			e.Leave = true
			stack = stack[:len(stack)-1]
		case isDir:
			e.Meta.Type = source.Dir
			stack = append(stack, e)
		}
		if f.meta != nil {
			f.meta(e.Path, e.Meta)
		}
		e.Meta.Size = int64(len(e.Path))
		e.Open = func() (repository.File, error) {
			return &fakeFile{io.MultiReader(strings.NewReader(e.Path), failing{f.err[e.Path]}), e.Meta}, nil
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

type fakeFile struct {
	io.Reader
	meta *source.Meta
}

func (f *fakeFile) Close() error       { return nil }
func (f *fakeFile) Meta() *source.Meta { return f.meta }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func TestASourceOutOfOrderIsRefused(t *testing.T) { synctest.Test(t, testOutOfOrder) }

func testOutOfOrder(t *testing.T) {
	r := create(t, newMemStore(), options())
	for _, steps := range []string{"b a", "a a", "d/ b a .. ", "d/ a", "d/ a .. d/ b ..", "a/ .. a"} {
		_, err := r.Backup(t.Context(), fake{steps: strings.Fields(steps)}, repository.BackupOptions{Paths: []string{"/"}})
		if err == nil {
			t.Errorf("%q was backed up", steps)
		}
	}
	if _, err := r.Backup(t.Context(), fake{}, repository.BackupOptions{Paths: []string{"relative"}}); err == nil {
		t.Error("a relative path was backed up")
	}
	if n := len(read(t, r).Snapshots()); n != 0 {
		t.Errorf("%d snapshots", n)
	}
}

func TestReadErrors(t *testing.T) { synctest.Test(t, testReadErrors) }

func testReadErrors(t *testing.T) {
	r := create(t, newMemStore(), options())
	broken := errors.New("broken disk")
	src := fake{steps: strings.Fields("a d/ b c .. e"), err: map[string]error{"/d/b": broken}}
	if _, err := r.Backup(t.Context(), src, repository.BackupOptions{Paths: []string{"/"}}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "/d/b") {
		t.Errorf("an error that is no skip: %v", err)
	}
	if n := len(read(t, r).Snapshots()); n != 0 {
		t.Fatalf("%d snapshots", n)
	}
	// A real file that vanishes is left out, and reported by its source.
	root := t.TempDir()
	write(t, root, map[string]string{"a": "1", "gone": "2", "z": "3"})
	tree, err := source.New(source.Options{Roots: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	var report source.Report
	s, err := r.Backup(t.Context(), vanishing{repository.Files(tree, &report), filepath.Join(root, "gone")}, repository.BackupOptions{Paths: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk(t, root), content(t, r, *s)); diff != "" {
		t.Error(diff)
	}
	if report.Total() != 1 || report.Skips()[0].Reason != "vanished" {
		t.Errorf("report: %v", report.Skips())
	}
}

// vanishing removes a file after it was listed.
type vanishing struct {
	repository.Source
	name string
}

func (v vanishing) Walk(ctx context.Context, visit func(*repository.Entry) error) error {
	return v.Source.Walk(ctx, func(e *repository.Entry) error {
		if e.Path == v.name {
			if err := os.Remove(v.name); err != nil {
				return err
			}
		}
		return visit(e)
	})
}

// An (inode, device) pair that comes with two contents must not make readers take one file for the other.
func TestOnePairNeverStandsForTwoContents(t *testing.T) {
	r, dir := createDir(t)
	j := newRestic(t, dir)
	for _, links := range []map[string]uint64{
		{"/d/a": 1, "/d/b": 1, "/d/c": 1}, {"/d/a": 2, "/d/b": 2, "/d/c": 2}, {"/d/a": 1, "/d/b": 2, "/d/c": 2}, {"/d/a": 2, "/d/b": 1, "/d/c": 3},
	} {
		meta := func(path string, m *source.Meta) {
			m.Mode = os.ModeDir | 0o700
			if m.Type == source.Regular {
				m.Mode, m.Inode, m.DeviceID, m.Links = 0o600, 7, 8, links[path]
			}
		}
		s, err := r.Backup(t.Context(), fake{steps: strings.Fields("d/ a b c .."), meta: meta}, repository.BackupOptions{Paths: []string{"/d"}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"/d": "dir", "/d/a": "=/d/a", "/d/b": "=/d/b", "/d/c": "=/d/c"}
		if diff := cmp.Diff(want, content(t, r, *s)); diff != "" {
			t.Errorf("links %v:\n%s", links, diff)
		}
		if diff := cmp.Diff(want, j.restored(s.ID.String(), "/d")); diff != "" {
			t.Errorf("links %v, restored by restic:\n%s", links, diff)
		}
	}
	j.check()
}

func TestHardLinksComeOnce(t *testing.T) { synctest.Test(t, testHardLinks) }

func testHardLinks(t *testing.T) {
	r := create(t, newMemStore(), options())
	root := oddTree(t)
	s := *backup(t, r, root)
	for it, err := range read(t, r).Restore(t.Context(), s, repository.RestoreOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if it.Path == root+"/sub/hard" {
			want = root + "/small"
		}
		if it.HardLink != want {
			t.Errorf("%s is a link to %q, want %q", it.Path, it.HardLink, want)
		}
	}
}

func TestProgressIsTold(t *testing.T) { synctest.Test(t, testProgress) }

func testProgress(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	root := oddTree(t)
	tree, err := source.New(source.Options{Roots: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	var last repository.Progress
	s, err := r.Backup(t.Context(), repository.Files(tree, &source.Report{}), repository.BackupOptions{
		Paths: []string{root}, Tags: []string{"t"}, Progress: func(p repository.Progress) { last = p },
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Files != s.Summary.TotalFilesProcessed || last.Bytes != s.Summary.TotalBytesProcessed || last.Sent < last.Stored || last.Stored == 0 {
		t.Errorf("the last progress %+v, the summary %+v", last, s.Summary)
	}
	if _, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Progress: func(p repository.Progress) { last = p }}); err != nil {
		t.Fatal(err)
	}
	if last.Stage != "data" || last.Done != last.Total || last.Total == 0 {
		t.Errorf("after a check: %+v", last)
	}
}

func TestKeysAreAddedAndRemoved(t *testing.T) { synctest.Test(t, testKeys) }

func testKeys(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	recovery := []byte("recovery")
	id, err := r.AddKey(t.Context(), recovery, cheap)
	if err != nil {
		t.Fatal(err)
	}
	second, err := repository.Open(t.Context(), mem, recovery, options())
	if err != nil || second.KeyID() != id {
		t.Fatal(err)
	}
	if err := second.RemoveKey(t.Context(), id); err == nil {
		t.Error("the key in use was removed")
	}
	if err := second.RemoveKey(t.Context(), r.KeyID()); err != nil {
		t.Error(err)
	}
	if _, err := repository.Open(t.Context(), mem, password, options()); !errors.Is(err, repository.ErrWrongPassword) {
		t.Errorf("the removed password: %v", err)
	}
	keys, err := second.Keys(t.Context())
	if err != nil || len(keys) != 1 || !keys[0].Current || keys[0].Hostname != "test-host" {
		t.Errorf("%+v %v", keys, err)
	}
	for range 19 {
		if _, err := second.AddKey(t.Context(), recovery, cheap); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := second.AddKey(t.Context(), recovery, cheap); err == nil {
		t.Error("a 21st key was added, which other programs would not try")
	}
	if _, err := second.AddKey(t.Context(), nil, cheap); err == nil {
		t.Error("an empty password was added")
	}
	if err := second.RemoveKey(t.Context(), repository.ID{1}); err == nil {
		t.Error("a key that is not there was removed")
	}
}
