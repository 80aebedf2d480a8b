package notify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/notify"
	"allclear/internal/wire"
)

// The codes of the test catalogue: cause hides symptom.
const (
	plain   fault.Code = "test/plain"
	cause   fault.Code = "test/cause"
	symptom fault.Code = "test/symptom"
)

func catalogue() *fault.Catalogue {
	entry := func(code fault.Code) fault.Entry {
		return fault.Entry{
			Code: code, Title: "It is broken", Impact: "it", Cause: "it", Raise: "it", Clear: "it", Severity: fault.Major,
			Remedy: []fault.Remedy{{Text: "mend it", Impact: "none"}}, Facts: []string{"fact"}, Readings: []string{"reading"},
		}
	}
	s := entry(symptom)
	s.CausedBy = []fault.Code{cause}
	c, err := fault.NewCatalogue(slices.Concat([]fault.Entry{entry(plain), entry(cause), s}, notify.Faults())...)
	if err != nil {
		panic(err)
	}
	return c
}

// wireOf is the agent's conversion, as far as receivers care.
func wireOf(v *fault.View) wire.Fault {
	stamp := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return wire.Fault{
		ID: v.ID, Seq: v.Seq, Node: "n1", Code: v.Key.Code, Resource: v.Key.Resource, Severity: v.Shown, State: v.Condition,
		Title: v.Title, Text: v.Text, Sense: v.Sense.Map(), Cause: v.Cause, Remedy: v.Remedy, RaisedAt: stamp(v.Raised),
		ChangedAt: stamp(v.Changed), ClearedAt: stamp(v.Cleared), ClearReason: v.ClearReason, Drill: v.Key.Drill(),
		Count: v.Count, Occurrence: v.Occurrence,
	}
}

var errDisk = errors.New("the test's disk is full")

// disk fails on demand: full, it takes only what needs no new room; dead, it
// takes nothing.
type disk struct{ full, dead atomic.Bool }

func (d *disk) step(name string) error {
	if d.dead.Load() || d.full.Load() && name != "trace" && name != "ballast" {
		return errDisk
	}
	return nil
}

// believed is what a receiver holds of one alarm.
type believed struct {
	severity fault.Severity
	until    time.Time // zero: until it is told otherwise
}

// alarm names an alarm at a receiver; severity is 0 unless it is a part of the
// name there.
type alarm struct {
	key      fault.Key
	severity fault.Severity
}

var errLost = errors.New("nothing comes back")

// receiver is a fake receiver with switches.
type receiver struct {
	bySeverity bool

	mu       sync.Mutex // guards the fields below
	down     bool
	gone     bool  // the node is dead: nothing arrives
	luck     []int // of the messages to come: 2 is lost, 3 arrives and its answer is lost, 4 is refused
	believes map[alarm]believed
	heard    []notify.Message
}

func newReceiver(bySeverity bool) *receiver {
	return &receiver{bySeverity: bySeverity, believes: map[alarm]believed{}}
}

func (r *receiver) Deliver(_ context.Context, m notify.Message) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	luck := 0
	if len(r.luck) > 0 {
		luck, r.luck = r.luck[0], r.luck[1:]
	}
	switch {
	case r.gone || r.down || luck == 2:
		return "", errLost
	case luck == 4:
		return "", &notify.RejectedError{Answer: "400 Bad Request"}
	}
	r.take(m)
	if luck == 3 {
		return "", errLost
	}
	return "200 OK", nil
}

// take believes the message. The lock is held.
func (r *receiver) take(m notify.Message) {
	r.heard = append(r.heard, m)
	if m.Type == notify.Resync {
		clear(r.believes)
	}
	for _, it := range m.Items {
		r.one(it)
	}
	if m.Fault.Code != "" {
		r.one(m)
	}
}

