package notify_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"allclear/internal/fault"
)

// act is one thing that happens to a node.
type act struct {
	Kind     string
	Key      fault.Key
	Severity fault.Severity
	Receiver string
	Luck     []int // of each receiver's next messages, see receiver
	Time     time.Duration
	Hurry    bool // the next act does not wait until the receivers were told
}

func (a act) String() string {
	return fmt.Sprintf("%s %s %s %s %v %s", a.Kind, a.Key, a.Severity, a.Receiver, a.Luck, a.Time)
}

// actions draws what happens to a node. more are kinds besides the usual ones.
func actions(more ...string) *rapid.Generator[act] {
	keys := []fault.Key{{Code: plain, Resource: "r1"}, {Code: plain, Resource: "r2"}, {Code: cause, Resource: "r1"}, {Code: symptom, Resource: "r1"}}
	kinds := []string{
		"raise", "raise", "raise", "clear", "clear", "clear", "ack", "shelve", "unshelve", "fix", "flap", "pass", "pass", "pass",
		"restart", "crash", "down", "up", "luck", "raise lost", "raise lost", "clear lost", "blink lost", "forget", "disk full", "disk free", "flood",
	}
	kinds = append(kinds, more...)
	return rapid.Custom(func(t *rapid.T) act {
		return act{
			Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Key: rapid.SampledFrom(keys).Draw(t, "key"),
			Severity: rapid.SampledFrom([]fault.Severity{fault.Minor, fault.Major, fault.Critical}).Draw(t, "severity"),
			Receiver: rapid.SampledFrom([]string{"hook", "am", "mail", "log"}).Draw(t, "receiver"),
			Luck:     rapid.SliceOfN(rapid.SampledFrom([]int{0, 2, 3, 3, 4}), 1, 4).Draw(t, "luck"),
			Hurry:    rapid.IntRange(0, 4).Draw(t, "hurry") == 0,
			Time:     rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, 11 * time.Minute, 26 * time.Hour}).Draw(t, "time"),
		}
	})
}

func (w *world) do(ctx context.Context, a act) {
	switch a.Kind {
	case "raise":
		w.is(ctx, a.Key, fault.Present, a.Severity)
	case "clear":
		w.is(ctx, a.Key, fault.Absent, 0)
	case "raise lost", "clear lost", "blink lost": // the messages arrive, their answers do not
		for _, r := range w.rs {
			r.set(false, 3)
		}
		if a.Kind != "clear lost" {
			w.is(ctx, a.Key, fault.Present, a.Severity)
			synctest.Wait()
		}
		if a.Kind != "raise lost" {
			w.is(ctx, a.Key, fault.Absent, 0)
		}
	case "flap":
		for range 6 {
			w.is(ctx, a.Key, fault.Present, a.Severity)
			w.is(ctx, a.Key, fault.Absent, 0)
		}
	case "flood":
		for i := range 15 {
			w.is(ctx, fault.Key{Code: plain, Resource: fmt.Sprint("many/", i)}, fault.Present, fault.Minor)
		}
	case "ack":
		w.operate(ctx, a.Key, fault.Operator{Op: fault.OpAck})
	case "shelve":
		w.operate(ctx, a.Key, fault.Operator{Op: fault.OpShelve, For: max(time.Minute, a.Time)})
	case "unshelve":
		w.operate(ctx, a.Key, fault.Operator{Op: fault.OpUnshelve})
	case "fix":
		w.operate(ctx, a.Key, fault.Operator{Op: fault.OpFix})
		w.look(ctx, a.Key)
	case "pass":
		w.pass(ctx, a.Time, a.Time < time.Hour)
	case "restart":
		w.stop()
		w.start(ctx)
	case "crash":
		w.crash(ctx)
	case "down", "up":
		w.rs[a.Receiver].set(a.Kind == "down")
	case "luck":
		for _, r := range w.rs {
			r.set(false, a.Luck...)
		}
	case "forget":
		w.rs["am"].forget()
	case "disk full", "disk dead", "disk free":
		w.disk.full.Store(a.Kind == "disk full")
		w.disk.dead.Store(a.Kind == "disk dead")
	}
}

// pass lets time go by, with ticks, and looks once a minute as an agent does.
func (w *world) pass(ctx context.Context, d time.Duration, looks bool) {
	step, every := 10*time.Second, 6
	if d > time.Hour {
		step, every = time.Minute, 1
	}
	for n := 1; d > 0; n++ {
		time.Sleep(min(step, d))
		d -= step
		_, err := w.store.Tick(ctx)
		w.note("tick", err)
		if looks && n%every == 0 {
			w.lookAtAll(ctx)
		}
	}
	synctest.Wait()
}

