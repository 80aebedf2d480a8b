package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"allclear/internal/fault"
)

const (
	pruneEvery  = time.Hour
	drillRetain = 24 * time.Hour // of a drill's cleared fault
	// stepCaution is how long after a step of the clock nothing is pruned by
	// age: a wrong date must not empty the history.
	stepCaution = 24 * time.Hour
)

// pruning is what retention wants removed.
type pruning struct {
	keys   []fault.Key // faults, with all their events
	ids    []uint64    // of keys
	cut    uint64      // events below it go, but for those of active faults; 0: none
	active []uint64    // ids of active faults
}

// prune removes cleared faults and events that retention no longer wants. It
// runs in a batch of its own, so that its snapshot is that of the event before.
func (s *Store) prune(ctx context.Context) ([]fault.Event, error) {
	now := s.o.Clock()
	s.mu.RLock()
	hourly := now.Boot-s.pruned >= pruneEvery
	due := hourly || s.set.Len()-s.activeCount() > s.o.MaxCleared
	cautious := s.stepped != 0 && now.Boot-s.stepped < stepCaution
	top := s.taken()
	s.mu.RUnlock()
	if !due {
		return nil, nil
	}
	var cut uint64
	if hourly && !cautious {
		var err error
		if cut, err = s.disk.firstAfter(ctx, now.Wall.Add(-s.o.Retain), top); err != nil {
			return nil, fmt.Errorf("find old events: %w", err)
		}
		if old, err := s.prunable(ctx, cut); err != nil || !old {
			cut = 0
		}
	}
	return submitTo(ctx, s, s.chores, func(b *batch) ([]fault.Event, error) {
		if err := b.refuse("pruning"); err != nil {
			return nil, err
		}
		b.after = append(b.after, func() { s.pruned = now.Boot })
		p := s.planPruning(now, cut, cautious)
		if len(p.ids) == 0 && cut == 0 {
			return nil, nil
		}
		b.alone = true
		b.node(fault.Event{Kind: fault.KindPrune})
		b.first = append(b.first, func(ctx context.Context, d *disk) error {
			return d.prune(ctx, p, s.head, &b.events[0])
		})
		b.after = append(b.after, func() { s.set.Forget(p.keys...) })
		return b.events, nil
	})
}

// taken is the seq up to which every follower has taken the events over. The
// store's lock is held.
func (s *Store) taken() uint64 {
	top := s.head.Seq
	for _, seq := range s.cursors {
		top = min(top, seq)
	}
	return top
}

// prunable claims that there are events below cut that may go.
func (s *Store) prunable(ctx context.Context, cut uint64) (bool, error) {
	found := false
	query := fmt.Sprintf("SELECT DISTINCT fault FROM events WHERE seq < %d AND fault <> 0", cut)
	err := s.disk.each(ctx, query, func(rows *sql.Rows) error {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		k, known := s.set.Find(uint64(id))
		found = found || !known || !s.set.Get(k).Active
		return nil
	})
	return found, err
}

// planPruning chooses what goes. The store's lock is held.
func (s *Store) planPruning(now fault.Clock, cut uint64, cautious bool) pruning {
	p := pruning{cut: cut}
	type candidate struct {
		key     fault.Key
		id      uint64
		cleared time.Time
	}
	var kept []candidate
	cleared, top := 0, s.taken()
	s.set.Page(0, math.MaxInt, func(f *fault.Fault) bool {
		if f.Active {
			p.active = append(p.active, f.ID)
		}
		if f.Active || f.Cleared.IsZero() {
			return false
		}
		cleared++
		if f.Condition() != fault.Clear || f.Shelf != nil || f.Seq() > top || s.isTold(f.Key) {
			return false
		}
		age := now.Wall.Sub(f.Cleared)
		if !cautious && (age > s.o.Retain || f.Key.Drill() && age > drillRetain) {
			p.keys, p.ids = append(p.keys, f.Key), append(p.ids, f.ID)
		} else {
			kept = append(kept, candidate{f.Key, f.ID, f.Cleared})
		}
		return false
	}, now)
	if over := cleared - len(p.ids) - s.o.MaxCleared; over > 0 {
		// A tenth more than needed, so that not each clear brings a pruning.
		over = min(len(kept), over+s.o.MaxCleared/10)
		slices.SortFunc(kept, func(a, b candidate) int { return cmp.Or(a.cleared.Compare(b.cleared), cmp.Compare(a.id, b.id)) })
		for _, c := range kept[:over] {
			p.keys, p.ids = append(p.keys, c.key), append(p.ids, c.id)
		}
	}
	return p
}

// isTold claims that some sink was told of the fault and not of its end. The
// store's lock is held.
func (s *Store) isTold(k fault.Key) bool {
	for _, told := range s.told {
		if _, ok := told[k]; ok {
			return true
		}
	}
	return false
}

// anchor is what remains of pruned events: how many they were, and the beliefs
// that they led to.
type anchor struct {
	Removed uint64 `json:"removed"` // ever, in this epoch
	Seq     uint64 `json:"seq"`     // the snapshot holds the beliefs after this event
	Hash    string `json:"hash"`    // of that event
	Digest  string `json:"digest"`  // SHA-256 of the snapshot
}

