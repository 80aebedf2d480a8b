package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"allclear/internal/fault"
)

// asideKept is how many broken databases are kept for inspection.
const asideKept = 3

// putAside renames a broken database and reads from it what still can be read.
func putAside(ctx context.Context, path string, why *damage, now time.Time) (*salvage, *SetAside, error) {
	base := path + ".corrupt-" + now.Format("20060102T150405.000000Z")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, base+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("put the broken database aside: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, nil, fmt.Errorf("put the broken database aside: %w", err)
	}
	w := &salvage{told: map[fault.Key]map[string]fault.Told{}, beliefs: map[fault.Key]fault.Belief{}, whole: true}
	w.read(ctx, base)
	thin(path)
	aside := &SetAside{Path: base, Why: why.Error(), At: now, Complete: w.whole, Beliefs: len(w.beliefs)}
	for _, sinks := range w.told {
		aside.Told += len(sinks)
	}
	return w, aside, nil
}

// thin removes all but the newest broken databases.
func thin(path string) {
	old, _ := filepath.Glob(path + ".corrupt-*Z")
	slices.Sort(old)
	for _, base := range old[:max(0, len(old)-asideKept)] {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(base + suffix)
		}
	}
}

// salvage is what a broken database still says: the active beliefs, and who was
// told what.
type salvage struct {
	beliefs map[fault.Key]fault.Belief
	told    map[fault.Key]map[string]fault.Told
	whole   bool // all of it could be read
}

// read reads from both ends, as damage seldom fills the whole file.
func (w *salvage) read(ctx context.Context, path string) {
	db, err := sql.Open("sqlite", source(path, url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}}))
	if err != nil {
		w.whole = false
		return
	}
	defer db.Close()
	d := &disk{ro: db}
	if d.each(ctx, "SELECT body FROM beliefs ORDER BY id", w.belief) != nil {
		w.whole = false
		_ = d.each(ctx, "SELECT body FROM beliefs ORDER BY id DESC", w.belief)
	}
	const keys = "SELECT sink, code, resource, body FROM told ORDER BY sink, code, resource"
	const backward = "SELECT sink, code, resource, body FROM told ORDER BY sink DESC, code DESC, resource DESC"
	if d.each(ctx, keys, w.record) != nil {
		w.whole = false
		_ = d.each(ctx, backward, w.record)
	}
}

func (w *salvage) belief(rows *sql.Rows) error {
	var body []byte
	if err := rows.Scan(&body); err != nil {
		return err
	}
	var b fault.Belief
	if json.Unmarshal(body, &b) != nil {
		w.whole = false
		return nil
	}
	if b.Active {
		w.beliefs[b.Key] = b
	}
	return nil
}

func (w *salvage) record(rows *sql.Rows) error {
	var sink, code, resource string
	var body []byte
	if err := rows.Scan(&sink, &code, &resource, &body); err != nil {
		return err
	}
	var t fault.Told
	if json.Unmarshal(body, &t) != nil {
		w.whole = false // the fault is adopted all the same
	}
	k := fault.Key{Code: fault.Code(code), Resource: resource}
	if w.told[k] == nil {
		w.told[k] = map[string]fault.Told{}
	}
	w.told[k][sink] = t
	return nil
}

// adoptions returns every fault that was active or told, in a stable order.
func (w *salvage) adoptions() []adoption {
	all := make(map[fault.Key]adoption, len(w.beliefs))
	for k, b := range w.beliefs {
		in := fault.Adoption{
			Severity: b.Severity, Check: b.Check, Every: b.Every, Causes: b.Causes, Occurrence: b.Occurrence,
		}
		all[k] = adoption{key: k, in: in}
	}
	for k, sinks := range w.told {
		a, known := all[k]
		a.key = k
		for sink, t := range sinks {
			a.by = append(a.by, sink)
			a.in.Notice = max(a.in.Notice, t.Notice)
			if !known {
				a.in.Severity = max(a.in.Severity, t.Severity)
				a.in.Occurrence = max(a.in.Occurrence, t.Occurrence)
			}
		}
		slices.Sort(a.by)
		all[k] = a
	}
	list := make([]adoption, 0, len(all))
	for _, a := range all {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b adoption) int { return strings.Compare(a.key.String(), b.key.String()) })
	return list
}

// rememberAside keeps the mention of a broken database until ForgetSetAside.
func (d *disk) rememberAside(ctx context.Context, aside *SetAside) error {
	body, err := json.Marshal(aside)
	if err != nil {
		return fmt.Errorf("encode the record of a broken database: %w", err)
	}
	if err := d.exec(ctx, "UPDATE node SET set_aside = ?", body); err != nil {
		return fmt.Errorf("store the record of a broken database: %w", err)
	}
	return nil
}
