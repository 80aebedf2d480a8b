package repository_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
)

// write makes files with their folders.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// noise is n bytes that do not compress, always the same for a seed.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	src.Read(b) //nolint:errcheck // never fails
	return string(b)
}

// oddTree is a folder with what is easily done wrong.
func oddTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, map[string]string{
		"empty": "", "small": "hello", "sub/deep/er/file": "deep", "new\nline": "n", `quote"back\slash`: "q", "bad\xff\xfe": "b",
		"exact": noise(1, 512<<10), "exact+1": noise(2, 512<<10+1), "big": noise(3, 9<<20), "zeros": string(bytes.Repeat([]byte{0}, 3<<20)),
		"same1": noise(4, 700<<10), "same2": noise(4, 700<<10), "html <&>": "x", "\u2028sep": "y", "sub/한국어": "k",
	})
	if err := os.Symlink("nowhere", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("inv-\xff", filepath.Join(root, "badlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(root, "small"), filepath.Join(root, "sub", "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "emptydir"), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestBackupRestoresTheSame(t *testing.T) { synctest.Test(t, testBackupRestoresTheSame) }

func testBackupRestoresTheSame(t *testing.T) {
	r, _ := createDir(t)
	root := oddTree(t)
	s := backup(t, r, root)
	if diff := cmp.Diff(onDisk(t, root), content(t, r, *s)); diff != "" {
		t.Error(diff)
	}
	if s.Summary.FilesNew != 16 || s.Summary.DataBlobs == 0 || s.Parent != nil {
		t.Errorf("summary %+v", s.Summary)
	}
}

func TestSecondBackupReadsOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, testSecondBackupReadsOnlyWhatChanged)
}

func testSecondBackupReadsOnlyWhatChanged(t *testing.T) {
	r, _ := createDir(t)
	root := oddTree(t)
	first := backup(t, r, root)
	write(t, root, map[string]string{"small": "hello again", "sub/more": "more"})
	second := backup(t, r, root)
	if second.Parent == nil || *second.Parent != first.ID {
		t.Errorf("parent %v, want %v", second.Parent, first.ID)
	}
	got := second.Summary
	// "small" has two names.
	if got.FilesNew != 1 || got.FilesChanged != 2 || got.FilesUnmodified != 14 || got.DataBlobs != 2 {
		t.Errorf("summary %+v", got)
	}
	if diff := cmp.Diff(onDisk(t, root), content(t, r, *second)); diff != "" {
		t.Error(diff)
	}
	third := backup(t, r, root)
	if third.Summary.DataBlobs != 0 || third.Summary.FilesUnmodified != 17 {
		t.Errorf("a backup of the unchanged tree stored %+v", third.Summary)
	}
	// The folders above may have changed meanwhile.
	if a, b := subtree(t, r, *second, root), subtree(t, r, *third, root); a != b {
		t.Errorf("the unchanged folder has the tree %s, then %s", a, b)
	}
}

// subtree answers the tree of a folder in a snapshot.
func subtree(t *testing.T, r *repository.Repository, s repository.Snapshot, path string) repository.ID {
	t.Helper()
	for f, err := range read(t, r).List(t.Context(), s, repository.ListOptions{Under: path, Shallow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Path == path {
			return f.Node.Subtree
		}
	}
	t.Fatalf("%s is not in the snapshot", path)
	return repository.ID{}
}
