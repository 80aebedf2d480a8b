package extract_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/source/sourcetest"
)

var then = time.Unix(1_500_000_000, 123456789)

// meta is the metadata of something that belongs to who restores it.
func meta(kind source.Type, mode fs.FileMode) source.Meta {
	return source.Meta{Type: kind, Mode: mode, ModTime: then, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Links: 1}
}

func file(path, content string) *extract.Entry {
	m := meta(source.Regular, 0o640)
	m.Size = int64(len(content))
	return &extract.Entry{Path: path, Meta: m, Content: strings.NewReader(content)}
}

func folder(path string) *extract.Entry {
	return &extract.Entry{Path: path, Meta: meta(source.Dir, fs.ModeDir|0o750)}
}

func link(path, target string) *extract.Entry {
	m := meta(source.Symlink, fs.ModeSymlink|0o777)
	m.LinkTarget = target
	return &extract.Entry{Path: path, Meta: m}
}

// stream yields the entries, then err unless it is nil.
func stream(err error, entries ...*extract.Entry) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// restore is a restore that must not end with an error.
func restore(t *testing.T, dest string, o extract.Options, entries ...*extract.Entry) *extract.Report {
	t.Helper()
	r, err := extract.To(t.Context(), dest, stream(nil, entries...), o)
	if err != nil || !r.Complete {
		t.Fatalf("%v, %+v", err, r)
	}
	return r
}

// shape answers what stands below dir: names, links with their targets, contents.
func shape(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.IsDir():
			path += "/"
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(dir + "/" + path)
			path += " -> " + target
		case d.Type().IsRegular():
			data, err := os.ReadFile(dir + "/" + path)
			if err != nil {
				return err
			}
			path += " = " + string(data[:min(len(data), 20)])
		}
		out = append(out, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantShape(t *testing.T, dir string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, shape(t, dir)); d != "" {
		t.Helper()
		t.Error(d)
	}
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	dest := t.TempDir() + "/dest"
	bad := []string{"", "/abs", "..", "../up", "a/../../up", "a/..", ".", "./a", "a/./b", "a//b", "a/", "nul\x00", strings.Repeat("x", 256)}
	var entries []*extract.Entry
	for _, name := range bad {
		entries = append(entries, file(name, "evil"))
	}
	r := restore(t, dest, extract.Options{}, append(entries, file("good", "good"))...)
	wantShape(t, dest, "good = good")
	if r.Missing != int64(len(bad)) || r.Files != 1 {
		t.Errorf("%+v", r)
	}
	for _, p := range r.First {
		if _, ok := errors.AsType[*extract.NameError](p.Err); !ok {
			t.Errorf("%q: %v", p.Path, p.Err)
		}
	}
}

func TestLinksAreNeverFollowed(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/victim", []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	if err := errors.Join(os.Symlink(outside, dest+"/planted"), os.Symlink(outside+"/victim", dest+"/file")); err != nil {
		t.Fatal(err)
	}
	r := restore(t, dest, extract.Options{},
		link("own", outside), file("own/victim", "evil"), // a link of the stream itself
		file("planted/victim", "evil"), // one that was there
		file("file", "mine"),
		link("x", "y"), folder("x"),
	)
	wantShape(t, outside, "victim = safe")
	wantShape(t, dest, "file = mine", "own/", "own/victim = evil", "planted/", "planted/victim = evil", "x/")
	if r.Missing != 0 {
		t.Errorf("%+v", r)
	}
}

