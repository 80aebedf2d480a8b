package repository_test

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
)

// listed answers paths, each after what was wrong with it.
func listed(t *testing.T, rd *repository.Reader, s repository.Snapshot, o repository.ListOptions) []string {
	t.Helper()
	out := []string{}
	for f, err := range rd.List(t.Context(), s, o) {
		if err != nil {
			out = append(out, "! "+f.Path)
			continue
		}
		out = append(out, f.Path)
	}
	return out
}

func TestListAndSearch(t *testing.T) { synctest.Test(t, testList) }

func testList(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	base := t.TempDir()
	root := filepath.Join(base, "data")
	write(t, root, map[string]string{"a.txt": "1", "b/a.txt": "2", "b/c/d": "3", "b-": "4", "Über.TXT": "5"})
	s := *backup(t, r, root)
	rd := read(t, r)
	for _, c := range []struct {
		o    repository.ListOptions
		want string
	}{
		{repository.ListOptions{Under: root}, "; /a.txt; /b; /b/a.txt; /b/c; /b/c/d; /b-; /Über.TXT"},
		{repository.ListOptions{Under: root, Shallow: true}, "; /a.txt; /b; /b-; /Über.TXT"},
		{repository.ListOptions{Under: root + "/b/"}, "/b; /b/a.txt; /b/c; /b/c/d"},
		{repository.ListOptions{Under: root + "/b/c/d"}, "/b/c/d"},
		{repository.ListOptions{Under: root, Match: "*.txt"}, "/a.txt; /b/a.txt"},
		{repository.ListOptions{Under: root, Match: base + "/*/b/*"}, "/b/a.txt; /b/c"},
		{repository.ListOptions{Under: root, Match: "über"}, "/Über.TXT"},
		{repository.ListOptions{Under: root, Match: "/C/D"}, "/b/c/d"},
		{repository.ListOptions{Under: root + "/none"}, "! /none"},
		{repository.ListOptions{Under: root, Match: "[z-a"}, "! "},
	} {
		got := listed(t, rd, s, c.o)
		for i, p := range got {
			got[i] = strings.Replace(p, root, "", 1)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%+v:\n%s", c.o, diff)
		}
	}
	if all := listed(t, rd, s, repository.ListOptions{}); all[0] != "/"+strings.Split(root, "/")[1] {
		t.Errorf("the list begins with %s", all[0])
	}
}

func TestRestoreOfChosenPaths(t *testing.T) { synctest.Test(t, testRestorePaths) }

func testRestorePaths(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	root := oddTree(t)
	s := *backup(t, r, root)
	rd := read(t, r)
	var got, above []string
	var wrong error
	for it, err := range rd.Restore(t.Context(), s, repository.RestoreOptions{Paths: []string{root + "/sub/deep/", root + "/small", root + "/none"}}) {
		switch {
		case err != nil:
			wrong = errors.Join(wrong, err)
		case it.Above:
			above = append(above, it.Path)
		default:
			got = append(got, strings.TrimPrefix(it.Path, root))
		}
	}
	if diff := cmp.Diff("/small /sub/deep /sub/deep/er /sub/deep/er/file", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(above, root) || !slices.Contains(above, root+"/sub") || slices.Contains(above, root+"/emptydir") {
		t.Errorf("folders above: %q", above)
	}
	if !errors.Is(wrong, repository.ErrNotFound) || !strings.Contains(wrong.Error(), root+"/none") {
		t.Errorf("a path that is not there: %v", wrong)
	}
}

func TestContentNeedNotBeRead(t *testing.T) { synctest.Test(t, testContentLeft) }

func testContentLeft(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	root := oddTree(t)
	write(t, root, map[string]string{"a": noise(77, 20<<20)})
	s := *backup(t, r, root)
	want := onDisk(t, root)
	n := 0
	var late *repository.Item
	for it, err := range read(t, r).Restore(t.Context(), s, repository.RestoreOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if late != nil {
			if _, err := late.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Fatalf("content read too late: %v", err)
			}
		}
		late = nil
		if n++; it.Node.Type != source.Regular || it.HardLink != "" {
			continue
		}
		switch n % 3 {
		case 0: // part of it
			if _, err := io.CopyN(io.Discard, it, min(100, it.Node.Size)); err != nil {
				t.Fatal(err)
			}
		case 1:
			b, err := io.ReadAll(it)
			if err != nil || "="+string(b) != want[it.Path] {
				t.Fatalf("%s: %v", it.Path, err)
			}
		case 2:
			late = it
		}
	}
	for range read(t, r).Restore(t.Context(), s, repository.RestoreOptions{}) {
		break // and nothing hangs
	}
}