func (r *receiver) one(m notify.Message) {
	k := fault.Key{Code: m.Fault.Code, Resource: m.Fault.Resource}
	if !r.bySeverity {
		delete(r.believes, alarm{k, 0})
		if m.Type != notify.Clear {
			r.believes[alarm{k, 0}] = believed{severity: m.Fault.Severity}
		}
		return
	}
	// As Alertmanager: only what is named is resolved.
	for s := fault.Warning; s <= fault.Critical; s++ {
		if s == m.Was || m.Unsure {
			delete(r.believes, alarm{k, s})
		}
	}
	if m.Type != notify.Clear {
		r.believes[alarm{k, m.Fault.Severity}] = believed{severity: m.Fault.Severity, until: time.Now().Add(24 * time.Hour)}
	}
}

// forget is a restart of a receiver that keeps nothing.
func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.believes)
}

func (r *receiver) set(down bool, luck ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.luck = down, luck
}

func (r *receiver) cut(gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = gone
}

func (r *receiver) knows() map[alarm]believed {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[alarm]believed{}
	for k, b := range r.believes {
		if b.until.IsZero() || b.until.After(time.Now()) {
			out[k] = b
		}
	}
	return out
}

func (r *receiver) messages() []notify.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

func (r *receiver) Probe(context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return "", errLost
	}
	return "reached", nil
}

func (r *receiver) Close() {}

// batched is a receiver that takes all or none, and forgets.
type batched struct{ *receiver }

func (b batched) DeliverAll(ctx context.Context, ms []notify.Message) (string, error) {
	for _, m := range ms {
		if _, err := b.Deliver(ctx, m); err != nil {
			return "", err
		}
	}
	return "200 OK", nil
}

func (b batched) Refresh(_ context.Context, active []notify.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.down {
		return errLost
	}
	for _, m := range active {
		m.Was = m.Fault.Severity
		b.one(m)
	}
	return nil
}

// sinks are one of each kind of courier's behaviour.
func sinks(rs map[string]*receiver) []notify.Config {
	return []notify.Config{
		{Name: "hook", Kind: "webhook", Identity: "a", Stateful: true, Parallel: 4, Sink: rs["hook"]},
		{Name: "am", Kind: "alertmanager", Identity: "b", Stateful: true, BySeverity: true, Sink: batched{rs["am"]}},
		{Name: "mail", Kind: "email", Identity: "c", People: true, BestEffort: true, Sink: rs["mail"]},
		{Name: "log", Kind: "syslog", Identity: "d", BestEffort: true, Sink: rs["log"]},
	}
}

func receivers() map[string]*receiver {
	return map[string]*receiver{
		"hook": newReceiver(false), "am": newReceiver(true), "mail": newReceiver(false), "log": newReceiver(false),
	}
}

// world is a node with its receivers, on the clock of the test.
type world struct {
	dir   string // of the journal; a crash moves on to another one below
	lives int
	disk  disk
	begun time.Time
	looks map[fault.Key]fault.Observation // what the next look at each key says
	rs    map[string]*receiver

	store    *journal.Store
	notifier *notify.Notifier
	stop     func()
	err      error // the first thing that must not happen
}

func newWorld(dir string) *world {
	return &world{dir: filepath.Join(dir, "life-0"), begun: time.Now(), looks: map[fault.Key]fault.Observation{}, rs: receivers()}
}

func (w *world) clock() fault.Clock {
	return fault.Clock{Wall: time.Now(), Boot: time.Hour + time.Since(w.begun), BootID: "boot"}
}

func (w *world) note(what string, err error) {
	if w.err == nil && err != nil && !errors.Is(err, journal.ErrRefused) {
		w.err = fmt.Errorf("%s: %w", what, err)
	}
}

type nobody struct{}

func (nobody) Ask(string, fault.Trigger) {}

func (nobody) Report(context.Context, string, fault.Trigger, func(*check.Report)) error { return nil }

