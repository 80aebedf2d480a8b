package check

import (
	"slices"
	"strings"
	"time"
)

// Status is what is known of a check.
type Status struct {
	Check   Check
	Next    time.Time // of the next look
	Running bool
	Last    Last // zero before the first look
}

// Known claims that the check has a conclusive look not older than three
// intervals.
func (s *Status) Known(now time.Time) bool {
	return !s.Last.Conclusive.IsZero() && now.Sub(s.Last.Conclusive) <= 3*s.Check.Every
}

// Status returns all checks by id.
func (s *Scheduler) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.tasks))
	now := time.Now()
	for _, t := range s.tasks {
		all = append(all, Status{Check: t.check, Next: s.earliest(t, now), Running: t.running, Last: t.last})
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Check.ID(), b.Check.ID()) })
	return all
}