func TestMetadataIsPutBack(t *testing.T) {
	dest := t.TempDir()
	f := file("dir/f", "text")
	f.Meta.Mode, f.Meta.ModTime, f.Meta.AccessTime = 0o404, time.Date(2400, 1, 2, 3, 4, 5, 6, time.UTC), time.Date(1950, 1, 2, 3, 4, 5, 7, time.UTC)
	f.Meta.Xattrs = []source.Xattr{{Name: "user.a", Value: []byte("1\x00")}, {Name: "user.empty"}}
	d := folder("dir")
	d.Meta.Mode = fs.ModeDir | 0o500 | fs.ModeSticky
	pipe := &extract.Entry{Path: "dir/pipe", Meta: meta(source.Fifo, fs.ModeNamedPipe|0o620)}
	restore(t, dest, extract.Options{}, d, f, pipe, link("dir/l", "\xff"))
	defer func() { _ = os.Chmod(dest+"/dir", 0o700) }()
	got := sourcetest.Describe(t, dest)
	owner := fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	want := map[string]string{
		"dir":      "dtr-x------ " + owner + " 2017-07-14T02:40:00.123456789Z",
		"dir/f":    "-r-----r-- " + owner + ` 2400-01-02T03:04:05.000000006Z size 4 sha256 982d9e3eb996f559 names 1 of "dir/f" "user.a"="1\x00" "user.empty"=""`,
		"dir/l":    "Lrwxrwxrwx " + owner + ` 2017-07-14T02:40:00.123456789Z -> "\xff"`,
		"dir/pipe": "prw--w---- " + owner + " 2017-07-14T02:40:00.123456789Z",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPrivilegesAreHeldBackUnlessAskedFor(t *testing.T) {
	lab.Need(t, "root")
	entries := func() []*extract.Entry {
		suid := file("suid", "x")
		suid.Meta.Mode |= fs.ModeSetuid | fs.ModeSetgid
		suid.Meta.UID = 4321
		suid.Meta.Xattrs = []source.Xattr{{Name: "trusted.x", Value: []byte("t")}, {Name: "user.x", Value: []byte("u")}}
		dev := &extract.Entry{Path: "null", Meta: meta(source.CharDevice, fs.ModeDevice|fs.ModeCharDevice|0o666)}
		dev.Meta.Device = unix.Mkdev(1, 3)
		sock := &extract.Entry{Path: "sock", Meta: meta(source.Socket, fs.ModeSocket|0o666)}
		return []*extract.Entry{suid, dev, sock}
	}
	plain, full := t.TempDir(), t.TempDir()
	r := restore(t, plain, extract.Options{}, entries()...)
	if d := cmp.Diff(extract.Held{SetID: 1, Devices: 1, Xattrs: 1, Sockets: 1}, r.Held); d != "" || r.Missing+r.Incomplete != 0 {
		t.Errorf("%s %+v", d, r)
	}
	got := sourcetest.Describe(t, plain)["suid"]
	if len(shape(t, plain)) != 1 || !strings.HasPrefix(got, "-rw-r----- 4321:0") || strings.Contains(got, "trusted") || !strings.Contains(got, `"user.x"="u"`) {
		t.Errorf("%q", got)
	}
	r = restore(t, full, extract.Options{Privileged: true}, entries()...)
	if d := cmp.Diff(extract.Held{Sockets: 1}, r.Held); d != "" || r.Specials != 1 {
		t.Errorf("%s %+v", d, r)
	}
	all := sourcetest.Describe(t, full)
	if !strings.HasPrefix(all["suid"], "ugrw-r----- 4321:0") || !strings.Contains(all["suid"], `"trusted.x"="t"`) || !strings.Contains(all["null"], "device 1:3") {
		t.Errorf("%q", all)
	}
}

// asNobody runs f on a thread without rights, which ends with its goroutine.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	lab.Need(t, "root")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: Go ends the thread, which has lost its rights
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0))
		if errno != 0 {
			done <- errno
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWithoutRootTheFilesBelongToTheCaller(t *testing.T) {
	dest := t.TempDir()
	if err := errors.Join(os.Chmod(dest, 0o777), os.Chmod(dest+"/..", 0o755), os.Mkdir(dest+"/closed", 0o700)); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		theirs := file("theirs", "x")
		theirs.Meta.UID, theirs.Meta.GID = 4321, 4321
		r, err := extract.To(t.Context(), dest, stream(nil, theirs, file("closed/f", "x"), file("z", "z")), extract.Options{})
		if err != nil || r.Files != 2 || r.Missing != 1 || r.Held.Owners == 0 {
			t.Errorf("%v, %+v", err, r)
		}
		if len(r.First) != 1 || r.First[0].Path != "closed/f" || !errors.Is(r.First[0].Err, fs.ErrPermission) {
			t.Errorf("%v", r.First)
		}
		if _, err := extract.To(t.Context(), dest, stream(nil), extract.Options{Privileged: true}); !errors.Is(err, extract.ErrNotRoot) {
			t.Errorf("privileged: %v", err)
		}
	})
	if got := sourcetest.Describe(t, dest)["theirs"]; !strings.HasPrefix(got, "-rw-r----- 65534:") {
		t.Errorf("%q", got)
	}
}

