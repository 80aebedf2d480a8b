package fault_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

// The sixteen invariants of the fault core, each as a property of random
// histories, a few hundred a run. ALLCLEAR_SOAK=1 tries a hundred times as many.
//
// Those that a journal shares in (1, 2, 3, 8, 9, 10) are proved here for
// everything but the disk.

var (
	looking    = []string{"look", "look", "look", "look", "look", "look", "pass", "tick"}
	people     = []string{"ack", "unack", "fix", "fix", "shelve", "unshelve"}
	clocks     = []string{"jump", "restart", "reboot"}
	trouble    = []string{"fail", "heal"}
	everything = slices.Concat(looking, looking, people, clocks, trouble, []string{"start", "end", "retire", "deliver"})
)

// check runs a property. It skips nothing: the number of histories is rapid's,
// a hundred times that in a soak.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	rounds := 2
	if os.Getenv("ALLCLEAR_SOAK") != "" {
		rounds = 200
	}
	for range rounds {
		rapid.Check(t, property)
	}
}

// live tells a history of the given kinds and holds up each act to claim.
func live(t *testing.T, kinds []string, claim func(*world)) {
	t.Helper()
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range acts(t, kinds...) {
			w.do(a)
			claim(w)
		}
	})
}

func TestInvariant01SeqIsDenseAndShownTimeGrows(t *testing.T) {
	live(t, slices.Concat(looking, people, clocks, clocks), (*world).checkTime)
}

func (w *world) checkTime() { w.auditTime() }

func TestInvariant02LiveStateIsTheFoldedJournal(t *testing.T) {
	live(t, everything, func(w *world) { w.auditBeliefs() })
	check(t, func(t *rapid.T) { // across a prune: a snapshot stands for what went before it
		w := newWorld(t)
		history := acts(t, slices.Concat(looking, people, clocks)...)
		prune := rapid.IntRange(0, len(history)-1).Draw(t, "prune")
		for i, a := range history {
			if w.do(a); i == prune {
				w.prune()
			}
		}
		w.auditBeliefs()
	})
}

// prune forgets cleared faults and keeps a snapshot of the others in place of
// their events.
func (w *world) prune() {
	var base []fault.Belief
	w.set.Forget(w.set.Keys()...)
	for _, k := range w.set.Keys() {
		if b := w.set.Get(k).Belief; b.Count > 0 || b.Notice > 0 || b.Shelf != nil {
			base = append(base, b)
		}
	}
	w.base, w.log, w.durable = base, nil, 0
}

func TestInvariant03APrefixOfTheJournalIsAState(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range acts(t, slices.Concat(looking, people, []string{"jump"})...) {
			w.do(a)
		}
		m := w.moments[rapid.IntRange(0, len(w.moments)-1).Draw(t, "moment")]
		if got := text(t, beliefsOf(nil, roundTrip(t, w.log[:m.events]))); got != m.belief {
			t.Fatalf("the first %d events fold to\n%s\nbelieved then\n%s", m.events, got, m.belief)
		}
		w.durable = rapid.IntRange(0, len(w.log)).Draw(t, "cut")
		w.do(act{kind: "restart"})
		w.quiesce(func(int) bool { return true })
		w.checkTruth()
	})
}

func TestInvariant04ClearIsBackedByALook(t *testing.T) {
	live(t, everything, (*world).checkClears)
}

func (w *world) checkClears() {
	for _, ev := range w.made {
		if ev.Kind != fault.KindClear {
			continue
		}
		seen := w.saw.present[ev.Key]
		e, _ := w.cat.Get(ev.Key.Code)
		p := w.places[slices.IndexFunc(w.places, func(p *place) bool { return p.key == ev.Key })]
		backed := false
		switch ev.Reason {
		case fault.Verified:
			backed = w.saw.absent[ev.Key] > seen
		case fault.Inapplicable:
			backed = w.saw.excluded[ev.Key] > seen
		case fault.ByTheOperator:
			backed = e.ByOperator && w.step.kind == "fix"
		case fault.Retired:
			backed = p.gone || w.saw.complete[p.check] > seen || ev.Key.Drill() && slices.Contains([]string{"restart", "reboot", "deliver"}, w.step.kind)
		}
		if !backed {
			w.t.Fatalf("%+v cleared %s as %s: present till %d, absent since %d, excluded since %d",
				w.step, ev.Key, ev.Reason, seen, w.saw.absent[ev.Key], w.saw.excluded[ev.Key])
		}
	}
}

