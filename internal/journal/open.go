package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"allclear/internal/fault"
)

// queueSize is how many tasks may wait for the writer; more callers wait to
// hand theirs in.
const queueSize = 4 * groupSize

// Open opens the journal below o.Dir, or begins one. It takes up every fault
// that the process before believed in, adopts those of which only a trace is
// left, retires the drills it left behind, and writes the boot event.
//
// A second process on the same directory is refused with a [*LockedError]. A
// broken database is moved aside and a new epoch begins with what could be read
// from it: see [Health].SetAside. A disk that takes no writes does not keep the
// store from opening, if there is a database to read.
//
// ctx bounds the opening, not the store's life.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	o, err = o.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	s := newStore(o)
	if s.lock, err = takeLock(s.path("journal.lock")); err != nil {
		return nil, err
	}
	start, err := s.load(ctx)
	if err != nil {
		return nil, errors.Join(err, s.lock.release())
	}
	s.restore(start)
	if err := s.ballast.make(); err != nil {
		o.Log.LogAttrs(ctx, slog.LevelWarn, "no ballast", slog.Any("error", err))
	}
	lifetime := context.WithoutCancel(ctx)
	go s.hand.work(lifetime)
	go s.write()
	_, err = submit(ctx, s, func(b *batch) (struct{}, error) { return struct{}{}, b.boot(start) })
	if err == nil {
		err = syncDir(o.Dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the journal in %s: %w", o.Dir, err), s.Close())
	}
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{
		o: o, hand: newHand(), queue: make(chan *task, queueSize), chores: make(chan *task),
		closing: make(chan struct{}), done: make(chan struct{}),
		set:  fault.NewSet(o.Catalogue, o.Limits),
		told: map[string]map[fault.Key]fault.Told{}, cursors: map[string]uint64{},
		moved: make(chan struct{}), changed: make(chan struct{}),
		heldKeys: map[fault.Key]struct{}{}, dirty: map[uint64]fault.Key{}, owed: map[toldKey]struct{}{},
	}
	s.ballast = &ballast{path: s.path("ballast"), size: o.BallastBytes, fail: o.Failpoint}
	s.close = sync.OnceValue(s.shut)
	return s
}

// start is all that a store begins with.
type start struct {
	stored
	clock, last fault.Clock
	adopt       []adoption
	retold      []toldChange // by the trace file
}

// adoption is a fault of which only a trace is left, and who may have heard of it.
type adoption struct {
	key fault.Key
	in  fault.Adoption
	by  []string // sinks; besides those that the database names
}

// load opens the database, or puts a broken one aside, and finds what is to be
// adopted.
func (s *Store) load(ctx context.Context) (_ *start, err error) {
	st := &start{clock: s.o.Clock()}
	var aside *SetAside
	s.disk, st.stored, err = openStored(ctx, s.path(dbName), st.clock, s.o.Failpoint)
	if broken, ok := errors.AsType[*damage](err); ok {
		var wreck *salvage
		if wreck, aside, err = putAside(ctx, s.path(dbName), broken, st.clock.Wall); err != nil {
			return nil, err
		}
		s.o.Log.LogAttrs(ctx, slog.LevelError, "broken database put aside",
			slog.String("path", aside.Path), slog.String("why", aside.Why), slog.Int("beliefs", aside.Beliefs))
		st.adopt = wreck.adoptions()
		s.disk, st.stored, err = openStored(ctx, s.path(dbName), st.clock, s.o.Failpoint)
		if err == nil {
			err = s.disk.rememberAside(ctx, aside)
		}
		st.aside, st.unclean = aside, true
	}
	if err == nil && st.fresh && aside == nil && exists(s.path(traceName)) {
		st.aside = &SetAside{Why: "the database is gone, the files beside it are not", At: st.clock.Wall}
		err = s.disk.rememberAside(ctx, st.aside)
	}
	if err != nil {
		return nil, errors.Join(err, s.disk.close())
	}
	var prints []footprint
	if s.trace, prints, err = openTrace(s.path(traceName)); err != nil {
		return nil, errors.Join(err, s.disk.close())
	}
	s.leftover = len(prints) > 0
	st.last = st.node
	if ev := st.newest; ev != nil && (ev.Clock.BootID != st.last.BootID || ev.Clock.Boot > st.last.Boot) {
		st.last = ev.Clock
	}
	st.trace(prints)
	return st, nil
}

