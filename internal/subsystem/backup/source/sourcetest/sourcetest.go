// Package sourcetest makes trees that are hard to back up and compares trees with each other, for the tests of everything
// that backs up or restores.
package sourcetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem/backup/source"
)

// Names are file names that have broken backup programs.
func Names() []string {
	return []string{
		"plain", " lead", "trail ", "new\nline", "tab\ttab", `quote"d`, "it's", `back\slash`, "-rf", "--", "*", "?", "[a]", "~", "$HOME", "`id`",
		"%41", "a=b", "é", "e\u0301", "日本語", "\u202etxt.exe", "\u2028", "\xff\xfe", "half\xe2\x82", "\x01\x7f", "...", ".hidden", "CON", strings.Repeat("n", 255),
	}
}

// Plant fills dir with a tree that has everything a backup must keep: [Names] as files and as folders, empty and large
// files, holes, hard links, links to nowhere, modes, times far away, attributes, pipes; as root also owners, devices
// and attributes of the system.
func Plant(t testing.TB, dir string) {
	t.Helper()
	p := planter{t: t, dir: dir}
	for i, name := range Names() {
		p.file("names/"+name, []byte(name))
		p.file(fmt.Sprintf("folders/%s/in %d", name, i), nil)
		p.do(os.Symlink(name, p.at(fmt.Sprintf("link-%d", i))))
	}
	p.do(os.Mkdir(p.at("empty"), 0o711))
	p.do(os.Symlink("\xff\xfe/../nowhere", p.at("dangling")))
	p.do(os.Symlink(strings.Repeat("t/", 2000), p.at("long-link")))
	p.file("sizes/0", nil)
	for _, size := range []int{1, 511, 512, 513, 4095, 4096, 4097, 1 << 20, 3<<20 + 1} {
		p.file(fmt.Sprint("sizes/", size), noise(size))
	}
	p.holes()
	p.file("hard/one", []byte("three names"))
	p.do(os.Link(p.at("hard/one"), p.at("hard/two")))
	p.do(os.Link(p.at("hard/one"), p.at("sizes/three")))
	p.file("hard/void", nil)
	p.do(os.Link(p.at("hard/void"), p.at("hard/void too")))
	p.do(unix.Mkfifo(p.at("pipe"), 0o620))
	p.file("deep/"+strings.Repeat("d/", 150)+"leaf", []byte("leaf"))
	p.attributes()
	p.modes()
	if os.Geteuid() == 0 {
		p.rootOnly()
	}
	p.times()
}

// noise is content that does not compress and is the same each time.
func noise(size int) []byte {
	out := make([]byte, size)
	x := uint32(size)*2654435761 + 1
	for i := range out {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		out[i] = byte(x)
	}
	return out
}

type planter struct {
	t   testing.TB
	dir string
}

func (p planter) at(name string) string { return p.dir + "/" + name }

func (p planter) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p planter) file(name string, data []byte) {
	p.t.Helper()
	path := p.dir + "/" + name
	p.do(os.MkdirAll(filepath.Dir(path), 0o755))
	p.do(os.WriteFile(path, data, 0o644))
}

func (p planter) holes() {
	f, err := os.Create(p.at("sizes/holes"))
	p.do(err)
	_, err = f.WriteAt([]byte("in the middle"), 5<<20+100)
	p.do(err)
	p.do(f.Truncate(9<<20 + 7))
	p.do(f.Close())
}

func (p planter) attributes() {
	p.file("attributes", []byte("x"))
	for name, value := range map[string]string{"user.empty": "", "user.zero": "a\x00\n=b", "user.a=b%c": "equals", "user.big": strings.Repeat("v", 2000)} {
		p.do(unix.Setxattr(p.at("attributes"), name, []byte(value), 0))
	}
	// setfacl -m u:12345:rw,m::rw: version 2, then tag, permissions, id of each entry.
	acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x39\x30\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	p.file("acl/file", []byte("x"))
	err := unix.Setxattr(p.at("acl/file"), "system.posix_acl_access", []byte(acl), 0)
	if err == nil {
		err = unix.Setxattr(p.at("acl"), "system.posix_acl_default", []byte(acl), 0)
	}
	if !errors.Is(err, unix.ENOTSUP) {
		p.do(err)
	}
}

