package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/source"
)

// plant makes files: a name that ends in / is a folder, "a -> b" a link, all else a file holding its own name.
func plant(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// walk answers the steps of a walk, relative to dir: "+name" enters, "-name" leaves, "(name" is a folder above a root.
func walk(t *testing.T, dir string, o source.Options) ([]string, *source.Report) {
	t.Helper()
	tree, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	report := &source.Report{}
	err = tree.Walk(t.Context(), report, func(e *source.Entry) error {
		rel, below := strings.CutPrefix(e.Path, dir+"/")
		if !below {
			if !e.Parent && e.Path != dir {
				t.Errorf("%s is outside", e.Path)
			}
			return nil
		}
		mark := map[source.Step]string{source.Enter: "+", source.Leave: "-", source.Item: ""}[e.Step]
		if e.Parent {
			mark = "(" + mark
		}
		steps = append(steps, mark+rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return steps, report
}

func TestWalkGoesByRawBytesAndKeepsTheFoldersAboveTheRoots(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "b/z", "b/a.txt", "b/a/x", "b/\xff\n\"'", "b/é", "b/Z", "a/in/1", "a/out/2", "c", "d -> c")
	got, report := walk(t, dir, source.Options{Roots: []string{dir + "/b", dir + "/a/in/", dir + "/b/a", dir + "/c", dir + "/d"}})
	want := []string{
		"(+a", "+a/in", "a/in/1", "-a/in", "(-a",
		"+b", "b/Z", "+b/a", "b/a/x", "-b/a", "b/a.txt", "b/z", "b/é", "b/\xff\n\"'", "-b",
		"c", "d",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	skips := report.Skips()
	if len(skips) != 1 || skips[0].Reason != source.LinkSource || skips[0].Path != dir+"/d" {
		t.Errorf("skips %v, want the source that is a link", skips)
	}
}

func TestExcludes(t *testing.T) {
	names := []string{"a.swp", "keep", "sub/b.swp", "sub/cache/x", "cache", "deep/1/2/3/leaf", "deep/leaf", "x\xfe.tmp", "[odd]"}
	all := []string{"[odd]", "a.swp", "cache", "deep/1/2/3/leaf", "deep/leaf", "keep", "sub/b.swp", "sub/cache/x", "x\xfe.tmp"}
	without := func(gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(gone, s) })
	}
	for _, c := range []struct {
		exclude string // DIR stands for the tree
		want    []string
	}{
		{"*.swp", without("a.swp", "sub/b.swp")},
		{"cache", without("cache", "sub/cache/x")},
		{"cache/", without("sub/cache/x")},
		{"sub/cache", without("sub/cache/x")},
		{"DIR/cache", without("cache")},
		{"/cache", all},
		{"DIR", all}, // a source is never left out
		{"deep/**/leaf", without("deep/1/2/3/leaf", "deep/leaf")},
		{"DIR/**/2", without("deep/1/2/3/leaf")},
		{"deep/*/leaf", all},
		{"deep/**", without("deep/1/2/3/leaf", "deep/leaf")},
		{"?eep/1", without("deep/1/2/3/leaf")},
		{"x?.tmp", without("x\xfe.tmp")},
		{`\[odd]`, without("[odd]")},
		{"[a-c]*", without("a.swp", "cache", "sub/b.swp", "sub/cache/x")},
	} {
		dir := t.TempDir()
		plant(t, dir, names...)
		steps, report := walk(t, dir, source.Options{Roots: []string{dir}, Exclude: []string{strings.ReplaceAll(c.exclude, "DIR", dir)}})
		got := slices.DeleteFunc(steps, func(s string) bool { return strings.ContainsAny(s[:1], "+-") })
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("exclude %q: %s", c.exclude, d)
		}
		if (report.Seen().Excluded > 0) != (len(got) < len(all)) {
			t.Errorf("exclude %q: %d counted as excluded, %d files left of %d", c.exclude, report.Seen().Excluded, len(got), len(all))
		}
	}
}

func TestLargeFilesAreLeftOutWhereThatIsAsked(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "four", "sevenup")
	got, report := walk(t, dir, source.Options{Roots: []string{dir}, MaxFileBytes: 4})
	if !slices.Equal(got, []string{"four"}) || report.Seen().Excluded != 1 {
		t.Errorf("%q, %+v", got, report.Seen())
	}
}

