// Package atomicfile puts files on disk so that a reader, or the machine after a power cut, finds the old content or
// the new one whole and never a mixture: single files ([Write], [Create]), directories in numbered generations
// ([Generations]) and files of a fixed size that are written in place even when the disk is full ([Fixed]).
//
// What the files mean, when they are written and who may read them is the caller's business. Databases do their own
// writing and do not come here.
//
// Every name is resolved inside an [os.Root], so neither "../" nor a planted symbolic link leads out of it.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tempMark stands in the name of every file and directory that is not finished. [Sweep] removes what carries it.
const tempMark = ".tmp-"

// Write replaces the file name below root by data with the given mode. When it returns nil the content survives a
// power cut. On an error the former file is still in place and whole, with one exception that the text of the error
// names: if only the last step, the fsync of the directory, failed, the new file is in place and a power cut may bring
// the old one back.
func Write(root *os.Root, name string, mode fs.FileMode, data []byte) error {
	f, err := Create(root, name, mode)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// WriteFile is [Write] for a path outside any root: its directory is opened as one.
func WriteFile(name string, mode fs.FileMode, data []byte) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer root.Close()
	return Write(root, filepath.Base(name), mode, data)
}

// File is a file being written beside the one that it will replace.
type File struct {
	root *os.Root
	name string // what Commit makes of it
	temp string // what it is called until then
	f    *os.File
	err  error // the first failed write: a short file is never committed
	done bool
}

// Create starts a replacement of the file name below root. Nothing is visible under that name before [File.Commit].
// The mode is set before the first byte is written, whatever the umask says. The caller defers [File.Abort].
func Create(root *os.Root, name string, mode fs.FileMode) (*File, error) {
	if mode&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("create %s: mode %v has more than permission bits", name, mode)
	}
	dir, base := path.Split(path.Clean(filepath.ToSlash(name)))
	temp := dir + "." + base + tempMark + rand.Text()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	w := &File{root: root, name: name, temp: temp, f: f}
	if err := f.Chmod(mode); err != nil {
		w.Abort()
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return w, nil
}

// Write appends p. After a failed write every later one, and [File.Commit], answers the same error.
func (w *File) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.f.Write(p)
	if err != nil {
		w.err = fmt.Errorf("write %s: %w", w.name, err)
	}
	return n, w.err
}

// Commit makes what was written durable and puts it under its name. On an error before the rename nothing changed and
// the unfinished file is gone. A second Commit, or one after [File.Abort], answers [fs.ErrClosed].
func (w *File) Commit() error {
	if w.done {
		return fmt.Errorf("commit %s: %w", w.name, fs.ErrClosed)
	}
	err := w.err
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		w.Abort()
		return fmt.Errorf("commit %s: %w", w.name, err)
	}
	if err := w.f.Close(); err != nil {
		w.Abort()
		return fmt.Errorf("commit %s: %w", w.name, err)
	}
	if err := w.root.Rename(w.temp, w.name); err != nil {
		w.Abort()
		return fmt.Errorf("commit %s: %w", w.name, err)
	}
	w.done = true
	if err := syncDir(w.root, path.Dir(filepath.ToSlash(w.name))); err != nil {
		return fmt.Errorf("%s is in place but not yet durable: %w", w.name, err)
	}
	return nil
}

// Abort removes the unfinished file. After [File.Commit] or another Abort it does nothing, so it is deferred.
func (w *File) Abort() {
	if w.done {
		return
	}
	w.done = true
	// What cannot be closed or removed now is found by the next Sweep; the file it should have replaced is untouched.
	_ = w.f.Close()
	_ = w.root.Remove(w.temp)
}

// Sweep removes what a crash left unfinished directly in the directory dir of root ("." is root itself) and answers
// how many it removed. It is called once by the owner of the directory before anything is written there.
func Sweep(root *os.Root, dir string) (int, error) {
	entries, err := fs.ReadDir(root.FS(), path.Clean(filepath.ToSlash(dir)))
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", dir, err)
	}
	removed := 0
	var failed error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") || !strings.Contains(e.Name(), tempMark) {
			continue
		}
		if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			failed = errors.Join(failed, fmt.Errorf("sweep %s: %w", dir, err))
			continue
		}
		removed++
	}
	return removed, failed
}

// syncDir makes the names in dir durable: without it a renamed file may be gone after a power cut.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("fsync directory %s: %w", dir, err)
	}
	return nil
}
