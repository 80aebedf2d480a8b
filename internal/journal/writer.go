package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"allclear/internal/fault"
)

// groupSize is the most tasks that share one commit.
const groupSize = 64

// HeldError says that events could not be stored before the store was closed.
type HeldError struct{ Events int }

func (e *HeldError) Error() string {
	return fmt.Sprintf("%d events were never stored; their faults will be looked at first at the next start", e.Events)
}

// write is the single writer. It ends when the store closes.
func (s *Store) write() {
	defer close(s.done)
	for {
		select {
		case t := <-s.queue:
			s.process(s.gather(t))
		case t := <-s.chores:
			s.process([]*task{t})
		case <-s.closing:
			s.farewell()
			return
		}
	}
}

// gather returns t and what else is waiting.
func (s *Store) gather(t *task) []*task {
	tasks := []*task{t}
	for len(tasks) < groupSize {
		select {
		case t := <-s.queue:
			tasks = append(tasks, t)
		default:
			return tasks
		}
	}
	return tasks
}

// process stores the tasks in one commit, or, if the disk does not take it,
// holds of each what may be held.
func (s *Store) process(tasks []*task) {
	err := s.flush()
	if err == nil {
		err = s.group(tasks)
	}
	if err == nil && s.leftover {
		s.forgetTrace()
	}
	if err != nil {
		s.fail(err)
		for _, t := range tasks {
			s.hold(t)
		}
	}
	for _, t := range tasks {
		close(t.done)
	}
}

// group does the tasks and stores what they did. Until the disk has it the set
// is as it was before, so that nobody sees what may yet fail.
func (s *Store) group(tasks []*task) error {
	b, sv, w := s.propose(tasks)
	if !b.empty() {
		if err := s.commit(sv, b.alone); err != nil {
			s.doubt(sv)
			return err
		}
	}
	s.publish(b, sv, w)
	return nil
}

// doubt notes what a transaction may have written whose end is not known: if it
// comes through late, its events go and its beliefs are written over.
func (s *Store) doubt(sv *save) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range sv.beliefs {
		s.dirty[r.f.ID] = r.f.Key
	}
	for _, c := range sv.told {
		s.owed[c.toldKey] = struct{}{}
	}
}

func (s *Store) propose(tasks []*task) (*batch, *save, fault.Withdrawn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.newBatch(false)
	for _, t := range tasks {
		t.err = t.do(b)
	}
	sv := b.save()
	return b, sv, s.set.Withdraw(0)
}

// newBatch starts a batch at the present moment. The store's lock is held.
func (s *Store) newBatch(degraded bool) *batch {
	now := s.o.Clock()
	shown := now.Wall
	if !shown.After(s.shown) {
		shown = s.shown.Add(time.Microsecond)
	}
	return &batch{s: s, degraded: degraded, seq: s.seq, now: fault.Now{Clock: now, Shown: shown}}
}

// commit writes the transaction. A full disk gets the ballast's space once.
func (s *Store) commit(sv *save, alone bool) error {
	limit := sv.limit(s.o.Stall)
	if alone {
		limit = 0
	}
	err := s.hand.do(limit, func(ctx context.Context) error {
		err := s.disk.write(ctx, sv)
		if noSpace(err) && s.ballast.drop() {
			s.o.Log.LogAttrs(ctx, slog.LevelWarn, "disk full, ballast given up")
			sv.torn = true
			err = s.disk.write(ctx, sv)
		}
		return err
	})
	if err != nil {
		s.torn = true
	}
	return err
}

// publish makes what is stored visible.
func (s *Store) publish(b *batch, sv *save, w fault.Withdrawn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set.Reinstate(w)
	for _, do := range slices.Concat(b.after, b.anyway) {
		do()
	}
	s.tell(b.told)
	if b.empty() {
		return
	}
	s.head, s.torn = sv.head, false
	s.health.LastCommit = b.now.Wall
	s.recovered()
	s.advance(b)
}