// start opens the journal and tells the receivers.
func (w *world) start(ctx context.Context) {
	var err error
	w.store, err = journal.Open(ctx, journal.Options{
		Dir: w.dir, Node: "n1", Catalogue: catalogue(), Clock: w.clock, BallastBytes: -1, Failpoint: w.disk.step,
	})
	if err != nil {
		w.note("open", err)
		return
	}
	w.notifier = notify.New(notify.Options{Node: "n1", Journal: w.store, Wire: wireOf}, sinks(w.rs))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.notifier.Run(ctx, nobody{}) }()
	w.stop = func() {
		cancel()
		w.note("run", <-done)
		err := w.store.Close()
		if _, held := errors.AsType[*journal.HeldError](err); !held {
			w.note("close", err)
		}
	}
}

// crash ends the node as kill -9 does: the next one finds the files as they are
// now, and nothing is sent any more.
func (w *world) crash(ctx context.Context) {
	for _, r := range w.rs {
		r.cut(true)
	}
	synctest.Wait() // a message under way has arrived or not; the writer rests
	w.lives++
	dir := filepath.Join(filepath.Dir(w.dir), fmt.Sprintf("life-%d", w.lives))
	w.note("crash", os.CopyFS(dir, os.DirFS(w.dir)))
	w.stop()
	w.note("crash", os.RemoveAll(w.dir))
	w.dir = dir
	for _, r := range w.rs {
		r.cut(false)
	}
	w.start(ctx)
}

// look looks at the keys with one look of one check.
func (w *world) look(ctx context.Context, keys ...fault.Key) {
	l := fault.Look{
		Check: "watch", Trigger: fault.TriggerTimer, Started: w.store.NextOrder(), Ended: w.store.NextOrder(), At: w.clock(),
		Every: time.Minute, Timeout: time.Second,
	}
	for _, k := range keys {
		l.Observations = append(l.Observations, w.looks[k])
		if k.Code == symptom {
			l.Causes = []fault.Key{{Code: cause, Resource: k.Resource}}
		}
	}
	_, err := w.store.Observe(ctx, l)
	w.note("observe", err)
}

// lookAtAll looks at everything there is, causes first.
func (w *world) lookAtAll(ctx context.Context) {
	var plain []fault.Key
	for k := range w.looks {
		if k.Code != symptom {
			plain = append(plain, k)
		}
	}
	if len(plain) > 0 {
		w.look(ctx, plain...)
	}
	for k := range w.looks {
		if k.Code == symptom {
			w.look(ctx, k)
		}
	}
}

// is sets what is true of a key, and looks.
func (w *world) is(ctx context.Context, k fault.Key, v fault.Verdict, s fault.Severity) {
	w.looks[k] = fault.Observation{Key: k, Verdict: v, Severity: s, Text: "seen"}
	w.look(ctx, k)
}

func (w *world) operate(ctx context.Context, k fault.Key, op fault.Operator) {
	op.By, op.Reason = "ann", "because"
	_, err := w.store.Operate(ctx, k, op)
	for _, fine := range []error{journal.ErrNoFault, fault.ErrNotActive, fault.ErrNotAcked, fault.ErrNotShelved} {
		if errors.Is(err, fine) {
			return
		}
	}
	w.note("operate", err)
}

// wrong says what a receiver believes that is not so, or "": one of those named,
// or any if none is.
func (w *world) wrong(names ...string) string {
	for name, r := range w.rs {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		knows := r.knows()
		views, _ := w.store.Page(0, 1<<20, nil)
		for _, v := range views {
			have := 0
			for a, b := range knows {
				if a.key != v.Key {
					continue
				}
				have++
				if v.Active && !v.Hidden && b.severity != v.Shown {
					return fmt.Sprintf("%s believes %s %s, it is %s", name, b.severity, v.Key, v.Shown)
				}
				delete(knows, a)
			}
			switch {
			case have > 1:
				return fmt.Sprintf("%s holds %s %d times", name, v.Key, have)
			case have == 1 && !v.Active:
				return fmt.Sprintf("ZOMBIE: %s still believes %s", name, v.Key)
			case have == 0 && v.Active && !v.Hidden:
				return fmt.Sprintf("%s was not told of %s", name, v.Key)
			}
		}
		for a := range knows {
			return fmt.Sprintf("%s believes in %s, which nobody knows", name, a.key)
		}
	}
	return ""
}
