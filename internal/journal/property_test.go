package journal_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// life is a journal that lives through whatever rapid thinks of, and what a
// receiver and a bystander saw of it.
type life struct {
	*node
	rt       *rapid.T
	told     map[fault.Key]bool // by the receiver's own account
	visible  map[fault.Key]bool // told by a raise that was answered, not cleared since
	promised uint64             // the newest event that was answered as durable
}

var keys = []fault.Key{
	key(plain, "a"), key(plain, "b"), key(cause, "a"), key(symptom, "a"), key(late, "a"), key(held, "a"), key(reset, "a"),
	key(plain, fault.DrillPrefix+"1/a"),
}

func (l *life) observe() {
	k := rapid.SampledFrom(keys).Draw(l.rt, "key")
	verdict := rapid.SampledFrom([]fault.Verdict{
		fault.Present, fault.Present, fault.Present, fault.Absent, fault.Absent, fault.Unknown, fault.NotApplicable,
	}).Draw(l.rt, "verdict")
	o := fault.Observation{Key: k, Verdict: verdict, Severity: fault.Severity(rapid.IntRange(1, 4).Draw(l.rt, "severity"))}
	o.Sense = fault.Sense{{Key: "fact", Value: rapid.SampledFrom([]string{"x", "y", "<&\xff"}).Draw(l.rt, "fact")}}
	before := l.active(k)
	out, err := l.look(o)
	if err != nil && !errors.Is(err, journal.ErrRefused) {
		l.rt.Fatalf("look: %v", err)
	}
	switch {
	case verdict == fault.Present && k.Code != held:
		if !l.active(k) {
			l.rt.Fatalf("a present %s is not visible", k)
		}
		l.visible[k] = true
	case before && !l.active(k):
		if errors.Is(err, journal.ErrRefused) || !l.Health().Failing.IsZero() {
			l.rt.Fatalf("%s was cleared by a store that fails", k)
		}
		delete(l.visible, k)
	}
	l.answered(out.Events)
}

// answered remembers what was promised to be on disk.
func (l *life) answered(events []fault.Event) {
	if len(events) > 0 && l.Health().Failing.IsZero() {
		l.promised = max(l.promised, events[len(events)-1].Seq)
	}
}

func (l *life) operate() {
	k := rapid.SampledFrom(keys).Draw(l.rt, "key")
	op := fault.Operator{By: "eve", Reason: "x", For: time.Hour, Timeout: time.Minute}
	op.Op = rapid.SampledFrom([]fault.Op{fault.OpAck, fault.OpUnack, fault.OpShelve, fault.OpUnshelve, fault.OpFix}).Draw(l.rt, "op")
	before, _ := l.View(k)
	events, err := l.Operate(l.t.Context(), k, op)
	if errors.Is(err, journal.ErrRefused) {
		if after, _ := l.View(k); after.Active != before.Active || (after.Mark == nil) != (before.Mark == nil) {
			l.rt.Fatalf("a refused %s changed %s", op.Op, k)
		}
	}
	if err == nil && k.Code == reset && op.Op == fault.OpFix {
		delete(l.visible, k)
	}
	l.answered(events)
}

func (l *life) passTime() {
	l.clock.pass(time.Duration(rapid.IntRange(1, 400).Draw(l.rt, "minutes")) * time.Minute)
	events, err := l.Tick(l.t.Context())
	if err != nil {
		l.rt.Fatalf("tick: %v", err)
	}
	for _, ev := range events { // a flapping fault may clear by time
		if ev.Kind == fault.KindClear {
			delete(l.visible, ev.Key)
		}
	}
	l.answered(events)
}

// deliver tells the receiver all that is due.
func (l *life) deliver() {
	for _, p := range l.Pending("mail") {
		var told *fault.Told
		if p.Send == fault.SendRaise {
			told = &fault.Told{Occurrence: p.Occurrence, Severity: p.Shown, Notice: p.Notice}
			l.told[p.Key] = true
		} else {
			delete(l.told, p.Key)
		}
		if err := l.SetTold(l.t.Context(), "mail", p.Key, told); err != nil {
			l.rt.Fatalf("told: %v", err)
		}
	}
}

