package notify

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// remindEvery is how often a receiver that forgets is told again.
const remindEvery = time.Minute

// asBusy finds a BusyError in err.
func asBusy(err error) (*BusyError, bool) { return errors.AsType[*BusyError](err) }

// remind tells a receiver that forgets of all that it was told and that is
// still active. It answers false if that did not get through.
func (c *courier) remind(ctx context.Context, now time.Time) bool {
	r, ok := c.Sink.(Refresher)
	if !ok || now.Before(c.refresh) {
		return true
	}
	var active []Message
	for k, told := range c.opts.Journal.Told(c.id) {
		v, known := c.opts.Journal.View(k)
		if !known || !v.Active || told.Notice == 0 {
			continue
		}
		m := c.describe(&journal.Pending{View: v, Send: fault.SendRaise, Told: &told})
		m.Fault.Severity = told.Severity // a change that is due is told by itself
		active = append(active, m)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*deadline)
	defer cancel()
	if err := r.Refresh(ctx, active); err != nil {
		c.fail(ctx, err)
		return false
	}
	c.refresh = now.Add(remindEvery)
	return true
}

// resync brings a receiver that keeps state in line after a history was lost, or
// if nobody knows what it was told before the start: once the first round of looks is complete it is told of all that is active
// and that everything else of this node is over. It answers false if that did
// not get through.
//
// That it was done is kept as a follower's cursor whose value is the time of
// the loss. It is above any seq and so holds back no pruning.
func (c *courier) resync(ctx context.Context, now time.Time) bool {
	lost := c.opts.Journal.Lost()
	if !c.Stateful || lost.IsZero() {
		return true
	}
	mark, stamp := "resync:"+c.id, uint64(lost.UnixNano())
	if c.opts.Journal.Cursor(mark) == stamp || !c.opts.Looked() {
		return true
	}
	p := c.whole(now)
	if len(c.open(ctx, []parcel{p})) == 0 {
		return true
	}
	answer, err := deliver(ctx, c.Sink, p.Message)
	if err != nil && !rejected(err) {
		c.fail(ctx, err)
		return false
	}
	if err == nil {
		told := map[fault.Key]*fault.Told{}
		for _, pending := range p.about {
			told[pending.Key] = record(pending)
		}
		_ = c.store(ctx, told) // else it is told again
		c.delivered(&p.Message, answer)
	} else {
		c.state.refused(1, err) // it understands no resync; asking again would not help
	}
	if err := c.opts.Journal.SetCursor(ctx, mark, stamp); err != nil {
		c.opts.Log.LogAttrs(ctx, slog.LevelWarn, "resync not recorded; it will be repeated", slog.String("sink", c.Name), slog.Any("error", err))
	}
	return true
}

// whole is the resync: all that is active and may be told.
func (c *courier) whole(now time.Time) parcel {
	told := c.opts.Journal.Told(c.id)
	views, _ := c.opts.Journal.Page(0, math.MaxInt, func(f *fault.Fault) bool { return f.Active })
	p := parcel{Message: c.own(Resync, now)}
	for i := range views {
		t, was := told[views[i].Key]
		if views[i].Hidden && !was {
			continue
		}
		pending := &journal.Pending{View: views[i], Send: fault.SendRaise}
		if was {
			pending.Told = &t
		}
		p.about = append(p.about, pending)
		p.Items = append(p.Items, c.describe(pending))
	}
	return p
}