func TestMergeKeepsAndReplaceRemoves(t *testing.T) {
	for _, c := range []struct {
		replace []string
		want    []string
		removed int64
	}{
		{nil, []string{"etc/", "etc/a = new", "etc/old = old", "etc/sub/", "etc/sub/b = new", "etc/sub/old/", "etc/sub/old/x = old", "var/", "var/old = old"}, 0},
		{[]string{"etc"}, []string{"etc/", "etc/a = new", "etc/sub/", "etc/sub/b = new", "var/", "var/old = old"}, 2},
		{[]string{"etc/sub"}, []string{"etc/", "etc/a = new", "etc/old = old", "etc/sub/", "etc/sub/b = new", "var/", "var/old = old"}, 1},
		{[]string{"."}, []string{"etc/", "etc/a = new", "etc/sub/", "etc/sub/b = new"}, 3},
	} {
		dest := t.TempDir()
		restore(t, dest, extract.Options{}, folder("etc"), file("etc/a", "old"), file("etc/old", "old"), file("etc/sub/old/x", "old"), file("var/old", "old"))
		entries := []*extract.Entry{folder("etc"), file("etc/a", "new"), folder("etc/sub"), file("etc/sub/b", "new")}
		broken := errors.New("connection lost")
		before := shape(t, dest)
		if _, err := extract.To(t.Context(), dest, stream(broken, entries[0]), extract.Options{Replace: c.replace}); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		if d := cmp.Diff(before, shape(t, dest)); d != "" {
			t.Errorf("replace %q: a broken stream removed something: %s", c.replace, d)
		}
		if r := restore(t, dest, extract.Options{Replace: c.replace}, entries...); r.Removed != c.removed {
			t.Errorf("replace %q: removed %d, want %d", c.replace, r.Removed, c.removed)
		}
		if d := cmp.Diff(c.want, shape(t, dest)); d != "" {
			t.Errorf("replace %q: %s", c.replace, d)
		}
	}
}

func TestNothingIsRemovedWhenSomethingIsMissing(t *testing.T) {
	dest := t.TempDir()
	restore(t, dest, extract.Options{}, file("old", "old"))
	r, err := extract.To(t.Context(), dest, stream(nil, file("new", "new"), file("../x", "")), extract.Options{Replace: []string{"."}})
	if err == nil || !strings.Contains(err.Error(), "nothing was removed: 1 things could not be restored") || r.Complete {
		t.Errorf("%v", err)
	}
	wantShape(t, dest, "new = new", "old = old")
}

func TestAFolderInTheWayStaysUnlessReplaced(t *testing.T) {
	dest := t.TempDir()
	restore(t, dest, extract.Options{}, file("x/in", "old"))
	r := restore(t, dest, extract.Options{}, file("x", "new"))
	if r.Missing != 1 || !strings.Contains(r.First[0].String(), "a folder of this name is there") {
		t.Errorf("%+v", r)
	}
	wantShape(t, dest, "x/", "x/in = old")
	restore(t, dest, extract.Options{Replace: []string{"."}}, file("x", "new"))
	wantShape(t, dest, "x = new")
}

