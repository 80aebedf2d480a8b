package journal_test

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
)

// rounds is few in an ordinary run and many in a soak.
func rounds(few, many int) int {
	if os.Getenv("ALLCLEAR_SOAK") != "" {
		return many
	}
	return few
}

func TestKillLosesNoAcknowledgedEvent(t *testing.T) {
	dir := t.TempDir()
	for range rounds(8, 500) {
		w := startWriter(t, dir)
		acks := w.take(t, 1+rand.IntN(400))
		survived(t, dir, append(acks, w.kill()...))
	}
}

// TestPowerCutLosesNoAcknowledgedEvent stops a writer on a file system of its
// own, takes the disk as it is at that moment, and looks at that.
func TestPowerCutLosesNoAcknowledgedEvent(t *testing.T) {
	lab.Need(t, "loop", "mkfs.ext4")
	for range rounds(2, 60) {
		image := makeImage(t, 64<<20)
		mount := mountImage(t, image)
		w := startWriter(t, mount)
		acks := w.take(t, 200+rand.IntN(800))
		if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped(t, w.cmd.Process.Pid)
		for quiet := false; !quiet; { // what is in the pipe was acknowledged before the cut
			select {
			case ev := <-w.acks:
				acks = append(acks, ev)
			case <-time.After(100 * time.Millisecond):
				quiet = true
			}
		}
		cut := filepath.Join(t.TempDir(), "cut.img")
		copyFile(t, image, cut)
		w.kill()
		survived(t, mountImage(t, cut), acks)
	}
}

// stopped waits until the process stands still.
func stopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		stat, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "T") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the writer does not stop")
		}
	}
}

// makeImage makes a file with an empty ext4 file system.
func makeImage(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", path)
	return path
}

// mountImage mounts the image until the test ends.
func mountImage(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run(t, "umount", "-l", dir) })
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(lab.Program(name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyJournal copies a journal as a crash would leave it.
func copyJournal(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"journal.db", "journal.db-wal", "raised.trace"} {
		if _, err := os.Stat(filepath.Join(from, name)); err == nil {
			copyFile(t, filepath.Join(from, name), filepath.Join(to, name))
		}
	}
	return to
}

func TestAJournalCutAnywhereRecoversToAPrefix(t *testing.T) {
	n := newNode(t)
	for i := range 60 {
		k := key(plain, itoa(i%9))
		if i%3 == 2 {
			n.absent(k)
		} else {
			n.present(k)
		}
		n.clock.pass(time.Hour)
	}
	all := n.events(0)
	wal, err := os.ReadFile(filepath.Join(n.opts.Dir, "journal.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	shorter := 0
	for range rounds(30, 1000) {
		cut := &node{t: t, opts: n.opts, clock: n.clock, disk: n.disk}
		cut.opts.Dir = copyJournal(t, n.opts.Dir)
		at := rand.IntN(len(wal))
		torn := append([]byte(nil), wal[:at]...)
		for range rand.IntN(4096) { // what a disk may leave behind the cut
			torn = append(torn, byte(rand.Uint32()))
		}
		if err := os.WriteFile(filepath.Join(cut.opts.Dir, "journal.db-wal"), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		cut.open()
		aside := cut.Health().SetAside
		if same := cut.Head().Epoch == n.Head().Epoch; same != (aside == nil) {
			t.Fatalf("cut at %d of %d: same epoch %t, set aside %+v", at, len(wal), same, aside)
		}
		cut.verified()
		got := cut.events(0)
		got = got[:len(got)-1] // the boot of this opening
		if aside == nil {
			for i, ev := range got {
				if ev.Seq != all[i].Seq || ev.Key != all[i].Key || ev.Kind != all[i].Kind {
					t.Fatalf("cut at %d: event %d is %+v, was %+v", at, i+1, ev, all[i])
				}
			}
		}
		if len(got) < len(all) {
			shorter++
		}
		if err := cut.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if shorter == 0 {
		t.Fatal("no cut ever lost an event: the test cuts nothing")
	}
}

func TestAFullDiskHidesNoFault(t *testing.T) {
	lab.Need(t, "loop", "mkfs.ext4")
	image := makeImage(t, 24<<20)
	dir := mountImage(t, image)
	n := &node{t: t, clock: newFakeClock(), disk: &fakeDisk{}}
	n.opts.Dir, n.opts.Node, n.opts.Catalogue = filepath.Join(dir, "journal"), "n1", catalogue(t)
	n.opts.Clock, n.opts.BallastBytes = n.clock.read, 1<<20
	n.open()
	t.Cleanup(func() { _ = n.Close() })
	old := key(plain, "old")
	n.present(old)
	if !n.Health().Ballast {
		t.Fatal("no ballast")
	}
	filler := filepath.Join(dir, "filler")
	fillDisk(t, filler)

	raised := 0
	for n.Health().Failing.IsZero() {
		n.present(key(plain, itoa(raised)), fault.Pair{Key: "fact", Value: strings.Repeat("x", 3000)})
		if raised++; raised > 5000 {
			t.Fatal("the disk never fills")
		}
		if !n.Health().Ballast {
			fillDisk(t, filler) // what the ballast gave is used up by others
		}
	}
	if n.Health().Ballast {
		t.Fatal("the disk is full and the ballast is still there")
	}
	for range 20 {
		n.present(key(plain, itoa(raised)))
		if !n.active(key(plain, itoa(raised))) {
			t.Fatal("a raise is not visible")
		}
		raised++
	}
	if h := n.Health(); h.Held < 20 || h.Untraced != 0 {
		t.Fatalf("got %+v", h)
	}
	if _, err := n.look(fault.Observation{Key: old, Verdict: fault.Absent}); err == nil || !n.active(old) {
		t.Fatalf("a clear on a full disk: %v", err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n.tick()
	n.tick()
	if h := n.Health(); !h.Failing.IsZero() || h.Held != 0 || !h.Ballast {
		t.Fatalf("not recovered: %+v", h)
	}
	n.absent(old)
	n.verified()
	n.restart()
	if got := n.Summary().Active; got != raised {
		t.Fatalf("%d active, want %d", got, raised)
	}
}

// fillDisk appends to the file until nothing more goes.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