// live plays a history and answers what is wrong at its end with one of the
// receivers named, or with any if none is, when everything works again and time
// has passed.
func live(ctx context.Context, dir string, history []act, names ...string) string {
	w := newWorld(dir)
	w.start(ctx)
	for _, a := range history {
		if _, known := w.looks[a.Key]; !known {
			w.looks[a.Key] = fault.Observation{Key: a.Key, Verdict: fault.Absent}
		}
		w.do(ctx, a)
		if !a.Hurry {
			synctest.Wait()
		}
		if w.err != nil {
			return a.String() + ": " + w.err.Error()
		}
	}
	w.disk.full.Store(false)
	w.disk.dead.Store(false)
	for _, r := range w.rs {
		r.set(false)
	}
	w.pass(ctx, 100*time.Minute, true) // refused messages are tried again within the hour
	synctest.Wait()
	wrong := w.wrong(names...)
	w.stop()
	if w.err != nil {
		return w.err.Error()
	}
	return wrong
}

// fastDir is a directory that costs no disk: nothing here is about power cuts.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "notify-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fewer histories than usual are enough in a run of all tests: each is a node's
// day, with a database. -rapid.checks and ALLCLEAR_SOAK=1 try more.
func fewer(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() != checks.DefValue || os.Getenv("ALLCLEAR_SOAK") == "1" {
		return
	}
	if err := checks.Value.Set("30"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
}

// TestNoZombies is invariant 10: whatever happens, at quiescence each receiver
// believes exactly what is active and not hidden, besides what it was told
// before it was hidden.
func TestNoZombies(t *testing.T) {
	fewer(t)
	rapid.Check(t, func(rt *rapid.T) {
		history := rapid.SliceOfN(actions(), 1, 30).Draw(rt, "history")
		var wrong string
		dir := fastDir(t)
		synctest.Test(t, func(t *testing.T) { wrong = live(t.Context(), dir, history) })
		if wrong != "" {
			rt.Fatalf("%s", wrong)
		}
	})
}

// TestNoZombiesAfterADeadDisk is invariant 10 where not even the trace file can
// be written at times. Receivers that keep state are brought in line by a
// resync; to others nothing can be taken back of which no record is left.
func TestNoZombiesAfterADeadDisk(t *testing.T) {
	fewer(t)
	rapid.Check(t, func(rt *rapid.T) {
		history := rapid.SliceOfN(actions("disk dead", "disk dead", "restart", "crash"), 1, 30).Draw(rt, "history")
		var wrong string
		dir := fastDir(t)
		synctest.Test(t, func(t *testing.T) { wrong = live(t.Context(), dir, history, "hook", "am") })
		if wrong != "" {
			rt.Fatalf("%s", wrong)
		}
	})
}

// TestNothingSaidOnAFullDiskIsForgotten plays what random histories found: what
// a receiver heard while the database took nothing, and did not answer, must
// survive a restart.
func TestNothingSaidOnAFullDiskIsForgotten(t *testing.T) {
	full, free := act{Kind: "disk full"}, act{Kind: "disk free"}
	restart := act{Kind: "restart"}
	minute := act{Kind: "pass", Time: time.Minute}
	raise := func(kind string, s fault.Severity) act { return act{Kind: kind, Key: r2, Severity: s} }
	down := func(kind string) act { return act{Kind: kind, Receiver: "am"} }
	for name, history := range map[string][]act{
		"worse and over": {
			raise("raise", fault.Minor), full, {Kind: "blink lost", Key: r2, Severity: fault.Major, Hurry: true}, restart,
		},
		"worse, as before after the restart": {
			raise("raise", fault.Minor), full, raise("raise lost", fault.Major), restart, raise("raise", fault.Minor),
		},
		"worse, and answered": {
			raise("raise", fault.Minor), full, raise("raise", fault.Major), restart, raise("raise", fault.Minor), free, minute,
		},
		"over, worse again before the end was told": {
			raise("raise", fault.Minor), down("down"),
			{Kind: "clear", Key: r2},
			full, raise("raise", fault.Major), minute,
			down("up"), raise("raise lost", fault.Critical), minute, restart, free,
			{Kind: "clear", Key: r2},
		},
		"over and told, but not answered, then again": {
			raise("raise", fault.Minor), {Kind: "clear lost", Key: r2}, full, raise("raise", fault.Minor), restart, minute,
		},
		"two restarts": {
			raise("raise", fault.Minor), full, raise("raise lost", fault.Major), restart, restart, {Kind: "clear", Key: r2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range history {
				history[i].Key = r2
			}
			dir := fastDir(t)
			synctest.Test(t, func(t *testing.T) {
				if wrong := live(t.Context(), dir, history); wrong != "" {
					t.Error(wrong)
				}
			})
		})
	}
}