func (p planter) modes() {
	modes := []fs.FileMode{0o400, 0o777, 0o755 | fs.ModeSticky}
	if os.Geteuid() == 0 { // others cannot read these
		modes = append(modes, 0, 0o200)
	}
	for _, mode := range modes {
		name := fmt.Sprintf("mode-%o", uint32(mode))
		p.file(name, []byte(name))
		p.do(os.Chmod(p.at(name), mode))
	}
	p.do(os.Mkdir(p.at("shared"), 0o700))
	p.do(os.Chmod(p.at("shared"), 0o777|fs.ModeSticky|fs.ModeSetgid))
	p.file("read-only/in", []byte("x"))
	p.do(os.Chmod(p.at("read-only"), 0o555))
	p.t.Cleanup(func() { _ = os.Chmod(p.at("read-only"), 0o755) })
}

func (p planter) rootOnly() {
	p.file("root/setuid", []byte("#!"))
	p.do(os.Chown(p.at("root/setuid"), 12345, 54321))
	p.do(os.Chmod(p.at("root/setuid"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	p.do(os.Lchown(p.at("dangling"), 4_000_000_000, 3_000_000_000))
	p.do(unix.Mknod(p.at("root/char"), unix.S_IFCHR|0o640, int(unix.Mkdev(5, 1))))
	p.do(unix.Mknod(p.at("root/block"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))))
	p.do(unix.Setxattr(p.at("root/setuid"), "trusted.allclear", []byte{0, 1, 2}, 0))
	// setcap cap_net_raw+ep
	p.do(unix.Setxattr(p.at("attributes"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
}

// times gives everything a time of its own, the last step before the tree is left alone.
func (p planter) times() {
	far := map[string]time.Time{
		"names/plain": time.Date(2440, 5, 1, 0, 0, 0, 987654321, time.UTC), // the last century of ext4
		"names/-rf":   time.Date(1910, 1, 1, 0, 0, 0, 1, time.UTC),
		"dangling":    time.Unix(-1, 999999999),
	}
	n := int64(0)
	var paths []string
	p.do(filepath.WalkDir(p.dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	slices.Reverse(paths)
	for _, path := range paths {
		n++
		at, ok := far[strings.TrimPrefix(path, p.dir+"/")]
		if !ok {
			at = time.Unix(1_600_000_000+n, n*1001)
		}
		ts := []unix.Timespec{{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}, {Sec: at.Unix(), Nsec: int64(at.Nanosecond())}}
		p.do(unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// Describe answers one line for everything below dir, by its path relative to dir: all that a restore must bring back,
// content and groups of hard links included.
func Describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree, err := source.New(source.Options{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	out, first := map[string]string{}, map[[2]uint64]string{}
	report := &source.Report{}
	err = tree.Walk(context.Background(), report, func(e *source.Entry) error {
		rel, below := strings.CutPrefix(e.Path, dir+"/")
		if !below || e.Step == source.Leave {
			return nil
		}
		m := e.Meta
		line := fmt.Sprintf("%v %d:%d %s", m.Mode, m.UID, m.GID, m.ModTime.UTC().Format(time.RFC3339Nano))
		switch m.Type {
		case source.Regular:
			f, err := e.Open()
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			id := [2]uint64{m.DeviceID, m.Inode}
			if first[id] == "" {
				first[id] = rel
			}
			line += fmt.Sprintf(" size %d sha256 %x names %d of %q", m.Size, h.Sum(nil)[:8], m.Links, first[id])
		case source.Symlink:
			line += fmt.Sprintf(" -> %q", m.LinkTarget)
		case source.Device, source.CharDevice:
			line += fmt.Sprintf(" device %d:%d", unix.Major(m.Device), unix.Minor(m.Device))
		}
		attrs := slices.Clone(m.Xattrs)
		slices.SortFunc(attrs, func(a, b source.Xattr) int { return strings.Compare(a.Name, b.Name) })
		for _, a := range attrs {
			line += fmt.Sprintf(" %q=%q", a.Name, a.Value)
		}
		out[rel] = line
		return nil
	})
	if err != nil || report.Total() > 0 {
		t.Fatalf("describe %s: %v, %v", dir, err, report.Skips())
	}
	return out
}
