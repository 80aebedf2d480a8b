package repository_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
)

// password opens the repositories that the tests make.
var password = []byte("correct horse")

// cheap is a key derivation that costs nothing.
var cheap = repository.KDF{N: 16, R: 1, P: 1}

func options() repository.Options {
	return repository.Options{Who: repository.Identity{Hostname: "test-host", Username: "tester"}, Program: "allclear test"}
}

// openSample unpacks the repository that restic 0.14 wrote and answers its folder.
func openSample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", "restic-sample.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(dir, "restic-sample")
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if !strings.HasPrefix(name, dir) {
			t.Fatalf("the archive holds %q", h.Name)
		}
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func openDir(t testing.TB, name string) *repository.Dir {
	t.Helper()
	d, err := repository.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// create makes a repository in a store.
func create(t testing.TB, s repository.Store, o repository.Options) *repository.Repository {
	t.Helper()
	r, err := repository.Init(t.Context(), s, password, cheap, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// createDir makes a repository in a new local folder.
func createDir(t testing.TB) (*repository.Repository, string) {
	t.Helper()
	dir := t.TempDir()
	return create(t, openDir(t, dir), options()), dir
}

// backup backs up folders and fails the test when anything was left out.
func backup(t testing.TB, r *repository.Repository, paths ...string) *repository.Snapshot {
	t.Helper()
	s, err := tryBackup(t.Context(), r, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryBackup(ctx context.Context, r *repository.Repository, paths ...string) (*repository.Snapshot, error) {
	tree, err := source.New(source.Options{Roots: paths})
	if err != nil {
		return nil, err
	}
	var report source.Report
	s, err := r.Backup(ctx, repository.Files(tree, &report), repository.BackupOptions{Paths: paths})
	if err == nil && report.Total() > 0 {
		return s, errors.New("left out: " + report.Skips()[0].String())
	}
	return s, err
}

func read(t testing.TB, r *repository.Repository) *repository.Reader {
	t.Helper()
	rd, err := r.Read(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return rd
}

// content is what a snapshot holds: for each path its text, "dir" for a folder, and so on.
func content(t testing.TB, r *repository.Repository, s repository.Snapshot) map[string]string {
	t.Helper()
	out, err := tryContent(t.Context(), r, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryContent(ctx context.Context, r *repository.Repository, s repository.Snapshot) (map[string]string, error) {
	rd, err := r.Read(ctx, false)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for it, err := range rd.Restore(ctx, s, repository.RestoreOptions{}) {
		if err != nil {
			return out, err
		}
		switch {
		case it.Node.Type != source.Regular:
			out[it.Path] = string(it.Node.Type) + it.Node.LinkTarget
		case it.HardLink != "":
			out[it.Path] = out[it.HardLink]
		default:
			b, err := io.ReadAll(it)
			if err != nil {
				return out, err
			}
			out[it.Path] = "=" + string(b)
		}
	}
	return out, nil
}

// onDisk is a folder in the form of content.
func onDisk(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for up := filepath.Dir(root); up != "/"; up = filepath.Dir(up) {
		out[up] = "dir"
	}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[name] = "dir"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			out[name] = "symlink" + to
			return err
		default:
			b, err := os.ReadFile(name)
			out[name] = "=" + string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
