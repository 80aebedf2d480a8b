package fault_test

import (
	"time"

	"allclear/internal/fault"
)

// sightings is what looks have said in this process, kept apart from the core:
// the latest end of a Present and the latest start of the other verdicts.
type sightings struct {
	present, absent, excluded map[fault.Key]uint64
	complete                  map[string]uint64
}

func newSightings() sightings {
	return sightings{map[fault.Key]uint64{}, map[fault.Key]uint64{}, map[fault.Key]uint64{}, map[string]uint64{}}
}

func (s sightings) look(w *world, l *fault.Look) {
	for _, o := range l.Observations {
		if f := w.set.Get(o.Key); f != nil && f.Active && f.Check != l.Check {
			continue
		}
		switch o.Verdict {
		case fault.Present:
			s.present[o.Key] = max(s.present[o.Key], l.Ended)
		case fault.Absent:
			s.absent[o.Key] = max(s.absent[o.Key], l.Started)
		case fault.NotApplicable:
			s.excluded[o.Key] = max(s.excluded[o.Key], l.Started)
		}
	}
	if l.Complete {
		s.complete[l.Check] = max(s.complete[l.Check], l.Started)
	}
}

// shelfTime is when a shelf began by the time that the machine was on, and when
// it must be over.
type shelfTime struct {
	ran, blurred, lasts time.Duration
	until               time.Time
}

func (w *world) observeShelves() {
	for _, ev := range w.made {
		if ev.Kind == fault.KindShelve {
			w.shelves[ev.Key] = shelfTime{w.ran, w.blurred, w.step.d, w.clock.Wall.Add(w.step.d)}
		}
	}
}

// overdueShelf returns a fault that is shelved longer than it was asked for.
func (w *world) overdueShelf() (fault.Key, bool) {
	for _, k := range w.set.Keys() {
		if !w.set.Get(k).Shelved(w.clock) {
			continue
		}
		s, known := w.shelves[k]
		proven := w.ran - s.ran - (w.blurred - s.blurred)
		if !known || proven >= s.lasts || !w.clock.Wall.Before(s.until) {
			return k, true
		}
	}
	return fault.Key{}, false
}

// quiesce lets the world come to rest: the store works, looks find the truth,
// messages arrive.
func (w *world) quiesce(broken func(i int) bool) {
	w.heal()
	for i, p := range w.places {
		p.truth = !p.gone && broken(i)
	}
	for range 30 {
		w.spend(10 * time.Minute)
		for _, p := range w.places {
			if p.gone {
				continue
			}
			l := w.begin(p.subject)
			verdict := fault.Absent
			if p.truth {
				verdict = fault.Present
			}
			l.Observations = []fault.Observation{{Key: p.key, Verdict: verdict}}
			w.look(l)
		}
		w.tickAll()
		w.deliver(act{many: []int{0}})
	}
	w.durable = len(w.log)
}
