package fault_test

import (
	"strings"
	"testing"
)

// TestStateTable goes through the rows of the state table, in its order.
func TestStateTable(t *testing.T) {
	tellAll(t, []story{
		{"a present look raises", "plain.present", "plain.raise", "active major"},
		{"the look may set the severity", "plain.present:critical", "plain.raise", "active critical"},
		{"a raise with a hold waits", "held.present +4m held.present", "", "pending"},
		{"the look after the hold raises", "held.present +4m held.present +1m held.present", "held.raise", "active major"},
		{"time alone raises nothing", "held.present +1h tick", "", "pending"},
		{"an absent look ends pending", "held.present held.absent +5m held.present", "", "pending"},
		{"unknown neither counts nor resets", "held.present +3m held.unknown +2m held.present", "held.raise", "active major"},
		{"not applicable ends pending", "held.present held.na +5m held.present", "", "pending"},
		{"what never was is not remembered", "held.present held.absent", "", "none"},
		{"an absent look of nothing is nothing", "plain.absent", "", "none"},

		{"the same again is no event", "plain.present +5m plain.present", "plain.raise", "active major"},
		{"a severity change is an event at once", "plain.present +1s plain.present:critical", "plain.raise plain.change{critical}", "active critical"},
		{"a lower severity too", "plain.present:critical +1s plain.present:minor", "plain.raise plain.change{minor}", "active minor"},
		{"a fact change is an event", "plain.present,reason=a +5m plain.present,reason=b", "plain.raise plain.change{major b}", "active major"},
		{"a fact that goes is one too", "plain.present,reason=a +5m plain.present", "plain.raise plain.change{major}", "active major"},
		{"a reading is none", "plain.present,elapsed=1 +5m plain.present,elapsed=2", "plain.raise", "active major"},
		{"an undeclared key counts as a reading", "plain.present,x=1 +5m plain.present,x=2", "plain.raise", "active major"},
		{
			"facts change once a minute, the last wins",
			"plain.present,reason=a +2m plain.present,reason=b +10s plain.present,reason=c +10s plain.present,reason=d tick +39s tick +1s tick tick",
			"plain.raise plain.change{major b} plain.change{major d}", "active major",
		},
		{
			"a fact that comes back in time is none",
			"plain.present,reason=a +10s plain.present,reason=b +10s plain.present,reason=a +2m tick",
			"plain.raise", "active major",
		},
		{
			"severity does not wait for the minute and takes the fact along",
			"plain.present,reason=a +10s plain.present,reason=b +10s plain.present:critical,reason=c +2m tick",
			"plain.raise plain.change{critical c}", "active critical",
		},

		{"an absent look clears", "plain.present +1s plain.absent", "plain.raise plain.clear{verified}", "clear"},
		{"one that began before the bad one ended does not", "begin plain.present plain.late-absent", "plain.raise", "active major"},
		{"nor one that was over before", "begin plain.present plain.past-absent", "plain.raise", "active major"},
		{"where looks overlap present wins", "begin plain.absent plain.late-present", "plain.raise", "active major"},
		{
			"an older bad look is no news after a good one",
			"plain.present begin plain.absent plain.past-present", "plain.raise plain.clear{verified}", "clear",
		},
		{"an unknown look clears nothing", "plain.present plain.unknown", "plain.raise", "active major"},
		{"another check clears nothing", "plain.present plain.foreign-absent", "plain.raise", "active major"},
		{"another check changes nothing", "plain.present plain.foreign-present:critical,reason=x +1h plain.foreign-na", "plain.raise", "active major stale"},
		{
			"a long bad look outlasts a short newer one",
			"begin plain.present plain.late-present begin plain.past-present plain.late-absent", "plain.raise", "active major",
		},
		{"a clear with a hold waits", "held.present +5m held.present held.absent +9m held.absent", "held.raise", "clearing major"},
		{"the look after the hold clears", "held.present +5m held.present held.absent +10m held.absent", "held.raise held.clear{verified}", "clear"},
		{"a present look resets the hold", "held.present +5m held.present held.absent +9m held.present +1m held.absent +9m held.absent", "held.raise", "clearing major"},
		{"an unknown one does not", "held.present +5m held.present held.absent +5m held.unknown +5m held.absent", "held.raise held.clear{verified}", "clear"},
		{"time alone clears nothing", "held.present +5m held.present held.absent +14m tick", "held.raise", "clearing major"},

		{"not applicable clears", "plain.present plain.na", "plain.raise plain.clear{not-applicable}", "clear"},
		{"not applicable needs no hold", "always.present always.na", "always.raise always.clear{not-applicable}", "clear"},
		{"not applicable from an older look does not", "begin plain.present plain.late-na", "plain.raise", "active major"},
		{"a bad look from before it is old", "plain.present begin plain.na plain.past-present", "plain.raise plain.clear{not-applicable}", "clear"},

		{"retirement clears", "plain.present plain.retire", "plain.raise plain.clear{retired}", "clear"},
		{"with its shelf and mark", "plain.present plain.shelve=1h plain.ack plain.retire", "plain.raise plain.shelve plain.ack plain.clear{retired}", "clear"},
		{"a shelf without a fault too", "plain.shelve=1h plain.retire", "plain.shelve plain.unshelve", "clear"},
		{"what is pending is forgotten", "held.present held.retire", "", "none"},

		{"three intervals without a look is stale", "plain.present +15m tick +1s tick", "plain.raise plain.stale", "active major stale"},
		{"stale is seen before it is said", "plain.present +15m1s", "plain.raise", "active major stale"},
		{"stale never clears", "plain.present +1000h tick tick", "plain.raise plain.stale", "active major stale"},
		{"an unknown look does not freshen", "plain.present +14m plain.unknown +2m tick", "plain.raise plain.stale", "active major stale"},
		{"a conclusive one does", "plain.present +16m tick plain.present", "plain.raise plain.stale plain.fresh", "active major"},
		{"a good one too", "always.present +16m tick always.absent", "always.raise always.stale always.fresh", "clearing major"},

		{
			"escalation follows age", "worse.present +59m worse.present tick +1m tick +22h59m worse.present tick +1m tick tick",
			"worse.raise worse.escalate{major} worse.escalate{critical}", "active critical",
		},
		{"a clear ends it", "worse.present +2h worse.absent tick worse.present tick", "worse.raise worse.clear{verified} worse.raise", "active minor"},
		{"three raises in a day recur", "plain.present plain.absent +1h plain.present plain.absent +1h plain.present", "plain.raise plain.clear{verified} plain.raise plain.clear{verified} plain.raise", "active major recurring"},
		{"three in more do not", "plain.present plain.absent +12h plain.present plain.absent +12h1s plain.present", "plain.raise plain.clear{verified} plain.raise plain.clear{verified} plain.raise", "active major"},
		{"a drill never recurs", "dplain.present dplain.absent +1h dplain.present dplain.absent +1h dplain.present", "dplain.raise dplain.clear{verified} dplain.raise dplain.clear{verified} dplain.raise", "active major"},
	})
}

