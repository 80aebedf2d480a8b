package atomicfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/atomicfile"
)

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteReplacesContentAndMode(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("old and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(root, "f", 0o600, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "f")); got != "new" {
		t.Errorf("content = %q, want %q", got, "new")
	}
	info, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode = %v, want 0600", info.Mode())
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestTheModeIsSetWhateverTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	if err := atomicfile.WriteFile(filepath.Join(dir, "f"), 0o644, nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o644 {
		t.Errorf("mode = %v, want 0644", info.Mode())
	}
}

func TestTheModeIsSetBeforeTheContent(t *testing.T) {
	dir := t.TempDir()
	f, err := atomicfile.Create(openRoot(t, dir), "secret", 0o400)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	only := names(t, dir)
	if len(only) != 1 {
		t.Fatalf("directory holds %q, want the unfinished file alone", only)
	}
	info, err := os.Stat(filepath.Join(dir, only[0]))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o400 || info.Size() != 0 {
		t.Errorf("unfinished file has mode %v and %d bytes, want 0400 and none", info.Mode(), info.Size())
	}
}

func TestNothingIsVisibleBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	if err := atomicfile.Write(root, "f", 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	f, err := atomicfile.Create(root, "f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "f")); got != "old" {
		t.Errorf("before Commit the content is %q, want %q", got, "old")
	}
	f.Abort()
	f.Abort()
	if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Abort = %v, want fs.ErrClosed", err)
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Errorf("directory after Abort (-want +got):\n%s", diff)
	}
	if got := content(t, filepath.Join(dir, "f")); got != "old" {
		t.Errorf("after Abort the content is %q, want %q", got, "old")
	}
}

func TestAFailedWriteIsNeverCommitted(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	if err := atomicfile.Write(root, "f", 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	f, err := atomicfile.Create(root, "f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	atomicfile.BreakForTest(f)
	if _, err := f.Write([]byte("new")); err == nil {
		t.Fatal("a write to a closed file went through")
	}
	if err := f.Commit(); err == nil {
		t.Error("Commit after a failed write went through")
	}
	if got := content(t, filepath.Join(dir, "f")); got != "old" {
		t.Errorf("content = %q, want %q", got, "old")
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestNoNameLeadsOutOfTheRoot(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	root := openRoot(t, dir)
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../f", filepath.Join(outside, "f"), "link/f", "sub/../../f"} {
		if err := atomicfile.Write(root, name, 0o600, []byte("x")); err == nil {
			t.Errorf("Write(%q) went through", name)
		}
	}
	if got := names(t, outside); len(got) != 0 {
		t.Errorf("outside now holds %q", got)
	}
}

func TestALinkIsReplacedNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(openRoot(t, dir), "f", 0o600, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, target); got != "untouched" {
		t.Errorf("the link's target holds %q", got)
	}
	if info, err := os.Lstat(filepath.Join(dir, "f")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("f is %v (%v), want a regular file", info.Mode(), err)
	}
}

func TestModesBeyondPermissionBitsAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := atomicfile.WriteFile(filepath.Join(dir, "f"), 0o755|fs.ModeSetuid, nil); err == nil {
		t.Error("a setuid file was written")
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("directory holds %q", got)
	}
}

func TestARenameThatIsRefusedLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "taken"), 0o600, []byte("x")); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if diff := cmp.Diff([]string{"taken"}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestSweepRemovesWhatACrashLeftAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for _, name := range []string{"keep", ".keep", "keep.tmp-x"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := atomicfile.Create(root, "keep", 0o600); err != nil { // never finished: the crash
			t.Fatal(err)
		}
	}
	n, err := atomicfile.Sweep(root, ".")
	if err != nil || n != 3 {
		t.Errorf("Sweep = %d, %v; want 3, nil", n, err)
	}
	if diff := cmp.Diff([]string{".keep", "keep", "keep.tmp-x"}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestAReaderNeverSeesAMixture(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	one, two := bytes.Repeat([]byte("1"), 1<<16), bytes.Repeat([]byte("2"), 1<<15)
	if err := atomicfile.Write(root, "f", 0o600, one); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, data := range [][]byte{one, two} {
		wg.Go(func() {
			for range 50 {
				if err := atomicfile.Write(root, "f", 0o600, data); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	stop := make(chan struct{})
	go func() { wg.Wait(); close(stop) }()
	for {
		got := content(t, filepath.Join(dir, "f"))
		if got != string(one) && got != string(two) {
			t.Fatalf("read %d bytes with %d ones: a mixture", len(got), strings.Count(got, "1"))
		}
		select {
		case <-stop:
			if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
				t.Errorf("directory (-want +got):\n%s", diff)
			}
			return
		default:
		}
	}
}
