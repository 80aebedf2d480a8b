package backup_test

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/envelope"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
)

// smallDisk is a file system of a few MiB, until the test ends; grow makes it
// big enough.
func smallDisk(t *testing.T, size string) (dir string, grow func()) {
	t.Helper()
	lab.Need(t, "root")
	dir = t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
			t.Fatal(err)
		}
	}
}

// fill takes all the room that a disk has and returns how to give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f := must(os.Create(name))(t)
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// noise makes a file that cannot be compressed.
func noise(t *testing.T, name string, size int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// localNoSpace checks that a run failed for the want of room on this machine,
// and for nothing at the target.
func (w *world) localNoSpace(job string) {
	w.t.Helper()
	rec := w.run(job)
	if rec.State != "failed" || rec.Result.Code != backup.CodeLocal || rec.Result.Qualifier != "no-space" {
		w.t.Fatalf("%s: %s %+v", job, rec.State, rec.Result)
	}
	if v, _ := w.view(backup.CodeLocal, job); !v.Active || v.Sense.Get("qualifier") != "no-space" {
		w.t.Errorf("fault %+v", v)
	}
	if w.active(backup.CodeNoSpace, "nas1") {
		w.t.Error("the target is blamed for the disk of this machine")
	}
}

// well checks that a run succeeds and leaves no fault of the local disk.
func (w *world) well(job string) {
	w.t.Helper()
	if rec := w.run(job); rec.State != "success" || w.active(backup.CodeLocal, job) || w.active(backup.CodeJobFailed, job) {
		w.t.Fatalf("with room again: %s %+v", rec.State, rec.Result)
	}
}

// SCP wants the size before the content, so an archive is kept here first: when
// there is no room for that nothing is sent, and the copies before it stay.
func TestAFullLocalDiskIsNoFaultOfTheTarget(t *testing.T) {
	w := newWorld(t)
	disk, grow := smallDisk(t, "3m")
	w.opts.Dir = filepath.Join(disk, "backup")
	_, _, target := w.sshd(sftpLine)
	target.Protocol = sshpolicy.ProtocolSCP
	j, dir := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	w.well("etc")
	before := names(t, target.Path)
	noise(t, filepath.Join(dir, "noise"), 8<<20)
	w.localNoSpace("etc")
	if after := names(t, target.Path); len(after) != len(before) {
		t.Errorf("the target holds %q, before %q", after, before)
	}
	grow()
	w.well("etc")
}

// A key that cannot be stored is never used: nothing is encrypted with what the
// next start would not know.
func TestAKeyThatCannotBeStoredIsLocalToo(t *testing.T) {
	w := newWorld(t)
	disk, _ := smallDisk(t, "1m")
	root := must(envelope.OpenFolder(filepath.Join(disk, "keys")))(t)
	t.Cleanup(func() { root.Close() })
	local := envelope.NewLocalKey(root, time.Now)
	w.opts.Keys = must(envelope.NewKeeper(envelope.Options{
		Folder: root, Wrap: local, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: local},
	}))(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Repository)
	w.begin([]backup.Target{target}, j)
	free := fill(t, disk)
	w.localNoSpace("etc")
	if left := names(t, o.SFTP.Root); len(left) != 0 {
		t.Errorf("the target holds %q", left)
	}
	free()
	w.well("etc")
}

// Records that cannot be stored do not keep a copy from being made.
func TestAFullStateFolderStopsNoBackup(t *testing.T) {
	w := newWorld(t)
	disk, _ := smallDisk(t, "1m")
	w.opts.Dir = filepath.Join(disk, "backup")
	_, _, target := w.server()
	j, dir := job(t, backup.Repository)
	w.begin([]backup.Target{target}, j)
	free := fill(t, disk)
	w.well("etc")
	free()
	w.well("etc")
	rec := w.runs()[0]
	w.restores(rec.Copy, dir)
}

// names are all files below a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		// A look of the target may store, and remove, its test file at any time.
		if strings.HasPrefix(filepath.Base(name), "allclear-test-") {
			return nil
		}
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
