package envelope

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"allclear/internal/atomicfile"
)

// OpenFolder opens, and makes with mode 0700 if it is missing, a directory that only this user may enter. What an
// earlier crash left unfinished in it is swept away.
func OpenFolder(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the folder of keys: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of keys: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = private(dir, info)
	}
	if err == nil {
		_, err = atomicfile.Sweep(root, ".")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the folder of keys: %w", err), root.Close())
	}
	return root, nil
}

// private claims that a file or directory belongs to this user and is closed to everybody else.
func private(name string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, others may use it: make it %04o", name, perm, perm&0o700)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to user %d", name, st.Uid, os.Geteuid())
	}
	return nil
}

// ids answers the things of a folder, sorted.
func ids(root *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list protected things: %w", err)
	}
	var out []string
	for _, e := range entries {
		if id, ok := idOf(e.Name()); ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// load reads the header of a thing.
func load(root *os.Root, id string) (*stored, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	content, err := NewRecord(root, fileOf(id), recordKind).Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return decode(id, content)
}
