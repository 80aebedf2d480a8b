package agent

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Query selects faults.
type Query struct {
	State    string         // "active" (also when empty), "cleared", "all"
	Severity fault.Severity // at least
	Code     string         // the code, or a path above it: "ssh" selects ssh/...
	Resource string         // the resource, or one above it
	After    uint64         // ids above
	Limit    int            // 1..1000; 0 is 100
}

func (q Query) want(f *fault.Fault) bool {
	if f.Count == 0 && !f.Active { // pending for the first time: nothing was raised yet
		return false
	}
	if q.State != "all" && f.Active == (q.State == "cleared") {
		return false
	}
	return f.Shown() >= q.Severity &&
		(q.Code == "" || fault.Covers(q.Code, string(f.Key.Code))) &&
		(q.Resource == "" || fault.Covers(q.Resource, f.Key.Resource))
}

// Faults returns a page of the faults that match, in the order of their ids.
func (a *Agent) Faults(q Query) wire.List[wire.Fault] {
	if q.Limit == 0 {
		q.Limit = 100
	}
	views, more := a.opts.Recorder.Page(q.After, min(q.Limit, 1000), q.want)
	list := wire.List[wire.Fault]{Items: make([]wire.Fault, 0, len(views))}
	for i := range views {
		list.Items = append(list.Items, a.wire(&views[i]))
	}
	if more {
		list.Next = strconv.FormatUint(views[len(views)-1].ID, 10)
	}
	return list
}

// Fault returns the fault named by its id or by CODE@RESOURCE.
func (a *Agent) Fault(ref string) (wire.Fault, error) {
	v, err := a.view(ref)
	if err != nil {
		return wire.Fault{}, err
	}
	return a.wire(&v), nil
}

func (a *Agent) view(ref string) (fault.View, error) {
	k, err := a.key(ref)
	if err != nil {
		return fault.View{}, err
	}
	v, ok := a.opts.Recorder.View(k)
	if !ok {
		return fault.View{}, fmt.Errorf("%w: %s", ErrNoFault, ref)
	}
	return v, nil
}

func (a *Agent) key(ref string) (fault.Key, error) {
	if id, err := strconv.ParseUint(ref, 10, 64); err == nil {
		if k, ok := a.opts.Recorder.Find(id); ok {
			return k, nil
		}
		return fault.Key{}, fmt.Errorf("%w with id %d", ErrNoFault, id)
	}
	k, err := fault.ParseKey(ref)
	if err != nil {
		return fault.Key{}, fmt.Errorf("%w: %w, and not an id", ErrNoFault, err)
	}
	return k, nil
}

// History returns up to n events of the fault before seq before (0: the
// newest), newest first.
func (a *Agent) History(ctx context.Context, ref string, n int, before uint64) ([]fault.Event, error) {
	k, err := a.key(ref)
	if err != nil {
		return nil, err
	}
	return a.opts.Recorder.History(ctx, k, n, before)
}

// Follow returns the events after seq after, then those to come.
func (a *Agent) Follow(ctx context.Context, after uint64) iter.Seq2[fault.Event, error] {
	return a.opts.Recorder.Follow(ctx, after)
}

// Wire makes of a fault what people and programs are shown.
func (a *Agent) Wire(v *fault.View) wire.Fault { return a.wire(v) }

