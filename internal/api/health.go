package api

import (
	"fmt"
	"net/http"
	"time"

	"allclear/internal/wire"
)

const (
	// tickLate is how long the journal may take to answer its tick, which comes
	// each second, before the agent counts as stuck.
	tickLate = 15 * time.Second
	// lookLate is how long a due look may wait while no other look starts.
	lookLate = 2 * time.Minute
)

// healthz answers 200 while the scheduler and the journal make progress. It
// says nothing about faults: an agent that reports a hundred of them is well.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	h := s.health(time.Now())
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	send(w, status, h)
	return nil
}

func (s *Server) health(now time.Time) wire.Health {
	a := s.opts.Agent
	h := wire.Health{Journal: a.Alive().UTC(), Scheduler: a.Started().UTC(), Problems: []string{}}
	ticked := a.Alive()
	if ticked.IsZero() {
		ticked = a.Started()
		if now.Sub(ticked) <= tickLate {
			h.Problems = append(h.Problems, "starting: the journal has not answered yet")
		}
	}
	if late := now.Sub(ticked); late > tickLate {
		h.Problems = append(h.Problems, fmt.Sprintf("the journal has not answered for %s", late.Round(time.Second)))
	}
	if st := a.Recorder().Health(); !st.Failing.IsZero() {
		h.Problems = append(h.Problems, fmt.Sprintf("the journal cannot store since %s: %s", st.Failing.UTC().Format(time.RFC3339), st.Error))
	}
	overdue, which := time.Duration(0), ""
	for _, c := range a.Checks() {
		if c.Last != nil && c.Last.At.After(h.Scheduler) {
			h.Scheduler = c.Last.At
		}
		if late := now.Sub(c.Next); !c.Running && !c.Next.IsZero() && late > overdue {
			overdue, which = late, c.ID
		}
	}
	if overdue > lookLate && now.Sub(h.Scheduler) > lookLate {
		h.Problems = append(h.Problems, fmt.Sprintf("no look has started for %s; %s is due since %s", now.Sub(h.Scheduler).Round(time.Second), which, overdue.Round(time.Second)))
	}
	h.OK = len(h.Problems) == 0
	return h
}