func TestMistakesInTheOptionsAreToldAtOnce(t *testing.T) {
	_, err := source.New(source.Options{Roots: []string{"etc", "/a/../b"}, Exclude: []string{"", "!x", "[", "**", "a/../b"}})
	for _, want := range []string{
		`source etc: is not an absolute path`, `source /a/../b: holds ".."`,
		`exclude "": is empty`, `exclude "!x": begins with "!"`, `exclude "[": "[" is no pattern`,
		`exclude "**": would leave out everything`, `exclude "a/../b": holds ".."`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	tree, err := source.New(source.Options{Roots: []string{"/no/such/1", "/", "/no/such/2"}})
	if err != nil || !slices.Equal(tree.Roots(), []string{"/"}) {
		t.Fatalf("roots %v, %v", tree.Roots(), err)
	}
	tree, err = source.New(source.Options{Roots: []string{"/no/such/1", "/etc", "/no/such/2"}})
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Walk(t.Context(), &source.Report{}, func(*source.Entry) error { return errors.New("visited") })
	if err == nil || !strings.Contains(err.Error(), "/no/such/1") || !strings.Contains(err.Error(), "/no/such/2") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing sources: %v", err)
	}
}

// metaOf answers the metadata of one thing in dir.
func metaOf(t *testing.T, path string) *source.Meta {
	t.Helper()
	tree, err := source.New(source.Options{Roots: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	var m *source.Meta
	err = tree.Walk(t.Context(), &source.Report{}, func(e *source.Entry) error {
		if e.Path == path {
			m = e.Meta
		}
		return nil
	})
	if err != nil || m == nil {
		t.Fatalf("%s: %v, %v", path, m, err)
	}
	return m
}

func TestMetadata(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "file", "folder/", "link -> \xff/../no such")
	if err := os.Chmod(dir+"/file", 0o640|fs.ModeSetuid|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(dir+"/file", dir+"/other"); err != nil {
		t.Fatal(err)
	}
	far := time.Date(2400, 2, 29, 1, 2, 3, 456789012, time.UTC)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/file", []unix.Timespec{{Sec: far.Unix(), Nsec: 1}, {Sec: far.Unix(), Nsec: 456789012}}, 0); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"user.empty": "", "user.zero": "a\x00b"} {
		if err := unix.Setxattr(dir+"/file", name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	m := metaOf(t, dir+"/file")
	if m.Type != source.Regular || m.Mode != 0o640|fs.ModeSetuid|fs.ModeSticky || m.Size != 4 || m.Links != 2 || m.Inode == 0 || m.User == "" {
		t.Errorf("%+v", m)
	}
	if !m.ModTime.Equal(far) {
		t.Errorf("mtime %v, want %v", m.ModTime, far)
	}
	slices.SortFunc(m.Xattrs, func(a, b source.Xattr) int { return strings.Compare(a.Name, b.Name) })
	if len(m.Xattrs) != 2 || m.Xattrs[0].Name != "user.empty" || len(m.Xattrs[0].Value) != 0 || string(m.Xattrs[1].Value) != "a\x00b" {
		t.Errorf("xattrs %q", m.Xattrs)
	}
	if m := metaOf(t, dir+"/link"); m.Type != source.Symlink || m.LinkTarget != "\xff/../no such" || m.Mode&fs.ModeSymlink == 0 {
		t.Errorf("%+v", m)
	}
	if m := metaOf(t, dir+"/folder"); m.Type != source.Dir || m.Mode != fs.ModeDir|0o755 || m.Size != 0 {
		t.Errorf("%+v", m)
	}
	if m := metaOf(t, "/dev/null"); m.Type != source.CharDevice || m.Device != unix.Mkdev(1, 3) || m.Mode&fs.ModeCharDevice == 0 {
		t.Errorf("%+v", m)
	}
}

func TestPipesAndSocketsAreNeverOpened(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Mknod(dir+"/sock", unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	steps, report := walk(t, dir, source.Options{Roots: []string{dir}})
	if !slices.Equal(steps, []string{"pipe"}) || report.Seen().Sockets != 1 || report.Total() != 0 {
		t.Errorf("steps %q, seen %+v, skips %v", steps, report.Seen(), report.Skips())
	}
}

// visitFile walks a folder with one file and calls do when the file is visited.
func visitFile(t *testing.T, dir string, do func(e *source.Entry) error) *source.Report {
	t.Helper()
	tree, err := source.New(source.Options{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	report := &source.Report{}
	visited := 0
	err = tree.Walk(t.Context(), report, func(e *source.Entry) error {
		if e.Step != source.Item {
			return nil
		}
		visited++
		return do(e)
	})
	if err != nil || visited == 0 {
		t.Fatalf("visited %d, %v", visited, err)
	}
	return report
}

func TestWhatHappensBetweenLookAndOpen(t *testing.T) {
	for _, c := range []struct {
		name   string
		swap   func(path string) error
		reason source.Reason
	}{
		{"gone", os.Remove, source.Vanished},
		{"a pipe", func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) }, source.Swapped},
		{"a link to a secret", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/shadow", p)) }, source.Swapped},
		{"a folder", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, source.Swapped},
		{"a socket", func(p string) error { return errors.Join(os.Remove(p), unix.Mknod(p, unix.S_IFSOCK|0o600, 0)) }, source.Swapped},
	} {
		dir := t.TempDir()
		plant(t, dir, "file")
		report := visitFile(t, dir, func(e *source.Entry) error {
			if err := c.swap(e.Path); err != nil {
				return err
			}
			f, err := e.Open()
			if f != nil || !source.IsSkip(err) {
				t.Errorf("%s: opened %v, %v", c.name, f, err)
			}
			return nil
		})
		if s := report.Skips(); len(s) != 1 || s[0].Reason != c.reason || s[0].Path != dir+"/file" {
			t.Errorf("%s: skips %v, want %s", c.name, s, c.reason)
		}
	}
}

func TestAnotherFileUnderTheNameHasItsOwnMetadata(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "file")
	report := visitFile(t, dir, func(e *source.Entry) error {
		if err := errors.Join(os.WriteFile(dir+"/.new", []byte("longer than before"), 0o600), unix.Setxattr(dir+"/.new", "user.a", []byte("1"), 0), os.Rename(dir+"/.new", e.Path)); err != nil {
			return err
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		if m := f.Meta(); m.Size != 18 || m.Mode != 0o600 || m.Inode == e.Meta.Inode || len(m.Xattrs) != 1 {
			t.Errorf("%+v", m)
		}
		return nil
	})
	if report.Total() != 0 {
		t.Error(report.Skips())
	}
}

func TestAFileWrittenToWhileItIsReadIsReported(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error
		want   bool
	}{
		{"nothing", func(string) error { return nil }, false},
		{"mode only", func(p string) error { return os.Chmod(p, 0o600) }, false},
		{"longer", func(p string) error { return os.WriteFile(p, []byte("much longer than it was"), 0o644) }, true},
		{"shorter", func(p string) error { return os.Truncate(p, 1) }, true},
		{"same size", func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("FILE"), 0o644), os.Chtimes(p, time.Time{}, time.Unix(1, 5)))
		}, true},
	} {
		dir := t.TempDir()
		plant(t, dir, "file")
		report := visitFile(t, dir, func(e *source.Entry) error {
			f, err := e.Open()
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, f); err != nil {
				return err
			}
			if err := c.change(e.Path); err != nil {
				return err
			}
			if err := f.Close(); err != nil || f.Changed() != c.want {
				t.Errorf("%s: changed %v, %v", c.name, f.Changed(), err)
			}
			return nil
		})
		if got := report.Counts()[source.Changed]; (got == 1) != c.want {
			t.Errorf("%s: %v", c.name, report.Skips())
		}
	}
}

