package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Store is the folder in which a repository lies. Names are relative to it, with '/', never absolute and never with
// "..". It is used by several goroutines at a time. A missing file is fs.ErrNotExist.
//
// Save puts a file in place whole or not at all, durably where the store can, and answers the bytes written; Open reads
// length bytes from offset, to the end if length is -1; List answers one folder without what lies below; Mkdir makes a
// folder with its parents. Deadlines for a store that stalls are the store's own business: it answers an error then.
type Store interface {
	Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error)
	Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
	Remove(ctx context.Context, name string) error
	Mkdir(ctx context.Context, dir string) error
}

// The folders of a repository.
const (
	configName = "config"
	dataDir    = "data"
	indexDir   = "index"
	keysDir    = "keys"
	locksDir   = "locks"
	snapsDir   = "snapshots"
)

// Bounds of what is read whole into memory, in bytes.
const (
	maxConfig = 64 << 10
	maxKey    = 64 << 10
	maxLock   = 64 << 10
	maxSmall  = 16 << 20  // snapshots, stored and unpacked
	maxIndex  = 128 << 20 // an index file, stored and unpacked
)

func packPath(id ID) string {
	s := id.String()
	return dataDir + "/" + s[:2] + "/" + s
}

func filePath(dir string, id ID) string {
	if dir == dataDir {
		return packPath(id)
	}
	return dir + "/" + id.String()
}

// put saves r under name. A writer must cope with a missing folder.
func put(ctx context.Context, s Store, name string, r io.ReadSeeker, size int64) error {
	n, err := s.Save(ctx, name, r, size)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.Mkdir(ctx, path.Dir(name)); err != nil {
			return fmt.Errorf("make folder %s: %w", path.Dir(name), err)
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
		n, err = s.Save(ctx, name, r, size)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	if n != size {
		return fmt.Errorf("save %s: %d of %d bytes arrived", name, n, size)
	}
	return nil
}

// putNamed saves data in dir under the hash of its bytes.
func putNamed(ctx context.Context, s Store, dir string, data []byte) (ID, error) {
	id := Hash(data)
	return id, put(ctx, s, filePath(dir, id), bytes.NewReader(data), int64(len(data)))
}

// get reads a whole file of at most limit bytes.
func get(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	r, err := s.Open(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, limit)
	}
	return b, nil
}

// getNamed reads a file whose name is the hash of its bytes.
func getNamed(ctx context.Context, s Store, what, dir string, id ID, limit int64) ([]byte, error) {
	b, err := get(ctx, s, filePath(dir, id), limit)
	if err != nil {
		return nil, err
	}
	if got := Hash(b); got != id {
		return nil, damaged(what, id, fmt.Errorf("its %d bytes have the hash %s", len(b), got))
	}
	return b, nil
}

// getRange fills b from offset of a pack.
func getRange(ctx context.Context, s Store, pack ID, offset int64, b []byte) error {
	r, err := s.Open(ctx, packPath(pack), offset, int64(len(b)))
	if err == nil {
		var n int
		n, err = io.ReadFull(r, b)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return damaged("pack", pack, fmt.Errorf("the file ends after byte %d, %d were to come: %w", offset+int64(n), len(b)-n, io.ErrUnexpectedEOF))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("pack", pack, err)
	}
	if err != nil {
		return fmt.Errorf("read pack %s: %w", pack, err)
	}
	return nil
}

// found is a file in one of the folders.
type found struct {
	id   ID
	size int64
}

// listAny answers what a folder holds; a missing folder is empty.
func listAny(ctx context.Context, s Store, dir string) ([]fs.FileInfo, error) {
	infos, err := s.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return infos, nil
}

// list answers the files of a folder that have an ID for a name.
func list(ctx context.Context, s Store, dir string) ([]found, error) {
	infos, err := listAny(ctx, s, dir)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, fi := range infos {
		if fi.IsDir() || !isID(fi.Name()) {
			continue
		}
		id, err := ParseID(fi.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, found{id, fi.Size()})
	}
	return out, nil
}

// listPacks answers all packs with their sizes.
func listPacks(ctx context.Context, s Store) ([]found, error) {
	subs, err := listAny(ctx, s, dataDir)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, sub := range subs {
		if !sub.IsDir() {
			continue
		}
		files, err := list(ctx, s, dataDir+"/"+sub.Name())
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if f.id.String()[:2] == sub.Name() { // elsewhere no reader would find it
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// remove deletes a file; one that is gone already is fine.
func remove(ctx context.Context, s Store, name string) error {
	if err := s.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