func TestHardLinks(t *testing.T) {
	dest := t.TempDir()
	first := file("d/one", "same")
	first.Meta.Links = 3
	other := func(path, to string) *extract.Entry {
		m := meta(source.Regular, 0o640)
		m.Links = 3
		return &extract.Entry{Path: path, Meta: m, HardLink: to}
	}
	entries := []*extract.Entry{first, other("two", "d/one"), other("d/three", "two"), other("bad", "../../etc/passwd"), other("foreign", "mine")}
	if err := os.WriteFile(dest+"/mine", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over the first
		first.Content = strings.NewReader("same")
		r := restore(t, dest, extract.Options{}, entries...)
		if r.HardLinks != 2 || r.Missing != 2 {
			t.Errorf("%+v", r)
		}
		got := sourcetest.Describe(t, dest)
		if len(got) != 5 || !strings.Contains(got["two"], `names 3 of "d/one"`) || !strings.Contains(got["d/three"], `names 3 of "d/one"`) {
			t.Errorf("%q", got)
		}
	}
}

func TestHolesStayHoles(t *testing.T) {
	dest := t.TempDir()
	want := make([]byte, 40<<20+3)
	copy(want[10<<20+5:], "data")
	m := meta(source.Regular, 0o600)
	m.Size = int64(len(want))
	restore(t, dest, extract.Options{}, &extract.Entry{Path: "f", Meta: m, Content: bytes.NewReader(want)})
	got, err := os.ReadFile(dest + "/f")
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dest+"/f", &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("takes %d bytes on the disk, %v", st.Blocks*512, err)
	}
}

// failAfter gives n bytes, then the error.
type failAfter struct {
	n   int
	err error
}

func (f *failAfter) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, f.err
	}
	n := min(len(p), f.n)
	f.n -= n
	return n, nil
}

func TestNothingHalfStandsUnderItsName(t *testing.T) {
	damaged := errors.New("archive is damaged")
	const size = 4 << 20
	for _, c := range []struct {
		name    string
		content io.Reader
		want    string
		is      error
	}{
		{"damaged", &failAfter{1 << 20, damaged}, "d/f: content ended at byte 1048576 of 4194304: archive is damaged", damaged},
		{"bad disk", &failAfter{1 << 20, unix.EIO}, "d/f: content ended at byte 1048576 of 4194304: input/output error", unix.EIO},
		{"short", &failAfter{10, io.EOF}, "d/f: content ended at byte 10 of 4194304: unexpected EOF", io.ErrUnexpectedEOF},
		{"long", &failAfter{5 << 20, io.EOF}, "d/f: its content is longer than its size", nil},
		{"none", nil, "d/f: has no content, but 4194304 bytes", nil},
	} {
		dest := t.TempDir()
		restore(t, dest, extract.Options{}, folder("d"), file("d/f", "old"))
		m := meta(source.Regular, 0o600)
		m.Size = size
		bad := &extract.Entry{Path: "d/f", Meta: m}
		if c.content != nil {
			bad.Content = c.content
		}
		r := restore(t, dest, extract.Options{}, folder("d"), file("d/e", "new"), bad, file("g", "g"))
		if r.Missing != 1 || r.Files != 2 || r.First[0].String() != c.want || c.is != nil && !errors.Is(r.First[0].Err, c.is) {
			t.Errorf("%s: %+v", c.name, r)
		}
		wantShape(t, dest, "d/", "d/e = new", "d/f = old", "g = g")
	}
}