func TestReadErrorOfTheDiskIsASkip(t *testing.T) {
	path := fmt.Sprintf("/proc/%d/mem", os.Getpid()) // reading its first byte is an input/output error
	tree, err := source.New(source.Options{Roots: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	report := &source.Report{}
	err = tree.Walk(t.Context(), report, func(e *source.Entry) error {
		if e.Step != source.Item {
			return nil
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		_, err = f.Read(make([]byte, 10))
		if !source.IsSkip(err) || !errors.Is(err, unix.EIO) {
			t.Errorf("read: %v", err)
		}
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := report.Skips(); len(s) != 1 || s[0].Reason != source.Unreadable || !strings.Contains(s[0].String(), "read at byte 0: input/output error") {
		t.Errorf("skips %v", s)
	}
}

// asNobody runs f on a thread without rights. The thread ends with the goroutine.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	lab.Need(t, "root")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: Go ends the thread, which has lost its rights
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
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

func TestUnreadableIsLeftOutAndReported(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "secret", "open", "locked/in", "z")
	for name, mode := range map[string]fs.FileMode{"secret": 0o600, "locked": 0o700, ".": 0o755, "../.": 0o755} {
		if err := os.Chmod(dir+"/"+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, func() {
		tree, err := source.New(source.Options{Roots: []string{dir}})
		if err != nil {
			t.Error(err)
			return
		}
		report, read := &source.Report{}, []string{}
		err = tree.Walk(t.Context(), report, func(e *source.Entry) error {
			if e.Step != source.Item {
				return nil
			}
			f, err := e.Open()
			if source.IsSkip(err) {
				return nil
			}
			if err != nil {
				return err
			}
			read = append(read, e.Name)
			return f.Close()
		})
		if err != nil || !slices.Equal(read, []string{"open", "z"}) {
			t.Errorf("read %q, %v", read, err)
		}
		var got []string
		for _, s := range report.Skips() {
			got = append(got, s.String())
		}
		want := []string{"unreadable " + dir + "/locked: open folder: permission denied", "unreadable " + dir + "/secret: open: permission denied"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestAccessTimesStayAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "file")
	old := time.Unix(1e9, 123)
	for _, p := range []string{dir + "/file", dir} {
		if err := os.Chtimes(p, old, time.Unix(1.1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	visitFile(t, dir, func(e *source.Entry) error {
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
	for _, p := range []string{dir + "/file", dir} {
		if m := metaOf(t, p); !m.AccessTime.Equal(old) {
			t.Errorf("%s was accessed at %v", p, m.AccessTime)
		}
	}
}

func TestATreeDeeperThanAnyPathAndThanTheDescriptors(t *testing.T) {
	const depth = 400
	dir := t.TempDir()
	name := strings.Repeat("d", 100) // 40 kB of path, PATH_MAX is 4 kB
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := errors.Join(unix.Mkdirat(fd, name, 0o755), unix.Mkdirat(fd, "zz", 0o755)); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
	before, most, dirs := openFiles(t), 0, 0
	tree, err := source.New(source.Options{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	report := &source.Report{}
	err = tree.Walk(t.Context(), report, func(e *source.Entry) error {
		if e.Step == source.Leave && !e.Parent {
			dirs++
		}
		most = max(most, openFiles(t))
		return nil
	})
	if err != nil || dirs != 2*depth+1 || report.Total() != 0 {
		t.Errorf("%d folders, %v, %v", dirs, err, report.Skips())
	}
	if most-before > 70 {
		t.Errorf("%d descriptors were open", most-before)
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors before, %d after", before, now)
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

func TestAFolderMovedAwayEndsTheWalkInsteadOfLeadingItOut(t *testing.T) {
	dir := t.TempDir()
	deep := dir + "/tree/a" + strings.Repeat("/d", 80)
	plant(t, dir, "elsewhere/secret", "tree/a/zz")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := source.New(source.Options{Roots: []string{dir + "/tree"}})
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Walk(t.Context(), &source.Report{}, func(e *source.Entry) error {
		if strings.Contains(e.Path, "secret") {
			t.Error("left the tree")
		}
		if e.Path == deep && e.Step == source.Enter {
			return os.Rename(dir+"/tree/a/d", dir+"/elsewhere/d")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "moved elsewhere") {
		t.Errorf("got %v", err)
	}
}

func TestTheReportIsBounded(t *testing.T) {
	var r source.Report
	for i := range 1000 {
		r.Add(source.Skip{Path: fmt.Sprint("/", i), Reason: source.Vanished, Err: fs.ErrNotExist})
	}
	if len(r.Skips()) != source.MaxSkips || r.Total() != 1000 || r.Counts()[source.Vanished] != 1000 || r.Skips()[0].Path != "/0" {
		t.Errorf("%d kept of %d", len(r.Skips()), r.Total())
	}
}

func TestOtherFileSystems(t *testing.T) {
	lab.Need(t, "root", "mount")
	dir := t.TempDir()
	plant(t, dir, "a/file", "mnt/", "proc/", "z")
	for _, m := range [][2]string{{"tmpfs", "mnt"}, {"proc", "proc"}} {
		at := filepath.Join(dir, m[1])
		if err := unix.Mount("none", at, m[0], 0, ""); err != nil {
			t.Fatalf("mount %s: %v", m[0], err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	plant(t, dir, "mnt/other")
	for _, c := range []struct {
		one  bool
		want []string
	}{
		{false, []string{"+a", "a/file", "-a", "+mnt", "mnt/other", "-mnt", "+proc", "-proc", "z"}},
		{true, []string{"+a", "a/file", "-a", "+mnt", "-mnt", "+proc", "-proc", "z"}},
	} {
		got, report := walk(t, dir, source.Options{Roots: []string{dir}, OneFileSystem: c.one})
		if d := cmp.Diff(c.want, got); d != "" || report.Seen().Excluded == 0 {
			t.Errorf("one file system %v: %s", c.one, d)
		}
	}
}

func TestContentIsReadWhole(t *testing.T) {
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	if err := os.WriteFile(dir+"/big", want, 0o600); err != nil {
		t.Fatal(err)
	}
	visitFile(t, dir, func(e *source.Entry) error {
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		got, err := io.ReadAll(f)
		if !bytes.Equal(got, want) {
			t.Error("content differs")
		}
		return err
	})
}
