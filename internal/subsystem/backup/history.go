package backup

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"allclear/internal/atomicfile"
	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

// Bounds of what is kept and read.
const (
	maxRuns       = 500      // records of a job
	maxRecord     = 1 << 20  // bytes of one file
	maxCoverage   = 64 << 20 // bytes of the record of what was read back
	maxSkipListed = 100      // skipped files named in a record
)

// history holds the records of runs and what was proved, in memory and on disk:
// runs/JOB/ID.json and proof/JOB.json, each replaced as a whole. A record that
// cannot be written still counts as long as the process lives. What was read back
// of a job's copies, and when, is in read/JOB.json and not kept in memory.
type history struct {
	root *os.Root
	node string
	log  *slog.Logger

	mu     sync.Mutex                  // guards the fields below and what they point to
	runs   map[string][]wire.BackupRun // by job, oldest first
	proofs map[string]*proof
}

// proof is what was proved of a job's copies and what its plan hangs on.
type proof struct {
	Since    time.Time `json:"since"` // when the job was first known here
	Verified time.Time `json:"verified,omitzero"`
	Copy     string    `json:"copy,omitempty"`
	// Size is what the newest copy took at the target, for the look at its space.
	Size int64 `json:"size,omitempty"`

	Structure time.Time   `json:"structure,omitzero"` // last found complete
	Look      *lookRecord `json:"look,omitempty"`     // newest verification, whatever it found
	// ReadPercent is how much of the copies was read back within the job's full
	// read time; ReadOldest is the oldest reading that counts, zero when a part was
	// never read.
	ReadPercent float64      `json:"read_percent,omitempty"`
	ReadOldest  time.Time    `json:"read_oldest,omitzero"`
	Drill       *drillRecord `json:"drill,omitempty"` // newest
	DrillOK     time.Time    `json:"drill_ok,omitzero"`
	Retention   *retention   `json:"retention,omitempty"` // newest
	// Untidy: a transfer was cut off, and may have left files under temporary names.
	Untidy bool `json:"untidy,omitempty"`
	// Suspect: something damaged was met beside a verification, which is due then.
	Suspect bool `json:"suspect,omitempty"`
}

// lookRecord is what a verification found.
type lookRecord struct {
	wire.BackupVerify
	Kind     string `json:"kind,omitempty"` // hash, decrypt, truncated, missing
	Path     string `json:"path,omitempty"`
	Expected string `json:"expected,omitempty"`
	Actual   string `json:"actual,omitempty"`
	// Oldest is the oldest reading of what is there, zero when a part was never
	// read.
	Oldest time.Time `json:"oldest,omitzero"`
}

// drillRecord is what a restore drill found.
type drillRecord struct{ wire.BackupDrill }

// retention is how the newest removal of old copies went.
type retention struct {
	At      time.Time `json:"at"`
	Removed int       `json:"removed"`
	Copies  int       `json:"copies"`  // that are there
	Expired int       `json:"expired"` // that should be gone and are not
	Why     string    `json:"why,omitempty"`
	Path    string    `json:"path,omitempty"`
}

// jobName is what a job may be called: it is part of paths here and at targets.
var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidName claims that a job may have this name: 1 to 64 letters, digits, dots,
// underscores and dashes, the first a letter or digit.
func ValidName(name string) bool { return jobName.MatchString(name) }

// openHistory reads the folder. A run that was under way when the process ended
// is recorded as interrupted. A record that cannot be read is left alone and
// logged: it says nothing.
func openHistory(dir, node string, now time.Time, log *slog.Logger) (*history, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of backup records: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of backup records: %w", err)
	}
	h := &history{root: root, node: node, log: log, runs: map[string][]wire.BackupRun{}, proofs: map[string]*proof{}}
	for _, sub := range []string{"runs", "proof", "read"} {
		if err := h.makeDir(sub); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	h.sweepKeys()
	if err := h.load(now); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return h, nil
}

// sweepKeys removes what sessions of a killed process have left: they may hold
// private keys.
func (h *history) sweepKeys() {
	for _, name := range h.names(".") {
		if !strings.HasPrefix(name, sshpolicy.DirPrefix) {
			continue
		}
		if err := h.root.RemoveAll(name); err != nil {
			h.log.Warn("folder of a killed session, with a private key, not removed", slog.String("folder", name), slog.Any("error", err))
		}
	}
}

func (h *history) makeDir(name string) error {
	if err := h.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the folder of backup records: %w", err)
	}
	return nil
}

func (h *history) load(now time.Time) error {
	for _, name := range h.names("proof") {
		job, ok := strings.CutSuffix(name, ".json")
		p := &proof{}
		if ok && ValidName(job) && h.read("proof/"+name, maxRecord, p) {
			h.proofs[job] = p
		}
	}
	for _, job := range h.names("runs") {
		if !ValidName(job) {
			continue
		}
		dir := "runs/" + job
		if _, err := atomicfile.Sweep(h.root, dir); err != nil {
			return fmt.Errorf("clear what a crash left among the records of %s: %w", job, err)
		}
		for _, name := range h.names(dir) {
			var r wire.BackupRun
			if strings.HasSuffix(name, ".json") && h.read(path.Join(dir, name), maxRecord, &r) && r.Job == job && r.ID+".json" == name {
				h.runs[job] = append(h.runs[job], r)
			}
		}
		for i := range h.runs[job] {
			if r := &h.runs[job][i]; r.State == stateRunning {
				interrupt(r, h.node, now)
				h.store(r)
				h.prove(job, func(p *proof) { p.Untidy = true })
			}
		}
		h.runs[job] = byClock(h.runs[job], now)
	}
	for _, dir := range []string{"proof", "read"} {
		if _, err := atomicfile.Sweep(h.root, dir); err != nil {
			return fmt.Errorf("clear what a crash left among the backup records: %w", err)
		}
	}
	return nil
}

