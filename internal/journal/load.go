package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"allclear/internal/fault"
)

// stored is what a database holds, apart from the events.
type stored struct {
	head    Head
	newest  *fault.Event // nil: there is none
	node    fault.Clock  // the newest heartbeat
	beliefs []fault.Belief
	seqs    []uint64 // of beliefs
	told    []toldChange
	cursors map[string]uint64
	unclean bool
	fresh   bool // there was no epoch yet
	aside   *SetAside
}

// openStored opens the database and reads it; after an unclean stop it checks
// the whole file at the same time. It returns the disk even with an error, to
// be closed, unless the error is damage.
func openStored(ctx context.Context, path string, now fault.Clock, fail func(string) error) (*disk, stored, error) {
	d, err := openDisk(ctx, path, fail)
	if err != nil {
		return nil, stored{}, err
	}
	st, err := d.load(ctx, now)
	if broken, ok := errors.AsType[*damage](err); ok {
		return nil, stored{}, errors.Join(broken, d.close())
	}
	return d, st, err
}

func (d *disk) load(ctx context.Context, now fault.Clock) (st stored, err error) {
	if err := d.loadNode(ctx, &st, now); err != nil {
		return st, judge(err)
	}
	checked := make(chan error, 1)
	if st.unclean {
		go func() { checked <- d.quickCheck(ctx) }()
	} else {
		checked <- nil
	}
	err = errors.Join(d.loadHead(ctx, &st), d.loadBeliefs(ctx, &st), d.loadTold(ctx, &st), d.loadCursors(ctx, &st))
	return st, errors.Join(judge(err), <-checked)
}

// loadNode reads the node's row, or begins a new epoch.
func (d *disk) loadNode(ctx context.Context, st *stored, now fault.Clock) error {
	var ended bool
	var clock, aside []byte
	err := d.conn.QueryRowContext(ctx, "SELECT epoch, clean, clock, set_aside FROM node").
		Scan(&st.head.Epoch, &ended, &clock, &aside)
	if errors.Is(err, sql.ErrNoRows) {
		return d.begin(ctx, st, now)
	}
	if err != nil {
		return fmt.Errorf("read the node's row: %w", err)
	}
	st.unclean = !ended
	if err := json.Unmarshal(clock, &st.node); err != nil {
		return &damage{fmt.Errorf("read the node's clock: %w", err)}
	}
	if aside != nil {
		if err := json.Unmarshal(aside, &st.aside); err != nil {
			return &damage{fmt.Errorf("read the record of a broken database: %w", err)}
		}
	}
	return nil
}

func (d *disk) begin(ctx context.Context, st *stored, now fault.Clock) error {
	var epoch [16]byte
	if _, err := rand.Read(epoch[:]); err != nil {
		return fmt.Errorf("draw an epoch: %w", err)
	}
	st.head.Epoch, st.node, st.fresh = hex.EncodeToString(epoch[:]), now, true
	clock, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encode the clock: %w", err)
	}
	err = d.exec(ctx, "INSERT INTO node (only, epoch, clean, clock) VALUES (1, ?, 1, ?)", st.head.Epoch, clock)
	if err != nil {
		return fmt.Errorf("begin epoch %s: %w", st.head.Epoch, err)
	}
	return nil
}

// loadHead reads the newest event and tests its link.
func (d *disk) loadHead(ctx context.Context, st *stored) error {
	var seq int64
	var hash, body, prev []byte
	err := d.ro.QueryRowContext(ctx, `
		SELECT seq, hash, body, coalesce(prev, (SELECT hash FROM events e WHERE e.seq = events.seq - 1), zeroblob(32))
		FROM events ORDER BY seq DESC LIMIT 1`).Scan(&seq, &hash, &body, &prev)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the newest event: %w", err)
	}
	if len(hash) != len(Hash{}) || len(prev) != len(Hash{}) || link(Hash(prev), body) != Hash(hash) {
		return &damage{fmt.Errorf("event %d does not match its hash", seq)}
	}
	if err := json.Unmarshal(body, &st.newest); err != nil {
		return &damage{fmt.Errorf("read event %d: %w", seq, err)}
	}
	st.head.Seq, st.head.Hash = uint64(seq), Hash(hash)
	return nil
}

