package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	"allclear/internal/fault"
)

// Check looks at one resource. It owns its resource and all below it, divided
// by "/": no other check judges the same code there.
type Check struct {
	Name     string // what kind of look, such as "watch.ssh"
	Resource string // what it looks at, as the operator calls it
	Codes    []fault.Code
	// Causes are the faults, by code and resource, that explain this check's
	// faults while they are active.
	Causes []fault.Key
	// Every is the time between looks; Fast is that while a fault of the check is
	// active or held. A zero Fast is a fifth of Every, 10 s to 15 min.
	Every, Fast time.Duration
	// Timeout bounds one look. Zero is 30 s.
	Timeout time.Duration
	// Gap is the least time between the starts of two looks, for resources that
	// punish being asked often. An operator's look is exempt, six times a minute.
	Gap time.Duration
	// Version changes when what is looked at changes: a reload then looks at once.
	Version string
	// Run looks. It judges through r; what it does not judge stays Unknown, so an
	// early return is always safe. It must end when ctx does.
	Run func(ctx context.Context, r *Report)
}

// ID names the check on its node: Name@Resource.
func (c *Check) ID() string { return c.Name + "@" + c.Resource }

// Owns claims that the check judges k.
func (c *Check) Owns(k fault.Key) bool {
	return slices.Contains(c.Codes, k.Code) && fault.Covers(c.Resource, k.Resource)
}

func (c Check) withDefaults() Check {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Fast == 0 {
		c.Fast = min(max(c.Every/5, 10*time.Second), 15*time.Minute)
	}
	c.Fast = min(c.Fast, c.Every)
	return c
}

// problem says why the check cannot be scheduled, or "".
func (c *Check) problem(entries Entries) string {
	switch {
	case c.Name == "":
		return "check without a name"
	case c.Run == nil:
		return fmt.Sprintf("check %s has no Run", c.ID())
	case c.Every <= 0:
		return fmt.Sprintf("check %s has no interval", c.ID())
	case len(c.Codes) == 0:
		return fmt.Sprintf("check %s judges no code", c.ID())
	}
	for _, k := range c.Causes {
		if !slices.ContainsFunc(c.Codes, func(code fault.Code) bool {
			e, ok := entries.Get(code)
			return ok && slices.Contains(e.CausedBy, k.Code)
		}) {
			return fmt.Sprintf("check %s names the cause %s, which none of its codes is caused by", c.ID(), k)
		}
	}
	return ""
}

// Sink is what a subsystem's own loop may do when it notices something.
type Sink interface {
	// Ask wants a look at the check of that id, soon; unknown ids are ignored.
	Ask(id string, t fault.Trigger)
	// Report records what was noticed as a look of the check of that id.
	Report(ctx context.Context, id string, t fault.Trigger, judge func(*Report)) error
}
