package journal

import (
	"context"
	"fmt"
	"time"

	"allclear/internal/fault"
)

// batch is one group commit in the making: tasks move the set through it, under
// the store's lock, and it collects what must reach the disk.
type batch struct {
	s   *Store
	now fault.Now
	// degraded: the store cannot write. Whatever makes a fault less visible is
	// refused, the rest is held in memory.
	degraded bool

	seq    uint64 // of the newest event, held ones and those of this batch included
	events []fault.Event
	told   []toldChange
	ahead  bool // a sink waits for it: what it may not hear yet is refused
	first  []func(context.Context, *disk) error
	extra  []func(context.Context, *disk) error
	after  []func() // run under the lock once all is stored
	anyway []func() // run under the lock once all is stored or held
	alone  bool     // must not be given up half way
}

// mark is where a batch may return to.
type mark struct {
	set, events, told, extra, after, anyway int // lengths
	now                                     fault.Now
	seq                                     uint64
}

func (b *batch) mark() mark {
	return mark{
		b.s.set.Checkpoint(), len(b.events), len(b.told), len(b.extra), len(b.after), len(b.anyway), b.now, b.seq,
	}
}

func (b *batch) back(m mark) {
	b.s.set.Revert(m.set)
	b.events, b.told, b.extra = b.events[:m.events], b.told[:m.told], b.extra[:m.extra]
	b.after, b.anyway = b.after[:m.after], b.anyway[:m.anyway]
	b.now, b.seq = m.now, m.seq
}

// add numbers the events in place and takes them in.
func (b *batch) add(events []fault.Event) {
	for i := range events {
		b.seq++
		events[i].Node, events[i].Epoch, events[i].Seq = b.s.o.Node, b.s.head.Epoch, b.seq
	}
	b.events = append(b.events, events...)
	b.now = b.now.After(events)
}

// node adds an event that concerns the node and no fault.
func (b *batch) node(ev fault.Event) fault.Event {
	ev.At = b.now.Shown
	if ev.Clock == (fault.Clock{}) {
		ev.Clock = b.now.Clock
	}
	events := []fault.Event{ev}
	b.add(events)
	return events[0]
}

// moment is the batch's now with the present reading of the look counter.
func (b *batch) moment() fault.Now {
	b.now.Order = b.s.order.Load()
	return b.now
}

// apply moves one fault.
func (b *batch) apply(k fault.Key, in fault.Input) ([]fault.Event, error) {
	if b.degraded {
		return b.applyHeld(k, in)
	}
	m := b.mark()
	events, err := b.s.set.Apply(k, in, b.moment())
	if err != nil {
		b.back(m)
		return nil, err
	}
	b.add(events)
	return events, nil
}

// look applies all that a look said.
func (b *batch) look(l *fault.Look) (fault.Outcome, error) {
	if b.degraded {
		return b.lookHeld(l)
	}
	m := b.mark()
	out, err := b.s.set.Look(l, b.moment())
	if err != nil {
		b.back(m)
		return fault.Outcome{}, err
	}
	b.add(out.Events)
	return out, nil
}

// refuse answers an error in a degraded batch.
func (b *batch) refuse(what string) error {
	if !b.degraded {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", what, ErrRefused, b.s.health.Error)
}

// empty claims that nothing needs the disk.
func (b *batch) empty() bool {
	return len(b.events)+len(b.told)+len(b.first)+len(b.extra)+len(b.after) == 0
}

// save makes the transaction of the batch. The store's lock is held.
func (b *batch) save() *save {
	sv := &save{
		head: b.s.head, torn: b.s.torn, first: b.first, events: b.events, told: b.told, extra: b.extra,
	}
	seqs := make(map[fault.Key]uint64, len(b.events))
	for i := range b.events {
		seqs[b.events[i].Key] = b.events[i].Seq
	}
	for _, f := range b.s.set.Touched(0) {
		if seq, ok := seqs[f.Key]; ok {
			sv.beliefs = append(sv.beliefs, row{f, seq})
		}
	}
	return sv
}

// limit is how long the transaction may take before the disk counts as hung.
func (sv *save) limit(stall time.Duration) time.Duration {
	const each = 200 * time.Microsecond
	return stall + time.Duration(len(sv.events)+len(sv.beliefs))*each
}
