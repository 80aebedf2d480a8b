package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// program is how snapshots name their maker.
const program = "allclear"

// lockWait is how long another agent or restic may hold a repository before a
// run gives up its try.
const lockWait = 5 * time.Minute

// snapshots are the copies of a job that keeps a repository.
type snapshots struct {
	b    *Backup
	job  *Job
	repo *repository.Repository
}

// opening is how copies are opened.
type opening struct {
	create bool // make what is missing, for a run
	asked  bool // an operator wants it
}

// openRepository opens the job's repository, or makes it for the first run. One
// that held verified copies and is gone is made anew as its folder is, see open.
func (b *Backup) openRepository(ctx context.Context, j *Job, at folder, password []byte, how opening) (copies, error) {
	o := repository.Options{
		Who:     repository.Identity{Hostname: b.options().Node, Username: program, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
		Program: program, LockWait: lockWait, Held: &b.locks,
		Compression: repository.CompressFastest, // a third less work for a few percent more at the target
	}
	repo, err := repository.Open(ctx, at, password, o)
	if errors.Is(err, repository.ErrNoRepository) {
		had := !b.history.proof(j.Name).Verified.IsZero()
		if had && !(how.create && how.asked) {
			return nil, &verifyError{kind: "missing", path: j.Name, err: fmt.Errorf("the repository of job %s, which held verified copies, is gone from the target; a run asked for by an operator makes a new one: %w", j.Name, err)}
		}
		if !how.create {
			return nil, fmt.Errorf("%w: job %s has not made one yet", ErrNoCopy, j.Name)
		}
		repo, err = repository.Init(ctx, at, password, passwordCost(), o)
	}
	if err != nil {
		return nil, damageOf(fmt.Errorf("open the repository of job %s: %w", j.Name, err))
	}
	return &snapshots{b: b, job: j, repo: repo}, nil
}

// passwordCost is what opening a key file costs. The password is 256 random
// bits, so that guessing is hopeless at any cost; a cost chosen for words that
// people remember would only slow every look down.
func passwordCost() repository.KDF { return repository.KDF{N: 2048, R: 8, P: 1} }

// damageOf says of an error of the repository that it is damage, where it is.
func damageOf(err error) error {
	d, ok := errors.AsType[*repository.DamageError](err)
	switch {
	case errors.Is(err, repository.ErrWrongPassword):
		return &verifyError{kind: "decrypt", path: "keys", err: err}
	case errors.Is(err, repository.ErrExists):
		return &verifyError{kind: "missing", path: "config", err: err}
	case !ok:
		return err
	}
	return &verifyError{kind: damageKind(d.Err), path: objectOf(d), err: err}
}

func damageKind(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case strings.Contains(err.Error(), "authentication tag"):
		return "decrypt"
	case strings.Contains(err.Error(), "ends after"):
		return "truncated"
	}
	return "hash"
}

func objectOf(d *repository.DamageError) string {
	if d.ID.IsZero() {
		return d.What
	}
	return d.What + " " + d.ID.String()
}

func (s *snapshots) save(ctx context.Context, r *run) (saved, error) {
	r.enter(stageSource)
	tree, err := source.New(source.Options{Roots: s.job.Sources, Exclude: s.job.Exclude, OneFileSystem: s.job.OneFileSystem})
	if err != nil {
		return saved{}, err
	}
	if err := rootsThere(tree); err != nil {
		return saved{}, err
	}
	r.leave(stageSource, "read while it is stored")
	r.enter(stageTransfer)
	report := &source.Report{}
	last, _ := s.b.history.last(s.job.Name)
	began := time.Now()
	snap, err := s.repo.Backup(ctx, repository.Files(tree, report), repository.BackupOptions{
		Paths: tree.Roots(), Excludes: s.job.Exclude, Tags: []string{s.job.Name},
		Progress: func(p repository.Progress) { transferred(r, p, last.Bytes) },
	})
	skips(r, report)
	if err != nil {
		return saved{}, damageOf(fmt.Errorf("back up to the repository: %w", err))
	}
	sum := snap.Summary
	r.change(false, func(b *wire.BackupRun) {
		b.Files, b.Bytes, b.FilesNew, b.FilesDiff = sum.TotalFilesProcessed, sum.TotalBytesProcessed, sum.FilesNew, sum.FilesChanged
		b.BytesSent = sum.DataAddedPacked
		b.Rate = rate(sum.DataAddedPacked, time.Since(began))
	})
	r.leave(stageTransfer, fmt.Sprintf("snapshot %.8s", snap.ID))
	size := sum.DataAddedPacked
	return saved{copy: snap.ID.String(), size: size}, s.readBack(ctx, r, snap)
}