// prune removes the events, takes the snapshot and completes the prune event,
// inside the writer's transaction.
func (d *disk) prune(ctx context.Context, p pruning, head Head, ev *fault.Event) error {
	if err := d.doom(ctx, p, head); err != nil {
		return fmt.Errorf("choose what to prune: %w", err)
	}
	removed, err := d.removeDoomed(ctx)
	if err != nil {
		return fmt.Errorf("prune events: %w", err)
	}
	for _, id := range p.ids {
		if err := d.exec(ctx, "DELETE FROM beliefs WHERE id = ?", int64(id)); err != nil {
			return fmt.Errorf("prune belief %d: %w", id, err)
		}
	}
	var a anchor
	if err := d.readAnchor(ctx, d.conn, &a); err != nil {
		return err
	}
	if err := d.exec(ctx, "DELETE FROM snapshot"); err != nil {
		return fmt.Errorf("drop the old snapshot: %w", err)
	}
	if err := d.exec(ctx, "INSERT INTO snapshot SELECT id, seq, body FROM beliefs"); err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	a.Removed += uint64(removed)
	a.Seq, a.Hash = head.Seq, hex.EncodeToString(head.Hash[:])
	if a.Digest, err = digest(ctx, d.conn, nil); err != nil {
		return err
	}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the anchor: %w", err)
	}
	ev.Count = int(removed)
	ev.Sense = fault.NewSense(map[string]string{
		"as_of": strconv.FormatUint(a.Seq, 10), "hash": a.Hash, "snapshot": a.Digest,
		"faults": strconv.Itoa(len(p.ids)), "removed": strconv.FormatUint(a.Removed, 10),
	})
	return d.exec(ctx, "UPDATE node SET anchor = ?", body)
}

// doom lists the events to go in a table of the connection's own. The newest
// event stays, and so do boots that a belief has not yet been written after.
func (d *disk) doom(ctx context.Context, p pruning, head Head) error {
	for _, text := range []string{
		"CREATE TEMP TABLE IF NOT EXISTS doomed (seq INTEGER PRIMARY KEY)",
		"CREATE TEMP TABLE IF NOT EXISTS living (id INTEGER PRIMARY KEY)",
		"DELETE FROM doomed", "DELETE FROM living",
	} {
		if err := d.exec(ctx, text); err != nil {
			return err
		}
	}
	for _, id := range p.ids {
		err := d.exec(ctx, "INSERT OR IGNORE INTO doomed SELECT seq FROM events WHERE fault = ? AND seq < ?",
			int64(id), int64(head.Seq))
		if err != nil {
			return err
		}
	}
	if p.cut == 0 {
		return nil
	}
	for _, id := range p.active {
		if err := d.exec(ctx, "INSERT INTO living VALUES (?)", int64(id)); err != nil {
			return err
		}
	}
	return d.exec(ctx, `INSERT OR IGNORE INTO doomed SELECT seq FROM events
		WHERE seq < ? AND seq < ? AND fault NOT IN (SELECT id FROM living)
		AND (fault <> 0 OR seq <= coalesce((SELECT min(seq) FROM beliefs), seq))`, int64(p.cut), int64(head.Seq))
}

// firstAfter returns the seq that events older than t are below, at most top+1.
// Times grow with seq, so it need not read them all.
func (d *disk) firstAfter(ctx context.Context, t time.Time, top uint64) (uint64, error) {
	low, high := uint64(1), top+1
	for low < high {
		mid := low + (high-low)/2
		var seq int64
		var body []byte
		err := d.ro.QueryRowContext(ctx, "SELECT seq, body FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", int64(mid)).
			Scan(&seq, &body)
		if errors.Is(err, sql.ErrNoRows) {
			high = mid
			continue
		}
		if err != nil {
			return 0, err
		}
		var ev struct{ At time.Time }
		if err := json.Unmarshal(body, &ev); err != nil {
			return 0, fmt.Errorf("read event %d: %w", seq, err)
		}
		if ev.At.Before(t) {
			low = uint64(seq) + 1
		} else {
			high = mid
		}
	}
	return min(low, top+1), nil
}

// removeDoomed deletes the events; those after a gap keep the hash before it.
func (d *disk) removeDoomed(ctx context.Context) (int64, error) {
	err := d.exec(ctx, `UPDATE events SET prev = (SELECT hash FROM events e WHERE e.seq = events.seq - 1)
		WHERE prev IS NULL AND seq IN (SELECT seq + 1 FROM doomed) AND seq NOT IN (SELECT seq FROM doomed)`)
	if err != nil {
		return 0, err
	}
	res, err := d.conn.ExecContext(ctx, "DELETE FROM events WHERE seq IN (SELECT seq FROM doomed)")
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// querier is a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (d *disk) readAnchor(ctx context.Context, q querier, a *anchor) error {
	var body []byte
	if err := q.QueryRowContext(ctx, "SELECT anchor FROM node").Scan(&body); err != nil {
		return fmt.Errorf("read the anchor: %w", err)
	}
	if body == nil {
		return nil
	}
	if err := json.Unmarshal(body, a); err != nil {
		return fmt.Errorf("read the anchor: %w", err)
	}
	return nil
}

// digest is SHA-256 over the snapshot's rows; each, if given, is called for
// every one.
func digest(ctx context.Context, q querier, each func(id, seq uint64, body []byte) error) (string, error) {
	rows, err := q.QueryContext(ctx, "SELECT id, seq, body FROM snapshot ORDER BY id")
	if err != nil {
		return "", fmt.Errorf("read the snapshot: %w", err)
	}
	defer rows.Close()
	h := sha256.New()
	for rows.Next() {
		var id, seq int64
		var body []byte
		if err := rows.Scan(&id, &seq, &body); err != nil {
			return "", fmt.Errorf("read the snapshot: %w", err)
		}
		var lead []byte
		for _, n := range []int64{id, seq, int64(len(body))} {
			lead = binary.BigEndian.AppendUint64(lead, uint64(n))
		}
		h.Write(lead)
		h.Write(body)
		if each != nil {
			if err := each(uint64(id), uint64(seq), body); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), rows.Err()
}

// Prune removes now what is over its time, as Tick does once an hour.
func (s *Store) Prune(ctx context.Context) error {
	_, err := s.prune(ctx)
	return err
}