func TestInvariant05UnknownAndForeignChangeNothing(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range acts(t, everything...) {
			idle := a.kind == "look" && (a.verdict == fault.Unknown || a.foreign)
			a.d, a.complete = a.d*time.Duration(one(!idle)), a.complete && !idle
			w.spend(time.Millisecond)
			w.tickAll() // what time alone does is done
			before, old := w.beliefs(), w.conditions()
			w.clock.Wall, w.clock.Boot = w.clock.Wall.Add(-time.Millisecond), w.clock.Boot-time.Millisecond
			w.do(a)
			if !idle || len(w.made) == 1 && w.made[0].Kind == fault.KindVerifyInconclusive && !a.foreign {
				continue
			}
			if w.beliefs() != before || len(w.made) > 0 || !slices.Equal(w.conditions(), old) {
				t.Fatalf("%+v made %s", a, render(w.made))
			}
		}
	})
}

// conditions is what is not stored and looks decide.
func (w *world) conditions() (all []string) {
	for _, k := range w.set.Keys() {
		f := w.set.Get(k)
		latest, sense := f.Latest()
		all = append(all, k.String(), string(f.Condition()), f.LastLook().String(), latest, text(w.t, sense))
	}
	return all
}

func TestInvariant06AFixedMarkIsOnlyAQuestion(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		asked := map[fault.Key]uint64{}
		for _, a := range acts(t, slices.Concat(looking, looking, people, []string{"fix", "fix", "restart"}, trouble)...) {
			w.do(a)
			for _, ev := range w.made {
				if ev.Kind == fault.KindFix {
					asked[ev.Key] = w.order
				}
				if e, _ := w.cat.Get(ev.Key.Code); a.kind == "fix" && ev.Kind == fault.KindClear && !e.ByOperator {
					t.Fatalf("a fix cleared %s by itself", ev.Key)
				}
			}
			if a.kind == "restart" {
				clear(asked)
			}
			w.checkAnswered(a, asked)
		}
	})
}

// checkAnswered demands that no mark outlives a bad look, or one that could not
// tell, that began after it.
func (w *world) checkAnswered(a act, asked map[fault.Key]uint64) {
	k := w.places[a.who].key
	f := w.set.Get(k)
	if a.kind != "look" || a.foreign || a.age > 0 || a.verdict != fault.Present || f == nil || f.Mark == nil || f.Mark.Kind != fault.OpFix {
		return
	}
	if w.started > asked[k] {
		w.t.Fatalf("%+v: %s is still marked fixed", a, k)
	}
}

func TestInvariant07AnAckEndsWithAHigherSeverity(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		shown := map[fault.Key]fault.Severity{}
		for _, a := range acts(t, slices.Concat(looking, looking, people, []string{"ack", "ack", "ack", "reboot"}, trouble)...) {
			if w.do(a); a.kind == "reboot" {
				clear(shown) // what was only held is gone, and older beliefs are back
			}
			for _, k := range w.set.Keys() {
				f := w.set.Get(k)
				if f.Mark == nil || f.Mark.Kind != fault.OpAck {
					delete(shown, k)
					continue
				}
				if before, acked := shown[k]; acked && f.Shown() > before && a.kind != "ack" {
					t.Fatalf("%+v: %s is acked as %s and shows %s", a, k, before, f.Shown())
				}
				shown[k] = f.Shown()
			}
		}
	})
}

func TestInvariant08AShelfEnds(t *testing.T) {
	live(t, slices.Concat(looking, clocks, clocks, trouble, []string{"shelve", "shelve", "shelve", "unshelve", "retire"}), func(w *world) {
		if k, late := w.overdueShelf(); late {
			w.t.Fatalf("%+v: %s is still shelved: %+v after %v on", w.step, k, w.shelves[k], w.ran)
		}
	})
}

