package fault_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"allclear/internal/fault"
)

func (n *node) seen(k fault.Key, o fault.Observation) fault.Outcome {
	n.t.Helper()
	l := n.begin(subject{key: k, check: "c"})
	o.Key = k
	l.Observations = []fault.Observation{o}
	n.look(l)
	return n.last
}

func TestLimitOnActiveFaults(t *testing.T) {
	n := newNode(t)
	n.set = fault.NewSet(n.cat, fault.Limits{Active: 2})
	bad := fault.Observation{Verdict: fault.Present}
	name := func(i int) fault.Key { return key(codePlain, fmt.Sprintf("r%d", i)) }
	for i := range 2 {
		if out := n.seen(name(i), bad); len(out.Refused) > 0 || !out.Active {
			t.Fatalf("fault %d within the limit: %+v", i, out)
		}
	}
	third := n.seen(name(2), bad)
	if !slices.Equal(third.Refused, []fault.Key{name(2)}) || len(third.Events) > 0 {
		t.Errorf("the third of two: %+v", third)
	}
	strain := n.set.Strain()
	if strain.Active != 2 || strain.MaxActive != 2 || !slices.Equal(strain.Refused, []fault.Key{name(2)}) {
		t.Errorf("strain %+v", strain)
	}
	if out := n.seen(key(codeSystem, "r"), bad); len(out.Refused) > 0 || len(out.Events) != 1 {
		t.Errorf("the node's own faults are exempt, got %+v", out)
	}
	if out := n.seen(key(codePlain, "drill/1/r"), bad); len(out.Refused) > 0 || len(out.Events) != 1 {
		t.Errorf("drills are exempt, got %+v", out)
	}
	if n.seen(name(2), fault.Observation{}); len(n.set.Strain().Refused) != 1 {
		t.Error("an unknown look ended the refusal")
	}
	if out := n.seen(name(0), fault.Observation{Verdict: fault.Absent}); len(out.Events) != 1 {
		t.Fatalf("clear: %+v", out)
	}
	n.seen(key(codeSystem, "r"), fault.Observation{Verdict: fault.Absent})
	if out := n.seen(name(2), bad); len(out.Refused) > 0 || len(out.Events) != 1 || len(n.set.Strain().Refused) > 0 {
		t.Errorf("with room again: %+v, %+v", out, n.set.Strain())
	}
	n.audit()
}

func TestRefusedFaultGoesWithItsCheck(t *testing.T) {
	n := newNode(t)
	n.set = fault.NewSet(n.cat, fault.Limits{Active: 1})
	n.seen(key(codePlain, "a"), fault.Observation{Verdict: fault.Present})
	n.seen(key(codePlain, "b"), fault.Observation{Verdict: fault.Present})
	orphans := n.set.Orphans(owner(func(k fault.Key) bool { return k.Resource == "a" }))
	if !slices.Equal(orphans, []fault.Key{key(codePlain, "b")}) {
		t.Fatalf("orphans %v", orphans)
	}
	n.apply(orphans[0], fault.Retire{})
	if s := n.set.Strain(); len(s.Refused) > 0 {
		t.Errorf("still refused: %v", s.Refused)
	}
}