func TestAnEmptyFileWhoseContentCannotBeHadIsMissing(t *testing.T) {
	dest := t.TempDir()
	gone := errors.New("its content is elsewhere")
	e := &extract.Entry{Path: "f", Meta: meta(source.Regular, 0o600), Content: &failAfter{0, gone}}
	r := restore(t, dest, extract.Options{}, e, file("g", ""))
	if r.Missing != 1 || !errors.Is(r.First[0].Err, gone) || r.Files != 1 {
		t.Errorf("%+v", r)
	}
	wantShape(t, dest, "g = ")
}

func TestAnInterruptedRestoreSaysHowFarItCame(t *testing.T) {
	stop := errors.New("interrupted")
	dest := t.TempDir()
	restore(t, dest, extract.Options{}, file("d/f", "old"))
	ctx, cancel := context.WithCancelCause(t.Context())
	m := meta(source.Regular, 0o600)
	m.Size = 4 << 20
	half := &extract.Entry{Path: "d/f", Meta: m, Content: readFunc(func(p []byte) (int, error) { cancel(stop); return len(p), nil })}
	r, err := extract.To(ctx, dest, stream(nil, folder("d"), file("d/e", "new"), half, file("g", "g")), extract.Options{})
	if !errors.Is(err, stop) || err.Error() != "restore d/f: interrupted" {
		t.Errorf("%v", err)
	}
	if r.Complete || r.Last != "d/e" || r.Files != 1 || r.Missing != 0 {
		t.Errorf("%+v", r)
	}
	wantShape(t, dest, "d/", "d/e = new", "d/f = old")
	if info, err := os.Stat(dest + "/d"); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the folder was left with %v, %v", info.Mode(), err)
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestAFullDiskIsSaid(t *testing.T) {
	lab.Need(t, "root", "mount")
	dest := t.TempDir()
	if err := unix.Mount("none", dest, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dest, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	big := strings.Repeat("x", 2<<20)
	r, err := extract.To(t.Context(), dest, stream(nil, file("small", "fits"), file("big", big), file("later", "")), extract.Options{})
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "restore big: write at byte ") {
		t.Errorf("%v", err)
	}
	if r.Files != 1 || r.Last != "small" || r.Complete {
		t.Errorf("%+v", r)
	}
	wantShape(t, dest, "small = fits")
}

func TestABrokenRestoreGoesOnWithWhatIsMissing(t *testing.T) {
	dest := t.TempDir()
	restore(t, dest, extract.Options{}, file("same", "1234"), file("other", "1234"), file("time", "1234"))
	other, late := file("other", "12345"), file("time", "abcd")
	late.Meta.ModTime = then.Add(time.Nanosecond)
	same := file("same", "1234")
	same.Meta.Mode = 0o600
	same.Content = readFunc(func([]byte) (int, error) { t.Error("read"); return 0, io.EOF })
	r := restore(t, dest, extract.Options{SkipSame: true}, same, other, late)
	if r.Same != 1 || r.Files != 3 || r.Bytes != 9 {
		t.Errorf("%+v", r)
	}
	wantShape(t, dest, "other = 12345", "same = 1234", "time = abcd")
	if info, err := os.Stat(dest + "/same"); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestInheritedAccessListsAreNotKept(t *testing.T) {
	lab.Need(t, "setfacl")
	dest := t.TempDir()
	if err := os.Mkdir(dest+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "setfacl", "-d", "-m", "u:12345:rwx", dest+"/d").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	restore(t, dest, extract.Options{}, file("d/f", "private"), folder("d/sub"), file("d/sub/g", "private"))
	for path, line := range sourcetest.Describe(t, dest) {
		if path != "d" && strings.Contains(line, "posix_acl") {
			t.Errorf("%s: %s", path, line)
		}
	}
}

func TestADeepTreeNeedsFewDescriptors(t *testing.T) {
	dest := t.TempDir()
	var entries []*extract.Entry
	path := ""
	for i := range 300 {
		path += strings.Repeat("d", 50)
		entries = append(entries, folder(path), file(path+"/f", "x"))
		path += fmt.Sprintf("/%d", i)
	}
	for i := range 300 { // files in all of them once more, going up
		entries = append(entries, file(entries[598-2*i].Path+"/z", "z"))
	}
	most := 0
	before := openFiles(t)
	r := restore(t, dest, extract.Options{Progress: func(*extract.Report) { most = max(most, openFiles(t)) }}, entries...)
	if r.Files != 600 || most-before > 70 || openFiles(t) != before {
		t.Errorf("%+v, %d descriptors", r, most-before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestAnyStreamStaysInside restores random streams of colliding names and kinds over each other, twice, and looks for
// anything outside of the destination and for left-overs.
func TestAnyStreamStaysInside(t *testing.T) {
	base := t.TempDir()
	if err := os.WriteFile(base+"/witness", []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "b", "b/a", "..", "../witness", "a/../../witness", "/tmp", "b//a"})
	targets := rapid.SampledFrom([]string{"..", "../witness", "a", "/", base})
	rapid.Check(t, func(rt *rapid.T) {
		dest, err := os.MkdirTemp(base, "d")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var entries []*extract.Entry
			for range rapid.IntRange(1, 12).Draw(rt, "n") {
				name := names.Draw(rt, "name")
				switch rapid.IntRange(0, 4).Draw(rt, "kind") {
				case 0:
					entries = append(entries, folder(name))
				case 1:
					entries = append(entries, link(name, targets.Draw(rt, "target")))
				case 2:
					entries = append(entries, &extract.Entry{Path: name, HardLink: names.Draw(rt, "to"), Meta: meta(source.Regular, 0o600)})
				default:
					f := file(name, "evil")
					f.Meta.Links = 2
					entries = append(entries, f)
				}
			}
			o := extract.Options{SkipSame: rapid.Bool().Draw(rt, "skip")}
			if rapid.Bool().Draw(rt, "replace") {
				o.Replace = []string{"."}
			}
			if r, err := extract.To(t.Context(), dest, stream(nil, entries...), o); err != nil && r.Missing == 0 {
				rt.Errorf("%v, %+v", err, r)
			}
		}
		if data, err := os.ReadFile(base + "/witness"); err != nil || string(data) != "safe" {
			rt.Fatalf("outside: %q, %v", data, err)
		}
		left := shape(t, dest)
		if slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, extract.TempPrefix) }) {
			rt.Errorf("left over: %q", left)
		}
		if err := os.RemoveAll(dest); err != nil {
			t.Fatal(err)
		}
		if list, err := os.ReadDir(base); err != nil || len(list) != 1 {
			rt.Errorf("outside: %v, %v", list, err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a/b", "..", "/", "a/../b", "a//b", "\x00", "a/.", "é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if extract.CheckName(s) != nil {
			return
		}
		if !fs.ValidPath(strings.ToValidUTF8(s, "x")) || s == "." || strings.ContainsRune(s, 0) {
			t.Errorf("%q was accepted", s)
		}
	})
}

func TestEveryPlaceOfAHole(t *testing.T) {
	const block = 4096
	rapid.Check(t, func(rt *rapid.T) {
		var want []byte
		for _, zero := range rapid.SliceOfN(rapid.Bool(), 0, 150).Draw(rt, "blocks") {
			fill := byte('x')
			if zero {
				fill = 0
			}
			want = append(want, bytes.Repeat([]byte{fill}, block)...)
		}
		want = want[:max(0, len(want)-rapid.IntRange(0, block).Draw(rt, "cut"))]
		dest, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		m := meta(source.Regular, 0o600)
		m.Size = int64(len(want))
		restore(t, dest, extract.Options{}, &extract.Entry{Path: "f", Meta: m, Content: bytes.NewReader(want)})
		if got, err := os.ReadFile(dest + "/f"); err != nil || !bytes.Equal(got, want) {
			rt.Errorf("%d bytes came back of %d, %v", len(got), len(want), err)
		}
	})
}
