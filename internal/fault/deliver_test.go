package fault_test

import (
	"errors"
	"testing"

	"allclear/internal/fault"
)

func TestDue(t *testing.T) {
	told := func(notice uint64) *fault.Told { return &fault.Told{Notice: notice} }
	cases := []struct {
		name           string
		active, hidden bool
		notice         uint64
		told           *fault.Told
		want           fault.Send
	}{
		{"new", true, false, 1, nil, fault.SendRaise},
		{"new and hidden", true, true, 1, nil, fault.Nothing},
		{"told already", true, false, 1, told(1), fault.Nothing},
		{"something to hear", true, false, 2, told(1), fault.SendRaise},
		{"something to hear, hidden", true, true, 2, told(1), fault.Nothing},
		{"told more than is known", true, false, 1, told(9), fault.SendRaise},
		{"over", false, false, 1, told(1), fault.SendClear},
		{"over and hidden", false, true, 1, told(1), fault.SendClear},
		{"over and never told", false, false, 1, nil, fault.Nothing},
	}
	for _, c := range cases {
		if got := fault.Due(c.active, c.hidden, c.notice, c.told); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestNotice: what people must hear grows it, what they need not does not.
func TestNotice(t *testing.T) {
	cases := []struct {
		name, before, happens string
		grows                 uint64
	}{
		{"raise", "", "plain.present", 1},
		{"the same again", "plain.present", "+5m plain.present,elapsed=1", 0},
		{"a fact", "plain.present", "+5m plain.present,reason=x", 0},
		{"severity", "plain.present", "plain.present:critical", 1},
		{"a lower one", "plain.present:critical", "plain.present:minor", 1},
		{"ack", "plain.present", "plain.ack", 0},
		{"verify-failed", "plain.present plain.fix", "plain.present", 1},
		{"verify-inconclusive", "plain.present plain.fix", "plain.unknown", 1},
		{"shelf", "plain.present", "plain.shelve=1h", 0},
		{"end of a shelf", "plain.present plain.shelve=1h", "plain.unshelve", 1},
		{"stale", "plain.present", "+16m tick", 0},
		{"flapping", "plain.present plain.absent plain.present", "plain.absent", 0},
		{"adoption of what nobody was surely told", "", "plain.adopt", 1},
	}
	for _, c := range cases {
		n := newNode(t)
		notice := func() uint64 {
			if f := n.set.Get(subjects()["plain"].key); f != nil {
				return f.Notice
			}
			return 0
		}
		n.tell(c.before)
		before := notice()
		n.tell(c.happens)
		if got := notice() - before; got != c.grows {
			t.Errorf("%s: notice grew by %d, want %d", c.name, got, c.grows)
		}
	}
	n := newNode(t)
	n.tell("worse.present +1h tick")
	if got := n.set.Get(subjects()["worse"].key).Notice; got != 2 {
		t.Errorf("after an escalation notice is %d", got)
	}
	n.tell("sym.present cause.present")
	if got := n.set.Get(subjects()["cause"].key).Notice; got != 2 {
		t.Errorf("a cause that shows more is to be told again: notice %d", got)
	}
	n.tell("cause.absent")
	if got := n.set.Get(subjects()["sym"].key).Notice; got != 2 {
		t.Errorf("after the end of its mask notice is %d", got)
	}
	n.tell("plain.adopt=xxxx plain.present:critical")
	if f := n.set.Get(subjects()["plain"].key); f.Notice != 5 {
		t.Errorf("an adopted fault goes on from what was told: notice %d", f.Notice)
	}
}

func TestHoldable(t *testing.T) {
	cases := []struct {
		before, happens string
		want            bool
	}{
		{"", "plain.present", true},
		{"plain.present", "plain.present:critical", true},
		{"plain.present:critical", "plain.present:minor", false},
		{"plain.present", "plain.absent", false},
		{"plain.present", "plain.na", false},
		{"plain.present", "plain.retire", false},
		{"plain.present", "plain.ack", false},
		{"plain.present plain.ack", "plain.unack", false},
		{"plain.present", "plain.shelve=1h", false},
		{"plain.present plain.shelve=1h", "plain.unshelve", false},
		{"plain.present plain.shelve=1h +1h", "tick", true},
		{"plain.present", "plain.fix", false},
		{"plain.present plain.fix", "plain.present", true},
		{"plain.present plain.fix", "plain.present:minor", false},
		{"plain.present plain.fix", "plain.unknown", true},
		{"plain.present +16m", "tick", true},
		{"plain.present +16m tick", "plain.present", true},
		{"plain.present plain.absent plain.present", "plain.absent", true},
		{"worse.present +1h", "tick", true},
		{"plain.present,reason=a +1h", "plain.present,reason=b", false},
		{"", "plain.adopt", true},
		{"auto.present", "auto.start", false},
		{"cause.present", "sym.present", true},
		{"plain.present", "plain.present", true},
		{"byhand.present", "byhand.fix", false},
		{"plain.present plain.absent plain.present plain.absent plain.absent +50m", "tick", false},
	}
	for _, c := range cases {
		n := newNode(t)
		n.tell(c.before)
		from := len(n.log)
		old := map[fault.Key]*fault.Fault{}
		for _, k := range n.set.Keys() {
			old[k] = n.set.Get(k)
		}
		n.tell(c.happens)
		events := n.log[from:]
		var before *fault.Fault
		if len(events) > 0 {
			before = old[events[0].Key]
		}
		if got := fault.Holdable(before, events); got != c.want {
			t.Errorf("%q then %q (%s): holdable %v, want %v", c.before, c.happens, render(events), got, c.want)
		}
	}
}

// TestLookHolding: one look raises, worsens and clears while nothing can be
// stored; the clear is taken back and costs the others nothing.
func TestLookHolding(t *testing.T) {
	n := newNode(t)
	n.tell("plain.present sub.present sub.fix")
	l := n.begin(subjects()["plain"])
	l.Observations = []fault.Observation{
		{Key: key(codePlain, "r"), Verdict: fault.Absent},
		{Key: key(codePlain, "r/sub"), Verdict: fault.Present, Severity: fault.Minor},
		{Key: key(codePlain, "r/new"), Verdict: fault.Present, Severity: fault.Critical},
	}
	out, err := n.set.LookHolding(l, n.now())
	if err != nil {
		t.Fatal(err)
	}
	if got := render(out.Events); got != "sub.verify-failed t/plain@r/new.raise" {
		t.Errorf("events %q", got)
	}
	if len(out.Withheld) != 2 || out.Withheld[0].Resource != "r" || out.Withheld[1].Resource != "r/sub" {
		t.Errorf("withheld %v", out.Withheld)
	}
	n.append(out.Events)
	if got := n.state(key(codePlain, "r")); got != "active major" {
		t.Errorf("the fault that could not be cleared is %q", got)
	}
	if got := n.state(key(codePlain, "r/sub")); got != "active major" {
		t.Errorf("the mark answered and the severity as stored, got %q", got)
	}
	n.audit()
	l = n.begin(subjects()["plain"])
	l.Complete = true
	out, err = n.set.LookHolding(l, n.now())
	if err != nil || len(out.Events) != 0 || len(out.Withheld) != 2 {
		t.Errorf("nothing is retired while it cannot be stored: %+v, %v", out, err)
	}
}

func TestReplica(t *testing.T) {
	n := newNode(t)
	n.tell("sym.present cause.present plain.present reboot=1h plain.absent cause.shelve=1h")
	r := fault.NewReplica("e1")
	if err := r.Apply(n.log[:3]); err != nil {
		t.Fatal(err)
	}
	gap, ok := errors.AsType[*fault.GapError](r.Apply(n.log[4:]))
	if !ok || gap.Want != 4 || gap.Got != 5 {
		t.Errorf("a gap answered %v", gap)
	}
	if err := r.Apply(n.log[1:]); err != nil {
		t.Error(err)
	}
	if err := r.Apply(n.log); err != nil || r.Next != uint64(len(n.log)+1) {
		t.Errorf("the whole again: %v, wants %d", err, r.Next)
	}
	for _, k := range n.set.Keys() {
		if got, want := text(t, r.Faults[k].Belief), text(t, n.set.Get(k).Belief); got != want {
			t.Errorf("replica %s\nnode    %s", got, want)
		}
	}
	other := n.log[0]
	other.Epoch = "e2"
	if err := r.Apply([]fault.Event{other}); err == nil {
		t.Error("an event of another epoch was taken")
	}
}