func transferred(r *run, p repository.Progress, expected int64) {
	r.progress(stageTransfer, percentage(p.Bytes, expected), func(b *wire.BackupRun) {
		b.Files, b.Bytes, b.BytesSent = p.Files, p.Bytes, p.Sent
		b.Rate = rate(p.Sent, p.Elapsed)
	})
}

// percentage is how much of what is expected is done; when more comes than was
// expected it stays below the end.
func percentage(done, expected int64) float64 {
	if expected <= 0 {
		return 0
	}
	return min(99, 100*float64(done)/float64(expected))
}

func rate(bytes int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(bytes) / d.Seconds()
}

// readBack is the verify stage: the whole chain from the snapshot to every
// folder, all packs by their size, and a part of the data byte for byte, that
// which was never read first.
func (s *snapshots) readBack(ctx context.Context, r *run, snap *repository.Snapshot) error {
	r.enter(stageVerify)
	found, err := s.verify(ctx, s.job.Proof.readPercent(), func(p wire.Progress) { r.progress(stageVerify, p.Percent, nil) })
	if err != nil {
		return err
	}
	r.change(false, func(b *wire.BackupRun) { b.BytesRead = found.BytesRead })
	s.b.history.prove(s.job.Name, func(p *proof) { p.Look, p.ReadPercent, p.ReadOldest = &found, found.ReadPercent, found.Oldest })
	if !found.OK {
		return &verifyError{kind: found.Kind, path: found.Path, expected: found.Expected, actual: found.Actual, err: found.failure()}
	}
	s.b.history.prove(s.job.Name, func(p *proof) { p.Structure = found.At })
	r.leave(stageVerify, fmt.Sprintf("snapshot %.8s and %d packs complete, %d bytes read back", snap.ID, found.Objects, found.BytesRead))
	return nil
}

func (s *snapshots) read(ctx context.Context, lock bool, do func(*repository.Reader) error) error {
	rd, err := s.repo.Read(ctx, lock)
	if err != nil {
		return damageOf(err)
	}
	s.suspect(rd)
	return errors.Join(damageOf(do(rd)), rd.Close(context.WithoutCancel(ctx)))
}

// suspect has the copies verified soon when a reader has met damage: it reads
// on past it, and only a verification judges.
func (s *snapshots) suspect(rd *repository.Reader) {
	damage := rd.Damage()
	if len(damage) == 0 {
		return
	}
	s.b.log.Warn("the repository is damaged, a verification follows", slog.String("job", s.job.Name), slog.Any("error", errors.Join(damage...)))
	s.b.history.prove(s.job.Name, func(p *proof) { p.Suspect = true })
	s.b.ask(copyCheckID(s.job.Name))
}

// pick is the snapshot of a name. While one cannot be read nobody knows which is
// the newest: an older one must not pass for it.
func pick(rd *repository.Reader, name string) (repository.Snapshot, error) {
	if name = orLatest(name); name == "latest" {
		for _, err := range rd.Damage() {
			if d, ok := errors.AsType[*repository.DamageError](err); ok && d.What == "snapshot" {
				return repository.Snapshot{}, damageOf(fmt.Errorf("which copy is the newest is not known, name one by its id: %w", err))
			}
		}
	}
	snap, err := rd.Snapshot(name)
	return snap, noCopy(err)
}

// drill takes no lock at first: others may want the repository for themselves,
// and a drill changes nothing. What fails is tried again with one, so that a file
// that somebody has just pruned is not taken for damage.
func (s *snapshots) drill(ctx context.Context, tell func(wire.Progress)) (wire.BackupDrill, error) {
	d, err := s.drillOnce(ctx, false, tell)
	if err != nil || !d.Passed {
		d, err = s.drillOnce(ctx, true, tell)
	}
	return d, err
}

