package fault_test

import (
	"encoding/json"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

// audit proves what holds after every step of everything: belief is what the
// log says, also after a trip through JSON; counters are true; shown time
// grows; Ticking names exactly what a tick would move.
func (n *node) audit() {
	n.t.Helper()
	n.auditBeliefs()
	n.auditTime()
	n.auditTicking()
	auditSummary(n.t, n.set, n.clock)
}

func (n *node) auditBeliefs() {
	n.t.Helper()
	folded := map[fault.Key]fault.Belief{}
	for _, b := range beliefsOf(n.base, roundTrip(n.t, n.log)) {
		folded[b.Key] = b
	}
	for _, k := range n.set.Keys() {
		b, known := folded[k]
		live := n.set.Get(k).Belief
		if !known {
			b = fault.Belief{Key: k, ID: live.ID} // pending, never in an event
		}
		if got, want := text(n.t, live), text(n.t, b); got != want {
			n.t.Fatalf("%s\nlive   %s\nfolded %s", k, got, want)
		}
		delete(folded, k)
	}
	for k := range folded {
		n.t.Fatalf("%s is in the log and not in the set", k)
	}
}

func (n *node) auditTime() {
	n.t.Helper()
	for i, ev := range n.log {
		if ev.Seq != uint64(i+1) {
			n.t.Fatalf("event %d has number %d", i+1, ev.Seq)
		}
		if i > 0 && !ev.At.After(n.log[i-1].At) {
			n.t.Fatalf("event %d at %v is not later than the one before at %v", ev.Seq, ev.At, n.log[i-1].At)
		}
	}
}

func (n *node) auditTicking() {
	n.t.Helper()
	due := map[fault.Key]bool{}
	for _, k := range n.set.Ticking(n.clock) {
		due[k] = true
	}
	for _, k := range n.set.Keys() {
		e, _ := n.cat.Get(k.Code)
		_, events := fault.Step(*n.set.Get(k), e, fault.Tick{}, n.now())
		if (len(events) > 0) != due[k] {
			n.t.Fatalf("%s: ticking says %v, a tick makes %q", k, due[k], render(events))
		}
	}
}

// auditSummary counts by what views say, not as the set does.
func auditSummary(t rapid.TB, set *fault.Set, now fault.Clock) {
	t.Helper()
	var want fault.Summary
	for _, k := range set.Keys() {
		v, _ := set.View(k, now)
		switch {
		case k.Drill() && v.Active:
			want.Drills++
		case k.Drill():
		default:
			want.Shelved += one(v.Shelf != nil)
			if !v.Active {
				continue
			}
			want.Active++
			want.BySeverity[v.Shown]++
			want.Acked += one(v.Mark != nil && v.Mark.Kind == fault.OpAck)
			want.Masked += one(len(v.Belief.MaskedBy) > 0)
			want.Stale += one(v.StaleTold)
			want.Flapping += one(v.Flapping)
		}
	}
	if got := set.Summary(); got != want || set.Recount() != want {
		t.Fatalf("summary %+v, recount %+v, counted %+v", got, set.Recount(), want)
	}
}

func one(holds bool) int {
	if holds {
		return 1
	}
	return 0
}

func text(t rapid.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// roundTrip returns the events as a journal reads them back.
func roundTrip(t rapid.TB, events []fault.Event) []fault.Event {
	t.Helper()
	var back []fault.Event
	if err := json.Unmarshal([]byte(text(t, events)), &back); err != nil {
		t.Fatal(err)
	}
	return back
}
