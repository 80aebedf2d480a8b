package fault_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

func TestSenseIsAnObjectInOrder(t *testing.T) {
	s := fault.NewSense(map[string]string{"b": "2", "a": "\"1\"", "c": ""})
	b, err := json.Marshal(s)
	if err != nil || string(b) != `{"a":"\"1\"","b":"2","c":""}` {
		t.Errorf("got %s, %v", b, err)
	}
	var back fault.Sense
	if err := json.Unmarshal(b, &back); err != nil || !slices.Equal(back, s) {
		t.Errorf("got back %v, %v", back, err)
	}
	if s.Get("b") != "2" || s.Get("x") != "" || len(s.Map()) != 3 || s.Size() != 7 {
		t.Errorf("b is %q, x is %q, map %v, size %d", s.Get("b"), s.Get("x"), s.Map(), s.Size())
	}
	if err := json.Unmarshal([]byte(`{"a":1}`), &back); err == nil {
		t.Error("a number was taken for a value")
	}
	if fault.NewSense(nil) != nil {
		t.Error("no evidence is nil")
	}
}

// TestSenseOfAnySizeIsCut: whatever the evidence, what is kept is within the
// limit, valid and in order.
func TestSenseOfAnySizeIsCut(t *testing.T) {
	cat := catalogue(t)
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		sense := rapid.MapOfN(rapid.String(), rapid.StringN(0, 80, -1), 0, 8).Draw(t, "sense")
		set := fault.NewSet(cat, fault.Limits{SenseBytes: limit, TextBytes: limit})
		k := key(codePlain, "r")
		l := fault.Look{Check: "c", Started: 1, Ended: 2, Every: every, Observations: []fault.Observation{{
			Key: k, Verdict: fault.Present, Text: rapid.String().Draw(t, "text"), Sense: fault.NewSense(sense),
		}}}
		if _, err := set.Look(&l, fault.Now{Clock: fault.Clock{Wall: epoch}, Shown: epoch}); err != nil {
			t.Fatal(err)
		}
		f := set.Get(k)
		if f.Sense.Size() > limit || len(f.Text) > max(limit, len("…")) || !utf8.ValidString(f.Text) {
			t.Fatalf("limit %d: %d bytes of sense, text %q", limit, f.Sense.Size(), f.Text)
		}
		whole := fault.NewSense(sense).Size() <= limit && len(l.Observations[0].Text) <= limit
		if cut := len(set.Strain().Cut) > 0; cut == whole {
			t.Fatalf("limit %d, cut %v", limit, cut)
		}
		for i, p := range f.Sense {
			if !utf8.ValidString(p.Value) || i > 0 && f.Sense[i-1].Key >= p.Key {
				t.Fatalf("kept %q", f.Sense)
			}
			if rest, cut := strings.CutSuffix(p.Value, "…"); cut && !strings.HasPrefix(sense[p.Key], rest) {
				t.Fatalf("%q became %q", sense[p.Key], p.Value)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	for _, s := range []string{"t/x@a@b", "t/x@"} {
		if k, err := fault.ParseKey(s); err != nil || k.Code != "t/x" || k.String() != s {
			t.Errorf("%q is %v, %v", s, k, err)
		}
	}
	for _, s := range []string{"t/x", "@a", ""} {
		if k, err := fault.ParseKey(s); err == nil {
			t.Errorf("%q was read as %v", s, k)
		}
	}
	for _, c := range []struct {
		owner, resource string
		want            bool
	}{
		{"a", "a", true}, {"a", "a/b", true}, {"a", "ab", false}, {"a/b", "a", false}, {"", "", true}, {"", "a", false},
	} {
		if got := fault.Covers(c.owner, c.resource); got != c.want {
			t.Errorf("%q covers %q: %v", c.owner, c.resource, got)
		}
	}
}

func TestNamesOfVerdictsAndSeverities(t *testing.T) {
	for v := fault.Unknown; v <= fault.NotApplicable; v++ {
		var back fault.Verdict
		if b, err := v.MarshalText(); err != nil || back.UnmarshalText(b) != nil || back != v {
			t.Errorf("%v came back as %v", v, back)
		}
		if v.Conclusive() != (v == fault.Absent || v == fault.Present) {
			t.Errorf("%v conclusive: %v", v, v.Conclusive())
		}
	}
	for s := fault.None; s <= fault.Critical; s++ {
		var back fault.Severity
		if b, err := s.MarshalText(); err != nil || back.UnmarshalText(b) != nil || back != s {
			t.Errorf("%v came back as %v", s, back)
		}
	}
	var s fault.Severity
	if s.UnmarshalText([]byte("cleared")) == nil {
		t.Error("cleared is a state and no severity")
	}
	if got := fault.Severity(9).String(); got != "9" {
		t.Errorf("severity 9 is %q", got)
	}
	if kinds := fault.Kinds(); len(kinds) != 23 || len(slices.Compact(slices.Sorted(slices.Values(kinds)))) != 23 {
		t.Errorf("%d kinds of event", len(kinds))
	}
}

// FuzzFold: a replica folds what another machine sent; nothing it can send may
// end the program.
func FuzzFold(f *testing.F) {
	f.Add([]byte(`{"kind":"shelve","key":{"code":"t/x","resource":"r"}}`), []byte(`{"kind":"boot"}`))
	f.Add([]byte(`{"kind":"raise","key":{"code":"t/x","resource":"r"},"severity":"major"}`), []byte(`{"kind":"remedy-end","key":{"code":"t/x","resource":"r"}}`))
	f.Add([]byte(`{"kind":"fix","key":{"code":"t/x","resource":"r"}}`), []byte(`{"kind":"boot","last":{"boot":5}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a, b fault.Event
		if json.Unmarshal(first, &a) != nil || json.Unmarshal(second, &b) != nil {
			return
		}
		got := fault.Fold(fault.Fold(fault.Fault{}, a), b)
		got.Shelved(b.Clock)
		got.Stale(b.Clock)
		set := fault.NewSet(catalogue(t), fault.DefaultLimits())
		set.Restore([]fault.Belief{got.Belief}, fault.Event{Kind: fault.KindBoot, Clock: b.Clock})
		set.Ticking(b.Clock)
		set.View(got.Key, b.Clock)
		if set.Summary() != set.Recount() {
			t.Errorf("counters of %+v", got.Belief)
		}
	})
}