func (d *disk) loadBeliefs(ctx context.Context, st *stored) error {
	var bodies [][]byte
	err := d.each(ctx, "SELECT seq, body FROM beliefs ORDER BY id", func(rows *sql.Rows) error {
		var seq int64
		var body []byte
		if err := rows.Scan(&seq, &body); err != nil {
			return err
		}
		st.seqs, bodies = append(st.seqs, uint64(seq)), append(bodies, body)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read beliefs: %w", err)
	}
	st.beliefs, err = decodeBeliefs(bodies)
	if err != nil {
		return &damage{fmt.Errorf("read beliefs: %w", err)}
	}
	return d.foldBoots(ctx, st)
}

// foldBoots brings beliefs up to date that no event has changed since a boot:
// a boot moves all of them but rewrites none.
func (d *disk) foldBoots(ctx context.Context, st *stored) error {
	if len(st.seqs) == 0 {
		return nil
	}
	query := fmt.Sprintf("SELECT body FROM events WHERE fault = 0 AND seq > %d ORDER BY seq", slices.Min(st.seqs))
	return d.each(ctx, query, func(rows *sql.Rows) error {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return fmt.Errorf("read boots: %w", err)
		}
		var ev fault.Event
		if err := json.Unmarshal(body, &ev); err != nil {
			return &damage{fmt.Errorf("read boots: %w", err)}
		}
		if ev.Kind != fault.KindBoot {
			return nil
		}
		for i := range st.beliefs {
			if st.seqs[i] < ev.Seq {
				st.beliefs[i] = fault.Fold(fault.Fault{Belief: st.beliefs[i]}, ev).Belief
			}
		}
		return nil
	})
}

// decodeBeliefs uses all processors: at start-up nothing else needs them.
func decodeBeliefs(bodies [][]byte) ([]fault.Belief, error) {
	beliefs := make([]fault.Belief, len(bodies))
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			words := interner{}
			for i := w; i < len(bodies) && errs[w] == nil; i += workers {
				errs[w] = json.Unmarshal(bodies[i], &beliefs[i])
				words.intern(&beliefs[i])
				bodies[i] = nil
			}
		})
	}
	wg.Wait()
	return beliefs, errors.Join(errs...)
}

// interner keeps one copy of words that many beliefs share.
type interner map[string]string

func (w interner) one(s string) string {
	if have, ok := w[s]; ok {
		return have
	}
	w[s] = s
	return s
}

func (w interner) intern(b *fault.Belief) {
	b.Key.Code = fault.Code(w.one(string(b.Key.Code)))
	b.Check = w.one(b.Check)
	for i := range b.Sense {
		b.Sense[i].Key = w.one(b.Sense[i].Key)
	}
}

func (d *disk) loadTold(ctx context.Context, st *stored) error {
	err := d.each(ctx, "SELECT sink, code, resource, body FROM told", func(rows *sql.Rows) error {
		var c toldChange
		var code string
		var body []byte
		if err := rows.Scan(&c.sink, &code, &c.key.Resource, &body); err != nil {
			return err
		}
		c.key.Code = fault.Code(code)
		if err := json.Unmarshal(body, &c.told); err != nil {
			return &damage{err}
		}
		st.told = append(st.told, c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read told records: %w", err)
	}
	return nil
}

func (d *disk) loadCursors(ctx context.Context, st *stored) error {
	st.cursors = map[string]uint64{}
	err := d.each(ctx, "SELECT name, seq FROM cursors", func(rows *sql.Rows) error {
		var name string
		var seq int64
		err := rows.Scan(&name, &seq)
		st.cursors[name] = uint64(seq)
		return err
	})
	if err != nil {
		return fmt.Errorf("read cursors: %w", err)
	}
	return nil
}

// each calls do for each row of a query.
func (d *disk) each(ctx context.Context, query string, do func(*sql.Rows) error) error {
	rows, err := d.ro.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// alive and clean set the node's row: with a heartbeat, and at the end.
func alive(now fault.Clock) func(context.Context, *disk) error { return nodeRow(now, 0) }
func clean(now fault.Clock) func(context.Context, *disk) error { return nodeRow(now, 1) }

func nodeRow(now fault.Clock, ended int) func(context.Context, *disk) error {
	return func(ctx context.Context, d *disk) error {
		clock, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("encode the clock: %w", err)
		}
		if err := d.exec(ctx, "UPDATE node SET clean = ?, clock = ?", ended, clock); err != nil {
			return fmt.Errorf("write the node's row: %w", err)
		}
		return nil
	}
}
