package fault_test

import (
	"fmt"
	"slices"
	"time"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

// act is one thing that happens in a world. Acts are data, so that a history
// can be told twice, with and without its drills.
type act struct {
	kind     string
	who      int // index into places
	verdict  fault.Verdict
	severity fault.Severity
	reason   int // of the fact
	elapsed  int // of the reading
	age      uint64
	long     uint64
	foreign  bool
	complete bool
	d        time.Duration
	wall     time.Duration
	flag     bool
	many     []int
}

// place is a fault that can be, its check, and what the world says of it now.
type place struct {
	subject
	truth bool // broken
	gone  bool // no check owns it
}

func places() []*place {
	var all []*place
	for _, r := range []string{"a", "drill/1/a"} {
		k := func(c fault.Code) fault.Key { return key(c, r) }
		add := func(c fault.Code, causes ...fault.Key) {
			all = append(all, &place{subject: subject{key: k(c), check: string(c) + "@" + r, causes: causes}})
		}
		add(codePlain)
		add(codeHeld)
		add(codeAlways)
		add(codeCause)
		add(codeMiddle, k(codeCause))
		add(codeSymptom, k(codeCause), k(codeMiddle), key(codeCause, "drill/1/a"))
		add(codeWorse)
		add(codeByHand)
		add(codeAuto, k(codeCause)) // which its entry does not allow
		add(codeAutoToo)
		all = append(all,
			&place{subject: subject{key: key(codePlain, r+"/sub"), check: string(codePlain) + "@" + r}},
			&place{subject: subject{key: key(codeSymptom, r+"/deep"), check: "deep@" + r, causes: []fault.Key{k(codeMiddle)}}})
	}
	return all
}

// cast draws whom a history is about: a few that have to do with each other, or
// a random few. A short history about everybody tests nothing in depth.
func cast(t *rapid.T) []int {
	all := places()
	real := func(codes ...fault.Code) (who []int) {
		for i, p := range all {
			if slices.Contains(codes, p.key.Code) && !p.key.Drill() {
				who = append(who, i)
			}
		}
		return who
	}
	chain := real(codeCause, codeMiddle, codeSymptom, codeAuto)
	drills := make([]int, 0, len(chain))
	for _, i := range chain {
		drills = append(drills, i+len(all)/2)
	}
	anybody := rapid.SliceOfN(rapid.IntRange(0, len(all)-1), 1, 4)
	return rapid.OneOf(
		rapid.Just(chain), rapid.Just(slices.Concat(chain, drills)), rapid.Just(real(codePlain)),
		rapid.Just(real(codeAuto, codeAutoToo)), rapid.Just(real(codeWorse, codeHeld)), anybody, anybody,
	).Draw(t, "cast")
}

// world is a node with a store that may fail, receivers, a hub, and people.
type world struct {
	*node
	places  []*place
	failing bool
	durable int // events of the log that are on disk
	written fault.Clock
	sinks   []*sink
	hub     hub
	step    act
	made    []fault.Event // by the last act
	saw     sightings
	started uint64 // the last look
	shelves map[fault.Key]shelfTime
	ran     time.Duration // time that the machine was on
	blurred time.Duration // time on that no clock can prove
	broken  bool          // beliefs were lost: a new epoch
	moments []moment
}

// moment is what was believed when the log had so many events.
type moment struct {
	events int
	belief string
}

func newWorld(t rapid.TB) *world {
	n := &node{t: t, clock: fault.Clock{Wall: epoch, Boot: time.Hour, BootID: "boot0"}}
	n.cat = catalogue(n.t)
	n.set = fault.NewSet(n.cat, fault.DefaultLimits())
	w := &world{node: n, places: places(), shelves: map[fault.Key]shelfTime{}, written: n.clock}
	w.sinks = []*sink{{}, {forgets: true}, {}}
	w.hub.replica = fault.NewReplica("e1")
	w.saw = newSightings()
	return w
}

// pick draws one of all with the same chance for each: rapid's own draws favour
// the first.
func pick[T any](t *rapid.T, label string, all ...T) T {
	n := 0
	for i, bit := range rapid.SliceOfN(rapid.Bool(), 7, 7).Draw(t, label) {
		n |= one(bit) << i
	}
	return all[n%len(all)]
}

// acts draws a history of acts of the given kinds, each as likely as it is often.
func acts(t *rapid.T, kinds ...string) []act { return actsOf(t, cast(t), kinds...) }

func actsOf(t *rapid.T, who []int, kinds ...string) []act {
	one := rapid.Custom(func(t *rapid.T) act {
		a := act{kind: pick(t, "kind", kinds...)}
		a.who = pick(t, "who", who...)
		switch a.kind {
		case "look":
			a.verdict = pick(t, "verdict", fault.Present, fault.Present, fault.Present, fault.Present, fault.Absent,
				fault.Absent, fault.Absent, fault.Unknown, fault.NotApplicable)
			a.severity = pick(t, "severity", 0, 0, 0, fault.Warning, fault.Minor, fault.Critical)
			a.reason, a.elapsed = pick(t, "reason", 0, 1, 2), pick(t, "elapsed", 0, 1, 2, 3)
			a.age = pick[uint64](t, "age", 0, 0, 0, 0, 3, 9)
			a.long = pick[uint64](t, "long", 1, 1, 1, 4, 9)
			a.foreign = pick(t, "foreign", true, false, false, false, false, false, false, false)
			a.complete = pick(t, "complete", true, false, false, false)
			a.d = pick(t, "d", 0, time.Second, time.Minute, 3*time.Minute)
		case "shelve":
			a.d = pick(t, "for", time.Minute, 20*time.Minute, 3*time.Hour)
		case "pass":
			a.d = pick(t, "d", time.Second, 30*time.Second, time.Minute, 5*time.Minute, 16*time.Minute, time.Hour, 25*time.Hour)
		case "jump":
			a.wall = pick(t, "wall", -100*time.Hour, -time.Hour, -time.Second, time.Hour, 40*time.Hour)
		case "restart", "reboot":
			a.d = pick(t, "off", 0, time.Minute, 2*time.Hour)
			a.wall = pick(t, "wall", 0, 0, -10*time.Hour, 10*time.Hour)
		case "deliver":
			a.flag = rapid.Bool().Draw(t, "crash")
			a.many = rapid.SliceOfN(rapid.IntRange(0, 3), 1, 6).Draw(t, "luck")
		case "uplink":
			a.many = rapid.SliceOfN(rapid.IntRange(-8, 8), 1, 6).Draw(t, "order")
		case "lose":
			a.many = rapid.SliceOfN(rapid.IntRange(0, len(places())-1), 0, 12).Draw(t, "salvaged")
		}
		return a
	})
	// Left to itself rapid draws half a dozen.
	return rapid.SliceOfN(one, pick(t, "least", 1, 10, 40, 70), 80).Draw(t, "acts")
}

// do makes an act happen. Each act takes a moment, so that it has its own time.
func (w *world) do(a act) {
	w.step, w.made = a, nil
	w.spend(time.Millisecond)
	p := w.places[a.who]
	switch a.kind {
	case "look":
		w.lookAt(p, a)
	case "ack", "unack", "fix", "unshelve", "shelve":
		if p.gone {
			break
		}
		op := fault.Operator{Op: fault.Op(a.kind), By: "ann", Reason: "because", Timeout: timeout, For: a.d}
		w.input(p.key, op)
	case "retire":
		if !p.gone {
			p.gone = true
			w.retireOrphans()
		}
	case "start":
		w.input(p.key, fault.RemedyStart{Action: "restart"})
	case "end":
		w.input(p.key, fault.RemedyEnd{Action: "restart", Result: "done"})
	case "pass":
		w.spend(a.d)
	case "tick":
		w.tickAll()
	case "jump":
		w.clock.Wall = w.clock.Wall.Add(a.wall)
	case "fail":
		w.failing = true
	case "heal":
		w.heal()
	case "restart", "reboot", "lose":
		w.die(a)
	case "deliver":
		w.deliver(a)
	case "uplink":
		w.hub.receive(w, a.many)
	default:
		panic("no act " + a.kind)
	}
	w.observeShelves()
	if !w.failing {
		w.written = w.clock
	}
	w.moments = append(w.moments, moment{len(w.log), w.beliefs()})
}

func (w *world) spend(d time.Duration) { w.pass(d); w.ran += d }

// record stores events, or holds them while the store fails.
func (w *world) record(events []fault.Event) {
	w.append(events)
	w.made = append(w.made, events...)
	if !w.failing {
		w.durable = len(w.log)
	}
}

func (w *world) input(k fault.Key, in fault.Input) {
	var events []fault.Event
	var err error
	if w.failing {
		events, _, err = w.set.ApplyHolding(k, in, w.now())
	} else {
		events, err = w.set.Apply(k, in, w.now())
	}
	if err != nil {
		w.t.Fatalf("%+v: %v", w.step, err)
	}
	w.record(events)
}

func (w *world) tickAll() {
	for _, k := range w.set.Ticking(w.clock) {
		w.input(k, fault.Tick{Urgent: w.failing})
	}
}

// heal writes what was held, in order.
func (w *world) heal() {
	w.failing, w.durable = false, len(w.log)
	w.retireOrphans()
}

func (w *world) owns(k fault.Key) bool {
	return !slices.ContainsFunc(w.places, func(p *place) bool { return p.key == k && p.gone })
}

func (w *world) retireOrphans() {
	for _, k := range w.set.Orphans(owner(w.owns)) {
		w.input(k, fault.Retire{})
	}
}

func (w *world) lookAt(p *place, a act) {
	if f := w.set.Get(p.key); p.gone || a.foreign && (f == nil || !f.Active) {
		return // package check lets no other check judge a key
	}
	l := w.begin(p.subject)
	w.spend(a.d)
	l.Ended = w.next()
	l.Started = l.Ended - min(l.Ended-1, a.long)
	if a.age > 0 { // a look of before that comes late
		l.Ended -= min(l.Ended-2, a.age)
		l.Started = l.Ended - min(l.Ended-1, a.long)
	}
	if a.foreign {
		l.Check = "somebody else"
	}
	o := fault.Observation{Key: p.key, Verdict: a.verdict, Severity: a.severity}
	if a.verdict == fault.Present {
		o.Text = fmt.Sprintf("broken %d", a.elapsed)
		o.Sense = fault.NewSense(map[string]string{"reason": fmt.Sprint(a.reason), "elapsed": fmt.Sprint(a.elapsed)})
	}
	l.Observations = []fault.Observation{o}
	l.Complete = a.complete && !a.foreign
	w.started = l.Started
	w.saw.look(w, l)
	var out fault.Outcome
	var err error
	if w.failing {
		out, err = w.set.LookHolding(l, w.now())
	} else {
		out, err = w.set.Look(l, w.now())
	}
	if err != nil {
		w.t.Fatalf("%+v: %v", a, err)
	}
	w.last = out
	w.record(out.Events)
}

// beliefs is the whole durable state as text.
func (w *world) beliefs() string {
	var all []fault.Belief
	for _, k := range w.set.Keys() {
		if b := w.set.Get(k).Belief; b.Count > 0 || b.Shelf != nil || b.Notice > 0 {
			all = append(all, b)
		}
	}
	return text(w.t, all)
}

// die ends the process as kill -9 does and begins the next: only what was on
// disk is left, and traces of what was told or held.
func (w *world) die(a act) {
	lost := map[fault.Key]fault.Adoption{}
	trace := func(k fault.Key, occurrence, notice uint64) {
		t := lost[k]
		t.Occurrence, t.Notice = max(t.Occurrence, occurrence), max(t.Notice, notice)
		lost[k] = t
	}
	for _, ev := range w.log[w.durable:] {
		if ev.Kind == fault.KindRaise || ev.Kind == fault.KindAdopt {
			trace(ev.Key, 0, 0)
		}
	}
	w.log = slices.Clone(w.log[:w.durable])
	w.moments = nil
	w.failing = false
	before := w.clock
	w.pass(a.d)
	w.clock.Wall = w.clock.Wall.Add(a.wall)
	if a.kind == "reboot" {
		w.boots++
		w.clock.Boot, w.clock.BootID = time.Minute, fmt.Sprintf("boot%d", w.boots)
		w.blurred += max(0, before.Boot-w.written.Boot-max(0, w.clock.Wall.Sub(w.written.Wall)))
	} else {
		w.ran += a.d
	}
	beliefs := beliefsOf(w.base, w.log)
	if a.kind == "lose" {
		beliefs = w.lose(beliefs, a.many)
	}
	now := w.now()
	last := w.written
	boot := fault.Event{Kind: fault.KindBoot, At: now.Shown, Clock: w.clock, Last: &last}
	w.set = fault.NewSet(w.cat, fault.DefaultLimits())
	w.set.Restore(beliefs, boot)
	w.order = 0
	w.saw = newSightings()
	w.record([]fault.Event{boot})
	w.record(w.set.Settle(w.now()))
	for _, s := range w.sinks {
		for k, told := range s.told {
			if w.set.Get(k) == nil {
				trace(k, told.Occurrence, told.Notice)
			}
		}
	}
	for _, p := range w.places {
		if t, ok := lost[p.key]; ok {
			t.Check, t.Every, t.Causes = p.check, every, p.causes
			w.input(p.key, t)
		}
	}
	for _, k := range w.set.Keys() {
		if k.Drill() {
			w.input(k, fault.Retire{})
		}
	}
	w.retireOrphans()
}

// lose sets the database aside: of the beliefs only some can be read, and a new
// epoch begins with a snapshot of them.
func (w *world) lose(beliefs []fault.Belief, salvaged []int) []fault.Belief {
	w.broken = true
	var kept []fault.Belief
	for _, b := range beliefs {
		for _, i := range salvaged {
			if w.places[i].key == b.Key {
				kept = append(kept, b)
				break
			}
		}
	}
	w.base, w.log, w.durable = kept, nil, 0
	w.shelves = map[fault.Key]shelfTime{}
	return kept
}
