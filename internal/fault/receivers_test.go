package fault_test

import (
	"slices"

	"allclear/internal/fault"
)

// sink is a receiver: what the node remembers to have told it, and what it
// believes.
type sink struct {
	forgets  bool // it may lose all, and is told again what is active
	told     map[fault.Key]fault.Told
	believes map[fault.Key]bool
	unsure   map[fault.Key]bool // no answer to the last message
}

// deliver reconciles every sink. a.many is the luck of each message in turn: 0
// and 1 go well, 2 is lost on the way, 3 arrives and its answer is lost. With
// a.flag the process is about to die between a message and its record.
func (w *world) deliver(a act) {
	luck := 0
	for _, s := range w.sinks {
		if s.told == nil {
			s.told, s.believes, s.unsure = map[fault.Key]fault.Told{}, map[fault.Key]bool{}, map[fault.Key]bool{}
		}
		if s.forgets && len(a.many) > 3 {
			clear(s.believes)
		}
		for _, k := range w.concerned(s) {
			luck++
			w.send(s, k, a.many[luck%len(a.many)])
		}
	}
	if a.flag {
		w.die(act{kind: "restart"})
	}
}

// concerned are the keys that the node or the sink knows, in order.
func (w *world) concerned(s *sink) []fault.Key {
	keys := w.set.Keys()
	for _, p := range w.places {
		if _, told := s.told[p.key]; told && w.set.Get(p.key) == nil {
			keys = append(keys, p.key)
		}
	}
	return keys
}

func (w *world) send(s *sink, k fault.Key, luck int) {
	var active, hidden bool
	var b fault.Belief
	if f := w.set.Get(k); f != nil {
		active, hidden, b = f.Active, w.set.Hidden(f, w.clock), f.Belief
	}
	var told *fault.Told
	if t, ok := s.told[k]; ok {
		told = &t
	}
	what := fault.Due(active, hidden, b.Notice, told)
	if what == fault.Nothing && s.forgets && told != nil && active {
		what = fault.SendRaise // told again and again
	}
	if what == fault.Nothing {
		return
	}
	if told == nil || what == fault.SendClear { // from now on it may have heard
		s.told[k] = fault.Told{}
	}
	if s.unsure[k] = luck >= 2; luck == 2 {
		return
	}
	if what == fault.SendClear {
		delete(s.believes, k)
	} else {
		s.believes[k] = true
	}
	if luck == 3 {
		return
	}
	if what == fault.SendClear {
		delete(s.told, k)
	} else {
		s.told[k] = fault.Told{Occurrence: b.Occurrence, Severity: b.Shown(), Notice: b.Notice}
	}
}

// hub follows the node's durable events by batches that come twice, out of
// order or not at all.
type hub struct{ replica *fault.Replica }

func (h *hub) receive(w *world, order []int) {
	if w.broken {
		return // another epoch, another replica
	}
	for _, shift := range order {
		from := max(0, int(h.replica.Next)-1+shift)
		to := min(w.durable, from+5)
		if from >= to {
			continue
		}
		batch := slices.Clone(w.log[from:to])
		if shift%2 == 0 {
			slices.Reverse(batch)
		}
		next := h.replica.Next
		err := h.replica.Apply(batch)
		if err == nil && h.replica.Next < next {
			w.t.Fatalf("the replica went back from %d to %d", next, h.replica.Next)
		}
	}
}

func (h *hub) catchUp(w *world) {
	if err := h.replica.Apply(w.log[h.replica.Next-1 : w.durable]); err != nil {
		w.t.Fatalf("catching up: %v", err)
	}
}