// crash leaves the process as kill -9 does.
func (l *life) crash() {
	epoch := l.Head().Epoch
	dir := copyJournal(l.t, l.opts.Dir)
	_ = l.Close() // of the abandoned directory; what it holds is lost
	l.opts.Dir = dir
	if rapid.Bool().Draw(l.rt, "reboot") {
		l.clock.reboot(time.Duration(rapid.IntRange(-60, 600).Draw(l.rt, "off")) * time.Minute)
	}
	l.disk.broken.Store(false)
	l.open()
	if l.Head().Epoch != epoch || l.Health().SetAside != nil {
		l.rt.Fatalf("the journal was lost: %+v", l.Health().SetAside)
	}
	if l.Head().Seq <= l.promised {
		l.rt.Fatalf("event %d was promised, the journal ends at %d with its boot", l.promised, l.Head().Seq)
	}
	for k := range l.visible {
		if k.Drill() {
			delete(l.visible, k) // retired at start-up
		}
	}
}

// sound is what holds after every step.
func (l *life) sound() {
	for k := range l.visible {
		if !l.active(k) {
			l.rt.Fatalf("%s was visible, nothing cleared it, and it is gone", k)
		}
	}
	if _, err := l.Verify(l.t.Context()); err != nil {
		l.rt.Fatal(err)
	}
	if l.Health().Failing.IsZero() {
		if err := l.Agrees(l.t.Context()); err != nil {
			l.rt.Fatal(err)
		}
	}
}

// quiet mends the disk, looks at everything and tells it: then the receiver
// believes what is so (invariant 10).
func (l *life) quiet() {
	l.disk.broken.Store(false)
	l.tick()
	for _, k := range keys {
		if l.active(k) {
			l.present(k)
		}
	}
	l.deliver()
	for _, k := range keys {
		v, ok := l.View(k)
		if l.told[k] && (!ok || !v.Active) {
			l.rt.Fatalf("the receiver still believes in %s, which is clear", k)
		}
		if ok && v.Active && !v.Hidden && !l.told[k] {
			l.rt.Fatalf("the receiver was never told of %s", k)
		}
	}
}

// Invariants 1, 2, 8, 9 and 10 over random lives with a breaking disk, crashes,
// reboots, clock jumps and pruning.
func TestInvariantsHoldThroughAnyLife(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &life{
			node: newNode(t, func(o *journal.Options) { o.MaxCleared, o.Retain = 3, 3*day }),
			rt:   rt, told: map[fault.Key]bool{}, visible: map[fault.Key]bool{},
		}
		defer func() { _ = l.Close() }()
		act := map[string]func(*rapid.T){"": func(*rapid.T) { l.sound() }}
		for name, do := range map[string]func(){
			"observe": l.observe, "observe again": l.observe, "look": l.observe, "operate": l.operate,
			"time": l.passTime, "deliver": l.deliver, "crash": l.crash,
			"restart": func() { l.disk.broken.Store(false); l.tick(); l.restart(); l.dropDrills() },
			"jump":    func() { l.clock.jump(time.Duration(rapid.IntRange(-99, 99).Draw(rt, "hours")) * time.Hour) },
			"break":   func() { l.disk.broken.Store(true) },
			"mend":    func() { l.disk.broken.Store(false); l.tick() },
		} {
			act[name] = func(inner *rapid.T) { l.rt = inner; do() }
		}
		rt.Repeat(act)
		l.rt = rt
		l.quiet()
		l.sound()
	})
}

func (l *life) dropDrills() {
	for k := range l.visible {
		if k.Drill() {
			delete(l.visible, k)
		}
	}
}

// Every prefix of what a follower reads is what a replica would fold to; here:
// two followers at different paces see the same events.
func TestFollowersSeeTheSameEventsAtTheirOwnPace(t *testing.T) {
	n := newNode(t)
	for i := range 700 { // more than a follower reads at a time
		n.present(key(plain, fmt.Sprint(i)))
	}
	for _, from := range []uint64{0, 1, 255, 256, 699} {
		next := from
		for ev, err := range n.Follow(t.Context(), from) {
			if err != nil {
				t.Fatal(err)
			}
			if next++; ev.Seq != next {
				t.Fatalf("got %d, want %d", ev.Seq, next)
			}
			if next == n.Head().Seq {
				break
			}
		}
	}
}
