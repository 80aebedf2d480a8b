package repository_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memStore is a store in memory.
type memStore struct {
	mu    sync.Mutex // guards files
	files map[string]memFile
}

type memFile struct {
	name string
	data []byte
	dir  bool
	at   time.Time
}

func (f memFile) Name() string       { return f.name }
func (f memFile) Size() int64        { return int64(len(f.data)) }
func (f memFile) ModTime() time.Time { return f.at }
func (f memFile) IsDir() bool        { return f.dir }
func (f memFile) Sys() any           { return nil }

func (f memFile) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o700
	}
	return 0o400
}

func newMemStore() *memStore {
	return &memStore{files: map[string]memFile{".": {name: ".", dir: true}}}
}

// clone answers a store with the same files, which are never written again.
func (m *memStore) clone() *memStore {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memStore{files: maps.Clone(m.files)}
}

func (m *memStore) get(op, name string) (memFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[path.Clean(name)]
	if !ok {
		return f, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return f, nil
}

func (m *memStore) Save(ctx context.Context, name string, r io.Reader, size int64) (int64, error) {
	b, err := io.ReadAll(r)
	if err == nil && size >= 0 && int64(len(b)) != size {
		err = fmt.Errorf("%d of %d bytes came", len(b), size)
	}
	if err == nil {
		_, err = m.get("save", path.Dir(name))
	}
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = memFile{name: path.Base(name), data: b, at: time.Now()}
	return int64(len(b)), ctx.Err()
}

func (m *memStore) Open(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	f, err := m.get("open", name)
	if err != nil {
		return nil, err
	}
	b := f.data[min(offset, int64(len(f.data))):]
	if length >= 0 {
		b = b[:min(length, int64(len(b)))]
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *memStore) Stat(_ context.Context, name string) (fs.FileInfo, error) {
	return m.get("stat", name)
}

func (m *memStore) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	if _, err := m.get("list", dir); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []fs.FileInfo
	for name, f := range m.files {
		if path.Dir(name) == path.Clean(dir) && name != "." {
			out = append(out, f)
		}
	}
	return out, nil
}

func (m *memStore) Remove(_ context.Context, name string) error {
	if _, err := m.get("remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

func (m *memStore) Mkdir(_ context.Context, dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := path.Clean(dir); d != "."; d = path.Dir(d) {
		m.files[d] = memFile{name: path.Base(d), dir: true}
	}
	return nil
}

// names answers the files, sorted, whose path begins so.
func (m *memStore) names(begin string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name, f := range m.files {
		if !f.dir && strings.HasPrefix(name, begin) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// change rewrites a file.
func (m *memStore) change(t testing.TB, name string, f func([]byte) []byte) {
	t.Helper()
	was, err := m.get("change", name)
	if err != nil {
		t.Fatal(err)
	}
	was.data = f(bytes.Clone(was.data))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = was
}
