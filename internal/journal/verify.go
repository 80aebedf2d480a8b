package journal

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"allclear/internal/fault"
)

// Audit is what [Store.Verify] went through.
type Audit struct {
	Events  int    // on disk
	Removed uint64 // pruned in this epoch
	Faults  int    // beliefs compared
}

// DamageError says where the journal contradicts itself.
type DamageError struct {
	Seq  uint64 // 0: not a matter of one event
	What string
}

func (e *DamageError) Error() string {
	if e.Seq == 0 {
		return "the journal contradicts itself: " + e.What
	}
	return fmt.Sprintf("the journal contradicts itself at event %d: %s", e.Seq, e.What)
}

// Verify reads the journal on disk from end to end: the chain of hashes is
// whole, no event is missing that was not pruned, shown time grows, and the
// beliefs are exactly what the events lead to. It answers a [*DamageError] if
// not. It reads a snapshot and holds up nobody.
func (s *Store) Verify(ctx context.Context) (Audit, error) {
	tx, err := s.disk.ro.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Audit{}, fmt.Errorf("verify the journal: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	a := auditor{disk: s.disk, faults: map[uint64]*belief{}}
	if err := a.run(ctx, tx); err != nil {
		return a.Audit, fmt.Errorf("verify the journal: %w", err)
	}
	return a.Audit, nil
}

type auditor struct {
	Audit
	disk   *disk
	epoch  string
	anchor anchor
	faults map[uint64]*belief // by id
	boots  []fault.Event
	last   uint64
	hash   Hash // of last
	at     time.Time
}

// belief is what the events so far lead to. A boot moves all beliefs but
// rewrites none: on disk each is as of seq.
type belief struct {
	fault.Fault
	seq uint64
}

func (a *auditor) run(ctx context.Context, q querier) error {
	if err := q.QueryRowContext(ctx, "SELECT epoch FROM node").Scan(&a.epoch); err != nil {
		return err
	}
	if err := a.disk.readAnchor(ctx, q, &a.anchor); err != nil {
		return err
	}
	if a.anchor.Digest != "" {
		have, err := digest(ctx, q, a.base)
		if err != nil {
			return err
		}
		if have != a.anchor.Digest {
			return &DamageError{a.anchor.Seq, "the snapshot is not the one taken then"}
		}
	}
	if err := a.events(ctx, q); err != nil {
		return err
	}
	a.Removed = a.anchor.Removed
	if missing := a.last - uint64(a.Events); missing != a.Removed {
		return &DamageError{0, fmt.Sprintf("%d events are missing, %d were pruned", missing, a.Removed)}
	}
	return a.beliefs(ctx, q)
}

func (a *auditor) base(id, seq uint64, body []byte) error {
	f := &belief{seq: seq}
	if err := json.Unmarshal(body, &f.Belief); err != nil {
		return &DamageError{0, fmt.Sprintf("snapshot of fault %d: %v", id, err)}
	}
	a.faults[id] = f
	return nil
}

func (a *auditor) events(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, "SELECT seq, fault, hash, body, prev FROM events ORDER BY seq")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, id int64
		var hash, body, prev []byte
		if err := rows.Scan(&seq, &id, &hash, &body, &prev); err != nil {
			return err
		}
		if err := a.event(uint64(seq), uint64(id), hash, body, prev); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (a *auditor) event(seq, id uint64, hash, body, prev []byte) error {
	before := a.hash
	gap := seq != a.last+1
	if gap != (prev != nil) || prev != nil && len(prev) != len(Hash{}) {
		return &DamageError{seq, fmt.Sprintf("it follows event %d", a.last)}
	}
	if gap {
		before = Hash(prev)
	}
	if len(hash) != len(Hash{}) || link(before, body) != Hash(hash) {
		return &DamageError{seq, "its hash does not match"}
	}
	var ev fault.Event
	if err := json.Unmarshal(body, &ev); err != nil {
		return &DamageError{seq, err.Error()}
	}
	if ev.Seq != seq || ev.ID != id || ev.Epoch != a.epoch {
		return &DamageError{seq, "it is filed wrongly"}
	}
	if !ev.At.After(a.at) {
		return &DamageError{seq, "its time is not later than that of the event before"}
	}
	a.last, a.hash, a.at = seq, Hash(hash), ev.At
	a.Events++
	a.fold(ev)
	return nil
}

func (a *auditor) fold(ev fault.Event) {
	switch {
	case ev.Kind == fault.KindBoot:
		a.boots = append(a.boots, ev)
		for _, f := range a.faults {
			if f.seq < ev.Seq {
				f.Fault = fault.Fold(f.Fault, ev)
			}
		}
	case ev.ID != 0 && ev.Seq > a.anchor.Seq:
		f := a.faults[ev.ID]
		if f == nil {
			f = &belief{}
			a.faults[ev.ID] = f
		}
		f.Fault, f.seq = fault.Fold(f.Fault, ev), ev.Seq
	}
}

func (a *auditor) beliefs(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, "SELECT id, seq, body FROM beliefs")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, seq int64
		var body []byte
		if err := rows.Scan(&id, &seq, &body); err != nil {
			return err
		}
		if err := a.compare(uint64(id), uint64(seq), body); err != nil {
			return err
		}
	}
	for _, f := range a.faults {
		return &DamageError{0, fmt.Sprintf("the events lead to a belief in %s, which is missing", f.Key)}
	}
	return rows.Err()
}

// compare brings a stored belief up to date and compares it with what the
// events lead to.
func (a *auditor) compare(id, seq uint64, body []byte) error {
	f := a.faults[id]
	if f == nil {
		return &DamageError{0, fmt.Sprintf("belief %d has no events", id)}
	}
	var have fault.Fault
	if err := json.Unmarshal(body, &have.Belief); err != nil {
		return &DamageError{0, fmt.Sprintf("belief in %s: %v", f.Key, err)}
	}
	for _, boot := range a.boots {
		if boot.Seq > seq {
			have = fault.Fold(have, boot)
		}
	}
	stored, err := json.Marshal(&have.Belief)
	if err != nil {
		return err
	}
	want, err := json.Marshal(&f.Belief)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, stored) {
		return &DamageError{0, fmt.Sprintf("the belief in %s is not what its events lead to: have %s, want %s",
			f.Key, stored, want)}
	}
	delete(a.faults, id)
	a.Faults++
	return nil
}
