package journal

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"modernc.org/sqlite"
)

// dbName is the database in the journal's directory; SQLite keeps a -wal and a
// -shm file beside it.
const dbName = "journal.db"

// The WAL is copied into the database after walPages pages of 4 KiB and its
// file cut back to walLimit bytes.
const (
	walPages = 4096
	walLimit = 16 << 20
)

//go:embed schema/*.sql
var schema embed.FS

// disk is the database: one connection that writes, and a few that only read.
type disk struct {
	path string
	fail func(step string) error
	rw   *sql.DB
	conn *sql.Conn // of rw; the writer's
	ro   *sql.DB

	event, belief, told, untold *sql.Stmt
}

// damage says that the database cannot be trusted.
type damage struct{ err error }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

// judge wraps err as damage if SQLite says that the file is broken.
func judge(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		const corrupt, notADatabase = 11, 26
		if code := e.Code() & 0xff; code == corrupt || code == notADatabase {
			return &damage{err}
		}
	}
	return err
}

// noSpace claims that err means a full disk.
func noSpace(err error) bool {
	const full = 13
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == full {
		return true
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func source(path string, params url.Values) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
}

// openDisk opens or makes the database. Damage that shows at once is answered
// as *damage.
func openDisk(ctx context.Context, path string, fail func(string) error) (_ *disk, err error) {
	d := &disk{path: path, fail: fail}
	defer func() {
		if err != nil {
			err = errors.Join(judge(err), d.close())
		}
	}()
	d.rw, err = sql.Open("sqlite", source(path, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(2000)", "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
			fmt.Sprintf("wal_autocheckpoint(%d)", walPages), fmt.Sprintf("journal_size_limit(%d)", walLimit),
		},
	}))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d.rw.SetMaxOpenConns(1)
	if d.conn, err = d.rw.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := d.assertDurable(ctx); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx); err != nil {
		return nil, err
	}
	d.ro, err = sql.Open("sqlite", source(path, url.Values{
		"mode": {"ro"}, "_pragma": {"busy_timeout(2000)", "query_only(1)"},
	}))
	if err != nil {
		return nil, fmt.Errorf("open %s to read: %w", path, err)
	}
	d.ro.SetMaxOpenConns(4)
	return d, d.prepare(ctx)
}

// assertDurable makes sure that the settings on which all promises rest are in
// force: a power cut loses acknowledged events with anything less.
func (d *disk) assertDurable(ctx context.Context) error {
	var mode string
	var sync int
	if err := d.conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return fmt.Errorf("read the journal mode of %s: %w", d.path, err)
	}
	if err := d.conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&sync); err != nil {
		return fmt.Errorf("read the synchronous setting of %s: %w", d.path, err)
	}
	const full = 2
	if mode != "wal" || sync != full {
		return fmt.Errorf("%s is in journal mode %s with synchronous %d, need wal and 2", d.path, mode, sync)
	}
	return nil
}

// migrate brings the schema to the newest version, each step a transaction.
func (d *disk) migrate(ctx context.Context) error {
	steps, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(steps)
	var version int
	if err := d.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read the schema version of %s: %w", d.path, err)
	}
	if version > len(steps) {
		return fmt.Errorf("%s has schema version %d, this program knows up to %d: it was written by a newer one",
			d.path, version, len(steps))
	}
	for i := version; i < len(steps); i++ {
		text, err := schema.ReadFile(steps[i])
		if err != nil {
			return err
		}
		change := fmt.Sprintf("BEGIN IMMEDIATE;\n%s;\nPRAGMA user_version = %d;\nCOMMIT", text, i+1)
		if _, err := d.conn.ExecContext(ctx, change); err != nil {
			_, _ = d.conn.ExecContext(ctx, "ROLLBACK")
			return fmt.Errorf("bring %s to schema version %d: %w", d.path, i+1, err)
		}
	}
	return nil
}

func (d *disk) prepare(ctx context.Context) error {
	for stmt, text := range map[**sql.Stmt]string{
		&d.event:  "INSERT INTO events (seq, fault, hash, body) VALUES (?, ?, ?, ?)",
		&d.belief: "INSERT OR REPLACE INTO beliefs (id, seq, body) VALUES (?, ?, ?)",
		&d.told:   "INSERT OR REPLACE INTO told (sink, code, resource, body) VALUES (?, ?, ?, ?)",
		&d.untold: "DELETE FROM told WHERE sink = ? AND code = ? AND resource = ?",
	} {
		var err error
		if *stmt, err = d.conn.PrepareContext(ctx, text); err != nil {
			return fmt.Errorf("prepare %q: %w", text, err)
		}
	}
	return nil
}

// quickCheck reads the whole database for damage.
func (d *disk) quickCheck(ctx context.Context) error {
	var said string
	if err := d.ro.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return judge(fmt.Errorf("check %s: %w", d.path, err))
	}
	if said != "ok" {
		return &damage{fmt.Errorf("check %s: %s", d.path, strings.TrimSpace(said))}
	}
	return nil
}

// exec runs one statement of the writer's, without a result.
func (d *disk) exec(ctx context.Context, query string, args ...any) error {
	_, err := d.conn.ExecContext(ctx, query, args...)
	return err
}

func (d *disk) close() error {
	if d == nil {
		return nil
	}
	var errs []error
	// SQLite keeps a connection open for as long as it has statements.
	for _, stmt := range []*sql.Stmt{d.event, d.belief, d.told, d.untold} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if d.ro != nil {
		errs = append(errs, d.ro.Close())
	}
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	if d.rw != nil {
		errs = append(errs, d.rw.Close())
	}
	return errors.Join(errs...)
}