// trace takes in what the trace file knows: faults to be adopted, and sinks that
// may have heard of a fault other than the database says. These are told once
// more, whatever is recorded of them, as nobody knows what they heard last.
func (st *start) trace(prints []footprint) {
	believed := make(map[fault.Key]*fault.Belief, len(st.beliefs))
	for i := range st.beliefs {
		believed[st.beliefs[i].Key] = &st.beliefs[i]
	}
	for _, t := range st.told {
		if believed[t.key] == nil {
			in := fault.Adoption{Severity: t.told.Severity, Occurrence: t.told.Occurrence, Notice: t.told.Notice}
			st.adopt = append(st.adopt, adoption{key: t.key, in: in}) // what it was told stands
		}
	}
	for _, p := range prints {
		b := believed[p.Key]
		if b == nil || !b.Active {
			st.adopt = append(st.adopt, adoption{key: p.Key, by: p.Sinks})
			continue
		}
		for _, sink := range p.Sinks {
			st.retold = append(st.retold, toldChange{toldKey{sink, p.Key}, perhaps(b.Occurrence, b.Shown())})
		}
	}
}

// perhaps is the record of a sink that may have heard of a fault: it is told
// again, and of the end.
func perhaps(occurrence uint64, shown fault.Severity) *fault.Told {
	return &fault.Told{Occurrence: occurrence, Severity: shown}
}

// restore fills the store. Nobody else has it yet.
func (s *Store) restore(st *start) {
	s.set.Restore(st.beliefs, fault.Event{Kind: fault.KindBoot, Clock: st.clock, Last: &st.last})
	for i, b := range st.beliefs {
		s.set.Stamp(b.Key, st.seqs[i])
	}
	s.tell(st.told)
	s.cursors = st.cursors
	s.head, s.seq = st.head, st.head.Seq
	if st.newest != nil {
		s.shown = st.newest.At
	}
	s.health.Unclean, s.health.SetAside = st.unclean, st.aside
	s.watched, s.heartbeat, s.pruned = st.clock, st.clock.Boot, st.clock.Boot
}

// boot begins this process's part of the journal.
func (b *batch) boot(st *start) error {
	boot := b.node(fault.Event{Kind: fault.KindBoot, Clock: st.clock, Last: &st.last})
	b.anyway = append(b.anyway, func() { b.s.booted = boot.Seq })
	for _, a := range st.adopt {
		if _, err := b.apply(a.key, a.in); err != nil {
			return fmt.Errorf("adopt %s: %w", a.key, err)
		}
		f := b.s.set.Get(a.key)
		for _, sink := range a.by {
			b.told = append(b.told, toldChange{toldKey{sink, a.key}, perhaps(f.Occurrence, f.Shown())})
		}
	}
	b.told = append(b.told, st.retold...)
	if st.doubtful() {
		b.doubt(st.clock)
	}
	for _, k := range st.drills() {
		if _, err := b.apply(k, fault.Retire{}); err != nil && !errors.Is(err, ErrRefused) {
			return fmt.Errorf("retire %s: %w", k, err)
		}
	}
	// A cause that was stale when the process before ended is not stale in this
	// one: masks and lent severity follow.
	b.add(b.s.set.Settle(b.moment()))
	b.s.beat = st.clock.Boot
	b.extra = append(b.extra, alive(st.clock))
	return nil
}

// drills returns the keys of drills that an earlier process left behind.
func (st *start) drills() (keys []fault.Key) {
	for i := range st.beliefs {
		if b := &st.beliefs[i]; b.Key.Drill() && (b.Active || b.Shelf != nil) {
			keys = append(keys, b.Key)
		}
	}
	for _, a := range st.adopt {
		if a.key.Drill() {
			keys = append(keys, a.key)
		}
	}
	return keys
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