func TestInvariant09APresentIsVisibleAtOnce(t *testing.T) {
	live(t, slices.Concat(looking, looking, people, trouble, trouble, []string{"fail", "restart", "jump"}), (*world).checkVisible)
}

func (w *world) checkVisible() {
	a, p := w.step, w.places[w.step.who]
	e, _ := w.cat.Get(p.key.Code)
	if a.kind != "look" || a.foreign || a.age > 0 || a.verdict != fault.Present || e.Hold.Raise > 0 || p.gone {
		return
	}
	want := e.Severity
	if a.severity != fault.None {
		want = a.severity
	}
	f := w.set.Get(p.key)
	if f == nil || !f.Active || f.Shown() < want && !f.Flapping {
		w.t.Fatalf("%+v (failing %v) found %s, which is %s", a, w.failing, p.key, w.state(p.key))
	}
}

func TestInvariant10ReceiversBelieveWhatIs(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range acts(t, slices.Concat(looking, looking, people, clocks, trouble, []string{"deliver", "deliver", "deliver", "deliver", "lose", "retire"})...) {
			w.do(a)
		}
		truth := rapid.SliceOfN(rapid.Bool(), len(w.places), len(w.places)).Draw(t, "truth")
		w.quiesce(func(i int) bool { return truth[i] })
		w.checkTruth()
		w.checkReceivers()
	})
}

func (w *world) checkTruth() {
	for _, p := range w.places {
		f := w.set.Get(p.key)
		if active := f != nil && f.Active; active != p.truth {
			w.t.Fatalf("at rest %s is %v, believed %v: %s", p.key, p.truth, active, w.state(p.key))
		}
	}
}

func (w *world) checkReceivers() {
	for i, s := range w.sinks {
		for _, p := range w.places {
			f := w.set.Get(p.key)
			_, told := s.told[p.key]
			active := f != nil && f.Active
			if active && s.unsure[p.key] && w.set.Hidden(f, w.clock) {
				continue // no answer, and hidden since: who knows
			}
			if want := active && (told || !w.set.Hidden(f, w.clock)); s.believes[p.key] != want {
				w.t.Fatalf("receiver %d believes %v of %s, which is %s", i, s.believes[p.key], p.key, w.state(p.key))
			}
		}
	}
}

func TestInvariant11MaskedMeansAVisibleCauseAsSevere(t *testing.T) {
	live(t, slices.Concat(everything, []string{"tick", "tick", "tick"}), (*world).checkMasks)
}

func (w *world) checkMasks() {
	if !w.failing {
		w.tickAll()
	}
	lent := map[fault.Key]fault.Severity{}
	for _, k := range w.set.Keys() {
		f := w.set.Get(k)
		by := w.set.Maskers(f, w.clock)
		if !slices.Equal(by, f.MaskedBy) && !w.failing {
			w.t.Fatalf("%+v: %s is masked by %v and said to be by %v", w.step, k, by, f.MaskedBy)
		}
		for _, cause := range by {
			c := w.set.Get(cause)
			e, _ := w.cat.Get(k.Code)
			if !c.Active || c.Shelved(w.clock) || c.Stale(w.clock) || cause.Drill() != k.Drill() ||
				!f.DeclaresCause(cause) || !slices.Contains(e.CausedBy, cause.Code) {
				w.t.Fatalf("%+v: %s is masked by %s, which is %s", w.step, k, cause, w.state(cause))
			}
		}
		for _, cause := range f.MaskedBy {
			lent[cause] = max(lent[cause], f.Shown())
		}
	}
	for _, k := range w.set.Keys() {
		if f := w.set.Get(k); f.Active && f.Lent != lent[k] {
			w.t.Fatalf("%+v: %s was lent %s by what it masks, that is %s", w.step, k, f.Lent, lent[k])
		}
	}
}

func TestInvariant12TheHubComesToTheSameState(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range acts(t, slices.Concat(looking, looking, people, clocks, trouble, []string{"uplink", "uplink", "uplink"})...) {
			w.do(a)
		}
		w.heal()
		w.hub.catchUp(w)
		for _, k := range w.set.Keys() {
			f := w.set.Get(k)
			if f.Count == 0 && f.Shelf == nil && f.Notice == 0 {
				continue // pending: not in any event
			}
			if got, want := text(t, w.hub.replica.Faults[k].Belief), text(t, f.Belief); got != want {
				t.Fatalf("hub  %s\nnode %s", got, want)
			}
		}
	})
}

