package web

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"allclear/internal/api"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// recent tells what happened in a stretch of time: the spans in which faults
// were active, and those in which nobody looked. It reads the journal; the
// newest day is kept.
type recent struct {
	agent Beliefs

	mu   sync.Mutex // guards last
	last chapter    // the newest day, which is asked for most
}

// day is the chapter of the 24 hours before now. Only what is new since the
// last call is read.
func (r *recent) day(ctx context.Context, now time.Time) (chapter, error) {
	from := now.Add(-24 * time.Hour)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.last.Events); n == 0 || r.last.Cut || r.last.Events[0].Epoch != r.agent.Brief().Epoch {
		c, err := r.chapter(ctx, from, now)
		if err == nil {
			r.last = c
		}
		return c, err
	}
	events := slices.Clip(r.last.Events) // those who read the last chapter keep it as it is
	events, err := r.read(ctx, events, events[len(events)-1].Seq, r.agent.Brief().Seq)
	if err != nil {
		return chapter{}, err
	}
	if over := len(events) - maxEvents; over > 0 {
		events, r.last.Cut = events[over:], true
	}
	for len(events) > 1 && events[0].At.Before(from) {
		events = events[1:]
	}
	r.last.Events, r.last.From, r.last.To = events, from, now
	return r.last, nil
}

// chapter is a stretch of the journal.
type chapter struct {
	From, To time.Time
	Events   []fault.Event
	Cut      bool // there were more events than maxEvents; the oldest are missing
	Begins   time.Time
}

// maxEvents is how many events one chapter holds.
const maxEvents = 20000

// chapter reads the events since from. Shown times grow with seq, so the first
// one is found by halves.
func (r *recent) chapter(ctx context.Context, from, to time.Time) (chapter, error) {
	c := chapter{From: from, To: to}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	head := r.agent.Brief().Seq
	var failed error
	low := uint64(sort.Search(int(head), func(after int) bool {
		e, ok, err := r.next(ctx, uint64(after), head)
		if err != nil {
			failed = err
		}
		return !ok || !e.At.Before(from)
	}))
	if failed != nil {
		return c, failed
	}
	if first, ok, err := r.next(ctx, 0, head); err != nil {
		return c, err
	} else if ok {
		c.Begins = first.At
	}
	if head > maxEvents && low < head-maxEvents {
		low, c.Cut = head-maxEvents, true
	}
	var err error
	c.Events, err = r.read(ctx, nil, low, head)
	return c, err
}

// read appends the events after seq up to head.
func (r *recent) read(ctx context.Context, events []fault.Event, seq, head uint64) ([]fault.Event, error) {
	if seq >= head {
		return events, nil
	}
	for e, err := range r.agent.Follow(ctx, seq) {
		if err != nil {
			return events, err
		}
		events = append(events, e)
		if e.Seq >= head {
			return events, nil
		}
	}
	return events, context.Cause(ctx)
}

// next returns the first event after seq, if there is one up to head.
func (r *recent) next(ctx context.Context, after, head uint64) (fault.Event, bool, error) {
	if after >= head {
		return fault.Event{}, false, nil
	}
	for e, err := range r.agent.Follow(ctx, after) {
		return e, err == nil && e.Seq <= head, err
	}
	return fault.Event{}, false, context.Cause(ctx)
}

// stretch is one time that a fault was active.
type stretch struct {
	Key        fault.Key
	ID         uint64
	Check      string
	From, To   time.Time // To is the end of the chapter while it is active
	Severity   fault.Severity
	Began      bool // From is a raise within the chapter
	Ended      bool
	End        string // why it was cleared
	Masked     bool
	Shelved    bool
	Stale      bool
	By, Reason string // the newest mark of an operator
	Changes    int
	Raised     time.Time // may be before the chapter
}

// gap is a time in which the agent did not run.
type gap struct{ From, To time.Time }

// stretches puts the events of a chapter together with what is active now.
func (r *recent) stretches(c chapter) (all []stretch, gaps []gap) {
	open := map[fault.Key]*stretch{}
	now := map[fault.Key]wire.FaultRow{}
	for _, row := range r.agent.Rows(api.Query{}) {
		now[row.Key] = row
	}
	begin := func(e fault.Event, at time.Time, began bool) *stretch {
		s := &stretch{Key: e.Key, ID: e.ID, Check: e.Check, From: at, Began: began, Severity: max(e.Severity, fault.Warning), Raised: at}
		open[e.Key] = s
		return s
	}
	for _, e := range c.Events {
		if e.Kind == fault.KindBoot && e.Last != nil && e.At.Sub(e.Last.Wall) > time.Second {
			gaps = append(gaps, gap{latest(c.From, e.Last.Wall), e.At})
		}
		if e.Key == (fault.Key{}) {
			continue
		}
		s := open[e.Key]
		switch {
		case e.Kind == fault.KindRaise, e.Kind == fault.KindAdopt && s == nil:
			begin(e, e.At, true)
			continue
		case s == nil && e.Kind == fault.KindClear:
			s = begin(e, c.From, false)
		case s == nil && now[e.Key].Active && now[e.Key].Raised.Before(c.From):
			s = begin(e, c.From, false)
			s.Severity = now[e.Key].Severity
		case s == nil:
			continue // an operator's word on a fault that is clear
		}
		if s.note(e); s.Ended {
			all = append(all, *s)
			delete(open, e.Key)
		}
	}
	for key, row := range now { // what stood before the chapter and was quiet in it
		if open[key] == nil && row.Raised.Before(c.To) {
			open[key] = &stretch{Key: key, From: latest(c.From, row.Raised), Began: row.Raised.After(c.From)}
		}
	}
	for key, s := range open {
		row, active := now[key]
		if !active {
			continue // cleared since the chapter was read
		}
		s.ID, s.Check, s.Severity, s.Raised = row.ID, row.Check, row.Severity, row.Raised
		s.Masked, s.Shelved, s.Stale, s.To = len(row.MaskedBy) > 0, row.Shelved, row.Stale, c.To
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b stretch) int {
		return cmp.Or(b.From.Compare(a.From), cmp.Compare(a.ID, b.ID), b.To.Compare(a.To))
	})
	return all, gaps
}

// note takes an event of an active fault into account.
func (s *stretch) note(e fault.Event) {
	switch e.Kind {
	case fault.KindChange, fault.KindEscalate:
		s.Severity = max(s.Severity, e.Severity)
		s.Changes++
	case fault.KindMask:
		s.Masked = true
	case fault.KindUnmask:
		s.Masked = false
	case fault.KindShelve:
		s.Shelved, s.By, s.Reason = true, e.By, e.Reason
	case fault.KindUnshelve:
		s.Shelved = false
	case fault.KindAck, fault.KindFix:
		s.By, s.Reason = e.By, e.Reason
	case fault.KindClear:
		s.To, s.Ended, s.End = e.At, true, e.Reason
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// part is the subsystem of a check: what stands before the first point of its
// name.
func part(check string) string {
	for i := range len(check) {
		if check[i] == '.' || check[i] == '@' {
			return check[:i]
		}
	}
	return check
}
