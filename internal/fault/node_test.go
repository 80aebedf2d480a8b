package fault_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

// The codes of the test catalogue.
const (
	codePlain   = fault.Code("t/plain")    // no hold
	codeHeld    = fault.Code("t/held")     // holds both ways
	codeAlways  = fault.Code("t/always")   // a hold that even a fix does not shorten
	codeCause   = fault.Code("t/cause")    // causes middle and symptom
	codeMiddle  = fault.Code("t/middle")   // caused by cause, causes symptom
	codeSymptom = fault.Code("t/symptom")  // caused by both
	codeWorse   = fault.Code("t/worse")    // escalates twice
	codeByHand  = fault.Code("t/by-hand")  // an operator's fix clears it
	codeAuto    = fault.Code("t/auto")     // two automatic remedies an hour
	codeAutoToo = fault.Code("t/auto-too") // the same for the same resource
	codeSystem  = fault.Code("system/limit-reached")
)

const (
	every   = 5 * time.Minute
	timeout = 30 * time.Second
)

func catalogue(t rapid.TB) *fault.Catalogue {
	t.Helper()
	entry := func(c fault.Code, change func(*fault.Entry)) fault.Entry {
		e := fault.Entry{
			Code: c, Title: "it is broken", Impact: "it does not work", Cause: "it broke", Raise: "seen", Clear: "not seen",
			Severity: fault.Major, Facts: []string{"reason"}, Readings: []string{"elapsed"},
			Remedy: []fault.Remedy{{Text: "mend {resource}", Impact: "none", Command: "mend {resource} {reason}"}},
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	auto := func(e *fault.Entry) {
		e.Auto = &fault.Auto{Action: "restart", Budget: 2, Per: time.Hour, Backoff: 10 * time.Minute}
	}
	c, err := fault.NewCatalogue(
		entry(codePlain, nil),
		entry(codeHeld, func(e *fault.Entry) { e.Hold = fault.Hold{Raise: 5 * time.Minute, Clear: 10 * time.Minute} }),
		entry(codeAlways, func(e *fault.Entry) { e.Hold = fault.Hold{Clear: 10 * time.Minute, Always: true} }),
		entry(codeCause, nil),
		entry(codeMiddle, func(e *fault.Entry) { e.CausedBy = []fault.Code{codeCause} }),
		entry(codeSymptom, func(e *fault.Entry) {
			e.CausedBy, e.Severity = []fault.Code{codeCause, codeMiddle}, fault.Critical
		}),
		entry(codeWorse, func(e *fault.Entry) {
			e.Severity = fault.Minor
			e.Escalate = []fault.Escalation{{After: time.Hour, To: fault.Major}, {After: 24 * time.Hour, To: fault.Critical}}
		}),
		entry(codeByHand, func(e *fault.Entry) { e.ByOperator = true }),
		entry(codeAuto, auto),
		entry(codeAutoToo, auto),
		entry(codeSystem, nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// node is a small journal in memory around a set: it gives numbers and shown
// times, and can lose all that a kill or a reboot loses.
type node struct {
	t     rapid.TB
	cat   *fault.Catalogue
	set   *fault.Set
	clock fault.Clock
	order uint64
	boots int
	base  []fault.Belief // what was believed before the log began
	log   []fault.Event
	// saved are readings of counter and clock to begin a look that ends later.
	savedOrder uint64
	savedAt    fault.Clock
	last       fault.Outcome
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newNode(t rapid.TB) *node {
	n := &node{t: t, cat: catalogue(t), clock: fault.Clock{Wall: epoch, Boot: time.Hour, BootID: "boot0"}}
	n.set = fault.NewSet(n.cat, fault.DefaultLimits())
	return n
}

func (n *node) now() fault.Now {
	shown := n.clock.Wall
	if len(n.log) > 0 {
		if least := n.log[len(n.log)-1].At.Add(time.Microsecond); shown.Before(least) {
			shown = least
		}
	}
	return fault.Now{Clock: n.clock, Shown: shown, Order: n.order}
}

func (n *node) next() uint64 { n.order++; return n.order }

func (n *node) pass(d time.Duration) {
	n.clock.Wall, n.clock.Boot = n.clock.Wall.Add(d), n.clock.Boot+d
}

// append numbers events as a journal does.
func (n *node) append(events []fault.Event) {
	for _, ev := range events {
		ev.Epoch, ev.Seq = "e1", uint64(len(n.log)+1)
		n.log = append(n.log, ev)
	}
	n.set.Commit()
}

func (n *node) apply(k fault.Key, in fault.Input) []fault.Event {
	n.t.Helper()
	events, err := n.set.Apply(k, in, n.now())
	if err != nil {
		n.t.Fatal(err)
	}
	n.append(events)
	return events
}

func (n *node) look(l *fault.Look) []fault.Event {
	n.t.Helper()
	out, err := n.set.Look(l, n.now())
	if err != nil {
		n.t.Fatal(err)
	}
	n.append(out.Events)
	n.last = out
	return out.Events
}

func (n *node) tick() (events []fault.Event) {
	for _, k := range n.set.Ticking(n.clock) {
		events = append(events, n.apply(k, fault.Tick{})...)
	}
	return events
}

// restart begins a new process from the log alone. off is the time without one;
// a reboot changes the boot id and sets CLOCK_BOOTTIME back.
func (n *node) restart(off time.Duration, reboot bool) []fault.Event {
	last := n.clock
	n.pass(off)
	if reboot {
		n.boots++
		n.clock.Boot, n.clock.BootID = time.Minute, fmt.Sprintf("boot%d", n.boots)
	}
	beliefs := beliefsOf(n.base, n.log)
	now := n.now()
	boot := fault.Event{Kind: fault.KindBoot, At: now.Shown, Clock: n.clock, Last: &last}
	n.set = fault.NewSet(n.cat, fault.DefaultLimits())
	n.set.Restore(beliefs, boot)
	n.order = 0
	n.append([]fault.Event{boot})
	return []fault.Event{boot}
}

// beliefsOf folds a log over a base, fault by fault.
func beliefsOf(base []fault.Belief, log []fault.Event) []fault.Belief {
	faults := map[fault.Key]fault.Fault{}
	for _, b := range base {
		faults[b.Key] = fault.Fault{Belief: b}
	}
	for _, ev := range log {
		if ev.Kind == fault.KindBoot {
			for k, f := range faults {
				faults[k] = fault.Fold(f, ev)
			}
			continue
		}
		if ev.Key != (fault.Key{}) {
			faults[ev.Key] = fault.Fold(faults[ev.Key], ev)
		}
	}
	var beliefs []fault.Belief
	for _, f := range faults {
		beliefs = append(beliefs, f.Belief)
	}
	slices.SortFunc(beliefs, func(a, b fault.Belief) int { return int(a.ID) - int(b.ID) })
	return beliefs
}

// subject is a fault as stories name it.
type subject struct {
	key    fault.Key
	check  string
	causes []fault.Key
}

func key(c fault.Code, resource string) fault.Key { return fault.Key{Code: c, Resource: resource} }

// subjects are the faults that stories are about; "d" begins those of a drill.
func subjects() map[string]subject {
	cause, middle := key(codeCause, "r"), key(codeMiddle, "r")
	dcause := key(codeCause, "drill/1/r")
	return map[string]subject{
		"plain":  {key: key(codePlain, "r"), check: "plain"},
		"other":  {key: key(codePlain, "s"), check: "other"},
		"sub":    {key: key(codePlain, "r/sub"), check: "plain"},
		"held":   {key: key(codeHeld, "r"), check: "held"},
		"always": {key: key(codeAlways, "r"), check: "always"},
		"cause":  {key: cause, check: "cause"},
		"middle": {key: middle, check: "middle", causes: []fault.Key{cause}},
		"sym":    {key: key(codeSymptom, "r"), check: "sym", causes: []fault.Key{cause, middle}},
		"deep":   {key: key(codeSymptom, "r/deep"), check: "deep", causes: []fault.Key{middle}},
		"lone":   {key: key(codeSymptom, "s"), check: "lone"},
		"unruly": {key: key(codePlain, "u"), check: "unruly", causes: []fault.Key{cause}},
		"mixed":  {key: key(codeSymptom, "m"), check: "mixed", causes: []fault.Key{dcause}},
		"dcause": {key: dcause, check: "dcause"},
		"dsym":   {key: key(codeSymptom, "drill/1/r"), check: "dsym", causes: []fault.Key{dcause, cause}},
		"worse":  {key: key(codeWorse, "r"), check: "worse"},
		"byhand": {key: key(codeByHand, "r"), check: "byhand"},
		"auto":   {key: key(codeAuto, "r"), check: "auto"},
		"auto2":  {key: key(codeAuto, "s"), check: "auto2"},
		"too":    {key: key(codeAutoToo, "r"), check: "too"},
		"dplain": {key: key(codePlain, "drill/1/r"), check: "dplain"},
		"system": {key: key(codeSystem, "r"), check: "system"},
	}
}

func nameOf(k fault.Key) string {
	for name, s := range subjects() {
		if s.key == k {
			return name
		}
	}
	return k.String()
}

// render writes events as "subject.kind{detail}".
func render(events []fault.Event) string {
	words := make([]string, 0, len(events))
	for _, ev := range events {
		w := nameOf(ev.Key) + "." + string(ev.Kind)
		if ev.Key == (fault.Key{}) {
			w = string(ev.Kind)
		}
		switch ev.Kind {
		case fault.KindClear:
			w += "{" + ev.Reason + "}"
		case fault.KindMask:
			by := make([]string, 0, len(ev.Causes))
			for _, k := range ev.Causes {
				by = append(by, nameOf(k))
			}
			w += "{" + strings.Join(by, ",") + "}"
		case fault.KindChange:
			if ev.Lent != nil {
				w += "{lent " + ev.Lent.String() + "}"
			} else {
				w += "{" + strings.TrimSuffix(ev.Severity.String()+" "+ev.Sense.Get("reason"), " ") + "}"
			}
		case fault.KindEscalate:
			w += "{" + ev.Severity.String() + "}"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// state tells what holds of a fault now, in words.
func (n *node) state(k fault.Key) string {
	v, ok := n.set.View(k, n.clock)
	if !ok {
		return "none"
	}
	words := []string{string(v.Condition)}
	if v.Active {
		words = append(words, v.Shown.String())
	}
	if v.Mark != nil {
		words = append(words, string(v.Mark.Kind))
	}
	for _, w := range []struct {
		word  string
		holds bool
	}{
		{"shelved", v.Shelved},
		{"masked", len(v.MaskedBy) > 0},
		{"stale", v.Stale},
		{"flapping", v.Flapping},
		{"unverified", v.Unverified},
		{"hidden", v.Hidden},
		{"recurring", v.Recurring},
	} {
		if w.holds {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}
