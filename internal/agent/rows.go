package agent

import (
	"slices"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Rows returns every fault that matches, in the order of their ids, without
// what costs: a list of ten thousand takes a few milliseconds. After and Limit
// of the query do not count.
func (a *Agent) Rows(q Query) []wire.FaultRow {
	rows := []wire.FaultRow{}
	now := a.opts.Recorder.Clock()
	a.opts.Recorder.Page(0, 1, func(f *fault.Fault) bool { // wants none: nothing is rendered
		if q.want(f) {
			rows = append(rows, row(f, now))
		}
		return false
	})
	return rows
}

func row(f *fault.Fault, now fault.Clock) wire.FaultRow {
	r := wire.FaultRow{
		ID: f.ID, Key: f.Key, Active: f.Active, Severity: f.Shown(), Raised: f.Raised.UTC(), Cleared: f.Cleared,
		LastLook: f.LastLook(), Mark: "none", Shelved: f.Shelved(now), Stale: f.Stale(now), Recurring: f.Recurring(now),
		Flapping: f.Flapping, Unverified: f.Unverified(), MaskedBy: slices.Clone(f.MaskedBy), Check: f.Check, State: f.Condition(),
	}
	if f.Mark != nil {
		r.Mark = mark(f.Mark).Mark
	}
	return r
}

// Brief is [Agent.Status] without the faults themselves.
func (a *Agent) Brief() wire.Status { return a.status(0) }