func TestSenseAndTextAreCut(t *testing.T) {
	n := newNode(t)
	n.set = fault.NewSet(n.cat, fault.Limits{SenseBytes: 64, TextBytes: 16})
	k := key(codePlain, "r")
	long := fault.Observation{
		Verdict: fault.Present, Text: strings.Repeat("é", 100),
		Sense: fault.NewSense(map[string]string{"reason": "short", "evidence": strings.Repeat("日本", 50)}),
	}
	n.seen(k, long)
	f := n.set.Get(k)
	if len(f.Text) > 16 || !utf8.ValidString(f.Text) || !strings.HasSuffix(f.Text, "…") {
		t.Errorf("text %q", f.Text)
	}
	if got := f.Sense.Get("evidence"); f.Sense.Size() > 64 || !utf8.ValidString(got) || !strings.HasSuffix(got, "本…") && !strings.HasSuffix(got, "日…") {
		t.Errorf("%d bytes of sense, evidence %q", f.Sense.Size(), got)
	}
	if f.Sense.Get("reason") != "short" {
		t.Error("the shorter value was cut")
	}
	if s := n.set.Strain(); !slices.Equal(s.Cut, []fault.Key{k}) {
		t.Errorf("cut %v", s.Cut)
	}
	n.seen(k, fault.Observation{})
	if s := n.set.Strain(); len(s.Cut) != 1 {
		t.Error("an unknown look ended the cut")
	}
	if n.apply(k, fault.Retire{}); len(n.set.Strain().Cut) > 0 {
		t.Error("a cleared fault is still cut")
	}
	n.seen(key(codePlain, "drill/1/r"), long)
	if s := n.set.Strain(); len(s.Cut) > 0 {
		t.Errorf("a drill strains the node: %v", s.Cut)
	}
}

// TestForeignBytes: evidence that is not UTF-8 must not differ from itself once
// it has been stored.
func TestForeignBytes(t *testing.T) {
	n := newNode(t)
	k := key(codePlain, "r")
	raw := fault.Observation{
		Verdict: fault.Present, Text: "SSH-2.0-\xff\xfe",
		Sense:  fault.NewSense(map[string]string{"reason": "bad \xc3 bytes", "k\xff": "v"}),
		Remedy: []fault.Remedy{{Text: "plain", Command: "ok"}, {Text: "add \xff", Impact: "\xfe", Command: "echo \xff"}},
	}
	n.seen(k, raw)
	n.audit()
	v, _ := n.set.View(k, n.clock)
	if len(v.Remedy) != 2 || v.Remedy[0].Command != "ok" || v.Remedy[1].Command != "" {
		t.Errorf("steps %+v: a command that is no text is none", v.Remedy)
	}
	n.restart(0, false)
	n.pass(every)
	if out := n.seen(k, raw); len(out.Events) > 0 {
		t.Errorf("the same bytes after a restart made %q", render(out.Events))
	}
}

// TestStepsOfTheNewestLook: a look may know better steps than the one that raised.
func TestStepsOfTheNewestLook(t *testing.T) {
	n := newNode(t)
	k := key(codePlain, "r")
	steps := func(s string) []fault.Remedy { return []fault.Remedy{{Text: s, Impact: "none"}} }
	n.seen(k, fault.Observation{Verdict: fault.Present, Remedy: steps("add a")})
	out := n.seen(k, fault.Observation{Verdict: fault.Present, Remedy: steps("add b")})
	if v, _ := n.set.View(k, n.clock); len(out.Events) > 0 || len(v.Remedy) != 1 || v.Remedy[0].Text != "add b" {
		t.Errorf("%d events, steps %+v", len(out.Events), v.Remedy)
	}
	n.audit()
}