func (s *snapshots) drillOnce(ctx context.Context, lock bool, tell func(wire.Progress)) (wire.BackupDrill, error) {
	d := wire.BackupDrill{Job: s.job.Name}
	err := s.read(ctx, lock, func(rd *repository.Reader) error {
		snap, err := pick(rd, "latest")
		if err != nil {
			return err
		}
		d.Copy = snap.ID.String()
		var files sample
		for found, err := range rd.List(ctx, snap, repository.ListOptions{}) {
			if err != nil {
				d.First = found.Path
				return err
			}
			if found.Node.Type == source.Regular {
				files.offer(found.Path, found.Node.Size)
			}
		}
		return readEntries(entries(rd.Restore(ctx, snap, repository.RestoreOptions{Paths: files.chosen()})), &d, tell)
	})
	v := asType[*verifyError](err)
	switch {
	case err == nil:
		d.Passed = true
	case v != nil:
		d.Why, err = err.Error(), nil
		if d.First == "" {
			d.First = (*v).path
		}
	}
	return d, err
}

func (s *snapshots) list(ctx context.Context) ([]wire.BackupSnapshot, error) {
	var all []wire.BackupSnapshot
	err := s.read(ctx, false, func(rd *repository.Reader) error {
		for _, snap := range rd.Snapshots() {
			all = append(all, wireSnapshot(&snap))
		}
		return nil
	})
	return newestFirst(all), err
}

func wireSnapshot(s *repository.Snapshot) wire.BackupSnapshot {
	w := wire.BackupSnapshot{ID: s.ID.String(), Time: s.Time.UTC(), Host: s.Hostname, Paths: append([]string{}, s.Paths...), Tags: s.Tags, Program: s.Program}
	if s.Summary != nil {
		w.Size, w.Files = s.Summary.DataAddedPacked, s.Summary.TotalFilesProcessed
	}
	return w
}

func (s *snapshots) files(ctx context.Context, q wire.BackupListRequest) ([]wire.BackupFile, error) {
	var all []wire.BackupFile
	limit := limited(q.Limit)
	err := s.read(ctx, false, func(rd *repository.Reader) error {
		snap, err := pick(rd, q.Snapshot)
		if err != nil {
			return err
		}
		o := repository.ListOptions{Under: q.Path, Match: q.Match, Shallow: q.Match == ""}
		for found, err := range rd.List(ctx, snap, o) {
			if err != nil {
				return err
			}
			if len(all) == limit {
				break
			}
			all = append(all, wireFile(snap.ID.String(), found.Path, &found.Node.Meta))
		}
		return nil
	})
	return all, err
}

func orLatest(name string) string {
	if name == "" {
		return "latest"
	}
	return name
}

func noCopy(err error) error {
	if errors.Is(err, repository.ErrNotFound) || errors.Is(err, repository.ErrAmbiguous) {
		return fmt.Errorf("%w: %w", ErrNoCopy, err)
	}
	return err
}

func wireFile(snapshot, name string, m *source.Meta) wire.BackupFile {
	return wire.BackupFile{
		Snapshot: snapshot, Path: name, Type: string(m.Type), Mode: m.Mode.String(), Owner: ownerOf(m), Size: m.Size, Modified: m.ModTime.UTC(), Link: m.LinkTarget,
	}
}

func ownerOf(m *source.Meta) string {
	user, group := m.User, m.Group
	if user == "" {
		user = fmt.Sprint(m.UID)
	}
	if group == "" {
		group = fmt.Sprint(m.GID)
	}
	return user + ":" + group
}

func (s *snapshots) restore(ctx context.Context, snapshot string, paths []string) (wire.BackupSnapshot, extract.Stream, error) {
	rd, err := s.repo.Read(ctx, true)
	if err != nil {
		return wire.BackupSnapshot{}, nil, damageOf(err)
	}
	s.suspect(rd)
	snap, err := pick(rd, snapshot)
	if err != nil {
		return wire.BackupSnapshot{}, nil, errors.Join(err, rd.Close(ctx))
	}
	items := entries(rd.Restore(ctx, snap, repository.RestoreOptions{Paths: paths}))
	return wireSnapshot(&snap), func(yield func(*extract.Entry, error) bool) {
		defer func() { _ = rd.Close(context.WithoutCancel(ctx)) }() // a lock that stays goes stale; the entries came
		items(yield)
	}, nil
}

// entries are the items of a repository as what a restore writes.
func entries(items iter.Seq2[*repository.Item, error]) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		for it, err := range items {
			if err != nil {
				if !yield(nil, damageOf(err)) {
					return
				}
				continue
			}
			e := &extract.Entry{Path: relative(it.Path), Meta: it.Node.Meta, HardLink: relative(it.HardLink)}
			if it.Node.Type == source.Regular && e.HardLink == "" && it.Node.Size > 0 {
				e.Content = it
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func relative(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
