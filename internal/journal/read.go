package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"allclear/internal/fault"
)

// View is a fault as people see it, with what the journal knows of it.
type View struct {
	fault.View
	Durable bool // all that is believed of it is on disk
	Epoch   string
}

// dress adds what the journal knows. The store's lock is held.
func (s *Store) dress(v fault.View) View {
	_, held := s.heldKeys[v.Key]
	return View{View: v, Durable: !held, Epoch: s.head.Epoch}
}

// View returns the fault of key as it stands now; false if there is none.
func (s *Store) View(k fault.Key) (View, bool) {
	now := s.o.Clock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.set.View(k, now)
	if !ok {
		return View{}, false
	}
	return s.dress(v), true
}

// Find returns the key of the fault with that id.
func (s *Store) Find(id uint64) (fault.Key, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.set.Find(id)
}

// Page returns up to n faults with ids above after, by id, that want accepts
// (nil: all); more claims that others follow. want must neither change nor keep
// the fault, nor call the store.
func (s *Store) Page(after uint64, n int, want func(*fault.Fault) bool) (views []View, more bool) {
	if want == nil {
		want = func(*fault.Fault) bool { return true }
	}
	now := s.o.Clock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	plain, more := s.set.Page(after, n, want, now)
	views = make([]View, len(plain))
	for i, v := range plain {
		views[i] = s.dress(v)
	}
	return views, more
}

// Summary returns the counters of active faults.
func (s *Store) Summary() fault.Summary {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.set.Summary()
}

// Strain returns how near the node is to its limits.
func (s *Store) Strain() fault.Strain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.set.Strain()
}

// Durable claims that all that is believed of the fault is on disk.
func (s *Store) Durable(k fault.Key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, held := s.heldKeys[k]
	return !held
}

// RemedyAllowed claims that an automatic remedy of the fault may start now.
func (s *Store) RemedyAllowed(k fault.Key) bool {
	now := s.o.Clock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := s.set.Get(k)
	e, known := s.o.Catalogue.Get(k.Code)
	return f != nil && known && fault.RemedyAllowed(f, e, now)
}

// Head returns the newest durable event.
func (s *Store) Head() Head {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head
}

// Moved returns a channel that is closed at the next change of any belief,
// durable or not. Get it before reading what may change.
func (s *Store) Moved() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.moved
}

// Events returns up to n durable events with a seq above after. Pruned ones are
// passed over.
func (s *Store) Events(ctx context.Context, after uint64, n int) ([]fault.Event, error) {
	return s.query(ctx, "SELECT body FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
		int64(after), int64(s.Head().Seq), n)
}

// History returns up to n events of a fault below seq before (0: from the
// newest), newest first, those held in memory included.
func (s *Store) History(ctx context.Context, k fault.Key, n int, before uint64) ([]fault.Event, error) {
	s.mu.RLock()
	f, head := s.set.Get(k), s.head.Seq
	var events []fault.Event
	for _, ev := range slices.Backward(s.held) {
		if ev.Key == k && (before == 0 || ev.Seq < before) && len(events) < n {
			events = append(events, ev)
		}
	}
	s.mu.RUnlock()
	if f == nil {
		return nil, ErrNoFault
	}
	top := head + 1
	if before != 0 {
		top = min(top, before)
	}
	stored, err := s.query(ctx, "SELECT body FROM events WHERE fault = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
		int64(f.ID), int64(top), n-len(events))
	return append(events, stored...), err
}

func (s *Store) query(ctx context.Context, text string, args ...any) ([]fault.Event, error) {
	rows, err := s.disk.ro.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var events []fault.Event
	for rows.Next() {
		var body sql.RawBytes
		var ev fault.Event
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		if err := json.Unmarshal(body, &ev); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		events = append(events, ev)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// followPage is how many events a follower reads at a time.
const followPage = 256

// Follow yields the durable events above after, and then each new one when it
// is durable. It reads from the disk at its own pace and holds up nobody. It
// ends when ctx does, or after yielding an error.
func (s *Store) Follow(ctx context.Context, after uint64) iter.Seq2[fault.Event, error] {
	return func(yield func(fault.Event, error) bool) {
		for {
			moved := s.Moved()
			events, err := s.Events(ctx, after, followPage)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(fault.Event{}, err)
				return
			}
			for _, ev := range events {
				if !yield(ev, nil) {
					return
				}
				after = ev.Seq
			}
			if len(events) > 0 {
				continue
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			case <-s.done:
				yield(fault.Event{}, ErrClosed)
				return
			}
		}
	}
}