func TestSetFindsAndPages(t *testing.T) {
	n := newNode(t)
	for i := range 10 {
		n.seen(key(codePlain, fmt.Sprintf("r%d", i)), fault.Observation{Verdict: fault.Present})
	}
	n.seen(key(codePlain, "r3"), fault.Observation{Verdict: fault.Absent})
	n.apply(key(codePlain, "r4"), fault.Operator{Op: fault.OpShelve, For: every, Reason: "x"})
	n.seen(key(codePlain, "r4"), fault.Observation{Verdict: fault.Absent})
	if k, ok := n.set.Find(4); !ok || k.Resource != "r3" {
		t.Errorf("id 4 is %v, %v", k, ok)
	}
	gone := n.set.Forget(key(codePlain, "r1"), key(codePlain, "r3"), key(codePlain, "r4"), key(codePlain, "none"))
	if !slices.Equal(gone, []fault.Key{key(codePlain, "r3")}) {
		t.Errorf("forgot %v: r1 is active, r4 shelved", gone)
	}
	if _, ok := n.set.Find(4); ok || n.set.Len() != 9 {
		t.Error("r3 is still there")
	}
	active := func(f *fault.Fault) bool { return f.Active }
	views, more := n.set.Page(1, 3, active, n.clock)
	ids := []uint64{}
	for _, v := range views {
		ids = append(ids, v.ID)
	}
	if !more || !slices.Equal(ids, []uint64{2, 3, 6}) {
		t.Errorf("page %v, more %v", ids, more)
	}
	if views, more = n.set.Page(6, 4, active, n.clock); more || len(views) != 4 {
		t.Errorf("last page has %d, more %v", len(views), more)
	}
	n.seen(key(codePlain, "r3"), fault.Observation{Verdict: fault.Present})
	if k, _ := n.set.Find(11); k.Resource != "r3" {
		t.Error("an id was given twice")
	}
}

func TestOutlook(t *testing.T) {
	n := newNode(t)
	n.tell("plain.absent")
	if n.last.Active || n.last.HoldEnd != 0 {
		t.Errorf("all is well: %+v", n.last)
	}
	n.tell("held.present +2m held.present")
	if want := 3 * 60; !n.last.Active || int(n.last.HoldEnd.Seconds()) != want {
		t.Errorf("pending for two of five minutes: %+v", n.last)
	}
	n.tell("+3m held.present")
	if !n.last.Active || n.last.HoldEnd != 0 {
		t.Errorf("active: %+v", n.last)
	}
	n.tell("held.absent +4m held.absent")
	if want := 6 * 60; !n.last.Active || int(n.last.HoldEnd.Seconds()) != want {
		t.Errorf("clearing for four of ten minutes: %+v", n.last)
	}
	n.tell("+6m held.absent")
	if n.last.Active || n.last.HoldEnd != 0 {
		t.Errorf("cleared: %+v", n.last)
	}
}

func TestRevertAndWithdraw(t *testing.T) {
	n := newNode(t)
	n.tell("plain.present cause.present sym.present")
	before := n.picture()
	step := func() {
		for _, c := range []struct {
			k  fault.Key
			in fault.Input
		}{
			{key(codeCause, "r"), fault.Retire{}},
			{key(codeHeld, "new"), fault.Operator{Op: fault.OpShelve, For: every, Reason: "x", By: "ann"}},
			{key(codePlain, "r"), fault.Operator{Op: fault.OpAck, By: "ann", Reason: "x"}},
		} {
			if _, err := n.set.Apply(c.k, c.in, n.now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	mark := n.set.Checkpoint()
	step()
	after := n.picture()
	touched := n.set.Touched(mark)
	if len(touched) != 4 { // cause, its symptom, held, plain
		t.Errorf("%d faults touched", len(touched))
	}
	n.set.Revert(mark)
	if got := n.picture(); got != before || after == before {
		t.Errorf("reverted\n got %s\nwant %s", got, before)
	}
	auditSummary(t, n.set, n.clock)
	mark = n.set.Checkpoint()
	step()
	after = n.picture()
	w := n.set.Withdraw(mark)
	if got := n.picture(); got != before {
		t.Errorf("withdrawn\n got %s\nwant %s", got, before)
	}
	n.set.Reinstate(w)
	if got := n.picture(); got != after {
		t.Errorf("reinstated\n got %s\nwant %s", got, after)
	}
	auditSummary(t, n.set, n.clock)
}

// picture is all that can be seen of a set.
func (n *node) picture() string {
	var b strings.Builder
	for _, k := range n.set.Keys() {
		v, _ := n.set.View(k, n.clock)
		b.WriteString(text(n.t, v))
		b.WriteByte('\n')
	}
	b.WriteString(text(n.t, n.set.Summary()))
	return b.String()
}