// maxAhead is how far ahead of the clock a time may lie that was taken from it
// before. What lies further was noted while the clock was wrong.
const maxAhead = time.Hour

// byClock puts records of a clock that was wrong first: they are taken for the
// oldest, so that none of them is the newest until that time has come.
func byClock(runs []wire.BackupRun, now time.Time) []wire.BackupRun {
	ahead := func(r wire.BackupRun) int {
		if r.Started.Sub(now) > maxAhead {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(runs, func(a, b wire.BackupRun) int { return ahead(a) - ahead(b) })
	return runs
}

// elapsed claims that d has passed since t, or that t is as far ahead of now: a
// time of a clock that was wrong proves nothing.
func elapsed(t time.Time, d time.Duration, now time.Time) bool {
	age := now.Sub(t)
	return age >= d || age < -max(d, maxAhead)
}

// names are the entries of a folder in order; none when it is not there.
func (h *history) names(dir string) []string {
	entries, err := fs.ReadDir(h.root.FS(), dir)
	if err != nil {
		h.log.Warn("folder of backup records not readable", slog.String("folder", dir), slog.Any("error", err))
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func (h *history) read(name string, limit int64, into any) bool {
	f, err := h.root.Open(name)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && info.Size() > limit {
			err = fmt.Errorf("%d bytes, more than %d", info.Size(), limit)
		}
		if err == nil {
			err = json.NewDecoder(f).Decode(into)
		}
		_ = f.Close() // it was only read
	}
	if err != nil {
		h.log.Warn("backup record not readable, left alone", slog.String("file", name), slog.Any("error", err))
	}
	return err == nil
}

// store writes a record. The caller holds the lock, or is load.
func (h *history) store(r *wire.BackupRun) {
	h.write("runs/"+r.Job, r.ID+".json", r)
}

func (h *history) write(dir, name string, v any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = h.makeDir(dir)
	}
	if err == nil {
		err = atomicfile.Write(h.root, path.Join(dir, name), 0o600, b)
	}
	if err != nil {
		h.log.Warn("backup record not stored, kept in memory", slog.String("file", path.Join(dir, name)), slog.Any("error", err))
	}
}

// put stores a new or changed record and removes the oldest beyond the limit.
func (h *history) put(r wire.BackupRun) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.runs[r.Job]
	if i := slices.IndexFunc(all, func(o wire.BackupRun) bool { return o.ID == r.ID }); i >= 0 {
		all[i] = r
	} else {
		all = append(all, r)
	}
	h.store(&r)
	for len(all) > maxRuns {
		if err := h.root.Remove(path.Join("runs", r.Job, all[0].ID+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.log.Warn("old backup record not removed", slog.String("run", all[0].ID), slog.Any("error", err))
		}
		all = slices.Delete(all, 0, 1)
	}
	h.runs[r.Job] = all
}

// of are the records of a job, newest first.
func (h *history) of(job string) []wire.BackupRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.runs[job])
	slices.Reverse(all)
	return all
}

// all are the records of every job, newest first.
func (h *history) all() []wire.BackupRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []wire.BackupRun
	for _, runs := range h.runs {
		all = append(all, runs...)
	}
	slices.SortFunc(all, func(a, b wire.BackupRun) int { return cmp.Compare(b.ID, a.ID) })
	return all
}

// last is the newest record of a job that has ended.
func (h *history) last(job string) (wire.BackupRun, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range slices.Backward(h.runs[job]) {
		if r.State != stateRunning {
			return r, true
		}
	}
	return wire.BackupRun{}, false
}

// streak is how many of the newest ended runs failed without a success between,
// and when the first of them began.
func (h *history) streak(job string) (n int, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range slices.Backward(h.runs[job]) {
		if r.State == stateRunning {
			continue
		}
		if r.State == stateSuccess {
			break
		}
		n, since = n+1, r.Started
	}
	return n, since
}

// proof is what was proved of a job; its parts are not to be changed.
func (h *history) proof(job string) proof {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.proofs[job]; p != nil {
		return *p
	}
	return proof{}
}

// prove changes what was proved of a job and stores it.
func (h *history) prove(job string, change func(*proof)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &proof{}
	if old := h.proofs[job]; old != nil {
		*p = *old
	}
	change(p)
	h.proofs[job] = p
	h.write("proof", job+".json", p)
}

// coverage reads what was read back of a job's copies into v; nothing known
// leaves v as it is.
func (h *history) coverage(job string, v any) {
	name := "read/" + job + ".json"
	if _, err := h.root.Stat(name); err == nil {
		h.read(name, maxCoverage, v)
	}
}

// cover stores what was read back of a job's copies.
func (h *history) cover(job string, v any) { h.write("read", job+".json", v) }

// newID names a run: sorted, they are in the order of their starts.
func newID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}
