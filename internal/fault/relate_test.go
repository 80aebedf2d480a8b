package fault_test

import (
	"testing"

	"allclear/internal/fault"
)

// TestMasking shows the cause and not the symptom; and only its own cause.
func TestMasking(t *testing.T) {
	tellAll(t, []story{
		{"an active cause masks", "sym.present:minor cause.present", "sym.raise cause.raise sym.mask{cause} cause.change{lent minor}", "active minor masked hidden"},
		{"and is shown as severe as what it masks", "cause.present sym.present", "cause.raise sym.raise sym.mask{cause} cause.change{lent critical}", "active critical"},
		{"what it lent goes back", "cause.present sym.present sym.absent", "cause.raise sym.raise sym.mask{cause} cause.change{lent critical} sym.clear{verified} cause.change{lent none}", "active major"},
		{"it follows the symptom", "cause.present sym.present:major sym.present:critical", "cause.raise sym.raise sym.mask{cause} cause.change{lent major} sym.change{critical} cause.change{lent critical}", "active critical"},
		{
			"masks go down a chain and severity up it", "cause.present middle.present sym.present",
			"cause.raise middle.raise middle.mask{cause} cause.change{lent major} sym.raise sym.mask{cause,middle} cause.change{lent critical} middle.change{lent critical}",
			"active critical",
		},
		{
			"also where each knows only the next", "cause.present middle.present deep.present",
			"cause.raise middle.raise middle.mask{cause} cause.change{lent major} deep.raise deep.mask{middle} middle.change{lent critical} cause.change{lent critical}",
			"active critical",
		},
		{
			"a fault raised anew follows its causes anew", "sym.present sym.absent sym.present cause.present",
			"sym.raise sym.clear{verified} sym.raise cause.raise sym.mask{cause} cause.change{lent critical}", "active critical masked hidden",
		},
		{
			"the end of one cause of two is no end", "sym.present middle.present cause.present middle.absent",
			"sym.raise middle.raise sym.mask{middle} middle.change{lent critical} cause.raise sym.mask{cause,middle} middle.mask{cause} cause.change{lent critical} middle.clear{verified} sym.mask{cause}",
			"active critical masked hidden",
		},
		{"a fault that declares no cause is not masked", "lone.present cause.present", "lone.raise cause.raise", "active critical"},
		{"nor by a code that its entry does not allow", "unruly.present cause.present", "unruly.raise cause.raise", "active major"},
		{"a real fault is not masked by a drill", "mixed.present dcause.present", "mixed.raise dcause.raise", "active critical"},
		{"nor a drill by a real one", "dsym.present cause.present", "dsym.raise cause.raise", "active critical hidden"},
		{"but by its own", "dsym.present cause.present dcause.present", "dsym.raise cause.raise dcause.raise dsym.mask{dcause} dcause.change{lent critical}", "active critical masked hidden"},
		{"a shelved cause masks nothing", "sym.present cause.shelve=1h cause.present", "sym.raise cause.shelve cause.raise", "active critical hidden"},
		{"shelving it ends the mask", "sym.present cause.present cause.shelve=1h", "sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.shelve sym.unmask cause.change{lent none}", "active critical hidden"},
		{
			"the end of the shelf brings it back", "sym.present cause.present cause.shelve=1h +1h tick",
			"sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.shelve sym.unmask cause.change{lent none} cause.unshelve cause.stale sym.stale", "active critical stale",
		},
		{
			"a stale cause masks nothing", "sym.present cause.present +15m sym.present +1s tick",
			"sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.stale sym.unmask cause.change{lent none}", "active critical hidden",
		},
		{
			"a fresh one does again", "sym.present cause.present +15m sym.present +1s tick cause.present",
			"sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.stale sym.unmask cause.change{lent none} cause.fresh sym.mask{cause} cause.change{lent critical}", "active critical masked hidden",
		},
		{"also where nobody had said that it was stale", "sym.absent cause.present +16m sym.present cause.present", "cause.raise sym.raise sym.mask{cause} cause.change{lent critical}", "active critical masked hidden"},
		{"the mask outlives a restart", "sym.present cause.present restart sym.present", "sym.raise cause.raise sym.mask{cause} cause.change{lent critical} boot", "active critical masked hidden"},
		{"a retired cause masks nothing", "sym.present cause.present cause.retire", "sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.clear{retired} sym.unmask", "active critical hidden"},
		{"an adopted one does", "sym.present cause.adopt", "sym.raise cause.adopt sym.mask{cause} cause.change{lent critical}", "active critical masked hidden"},
		{"an escalation is lent too", "cause.present sym.present:warning", "cause.raise sym.raise sym.mask{cause} cause.change{lent warning}", "active major"},
	})
}