func (a *Agent) wire(v *fault.View) wire.Fault {
	e, _ := a.opts.Catalogue.Get(v.Key.Code)
	epoch, _ := a.opts.Recorder.Head()
	f := wire.Fault{
		ID: v.ID, Epoch: epoch, Seq: v.Seq, Node: a.opts.Node,
		Code: v.Key.Code, Legacy: e.Legacy, Resource: v.Key.Resource,
		Severity: v.Shown, SeverityWhy: v.Why, State: v.Condition,
		Title: v.Title, Text: v.Text, Sense: v.Sense.Map(), Cause: v.Cause, Remedy: v.Remedy,
		RaisedAt: stamp(v.Raised), ChangedAt: stamp(v.Changed), ClearedAt: stamp(v.Cleared),
		ClearReason: v.ClearReason, LastLook: stamp(v.LastLook),
		Count: v.Count, Occurrence: v.Occurrence, Operator: mark(v.Mark), MaskedBy: []string{},
		Stale: v.Stale, Unverified: v.Unverified, Flapping: v.Flapping, Recurring: v.Recurring,
		Durable: a.opts.Recorder.Durable(v.Key), Drill: v.Key.Drill(), Check: v.Check,
	}
	if f.Legacy == nil {
		f.Legacy = []string{}
	}
	if v.Shelved {
		f.Shelf = &wire.Shelf{Until: v.Shelf.End.Until.UTC(), By: v.Shelf.By, Reason: v.Shelf.Reason}
	}
	for _, k := range v.MaskedBy {
		f.MaskedBy = append(f.MaskedBy, k.String())
	}
	return f
}

func mark(m *fault.Marked) wire.Operator {
	switch {
	case m == nil:
		return wire.Operator{Mark: "none"}
	case m.Kind == fault.OpFix:
		return wire.Operator{Mark: "fixed", By: m.By, At: stamp(m.At), Reason: m.Reason}
	}
	return wire.Operator{Mark: "ack", By: m.By, At: stamp(m.At), Reason: m.Reason}
}

// stamp is the time in UTC, nil if it never was.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Why explains why the fault is, or is not, active.
func (a *Agent) Why(ctx context.Context, ref string) (wire.Why, error) {
	v, err := a.view(ref)
	if err != nil {
		return wire.Why{}, err
	}
	w := wire.Why{Fault: a.wire(&v), Reasons: []string{}}
	if w.Events, err = a.opts.Recorder.History(ctx, v.Key, 20, 0); err != nil {
		return w, err
	}
	for _, c := range a.Checks() {
		if c.ID == v.Check {
			w.Check = &c
		}
	}
	w.Reasons = reasons(&v, w.Check)
	return w, nil
}

// reasons says in sentences what keeps the fault as it is.
func reasons(v *fault.View, c *wire.Check) []string {
	var r []string
	say := func(format string, args ...any) { r = append(r, fmt.Sprintf(format, args...)) }
	switch {
	case !v.Active && v.Condition == fault.Pending:
		say("It was seen, but not for long enough to be raised.")
	case !v.Active:
		say("It is clear since %s: %s.", clockTime(v.Cleared), fault.ClearWords(v.ClearReason))
	case v.Unverified:
		say("It was active before the agent started; no look has judged it since.")
	case v.Condition == fault.Clearing:
		say("The last look no longer found it, but its hold time is not met yet.")
	default:
		say("The look of %s found it and nothing has disproved it since.", clockTime(v.LastLook))
	}
	if v.Active && v.Flapping {
		say("It came and went so often that it is held active until it is quiet.")
	}
	if v.Stale {
		say("No look could judge it for three intervals. That never clears a fault.")
	}
	if c == nil && v.Active {
		say("No check owns it at the moment.")
	}
	if c != nil && c.Last != nil {
		for _, j := range c.Last.Verdicts {
			if j.Code == v.Key.Code && j.Resource == v.Key.Resource {
				say("The newest look (%s, %s) said %s%s.", clockTime(c.Last.At), c.Last.Trigger, j.Verdict, because(j.Why))
			}
		}
		if c.Last.Failure != "" {
			say("The newest look ended without a verdict: %s.", c.Last.Failure)
		}
	}
	if len(v.MaskedBy) > 0 {
		keys := make([]string, len(v.MaskedBy))
		for i, k := range v.MaskedBy {
			keys[i] = k.String()
		}
		say("It is hidden behind its cause: %s.", strings.Join(keys, ", "))
	}
	if v.Shelved {
		say("It is shelved until %s by %s: %s.", clockTime(v.Shelf.End.Until), v.Shelf.By, v.Shelf.Reason)
	}
	return r
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
