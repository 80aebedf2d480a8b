package journal

import (
	"context"
	"maps"
	"math"
	"slices"

	"allclear/internal/fault"
)

// toldKey names one record of what a receiver was told.
type toldKey struct {
	sink string
	key  fault.Key
}

// toldChange sets a record; nil removes it.
type toldChange struct {
	toldKey
	told *fault.Told
}

// tell takes over changed records. The store's lock is held.
func (s *Store) tell(changes []toldChange) {
	for _, c := range changes {
		if c.told == nil {
			delete(s.told[c.sink], c.key)
			continue
		}
		if s.told[c.sink] == nil {
			s.told[c.sink] = map[fault.Key]fault.Told{}
		}
		s.told[c.sink][c.key] = *c.told
	}
}

// Told returns a copy of all that the sink was told and not told to be over.
func (s *Store) Told(sink string) map[fault.Key]fault.Told {
	s.mu.RLock()
	defer s.mu.RUnlock()
	told := maps.Clone(s.told[sink])
	if told == nil {
		told = map[fault.Key]fault.Told{}
	}
	return told
}

// SetTold records what the sink was told of the fault; nil means that it was
// told the clear. A sender records that the sink may hear of a fault, by the
// Notice 0, before it sends, and what it heard after the answer.
//
// While the store fails the record is kept in memory and in the trace file. If
// that does not take a record of Notice 0 either, the answer is an
// [*UntracedError].
func (s *Store) SetTold(ctx context.Context, sink string, k fault.Key, told *fault.Told) error {
	return s.SetToldAll(ctx, sink, map[fault.Key]*fault.Told{k: told})
}

// SetToldAll is [Store.SetTold] for many faults of one sink in one transaction.
// After an [*UntracedError] the others are recorded.
func (s *Store) SetToldAll(ctx context.Context, sink string, told map[fault.Key]*fault.Told) error {
	changes := make([]toldChange, 0, len(told))
	for k, t := range told {
		if t != nil {
			copied := *t
			t = &copied
		}
		changes = append(changes, toldChange{toldKey{sink, k}, t})
	}
	_, err := submit(ctx, s, func(b *batch) (struct{}, error) {
		b.told, b.ahead = append(b.told, changes...), true
		return struct{}{}, nil
	})
	return err
}

// DropSink forgets all that the sink was told: its destination changed, or it
// is gone from the configuration.
func (s *Store) DropSink(ctx context.Context, sink string) error {
	_, err := submit(ctx, s, func(b *batch) (struct{}, error) {
		b.extra = append(b.extra, func(ctx context.Context, d *disk) error {
			return d.exec(ctx, "DELETE FROM told WHERE sink = ?", sink)
		})
		b.after = append(b.after, func() { delete(s.told, sink) })
		return struct{}{}, b.refuse("dropping sink " + sink)
	})
	return err
}

// Sinks returns the names of the sinks that were told anything.
func (s *Store) Sinks() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for name, told := range s.told {
		if len(told) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Pending is what a sink must hear of one fault now.
type Pending struct {
	View
	Send fault.Send
	Told *fault.Told // what it was told last; nil: nothing
}

// Pending returns, by the fault's id, what the sink must hear now.
func (s *Store) Pending(sink string) []Pending {
	now := s.o.Clock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	told := s.told[sink]
	decide := func(f *fault.Fault) (fault.Send, *fault.Told) {
		var last *fault.Told
		if t, ok := told[f.Key]; ok {
			last = &t
		}
		return fault.Due(f.Active, f.Active && s.set.Hidden(f, now), f.Notice, last), last
	}
	views, _ := s.set.Page(0, math.MaxInt, func(f *fault.Fault) bool {
		send, _ := decide(f)
		return send != fault.Nothing
	}, now)
	pending := make([]Pending, 0, len(views))
	for _, v := range views {
		p := Pending{View: s.dress(v)}
		p.Send, p.Told = decide(s.set.Get(v.Key))
		pending = append(pending, p)
	}
	return pending
}

// Cursor returns how far the follower has come: the seq up to which it has
// taken events over; 0 if it never has.
func (s *Store) Cursor(name string) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cursors[name]
}

// SetCursor records how far a follower has come. Events above the lowest cursor
// are never pruned. While the store fails it answers [ErrRefused]; the follower
// then sees some events again after a restart.
func (s *Store) SetCursor(ctx context.Context, name string, seq uint64) error {
	_, err := submit(ctx, s, func(b *batch) (struct{}, error) {
		b.extra = append(b.extra, setCursor(name, seq))
		b.after = append(b.after, func() { s.cursors[name] = seq })
		return struct{}{}, b.refuse("moving cursor " + name)
	})
	return err
}

func setCursor(name string, seq uint64) func(context.Context, *disk) error {
	return func(ctx context.Context, d *disk) error {
		return d.exec(ctx, "INSERT OR REPLACE INTO cursors (name, seq) VALUES (?, ?)", name, int64(seq))
	}
}

// DropCursor forgets a follower, which then no longer holds back pruning.
func (s *Store) DropCursor(ctx context.Context, name string) error {
	_, err := submit(ctx, s, func(b *batch) (struct{}, error) {
		b.extra = append(b.extra, func(ctx context.Context, d *disk) error {
			return d.exec(ctx, "DELETE FROM cursors WHERE name = ?", name)
		})
		b.after = append(b.after, func() { delete(s.cursors, name) })
		return struct{}{}, b.refuse("dropping cursor " + name)
	})
	return err
}