// TestHidden is about what is not told yet.
func TestHidden(t *testing.T) {
	const unmasked = "sym.present middle.absent cause.present cause.absent"
	const made = "sym.raise cause.raise sym.mask{cause} cause.change{lent critical} cause.clear{verified} sym.unmask"
	tellAll(t, []story{
		{"after a mask a fault waits for a look of its own", unmasked, made, "active critical hidden"},
		{"a bad one shows it", unmasked + " sym.present", made, "active critical"},
		{"a good one spares it", unmasked + " sym.absent", made + " sym.clear{verified}", "clear"},
		{"an unknown one does not count", unmasked + " sym.unknown", made, "active critical hidden"},
		{"nor one that began before", "begin " + unmasked + " sym.late-present", made, "active critical hidden"},
		{"after two intervals it is told as it stands", unmasked + " +9m59s", made, "active critical hidden"},
		{"then", unmasked + " +10m", made, "active critical"},

		{"a raise waits for looks at its causes", "sym.present", "sym.raise", "active critical hidden"},
		{"for 30 seconds", "sym.present +29s", "sym.raise", "active critical hidden"},
		{"at most", "sym.present +30s", "sym.raise", "active critical"},
		{"looks at all of them end it", "sym.present cause.absent middle.absent", "sym.raise", "active critical"},
		{"even when they cannot tell", "sym.present cause.unknown middle.unknown", "sym.raise", "active critical"},
		{"one of two does not", "sym.present cause.absent", "sym.raise", "active critical hidden"},
		{"nor one that began before the raise", "begin sym.present cause.late-absent middle.absent", "sym.raise", "active critical hidden"},
		{"a fault without causes waits for nothing", "lone.present", "lone.raise", "active critical"},
	})
}

// TestComplete retires what a complete look did not name.
func TestComplete(t *testing.T) {
	tellAll(t, []story{
		{"what lies below and is not named goes", "sub.present plain.complete", "sub.raise sub.clear{retired}", "clear"},
		{"the resource itself does not", "plain.present plain.complete", "plain.raise", "active major"},
		{"nor what lies elsewhere", "other.present plain.complete", "other.raise", "active major"},
		{"nor other codes", "lone.present plain.complete", "lone.raise", "active critical"},
		{"a shelf goes too", "sub.shelve=1h plain.complete", "sub.shelve sub.unshelve", "clear"},
		{"what a newer look saw stays", "begin sub.present plain.late-complete", "sub.raise", "active major"},
	})
}

type owner func(fault.Key) bool

func (o owner) Owns(k fault.Key) bool { return o(k) }

func TestNoFaultOutlivesItsCheck(t *testing.T) {
	n := newNode(t)
	n.tell("plain.present held.present other.present worse.shelve=1h cause.present cause.absent")
	orphans := n.set.Orphans(owner(func(k fault.Key) bool { return k == subjects()["other"].key }))
	got := map[string]bool{}
	for _, k := range orphans {
		got[nameOf(k)] = true
		n.apply(k, fault.Retire{})
	}
	for _, name := range []string{"plain", "held", "worse"} {
		if !got[name] {
			t.Errorf("%s has no owner and is not an orphan", name)
		}
	}
	if got["other"] || got["cause"] {
		t.Errorf("orphans are %v: other has an owner, cause is clear", got)
	}
	if left := n.set.Orphans(owner(func(fault.Key) bool { return false })); len(left) != 1 {
		t.Errorf("after retirement still there: %v", left)
	}
}

// TestGoneCode: an older version's fault is shown and cleared.
func TestGoneCode(t *testing.T) {
	n := newNode(t)
	k := key("gone/code", "r")
	boot := fault.Event{Kind: fault.KindBoot, Clock: n.clock, At: n.clock.Wall}
	n.set.Restore([]fault.Belief{{Key: k, ID: 7, Active: true, Severity: fault.Major, Check: "old", Every: every}}, boot)
	if v, ok := n.set.View(k, n.clock); !ok || v.Title == "" || !v.Unverified {
		t.Errorf("view %+v, %v", v, ok)
	}
	if _, err := n.set.Apply(k, fault.Observation{Key: k}, n.now()); err == nil {
		t.Error("a look judged a code that the catalogue does not have")
	}
	if got := render(n.apply(k, fault.Retire{})); got != "gone/code@r.clear{retired}" {
		t.Errorf("retiring it made %q", got)
	}
	if _, err := n.set.Apply(key("gone/other", "r"), fault.Retire{}, n.now()); err == nil {
		t.Error("a code that nobody knows was stepped")
	}
}

// TestOneRemedyAResource: two codes of one resource do not mend it at once.
func TestOneRemedyAResource(t *testing.T) {
	n := newNode(t)
	a, b := key(codeAuto, "r"), key(codeAuto, "s")
	n.tell("auto.present auto2.present auto.start")
	if n.set.RemedyAllowed(a, n.clock) || !n.set.RemedyAllowed(b, n.clock) {
		t.Error("the one in flight bars its own resource and no other")
	}
	too := key(codeAutoToo, "r")
	n.tell("too.present")
	if n.set.RemedyAllowed(too, n.clock) || n.tell("too.start") != "" {
		t.Error("two remedies in flight on one resource")
	}
	if got := n.tell("auto.end too.start"); got != "auto.remedy-end too.remedy-start" {
		t.Errorf("the second starts when the first has ended, got %q", got)
	}
}

// TestSettle mends masks that were salvaged without their cause.
func TestSettle(t *testing.T) {
	n := newNode(t)
	n.tell("sym.present cause.present")
	sym := n.set.Get(subjects()["sym"].key).Belief
	lonely := n.set.Get(subjects()["cause"].key).Belief
	for _, c := range []struct {
		salvaged []fault.Belief
		want     string
	}{
		{[]fault.Belief{sym}, "sym.unmask"},
		{[]fault.Belief{lonely}, "cause.change{lent none}"},
		{[]fault.Belief{sym, lonely}, ""},
	} {
		n.set = fault.NewSet(n.cat, fault.DefaultLimits())
		n.set.Restore(c.salvaged, fault.Event{Kind: fault.KindBoot, Clock: n.clock})
		if got := render(n.set.Settle(n.now())); got != c.want {
			t.Errorf("settling made %q, want %q", got, c.want)
		}
		auditSummary(t, n.set, n.clock)
	}
}
