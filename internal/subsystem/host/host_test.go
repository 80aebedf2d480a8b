package host_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem/host"
	"allclear/internal/wire"
)

const mib = 1 << 20

// world is a host with senses that a test moves, its checks in a scheduler, and
// the verdicts of the newest look.
type world struct {
	t     *testing.T
	sched *check.Scheduler
	order atomic.Uint64

	mu    sync.Mutex // guards the fields below
	last  fault.Look
	clock fault.Clock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := fault.NewCatalogue(append(host.Faults(), check.Faults()...)...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clock: fault.Clock{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Boot: time.Hour, BootID: "boot"}}
	w.sched = check.NewScheduler(check.Options{Recorder: w, Entries: c, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.sched.Run(ctx) }) // ends with ctx, always without error
	t.Cleanup(func() { stop(); running.Wait() })
	return w
}

func (w *world) NextOrder() uint64 { return w.order.Add(1) }

func (w *world) Clock() fault.Clock {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// pass moves the boot-time clock by real, and the wall clock by wall.
func (w *world) pass(real, wall time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock.Boot += real
	w.clock.Wall = w.clock.Wall.Add(wall)
}

func (w *world) Observe(_ context.Context, l fault.Look) (fault.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.HasPrefix(l.Check, "check@") { // the health of the check
		w.last = l
	}
	return fault.Outcome{}, nil
}

// look returns what the newest look of the check says of its one code.
func (w *world) look(id string) fault.Observation {
	w.t.Helper()
	last, err := w.sched.Look(w.t.Context(), id, fault.TriggerOperator)
	if err != nil || last.Failure != "" {
		w.t.Fatalf("look of %s: %v, failure %q", id, err, last.Failure)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.last.Observations) != 1 {
		w.t.Fatalf("look of %s judged %v", id, w.last.Observations)
	}
	return w.last.Observations[0]
}

func (w *world) add(checks ...check.Check) {
	w.t.Helper()
	for _, c := range checks {
		if err := w.sched.Add(c); err != nil {
			w.t.Fatal(err)
		}
	}
}

func options() host.Options {
	return host.Options{
		StateDir: "/var/lib/allclear", DiskEvery: time.Hour, DiskWarning: 100 * mib, DiskMajor: 50 * mib,
		ClockEvery: time.Hour, ClockStep: 2 * time.Second, MemoryEvery: time.Hour, MemoryNeed: 64 * mib,
	}
}

func TestFreeSpaceClearsATenthAboveItsThreshold(t *testing.T) {
	w := newWorld(t)
	now := host.Space{Total: 1000 * mib, AllInodes: 10, FreeInodes: 5}
	w.add(host.NewSensing(options(), host.Senses{Space: func(string) (host.Space, error) { return now, nil }, Clock: w.Clock}).Checks()...)
	for i, c := range []struct {
		free    uint64 // MiB
		verdict fault.Verdict
		want    fault.Severity
	}{
		{200, fault.Absent, 0},
		{100, fault.Absent, 0}, // not below
		{99, fault.Present, fault.Warning},
		{109, fault.Present, fault.Warning}, // not yet a tenth above
		{110, fault.Absent, 0},
		{105, fault.Absent, 0}, // the threshold again
		{49, fault.Present, fault.Major},
		{54, fault.Present, fault.Major},
		{55, fault.Present, fault.Warning},
		{0, fault.Present, fault.Major},
		{500, fault.Absent, 0},
	} {
		now.Free = c.free * mib
		if o := w.look("host.disk@state-dir"); o.Verdict != c.verdict || o.Severity != c.want {
			t.Errorf("step %d, %d MiB free: %v %v, want %v %v", i, c.free, o.Verdict, o.Severity, c.verdict, c.want)
		}
	}
}

func TestNoInodeIsAsBadAsNoSpace(t *testing.T) {
	w := newWorld(t)
	now := host.Space{Free: 900 * mib, Total: 1000 * mib, AllInodes: 10}
	w.add(host.NewSensing(options(), host.Senses{Space: func(string) (host.Space, error) { return now, nil }, Clock: w.Clock}).Checks()...)
	if o := w.look("host.disk@state-dir"); o.Verdict != fault.Present || o.Severity != fault.Major || o.Sense.Get("qualifier") != "inodes" {
		t.Errorf("%v %v %v", o.Verdict, o.Severity, o.Sense)
	}
	now.AllInodes = 0 // a file system without such a limit
	if o := w.look("host.disk@state-dir"); o.Verdict != fault.Absent {
		t.Errorf("without a limit: %v", o.Verdict)
	}
}

func TestWhatCannotBeReadIsUnknown(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("input/output error")
	w.add(host.NewSensing(options(), host.Senses{
		Space:  func(string) (host.Space, error) { return host.Space{}, broken },
		Memory: func() (uint64, uint64, error) { return 0, 0, broken },
		Clock:  w.Clock,
	}).Checks()...)
	for _, id := range []string{"host.disk@state-dir", "host.memory@memory"} {
		if o := w.look(id); o.Verdict != fault.Unknown || !strings.Contains(o.Text, "input/output") {
			t.Errorf("%s: %v %q", id, o.Verdict, o.Text)
		}
	}
}

func TestOnlyAJumpOfTheClockIsAStep(t *testing.T) {
	w := newWorld(t)
	w.add(host.NewSensing(options(), host.Senses{Clock: w.Clock}).Checks()...)
	for i, c := range []struct {
		real, wall time.Duration
		verdict    fault.Verdict
		qualifier  string
	}{
		{0, 0, fault.Absent, ""}, // the first look knows nothing older
		{time.Minute, time.Minute, fault.Absent, ""},
		{time.Minute, time.Minute + 2*time.Second, fault.Absent, ""}, // not more than the limit
		{time.Minute, time.Minute + 3*time.Second, fault.Present, "forwards"},
		{time.Minute, time.Minute, fault.Absent, ""},
		{time.Minute, -time.Hour, fault.Present, "backwards"},
		{8 * time.Hour, 8 * time.Hour, fault.Absent, ""}, // a sleep moves both
	} {
		w.pass(c.real, c.wall)
		if o := w.look("host.clock@clock"); o.Verdict != c.verdict || o.Sense.Get("qualifier") != c.qualifier {
			t.Errorf("step %d: %v %q, want %v %q; %s", i, o.Verdict, o.Sense.Get("qualifier"), c.verdict, c.qualifier, o.Text)
		}
	}
	w.pass(time.Minute, time.Hour)
	w.mu.Lock()
	w.clock.BootID = "another"
	w.mu.Unlock()
	if o := w.look("host.clock@clock"); o.Verdict != fault.Absent {
		t.Errorf("clocks of two boots cannot be compared: %v", o.Verdict)
	}
}

func TestMemoryIsComparedWithTheNeed(t *testing.T) {
	w := newWorld(t)
	available := uint64(64 * mib)
	w.add(host.NewSensing(options(), host.Senses{Memory: func() (uint64, uint64, error) { return available, 1000 * mib, nil }, Clock: w.Clock}).Checks()...)
	if o := w.look("host.memory@memory"); o.Verdict != fault.Absent {
		t.Errorf("just enough: %v", o.Verdict)
	}
	available--
	if o := w.look("host.memory@memory"); o.Verdict != fault.Present || o.Sense.Get("available_bytes") != "67108863" {
		t.Errorf("a byte less: %v %v", o.Verdict, o.Sense)
	}
}

func TestMemoryInfoIsReadWhole(t *testing.T) {
	for text, want := range map[string]struct {
		available, total uint64
		ok               bool
	}{
		"MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n": {1024 << 10, 2048 << 10, true},
		"MemTotal:  2048 kB\nMemAvailable:  0 kB\n":                   {0, 2048 << 10, true},
		"MemTotal:  2048 kB\n":                                        {}, // a kernel before 3.14: no zero
		"MemAvailable: 1 kB\n":                                        {},
		"MemTotal: 2048 kB\nMemAvailable: many kB\n":                  {},
		"MemTotal: 2048 kB\nMemAvailable: 18446744073709551615 kB\n":  {}, // more bytes than a number holds
		"": {},
	} {
		available, total, err := host.ParseMemory(strings.NewReader(text))
		if available != want.available || total != want.total || (err == nil) != want.ok {
			t.Errorf("%q: %d of %d, %v", text, available, total, err)
		}
	}
}

func TestTheRealHostIsWell(t *testing.T) {
	w := newWorld(t)
	o := options()
	o.StateDir, o.DiskWarning, o.DiskMajor, o.MemoryNeed = t.TempDir(), 1, 1, 1
	w.add(host.NewSensing(o, host.Senses{Clock: w.Clock}).Checks()...)
	for _, id := range []string{"host.disk@state-dir", "host.clock@clock", "host.memory@memory"} {
		if got := w.look(id); got.Verdict != fault.Absent {
			t.Errorf("%s: %v %q", id, got.Verdict, got.Text)
		}
	}
}

// A file system of its own really fills up and is freed.
func TestARealFileSystemFillsUp(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("needs: the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s, err := host.SpaceOf(dir)
	if err != nil || s.Total != 4*mib || s.Free > s.Total || s.AllInodes == 0 {
		t.Fatalf("space %+v, %v", s, err)
	}
	w := newWorld(t)
	o := options()
	o.DiskWarning, o.DiskMajor = 2*mib, mib
	w.add(host.NewSensing(o, host.Senses{Clock: w.Clock}).DiskCheck("small", dir))
	filler := filepath.Join(dir, "filler")
	for _, c := range []struct {
		size     int
		verdict  fault.Verdict
		severity fault.Severity
	}{{0, fault.Absent, 0}, {5 * mib / 2, fault.Present, fault.Warning}, {7 * mib / 2, fault.Present, fault.Major}, {0, fault.Absent, 0}} {
		if err := os.WriteFile(filler, make([]byte, c.size), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := w.look("host.disk@small"); got.Verdict != c.verdict || got.Severity != c.severity {
			t.Errorf("%d bytes used: %v %v, want %v %v; %s", c.size, got.Verdict, got.Severity, c.verdict, c.severity, got.Text)
		}
	}
}

type pruner struct{ err error }

func (p pruner) Prune(context.Context) error { return p.err }

func TestPruningIsOfferedOnlyWhereItExists(t *testing.T) {
	if got := host.New(options(), nil).Actions(); got != nil {
		t.Errorf("actions without a pruner: %v", got)
	}
	o := options()
	full := errors.New("no space left on device")
	o.Pruner = pruner{full}
	actions := host.New(o, nil).Actions()
	if len(actions) != 1 || !slices.Equal(actions[0].Verifies, []fault.Key{{Code: host.CodeDiskLow, Resource: "state-dir"}}) {
		t.Fatalf("actions %+v", actions)
	}
	if _, err := actions[0].Do(t.Context(), nil, func(wire.Progress) {}); !errors.Is(err, full) {
		t.Errorf("the pruner's error is lost: %v", err)
	}
}

func TestNewThresholdsAskForALook(t *testing.T) {
	h := host.New(options(), nil)
	before := h.Checks()
	o := options()
	o.DiskWarning++
	o.ClockStep++
	o.MemoryNeed++
	h.Configure(o)
	for i, c := range h.Checks() {
		if c.Version == before[i].Version {
			t.Errorf("%s: the version stays %q", c.ID(), c.Version)
		}
	}
}
