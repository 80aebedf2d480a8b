package notify

import (
	"math"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

const (
	// A flood is more than floodMost raises on the node within floodTime.
	floodMost = 10
	floodTime = 10 * time.Minute
	// The first digest of a flood waits until nothing has come for as long as
	// quietTime, but no longer than gatherTime. Further ones follow at floodTime.
	quietTime  = 15 * time.Second
	gatherTime = 2 * time.Minute
	// lateAfter is how long a best-effort message is tried on its own.
	lateAfter = 24 * time.Hour
)

// flood is what a courier to people remembers of a flood. A restart costs at
// most one digest more.
type flood struct {
	since time.Time // when the first message was held back for the next digest
	grew  time.Time // when there were more of them last
	size  int       // how many there were then
	last  time.Time // when the last digest was delivered
}

// arrange makes messages of what is due, and says how long it may take until
// more is.
func (c *courier) arrange(due []*journal.Pending, now time.Time) ([]parcel, time.Duration) {
	var parcels []parcel
	single, late := due, []*journal.Pending(nil)
	if c.BestEffort {
		single, late = c.late(due, now)
	}
	wait := c.idle(now)
	if c.People && (len(single) > floodMost || c.flooding(now)) {
		var held []*journal.Pending
		single, held = urgent(single)
		if d, rest := c.digest(held, now); d != nil {
			parcels = append(parcels, *d)
		} else {
			wait = min(wait, rest)
		}
	} else {
		c.flood = flood{last: c.flood.last}
	}
	for _, p := range single {
		parcels = append(parcels, parcel{Message: c.describe(p), about: []*journal.Pending{p}})
	}
	if len(late) > 0 {
		m := c.bundle(late, now)
		m.Late = true
		parcels = append(parcels, m)
	}
	return parcels, wait
}

// late divides off what has been tried in vain for a day.
func (c *courier) late(due []*journal.Pending, now time.Time) (fresh, late []*journal.Pending) {
	for _, p := range due {
		if t := c.tries[p.Key]; t != nil && now.Sub(t.first) > lateAfter {
			late = append(late, p)
		} else {
			fresh = append(fresh, p)
		}
	}
	return fresh, late
}

// urgent divides off what no flood may hold back: critical faults, and the end
// of those.
func urgent(due []*journal.Pending) (single, held []*journal.Pending) {
	for _, p := range due {
		if p.Send == fault.SendRaise && p.Shown == fault.Critical ||
			p.Send == fault.SendClear && p.Told.Severity == fault.Critical {
			single = append(single, p)
		} else {
			held = append(held, p)
		}
	}
	return single, held
}

// digest makes one message of what was held back, when its time has come; else
// it says how long that takes. One message alone is sent as it is.
func (c *courier) digest(held []*journal.Pending, now time.Time) (*parcel, time.Duration) {
	if len(held) == 0 {
		c.flood = flood{last: c.flood.last}
		return nil, math.MaxInt64
	}
	if c.flood.since.IsZero() {
		c.flood.since = now
	}
	if len(held) > c.flood.size {
		c.flood.grew = now
	}
	c.flood.size = len(held)
	wait := min(quietTime-now.Sub(c.flood.grew), gatherTime-now.Sub(c.flood.since))
	if !c.flood.last.IsZero() {
		wait = max(wait, floodTime-now.Sub(c.flood.last))
	}
	if wait > 0 {
		return nil, wait
	}
	p := parcel{Message: c.describe(held[0]), about: held}
	if len(held) > 1 {
		p = c.bundle(held, now)
	}
	p.paced = true
	return &p, 0
}

// bundle makes one message of many.
func (c *courier) bundle(about []*journal.Pending, now time.Time) parcel {
	m := c.own(Digest, now)
	for _, p := range about {
		m.Items = append(m.Items, c.describe(p))
	}
	return parcel{Message: m, about: about}
}

// flooding claims a flood on the node: real faults, not those hidden behind
// their causes.
func (c *courier) flooding(now time.Time) bool {
	from, raises := now.Add(-floodTime).Unix(), 0
	c.opts.Journal.Page(0, 0, func(f *fault.Fault) bool {
		if f.Key.Drill() || len(f.MaskedBy) > 0 {
			return false
		}
		for _, at := range f.Raises {
			if at > from {
				raises++
			}
		}
		return false
	})
	return raises > floodMost
}

// idle is how long it may take until time alone makes something due.
func (c *courier) idle(now time.Time) time.Duration {
	wait := time.Minute
	if s := c.opts.Journal.Summary(); s.Active+s.Drills > 0 {
		wait = poll
	}
	if !c.refresh.IsZero() {
		wait = min(wait, max(0, c.refresh.Sub(now)))
	}
	for _, t := range c.tries {
		if t.next.After(now) {
			wait = min(wait, t.next.Sub(now))
		}
	}
	return wait
}