// TestOperator goes through what people may do.
func TestOperator(t *testing.T) {
	tellAll(t, []story{
		{"ack", "plain.present plain.ack plain.present", "plain.raise plain.ack", "active major ack"},
		{"ack and unack", "plain.present plain.ack plain.unack", "plain.raise plain.ack plain.unack", "active major"},
		{"an ack ends when the shown severity rises", "plain.present plain.ack plain.present:critical", "plain.raise plain.ack plain.change{critical}", "active critical"},
		{"it stays when it falls", "plain.present plain.ack plain.present:minor", "plain.raise plain.ack plain.change{minor}", "active minor ack"},
		{"or facts change", "plain.present plain.ack +1m plain.present,reason=x", "plain.raise plain.ack plain.change{major x}", "active major ack"},
		{"escalation ends it", "worse.present worse.ack +1h worse.present tick", "worse.raise worse.ack worse.escalate{major}", "active major"},
		{
			"so does a lent severity", "cause.present cause.ack sym.present",
			"cause.raise cause.ack sym.raise sym.mask{cause} cause.change{lent critical}", "active critical",
		},
		{"a new raise knows no old ack", "plain.present plain.ack plain.absent plain.present", "plain.raise plain.ack plain.clear{verified} plain.raise", "active major"},
		{"what is not active is not acked", "plain.present plain.absent plain.ack plain.unack plain.fix plain.unshelve", "plain.raise plain.clear{verified}", "clear"},

		{"a shelf hides", "plain.present plain.shelve=1h", "plain.raise plain.shelve", "active major shelved hidden"},
		{"until its end", "plain.present plain.shelve=1h +59m plain.present tick +1m tick", "plain.raise plain.shelve plain.unshelve", "active major"},
		{"which is seen before it is said", "plain.shelve=1h +1h plain.present", "plain.shelve plain.raise", "active major"},
		{"the fault goes on under it", "plain.present plain.shelve=2h plain.absent plain.present:minor", "plain.raise plain.shelve plain.clear{verified} plain.raise", "active minor shelved hidden"},
		{"it can be ended", "plain.present plain.shelve=1h plain.unshelve", "plain.raise plain.shelve plain.unshelve", "active major"},
		{"it needs an end", "plain.present plain.shelve=0s", "plain.raise", "active major"},
		{"of at most 30 days", "plain.present plain.shelve=720h1s", "plain.raise", "active major"},
		{"30 days will do", "plain.present plain.shelve=720h", "plain.raise plain.shelve", "active major shelved hidden"},

		{"fix asks and a good look clears", "plain.present plain.fix plain.absent", "plain.raise plain.fix plain.clear{verified}", "clear"},
		{"fix alone clears nothing", "plain.present plain.fix tick", "plain.raise plain.fix", "active major fix"},
		{"a good look counts as its hold", "held.present +5m held.present held.fix held.absent", "held.raise held.fix held.clear{verified}", "clear"},
		{"except where the hold always counts", "always.present always.fix always.absent", "always.raise always.fix", "clearing major fix"},
		{"then it clears at the end of the hold", "always.present always.fix always.absent +5m tick always.unknown +5m always.absent", "always.raise always.fix always.clear{verified}", "clear"},
		{"or the mark falls", "always.present always.fix always.absent +5m always.present", "always.raise always.fix always.verify-failed", "active major"},
		{"a bad look drops the mark", "plain.present plain.fix plain.present", "plain.raise plain.fix plain.verify-failed", "active major"},
		{"and tells what changed", "plain.present plain.fix plain.present:critical", "plain.raise plain.fix plain.verify-failed plain.change{critical}", "active critical"},
		{"a look that began before the fix is no answer", "plain.present begin plain.fix plain.late-present plain.late-unknown", "plain.raise plain.fix", "active major fix"},
		{"a look that cannot tell drops it", "plain.present plain.fix plain.unknown", "plain.raise plain.fix plain.verify-inconclusive", "active major"},
		{"no look in twice the timeout too", "plain.present plain.fix +59s tick +1s tick tick", "plain.raise plain.fix plain.verify-inconclusive", "active major"},
		{"another check is no answer", "plain.present plain.fix plain.foreign-absent plain.foreign-unknown plain.foreign-present", "plain.raise plain.fix", "active major fix"},
		{"the mark survives a restart", "plain.present plain.fix restart plain.present", "plain.raise plain.fix boot plain.verify-failed", "active major"},
		{"and so does its time", "plain.present plain.fix reboot=1m tick", "plain.raise plain.fix boot plain.verify-inconclusive", "active major unverified hidden"},
		{"an ack does not take its place", "plain.present plain.fix plain.ack plain.present", "plain.raise plain.fix plain.verify-failed", "active major"},
		{"a fix takes the place of an ack", "plain.present plain.ack plain.fix", "plain.raise plain.ack plain.fix", "active major fix"},
		{"where no look can tell, fix clears", "byhand.present byhand.fix", "byhand.raise byhand.fix byhand.clear{operator}", "clear"},
	})
}

