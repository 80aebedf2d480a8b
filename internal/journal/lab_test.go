package journal_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// The codes of the test catalogue: cause hides symptom; held has hold times;
// late escalates.
const (
	plain   fault.Code = "test/plain"
	cause   fault.Code = "test/cause"
	symptom fault.Code = "test/symptom"
	held    fault.Code = "test/held"
	late    fault.Code = "test/late"
	reset   fault.Code = "test/reset"
)

func catalogue(t testing.TB) *fault.Catalogue {
	t.Helper()
	cat, err := newCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

func newCatalogue() (*fault.Catalogue, error) {
	entry := func(code fault.Code) fault.Entry {
		return fault.Entry{
			Code: code, Title: "it", Impact: "it", Cause: "it", Raise: "it", Clear: "it", Severity: fault.Major,
			Remedy: []fault.Remedy{{Text: "mend it", Impact: "none"}}, Facts: []string{"fact"}, Readings: []string{"reading"},
		}
	}
	s, h, l, r := entry(symptom), entry(held), entry(late), entry(reset)
	s.CausedBy = []fault.Code{cause}
	h.Hold = fault.Hold{Raise: time.Minute, Clear: time.Minute}
	l.Escalate = []fault.Escalation{{After: time.Hour, To: fault.Critical}}
	r.ByOperator = true
	return fault.NewCatalogue(entry(plain), entry(cause), s, h, l, r)
}

// fakeClock is a node's clocks that a test moves.
type fakeClock struct {
	mu  sync.Mutex
	now fault.Clock
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: fault.Clock{
		Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Boot: time.Hour, BootID: "boot-1",
	}}
}

func (c *fakeClock) read() fault.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// pass lets time go by.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Wall, c.now.Boot = c.now.Wall.Add(d), c.now.Boot+d
}

// jump moves the wall clock alone.
func (c *fakeClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Wall = c.now.Wall.Add(d)
}

// reboot starts the boot clock anew.
func (c *fakeClock) reboot(off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = fault.Clock{Wall: c.now.Wall.Add(off), Boot: time.Minute, BootID: c.now.BootID + "'"}
}

var errBroken = errors.New("the test's disk is broken")

// fakeDisk fails on demand, at one step or at all.
type fakeDisk struct {
	broken atomic.Bool
	step   atomic.Value // string; empty: every step but "trace"
	block  atomic.Pointer[chan struct{}]
}

func (d *fakeDisk) fail(step string) error {
	if c := d.block.Load(); c != nil && step == "commit" {
		<-*c
	}
	if !d.broken.Load() {
		return nil
	}
	if only, _ := d.step.Load().(string); only == step || only == "" && step != "trace" && step != "ballast" {
		return fmt.Errorf("%s: %w", step, errBroken)
	}
	return nil
}

// node is a journal under test with its clock and disk.
type node struct {
	*journal.Store
	t     testing.TB
	opts  journal.Options
	clock *fakeClock
	disk  *fakeDisk
}

func newNode(t testing.TB, change ...func(*journal.Options)) *node {
	t.Helper()
	n := &node{t: t, clock: newFakeClock(), disk: &fakeDisk{}}
	n.opts = journal.Options{
		Dir: t.TempDir(), Node: "n1", Catalogue: catalogue(t), Clock: n.clock.read, BallastBytes: 64 << 10, Failpoint: n.disk.fail,
	}
	for _, c := range change {
		c(&n.opts)
	}
	n.open()
	t.Cleanup(func() { _ = n.Store.Close() })
	return n
}

func (n *node) open() {
	n.t.Helper()
	s, err := journal.Open(n.t.Context(), n.opts)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Store = s
}

// restart closes the store in order and opens it again.
func (n *node) restart() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.open()
}

func itoa(i int) string { return strconv.Itoa(i) }

func key(code fault.Code, resource string) fault.Key {
	return fault.Key{Code: code, Resource: resource}
}

// look is a look of the check "watch" that begins and ends now.
func (n *node) look(obs ...fault.Observation) (fault.Outcome, error) {
	l := fault.Look{
		Check: "watch", Trigger: fault.TriggerTimer, Started: n.NextOrder(), Ended: n.NextOrder(), At: n.Now(),
		Every: time.Minute, Timeout: time.Second, Observations: obs,
	}
	for _, o := range obs {
		if o.Key.Code == symptom {
			l.Causes = []fault.Key{key(cause, o.Key.Resource)}
		}
	}
	return n.Observe(n.t.Context(), l)
}

func (n *node) present(k fault.Key, sense ...fault.Pair) {
	n.t.Helper()
	if _, err := n.look(fault.Observation{Key: k, Verdict: fault.Present, Text: "seen", Sense: sense}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) absent(k fault.Key) {
	n.t.Helper()
	if _, err := n.look(fault.Observation{Key: k, Verdict: fault.Absent}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tick() []fault.Event {
	n.t.Helper()
	events, err := n.Tick(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return events
}

// verified fails the test unless the journal on disk agrees with itself and
// with what the store believes.
func (n *node) verified() journal.Audit {
	n.t.Helper()
	a, err := n.Verify(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

func (n *node) active(k fault.Key) bool {
	v, ok := n.View(k)
	return ok && v.Active
}

func kinds(events []fault.Event) (k []fault.Kind) {
	for _, ev := range events {
		k = append(k, ev.Kind)
	}
	return k
}

func (n *node) events(after uint64) []fault.Event {
	n.t.Helper()
	events, err := n.Events(context.WithoutCancel(n.t.Context()), after, 1<<20)
	if err != nil {
		n.t.Fatal(err)
	}
	return events
}
