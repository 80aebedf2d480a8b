package repository_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
)

// sample opens the repository that restic 0.14 wrote, with a key that costs nothing, and answers the folder.
func sample(t testing.TB) (*repository.Repository, string) {
	t.Helper()
	dir := openSample(t)
	keys := filepath.Join(dir, "repo", "keys")
	if err := os.RemoveAll(keys); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join("testdata", "sample-key.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, keys, map[string]string{repository.Hash(key).String(): string(key)})
	r, err := repository.Open(t.Context(), openDir(t, filepath.Join(dir, "repo")), password, options())
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func TestSampleOpensWithBothPasswordsAndNoOther(t *testing.T) {
	store := openDir(t, filepath.Join(openSample(t), "repo"))
	for text, key := range map[string]string{"allclear-sample": "ecc4d18e", "allclear-sample-2": "b088626a"} {
		r, err := repository.Open(t.Context(), store, []byte(text), options())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.ID(), "ef3b2ee2f6cebbad8711dea2b835ddb5b6cf3b903d223c2511880a8a5d046c67"; got != want {
			t.Errorf("repository %s, want %s", got, want)
		}
		if got := r.KeyID().Short(); got != key {
			t.Errorf("%s opens key %s, want %s", text, got, key)
		}
	}
	if _, err := repository.Open(t.Context(), store, []byte("allclear-sample\n"), options()); !errors.Is(err, repository.ErrWrongPassword) {
		t.Errorf("a wrong password: %v", err)
	}
}

// escape is the form of names in the lists.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// describe is an item as a line of the lists.
func describe(t *testing.T, it *repository.Item, sums map[string]string) string {
	t.Helper()
	n := &it.Node
	line := fmt.Sprintf("%s\t%s mode=%04o uid=%d gid=%d mtime=%d.%09d", escape(it.Path), n.Type, unixMode(n.Mode), n.UID, n.GID,
		n.ModTime.Unix(), n.ModTime.Nanosecond())
	switch n.Type {
	case source.Regular:
		if it.HardLink == "" {
			sum := sha256.New()
			if _, err := it.WriteTo(sum); err != nil {
				t.Fatal(err)
			}
			sums[it.Path] = hex.EncodeToString(sum.Sum(nil))
		} else {
			sums[it.Path] = sums[it.HardLink]
		}
		line += fmt.Sprintf(" size=%d links=%d sha256=%s", n.Size, n.Links, sums[it.Path])
	case source.Symlink:
		line += " target=" + escape(n.LinkTarget)
	case source.Device, source.CharDevice:
		line += fmt.Sprintf(" device=%d:%d", n.Device>>8, n.Device&0xff)
	}
	var attrs []string
	for _, x := range n.Xattrs {
		attrs = append(attrs, x.Name+"="+hex.EncodeToString(x.Value))
	}
	if slices.Sort(attrs); len(attrs) > 0 {
		line += " xattr=" + strings.Join(attrs, ",")
	}
	return line
}

func unixMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for bit, unix := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			out |= unix
		}
	}
	return out
}

func TestSampleRestoresToItsSums(t *testing.T) {
	r, dir := sample(t)
	rd := read(t, r)
	snaps := rd.Snapshots()
	if len(snaps) != 3 {
		t.Fatalf("%d snapshots", len(snaps))
	}
	for i, s := range snaps {
		b, err := os.ReadFile(filepath.Join(dir, "expected", fmt.Sprint(i+1)+".tsv"))
		if err != nil {
			t.Fatal(err)
		}
		// The reference program of that time lost the bytes of a link target that is no UTF-8.
		text := strings.ReplaceAll(string(b), `target=inv-\xff-target`, `target=inv-\xef\xbf\xbd-target`)
		want := strings.Split(strings.TrimSpace(text), "\n")
		var got []string
		sums := map[string]string{}
		for it, err := range rd.Restore(t.Context(), s, repository.RestoreOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if i == 2 && it.Path == "/sample" {
				continue // the folder above what was backed up, not on the list
			}
			got = append(got, describe(t, it, sums))
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("snapshot %d:\n%s", i+1, diff)
		}
	}
}

func TestSampleSnapshotsAreRead(t *testing.T) {
	r, _ := sample(t)
	rd := read(t, r)
	s, err := rd.Snapshot("9ab64464")
	if err != nil {
		t.Fatal(err)
	}
	if s.Original == nil || s.Original.Short() != "2aae9f35" || s.Parent.Short() != "1483eeb2" || s.Tags[0] != "second" || s.Excludes[0] != "*.skip" {
		t.Errorf("snapshot 2: %+v", s)
	}
	if latest, err := rd.Snapshot("latest"); err != nil || latest.ID.Short() != "9ed1c0d0" {
		t.Errorf("latest: %v %v", latest.ID, err)
	}
	for name, want := range map[string]error{"9": repository.ErrNotFound, "ffff": repository.ErrNotFound} {
		if _, err := rd.Snapshot(name); !errors.Is(err, want) {
			t.Errorf("snapshot %q: %v, want %v", name, err, want)
		}
	}
}
