package fault_test

import (
	"testing"

	"allclear/internal/fault"
)

// TestOrderOfLooks tells looks in the order of the list; only their counters
// say which is newer. Where two overlap, Present wins.
func TestOrderOfLooks(t *testing.T) {
	type look struct {
		started, ended uint64
		verdict        fault.Verdict
	}
	const present, absent, excluded = fault.Present, fault.Absent, fault.NotApplicable
	cases := []struct {
		name   string
		looks  []look
		active bool
	}{
		{"a good one after a bad one", []look{{1, 2, present}, {3, 4, absent}}, false},
		{"it began while the bad one ran", []look{{1, 5, present}, {3, 6, absent}}, true},
		{"it began in the moment the bad one ended", []look{{1, 5, present}, {5, 6, absent}}, true},
		{"it is told first", []look{{3, 6, absent}, {1, 5, present}}, true},
		{"told first and wholly later", []look{{1, 2, present}, {10, 11, absent}, {3, 4, present}}, false},
		{"a long bad one told before a short one", []look{{1, 20, present}, {2, 5, present}, {10, 21, absent}}, true},
		{"until one that began after the long one", []look{{1, 20, present}, {2, 5, present}, {21, 22, absent}}, false},
		{"not applicable from before the bad one", []look{{10, 11, present}, {1, 2, excluded}}, true},
		{"not applicable from after it", []look{{10, 11, present}, {12, 13, excluded}}, false},
		{"a good one from before not applicable", []look{{1, 2, present}, {9, 10, excluded}, {3, 4, present}}, false},
	}
	for _, c := range cases {
		n := newNode(t)
		s := subjects()["plain"]
		for _, step := range c.looks {
			l := n.begin(s)
			l.Started, l.Ended = step.started, step.ended
			l.Observations = []fault.Observation{{Key: s.key, Verdict: step.verdict}}
			n.look(l)
		}
		if f := n.set.Get(s.key); f.Active != c.active {
			t.Errorf("%s: active %v, want %v", c.name, f.Active, c.active)
		}
	}
}