// TestFlapping needs four transitions in little time.
func TestFlapping(t *testing.T) {
	const on = "plain.present plain.absent plain.present plain.absent "
	const made = "plain.raise plain.clear{verified} plain.raise plain.flap-on"
	tellAll(t, []story{
		{"the fourth transition latches", on, made, "active major flapping"},
		{"a raise can be the one", "plain.present plain.na plain.present plain.na plain.present", "plain.raise plain.clear{not-applicable} plain.raise plain.clear{not-applicable} plain.raise plain.flap-on", "active major flapping recurring"},
		{"looks ten minutes apart never do", strings.Repeat("plain.present +10m plain.absent +10m ", 10), strings.TrimSpace(strings.Repeat("plain.raise plain.clear{verified} ", 10)), "clear recurring"},
		{"latched, looks make no event", on + "plain.present plain.absent plain.present:critical", made, "active major flapping"},
		{"calm after a good look clears", on + "+10m plain.absent +10m plain.absent +10m plain.absent +6m tick +1m tick", made + " plain.flap-off plain.clear{verified}", "clear"},
		{"calm after a bad look stays", on + "plain.present +10m plain.present +10m plain.present +10m plain.present +11m tick +1m tick tick", made + " plain.flap-off", "active major"},
		{"every transition keeps it on", on + "+20m plain.present +15m tick", made, "active major flapping"},
		{"a fix is answered at once", on + "plain.fix plain.absent", made + " plain.fix plain.flap-off plain.clear{verified}", "clear"},
		{"also by a bad look", on + "plain.fix plain.present", made + " plain.fix plain.verify-failed", "active major flapping"},
		{"or by none", on + "plain.fix plain.unknown", made + " plain.fix plain.verify-inconclusive", "active major flapping"},
		{"a fixed fault clears and does not latch", "plain.present plain.absent plain.present plain.fix plain.absent", "plain.raise plain.clear{verified} plain.raise plain.fix plain.clear{verified}", "clear"},
		{"the penalty outlives a restart", "plain.present plain.absent plain.present restart=1s plain.absent", "plain.raise plain.clear{verified} plain.raise boot plain.flap-on", "active major flapping"},
		{"and fades over a reboot", "plain.present plain.absent plain.present reboot=1h plain.absent", "plain.raise plain.clear{verified} plain.raise boot plain.clear{verified}", "clear"},
		{"the latch outlives a restart, a look decides", on + "reboot=2h tick plain.absent", made + " boot plain.flap-off plain.clear{verified}", "clear"},
		{"not applicable ends it", on + "plain.na", made + " plain.clear{not-applicable}", "clear"},
	})
}

