package atomicfile_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/atomicfile"
	"allclear/internal/lab"
)

func openFixed(t *testing.T, root *os.Root, size int64) *atomicfile.Fixed {
	t.Helper()
	x, err := atomicfile.OpenFixed(root, "fixed", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func TestAFixedFileStartsAsZerosAndKeepsWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	x := openFixed(t, root, 8192)
	got := make([]byte, 8192)
	if n, err := x.ReadAt(got, 0); n != 8192 || err != nil {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	if !bytes.Equal(got, make([]byte, 8192)) {
		t.Error("a new file is not all zeros")
	}
	if _, err := x.WriteAt([]byte("end"), 8189); err != nil {
		t.Fatal(err)
	}
	if err := x.Sync(); err != nil {
		t.Fatal(err)
	}
	again := openFixed(t, root, 8192)
	tail := make([]byte, 3)
	if _, err := again.ReadAt(tail, 8189); err != nil || string(tail) != "end" {
		t.Errorf("read back %q, %v; want %q", tail, err, "end")
	}
	if info, err := os.Stat(filepath.Join(dir, "fixed")); err != nil || info.Mode() != 0o600 || info.Size() != 8192 {
		t.Errorf("file is %v (%v), want mode 0600 and 8192 bytes", info, err)
	}
}

func TestAFixedFileNeverGrowsByAWrite(t *testing.T) {
	x := openFixed(t, openRoot(t, t.TempDir()), 100)
	for _, c := range []struct {
		off int64
		n   int
	}{{-1, 1}, {100, 1}, {99, 2}, {0, 101}, {1 << 62, 4}} {
		if n, err := x.WriteAt(make([]byte, c.n), c.off); err == nil || n != 0 {
			t.Errorf("WriteAt(%d bytes, %d) = %d, %v; want 0 and an error", c.n, c.off, n, err)
		}
	}
	if n, err := x.ReadAt(make([]byte, 10), 95); n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt over the end = %d, %v; want 5, EOF", n, err)
	}
}

func TestAShorterFileIsFilledUpAndALongerOneIsUsedUpToSize(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "fixed"), []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := openFixed(t, root, 5)
	got := make([]byte, 5)
	if _, err := x.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte("abc\x00\x00"), got); diff != "" {
		t.Errorf("filled up (-want +got):\n%s", diff)
	}
	if got := openFixed(t, root, 2).Size(); got != 2 {
		t.Errorf("Size = %d, want 2", got)
	}
}

func TestAFixedFileMustBeARegularFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "fixed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := atomicfile.OpenFixed(openRoot(t, dir), "fixed", 10); err == nil {
		t.Error("a pipe was opened")
	}
	if _, err := atomicfile.OpenFixed(openRoot(t, dir), "zero", 0); err == nil {
		t.Error("size 0 was accepted")
	}
}

// smallDisk mounts a new ext4 file system of 2 MiB for the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	lab.Need(t, "loop", "mkfs.ext4")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 2<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image)
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(lab.Program(name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// fillUp takes every free block of the file system under dir.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 16; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestOnAFullDiskTheOldFileStaysAndTheFixedFileStillWrites(t *testing.T) {
	dir := smallDisk(t)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() // before the umount
	if err := atomicfile.Write(root, "f", 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	x, err := atomicfile.OpenFixed(root, "fixed", 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	fillUp(t, dir)

	err = atomicfile.Write(root, "f", 0o600, bytes.Repeat([]byte("new"), 10_000))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write on a full disk = %v, want ENOSPC", err)
	}
	if got := content(t, filepath.Join(dir, "f")); got != "old" {
		t.Errorf("content = %q, want %q", got, "old")
	}
	if _, err := atomicfile.OpenFixed(root, "another", 64<<10); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("OpenFixed on a full disk = %v, want ENOSPC", err)
	}
	if diff := cmp.Diff([]string{"f", "filler", "fixed", "lost+found"}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}

	want := bytes.Repeat([]byte{0xa5}, 64<<10)
	if _, err := x.WriteAt(want, 0); err != nil {
		t.Errorf("WriteAt on a full disk: %v", err)
	}
	if err := x.Sync(); err != nil {
		t.Errorf("Sync on a full disk: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := x.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was written on the full disk did not read back (%v)", err)
	}
}
