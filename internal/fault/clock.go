package fault

import "time"

// Clock is one reading of the clocks of a node.
type Clock struct {
	// Wall is civil time. It may jump either way.
	Wall time.Time `json:"wall"`
	// Boot is CLOCK_BOOTTIME: the time since the machine booted, suspend
	// included. It never jumps, and begins anew with each boot.
	Boot time.Duration `json:"boot"`
	// BootID names the boot in which Boot counts (random/boot_id).
	BootID string `json:"boot_id"`
}

// Since is the time that passed from earlier to c, never negative. Within one
// boot it is exact; across boots it is what the wall clock admits.
func (c Clock) Since(earlier Clock) time.Duration {
	if c.BootID == earlier.BootID {
		return max(0, c.Boot-earlier.Boot)
	}
	return max(0, c.Wall.Sub(earlier.Wall))
}

// Now is the moment of a step.
type Now struct {
	Clock
	// Shown is the time that events of this step carry: Wall, but later than
	// that of every earlier event. The journal keeps it growing.
	Shown time.Time
	// Order is the present value of the process-wide counter that orders looks.
	Order uint64
}

// Deadline is an end that a set-back clock cannot postpone and a reboot cannot
// lose. It is reached when the wall clock passes Until or when Left has run
// down, whichever comes first.
type Deadline struct {
	Until time.Time     `json:"until"`
	Left  time.Duration `json:"left"` // what was left at Mark
	Mark  Clock         `json:"mark"`
}

// NewDeadline returns the deadline that ends d after now.
func NewDeadline(now Clock, d time.Duration) *Deadline {
	return &Deadline{Until: now.Wall.Add(d), Left: d, Mark: now}
}

// Reached claims that the deadline has passed. No deadline has.
func (d *Deadline) Reached(now Clock) bool {
	return d == nil || !now.Wall.Before(d.Until) || now.Since(d.Mark) >= d.Left
}

// Remaining is the time left, 0 when the deadline is reached.
func (d *Deadline) Remaining(now Clock) time.Duration {
	return max(0, min(d.Until.Sub(now.Wall), d.Left-now.Since(d.Mark)))
}

// Rebase carries the deadline over a boot. last is the newest clock reading
// that the previous boot wrote: up to it the time ran on that boot's clock,
// after it only the wall clock can tell.
func (d *Deadline) Rebase(last, now Clock) *Deadline {
	if d == nil {
		return nil
	}
	left := d.Left
	if last.BootID == d.Mark.BootID {
		left -= last.Since(d.Mark)
		left -= now.Since(last)
	} else {
		left -= now.Since(d.Mark)
	}
	return &Deadline{Until: d.Until, Left: max(0, left), Mark: now}
}