// advance takes over the batch's events, stored or held.
func (s *Store) advance(b *batch) {
	if len(b.events) == 0 {
		return
	}
	for i := range b.events {
		s.set.Stamp(b.events[i].Key, b.events[i].Seq)
	}
	last := &b.events[len(b.events)-1]
	s.seq, s.shown = last.Seq, last.At
	close(s.moved)
	s.moved = make(chan struct{})
}

// hold does one task without the disk.
func (s *Store) hold(t *task) {
	s.mu.Lock()
	b := s.newBatch(true)
	t.err = t.do(b)
	w := s.set.Withdraw(0)
	traced := traceable(b)
	s.mu.Unlock()

	missed := s.note(traced)

	s.mu.Lock()
	defer s.mu.Unlock()
	if len(missed) > 0 {
		s.health.Untraced += b.raised(missed)
		t.err = errors.Join(t.err, b.unsay(missed))
	}
	s.set.Reinstate(w)
	s.held = append(s.held, b.events...)
	for i := range b.events {
		s.heldKeys[b.events[i].Key] = struct{}{}
		s.dirty[b.events[i].ID] = b.events[i].Key
	}
	for _, do := range b.anyway {
		do()
	}
	s.tell(b.told)
	for _, c := range b.told {
		s.owed[c.toldKey] = struct{}{}
	}
	s.health.Held = len(s.held)
	s.advance(b)
}

// flush writes what is held, before anything else is stored.
func (s *Store) flush() error {
	settled, late := s.hand.settle()
	if !settled {
		return errHung
	}
	s.torn = s.torn || late
	s.mu.RLock()
	sv := s.backlog()
	s.mu.RUnlock()
	if sv == nil {
		return nil
	}
	if err := s.commit(sv, false); err != nil {
		return err
	}
	s.mu.Lock()
	s.head, s.torn = sv.head, false
	stored := len(s.held)
	s.held, s.heldKeys = nil, map[fault.Key]struct{}{}
	s.dirty, s.owed = map[uint64]fault.Key{}, map[toldKey]struct{}{}
	s.recovered()
	close(s.moved) // durable now: followers read on
	s.moved = make(chan struct{})
	s.mu.Unlock()
	s.o.Log.Info("held events stored", slog.Int("events", stored))
	s.forgetTrace()
	return nil
}

// backlog returns the transaction of all that the disk is behind with, or nil.
// The store's lock is held.
func (s *Store) backlog() *save {
	if len(s.held)+len(s.dirty)+len(s.owed) == 0 {
		return nil
	}
	sv := &save{head: s.head, torn: s.torn, events: s.held}
	for id, k := range s.dirty {
		if f := s.set.Get(k); f != nil && f.ID == id {
			sv.beliefs = append(sv.beliefs, row{f, max(f.Seq(), s.booted)})
		} else {
			sv.gone = append(sv.gone, id)
		}
	}
	for tk := range s.owed {
		c := toldChange{toldKey: tk}
		if told, ok := s.told[tk.sink][tk.key]; ok {
			c.told = &told
		}
		sv.told = append(sv.told, c)
	}
	sv.extra = append(sv.extra, s.keepDoubt)
	return sv
}

// fail records that the store cannot write.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.Error = err.Error()
	s.health.Stalled = s.hand.busy
	if s.health.Failing.IsZero() {
		s.health.Failing = s.o.Clock().Wall
		s.o.Log.Error("journal cannot write", slog.Any("error", err))
		s.ailing()
	}
}

// recovered records that a commit went through and nothing is held. The
// store's lock is held.
func (s *Store) recovered() {
	if s.health.Failing.IsZero() {
		return
	}
	s.health.Failing, s.health.Stalled, s.health.Error, s.health.Held = time.Time{}, false, "", 0
	s.health.Untraced = 0
	s.ailing()
}

// ailing wakes whoever waits for a change of the health. The lock is held.
func (s *Store) ailing() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// farewell stores what is held and marks the end as clean.
func (s *Store) farewell() {
	if err := s.flush(); err != nil {
		s.fail(err)
		return
	}
	sv := &save{head: s.head, torn: s.torn, extra: []func(context.Context, *disk) error{clean(s.o.Clock())}}
	if err := s.commit(sv, false); err != nil {
		s.fail(err)
	}
}