// TestRestart shows what a new process knows of an old one's faults.
func TestRestart(t *testing.T) {
	tellAll(t, []story{
		{"a fault stands, unverified", "plain.present restart=1m", "plain.raise boot", "active major unverified hidden"},
		{"a look verifies it", "plain.present reboot=1h plain.present", "plain.raise boot", "active major"},
		{"any look is newer than the old ones", "other.present other.present other.present restart plain.present other.absent", "other.raise boot plain.raise other.clear{verified}", "clear"},
		{"unverified hides for two intervals", "plain.present restart +10m", "plain.raise boot", "active major unverified"},
		{"an unknown look verifies nothing", "plain.present restart plain.unknown", "plain.raise boot", "active major unverified hidden"},
		{"pending is lost", "held.present +4m restart +1m held.present", "boot", "pending"},
		{"a shelf goes on", "plain.shelve=1h restart=30m plain.present +29m59s", "plain.shelve boot plain.raise", "active major shelved stale hidden"},
		{"and ends", "plain.shelve=1h reboot=30m +30m tick plain.present", "plain.shelve boot plain.unshelve plain.raise", "active major"},
		{"staleness begins anew", "plain.present +10m restart +10m tick", "plain.raise boot", "active major unverified"},
		{"what was told stale stays so", "plain.present +16m tick restart plain.present", "plain.raise plain.stale boot plain.fresh", "active major"},
		{"adoption makes it active and unverified", "plain.adopt", "plain.adopt", "active major unverified hidden"},
		{"what is active is not adopted", "plain.present plain.adopt", "plain.raise", "active major"},
		{"a look clears what was adopted", "plain.adopt plain.absent", "plain.adopt plain.clear{verified}", "clear"},
		{"an older trace is adopted too", "plain.present plain.absent plain.adopt=xx plain.present", "plain.raise plain.clear{verified} plain.adopt", "active major"},
	})
}

