package fault_test

import (
	"testing"
	"time"

	"allclear/internal/fault"
)

// at returns a reading of the clocks: wall and boot time since their origins.
func at(wall, boot time.Duration, id string) fault.Clock {
	return fault.Clock{Wall: epoch.Add(wall), Boot: boot, BootID: id}
}

func TestDeadline(t *testing.T) {
	const h = time.Hour
	set := at(0, h, "a")
	cases := []struct {
		name string
		now  fault.Clock
		left time.Duration
	}{
		{"at once", at(0, h, "a"), 2 * h},
		{"half way", at(h, 2*h, "a"), h},
		{"a tick before its end", at(2*h-1, 3*h-1, "a"), 1},
		{"at its end", at(2*h, 3*h, "a"), 0},
		{"a clock set back does not postpone it", at(-100*h, 2*h+30*time.Minute, "a"), 30 * time.Minute},
		{"nor its end", at(-100*h, 3*h, "a"), 0},
		{"a clock set forward ends it", at(2*h, h+1, "a"), 0},
		{"in another boot the wall clock counts", at(h, 0, "b"), h},
		{"set back in another boot it does not grow", at(-5*h, 0, "b"), 2 * h},
	}
	for _, c := range cases {
		d := fault.NewDeadline(set, 2*h)
		if got := d.Remaining(c.now); got != c.left {
			t.Errorf("%s: %v left, want %v", c.name, got, c.left)
		}
		if got := d.Reached(c.now); got != (c.left == 0) {
			t.Errorf("%s: reached %v with %v left", c.name, got, c.left)
		}
	}
}

func TestDeadlineOverABoot(t *testing.T) {
	const h = time.Hour
	d := fault.NewDeadline(at(0, h, "a"), 10*h)
	cases := []struct {
		name      string
		last, now fault.Clock
		left      time.Duration
	}{
		{"a restart of the process loses nothing", at(2*h, 3*h, "a"), at(3*h, 4*h, "a"), 7 * h},
		{"nor with a clock set back", at(2*h, 3*h, "a"), at(-50*h, 4*h, "a"), 7 * h},
		{"time off counts by the wall clock", at(2*h, 3*h, "a"), at(5*h, 0, "b"), 5 * h},
		{"a clock set back while off takes nothing off", at(2*h, 3*h, "a"), at(-50*h, 0, "b"), 8 * h},
		{"a clock set back before does not hide time in the old boot", at(-50*h, 6*h, "a"), at(-49*h, 0, "b"), 4 * h},
		{"what is over stays over", at(20*h, 21*h, "a"), at(21*h, 0, "b"), 0},
		{"a last reading older than the deadline", at(-h, 0, "a"), at(3*h, 0, "b"), 6 * h},
	}
	for _, c := range cases {
		moved := d.Rebase(c.last, c.now)
		if moved.Left != c.left || !moved.Until.Equal(d.Until) {
			t.Errorf("%s: %v left, want %v; until %v", c.name, moved.Left, c.left, moved.Until)
		}
		again := moved.Rebase(c.now, fault.Clock{Wall: c.now.Wall.Add(-9 * h), Boot: 5, BootID: "c"})
		if again.Left != c.left {
			t.Errorf("%s: a second boot with the clock set back leaves %v, want %v", c.name, again.Left, c.left)
		}
	}
	if d.Left != 10*h {
		t.Error("Rebase changed the deadline in place")
	}
	var none *fault.Deadline
	if !none.Reached(at(0, 0, "a")) || none.Rebase(at(0, 0, "a"), at(0, 0, "b")) != nil {
		t.Error("no deadline is over and stays none")
	}
}