func TestInvariant13CountersAreARecount(t *testing.T) {
	live(t, everything, func(w *world) { auditSummary(w.t, w.set, w.clock) })
}

func TestInvariant14RemediesKeepTheirBudget(t *testing.T) {
	var mended []int
	for i, p := range places() {
		if c := p.key.Code; (c == codeAuto || c == codeAutoToo) && !p.key.Drill() {
			mended = append(mended, i)
		}
	}
	kinds := []string{"look", "look", "look", "pass", "pass", "pass", "start", "start", "start", "end", "end", "restart", "tick"}
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		for _, a := range actsOf(t, mended, kinds...) {
			w.do(a)
			w.checkRemedies()
		}
	})
}

func (w *world) checkRemedies() {
	starts := map[fault.Key][]time.Duration{}
	flying := map[string]fault.Key{}
	for _, ev := range w.log {
		switch ev.Kind {
		case fault.KindBoot:
			clear(flying)
		case fault.KindRemedyEnd:
			delete(flying, ev.Key.Resource)
		case fault.KindRemedyStart:
			if k, busy := flying[ev.Key.Resource]; busy {
				w.t.Fatalf("%s is mended while %s is", ev.Key, k)
			}
			flying[ev.Key.Resource] = ev.Key
			e, _ := w.cat.Get(ev.Key.Code)
			past := starts[ev.Key]
			if n := len(past); n >= e.Auto.Budget && ev.Clock.Boot-past[n-e.Auto.Budget] < e.Auto.Per ||
				n > 0 && ev.Clock.Boot-past[n-1] < e.Auto.Backoff {
				w.t.Fatalf("%s is mended at %v, after %v", ev.Key, ev.Clock.Boot, past)
			}
			starts[ev.Key] = append(past, ev.Clock.Boot)
		}
	}
}

func TestInvariant15NoFaultOutlivesItsCheck(t *testing.T) {
	live(t, slices.Concat(looking, looking, people, clocks, trouble, []string{"retire", "retire"}), func(w *world) {
		if w.failing {
			return
		}
		for _, p := range w.places {
			if f := w.set.Get(p.key); p.gone && f != nil && (f.Active || f.Shelf != nil || f.Condition() != fault.Clear) {
				w.t.Fatalf("%+v: %s has no check and is %s", w.step, p.key, w.state(p.key))
			}
		}
	})
}

func TestInvariant16ADrillTouchesNothingElse(t *testing.T) {
	check(t, func(t *rapid.T) {
		with, without := newWorld(t), newWorld(t)
		kinds := slices.Concat(looking, looking, people, trouble, []string{"start", "end", "retire"})
		for _, a := range acts(t, kinds...) {
			with.do(a)
			if drill := with.places[a.who].key.Drill(); drill && a.kind != "pass" && a.kind != "tick" && a.kind != "fail" && a.kind != "heal" {
				without.clock, without.order = with.clock, with.order // time passes there too
			} else {
				without.do(a)
			}
			if got, want := with.real(), without.real(); got != want {
				t.Fatalf("%+v\nwith drills    %s\nwithout drills %s", a, got, want)
			}
		}
	})
}

// real is all that can be seen of faults that are no drills, but for their ids
// and the microseconds by which shown times keep apart the events of a moment.
func (w *world) real() string {
	s := w.set.Summary()
	s.Drills = 0
	seen := []any{s, w.set.Strain()}
	for _, p := range w.places {
		if v, ok := w.set.View(p.key, w.clock); ok && !p.key.Drill() {
			v.Belief.ID = 0
			for _, at := range []*time.Time{&v.Raised, &v.Changed, &v.Cleared} {
				*at = at.Truncate(time.Millisecond)
			}
			if v.Mark != nil {
				m := *v.Mark
				m.At = m.At.Truncate(time.Millisecond)
				v.Mark = &m
			}
			seen = append(seen, v)
		}
	}
	return text(w.t, seen)
}
