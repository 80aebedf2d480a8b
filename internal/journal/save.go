package journal

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"allclear/internal/fault"
)

// Hash is the link of an event in the chain: SHA-256 of the hash before it and
// of its JSON as stored. Before the first event of an epoch it is zero.
type Hash [sha256.Size]byte

func link(prev Hash, body []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	return Hash(h.Sum(nil))
}

// Head is the newest durable event.
type Head struct {
	Epoch string
	Seq   uint64
	Hash  Hash
}

// save is all that one transaction brings to disk.
type save struct {
	head Head // on which it builds; moved to its own last event
	// torn says that a commit before this one may or may not have happened:
	// whatever is on disk above head was never shown to anybody and goes.
	torn    bool
	first   []func(context.Context, *disk) error // before the events; may complete them
	events  []fault.Event
	beliefs []row
	gone    []uint64 // beliefs that no longer are
	told    []toldChange
	extra   []func(context.Context, *disk) error
}

// row is a belief and the seq of the fault's last event.
type row struct {
	f   *fault.Fault
	seq uint64
}

// write does the transaction. After an error nothing of it is on disk, unless
// the error came from the commit itself: then nobody knows.
func (d *disk) write(ctx context.Context, s *save) (err error) {
	if err := d.fail("begin"); err != nil {
		return err
	}
	if err := d.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = d.exec(ctx, "ROLLBACK") // SQLite may have done it already
		}
	}()
	if s.torn {
		if err := d.exec(ctx, "DELETE FROM events WHERE seq > ?", int64(s.head.Seq)); err != nil {
			return fmt.Errorf("drop events that nobody saw: %w", err)
		}
	}
	for _, do := range s.first {
		if err := do(ctx, d); err != nil {
			return err
		}
	}
	head, err := d.writeEvents(ctx, s.head, s.events)
	if err != nil {
		return err
	}
	if err := d.writeBeliefs(ctx, s); err != nil {
		return err
	}
	for _, t := range s.told {
		if err := d.writeTold(ctx, t); err != nil {
			return err
		}
	}
	for _, do := range s.extra {
		if err := do(ctx, d); err != nil {
			return err
		}
	}
	if err := d.fail("commit"); err != nil {
		return err
	}
	if err := d.exec(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.head = head
	return nil
}

func (d *disk) writeEvents(ctx context.Context, head Head, events []fault.Event) (Head, error) {
	for i := range events {
		ev := &events[i]
		if err := d.fail("event"); err != nil {
			return head, err
		}
		body, err := json.Marshal(ev)
		if err != nil {
			return head, fmt.Errorf("encode event %d: %w", ev.Seq, err)
		}
		head.Seq, head.Hash = ev.Seq, link(head.Hash, body)
		if _, err := d.event.ExecContext(ctx, int64(ev.Seq), int64(ev.ID), head.Hash[:], body); err != nil {
			return head, fmt.Errorf("store event %d: %w", ev.Seq, err)
		}
	}
	return head, nil
}

func (d *disk) writeBeliefs(ctx context.Context, s *save) error {
	for _, r := range s.beliefs {
		if err := d.fail("belief"); err != nil {
			return err
		}
		body, err := json.Marshal(&r.f.Belief)
		if err != nil {
			return fmt.Errorf("encode the belief of %s: %w", r.f.Key, err)
		}
		if _, err := d.belief.ExecContext(ctx, int64(r.f.ID), int64(r.seq), body); err != nil {
			return fmt.Errorf("store the belief of %s: %w", r.f.Key, err)
		}
	}
	for _, id := range s.gone {
		if err := d.exec(ctx, "DELETE FROM beliefs WHERE id = ?", int64(id)); err != nil {
			return fmt.Errorf("drop belief %d: %w", id, err)
		}
	}
	return nil
}

func (d *disk) writeTold(ctx context.Context, t toldChange) error {
	var err error
	if t.told == nil {
		_, err = d.untold.ExecContext(ctx, t.sink, string(t.key.Code), t.key.Resource)
	} else {
		var body []byte
		if body, err = json.Marshal(t.told); err != nil {
			return fmt.Errorf("encode what %s was told of %s: %w", t.sink, t.key, err)
		}
		_, err = d.told.ExecContext(ctx, t.sink, string(t.key.Code), t.key.Resource, body)
	}
	if err != nil {
		return fmt.Errorf("store what %s was told of %s: %w", t.sink, t.key, err)
	}
	return nil
}