// TestRemedies holds automatic remedies to their budget.
func TestRemedies(t *testing.T) {
	tellAll(t, []story{
		{"only an active fault is mended", "auto.start auto.present auto.start", "auto.raise auto.remedy-start", "active major"},
		{"one at a time", "auto.present auto.start +10m auto.start auto.end", "auto.raise auto.remedy-start auto.remedy-end", "active major"},
		{"the backoff passes first", "auto.present auto.start auto.end +9m auto.start +1m auto.start", "auto.raise auto.remedy-start auto.remedy-end auto.remedy-start", "active major"},
		{
			"two an hour", "auto.present auto.start auto.end +10m auto.start auto.end +49m auto.start",
			"auto.raise auto.remedy-start auto.remedy-end auto.remedy-start auto.remedy-end", "active major stale",
		},
		{
			"then again", "auto.present auto.start auto.end +10m auto.start auto.end +50m auto.start",
			"auto.raise auto.remedy-start auto.remedy-end auto.remedy-start auto.remedy-end auto.remedy-start", "active major stale",
		},
		{
			"a restart forgets the one in flight, not the count", "auto.present auto.start restart +10m auto.start auto.end +10m auto.start",
			"auto.raise auto.remedy-start boot auto.remedy-start auto.remedy-end", "active major stale unverified",
		},
		{"it may end after the clear", "auto.present auto.start auto.absent auto.end", "auto.raise auto.remedy-start auto.clear{verified} auto.remedy-end", "clear"},
		{"codes without one have none", "plain.present plain.start", "plain.raise", "active major"},
	})
}

// TestFlapOffKeepsTheHold: calm, with a good look, a fault still has to be seen
// well for as long as its hold says.
func TestFlapOffKeepsTheHold(t *testing.T) {
	const on = "always.present always.na always.present always.na always.present"
	const made = "always.raise always.clear{not-applicable} always.raise always.clear{not-applicable} always.raise always.flap-on"
	tellAll(t, []story{
		{"not yet", on + " +80m always.absent +9m tick", made + " always.flap-off", "clearing major recurring"},
		{"at the end of the hold", on + " +80m always.absent +9m tick +1m always.absent", made + " always.flap-off always.clear{verified}", "clear recurring"},
		{"seen long enough while latched", on + " +32m always.absent +10m always.absent +15m tick", made + " always.flap-off always.clear{verified}", "clear recurring"},
	})
}

// TestFactsWaitWhileFlapping: what waits when a fault is latched stays untold.
func TestFactsWaitWhileFlapping(t *testing.T) {
	tellAll(t, []story{{
		"a latched fault makes no change event",
		"plain.present plain.absent plain.present,reason=a plain.present,reason=b plain.absent +2m tick",
		"plain.raise plain.clear{verified} plain.raise plain.flap-on", "active major flapping",
	}})
}

// TestNewestLook: a bad look that ends late counts, and yet is not the newest.
func TestNewestLook(t *testing.T) {
	tellAll(t, []story{
		{"it keeps nothing fresh", "plain.present begin +10m plain.present plain.late-present +10m", "plain.raise", "active major"},
		{"nor does it open the way to a look from before", "plain.present begin plain.na plain.late-present plain.past-present", "plain.raise plain.clear{not-applicable} plain.raise", "active major"},
	})
}
