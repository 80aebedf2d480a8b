package repository

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// BackupOptions describe a backup.
type BackupOptions struct {
	// Paths are what the snapshot says was backed up: absolute, as given by the operator. The parent, whose unchanged
	// files are not read again, is the newest snapshot of the same host and the same paths.
	Paths    []string
	Excludes []string // for the record
	Tags     []string
	Time     time.Time // zero: now
	Full     bool      // read every file, whatever the parent says
	// Progress is called every 250 ms and at the end, by one goroutine; it must be quick.
	Progress func(Progress)
}

// backup is a backup under way.
type backup struct {
	r       *Repository
	packs   *packWriter
	idx     *index
	parents *treeReader
	links   pairs
	counts  counts
	jobs    chan fileJob
	chunks  chan chunkJob
	large   chan struct{} // files of several chunks being read
	buffers *chunkBuffers
}

// Backup stores what a source has and answers the new snapshot. The order of writes is packs, index files, snapshot: an
// ended ctx, a failing store or a crash leaves no snapshot and harms none, and what was stored already is found again
// by the next backup as far as an index file lists it. When only the release of the lock goes wrong the snapshot is
// answered together with that error.
func (r *Repository) Backup(ctx context.Context, src Source, o BackupOptions) (_ *Snapshot, err error) {
	if len(o.Paths) == 0 || slices.ContainsFunc(o.Paths, func(p string) bool { return !path.IsAbs(p) }) {
		return nil, fmt.Errorf("back up %q: absolute paths are needed", o.Paths)
	}
	start := r.now()
	if o.Time.IsZero() {
		o.Time = start
	}
	lockCtx, lock, err := r.Lock(ctx, Shared)
	if err != nil {
		return nil, err
	}
	defer lock.release(ctx, &err)
	snaps, err := r.loadSnapshots(lockCtx, func(ID, error) error { return nil }) // a damaged one is no parent
	if err != nil {
		return nil, err
	}
	x, err := r.loadIndex(lockCtx, func(ID, error) error { return nil }) // what only it lists is stored again
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Time: o.Time, Paths: o.Paths, Excludes: o.Excludes, Tags: o.Tags, Program: r.options.Program,
		Hostname: r.who.Hostname, Username: r.who.Username, UID: r.who.UID, GID: r.who.GID,
	}
	var old *ID
	if parent := parentOf(snaps, s.Hostname, s.Paths, s.Time); parent != nil && !o.Full {
		s.Parent, old = &parent.ID, parent.Tree
	}
	b := &backup{r: r, idx: x.index, parents: newTreeReader(r, x.index)}
	b.parents.measure()
	if err := b.run(lockCtx, lock.guard, src, old, s, o.Progress); err != nil {
		return nil, fmt.Errorf("back up %q: %w", o.Paths, err)
	}
	s.Summary.BackupStart, s.Summary.BackupEnd = start, r.now()
	if err := lock.guard(lockCtx); err != nil {
		return nil, fmt.Errorf("back up %q: %w", o.Paths, err)
	}
	if err := r.saveSnapshot(lockCtx, s); err != nil {
		return nil, fmt.Errorf("back up %q: %w", o.Paths, err)
	}
	return s, nil
}

// run stores all blobs and lists them, and fills in tree and summary of the snapshot.
func (b *backup) run(ctx context.Context, guard func(context.Context) error, src Source, old *ID, s *Snapshot, progress func(Progress)) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.packs, work = newPackWriter(work, b.r, b.idx, guard)
	defer b.counts.report(progress, b)()
	tree, err := b.store(work, src, old)
	if err == nil {
		err = b.packs.flush(work)
	} else {
		cancel(err)
		// The pipeline often stops because an upload failed: that one is the cause.
		if up := b.packs.up.Wait(); up != nil && !errors.Is(up, context.Canceled) {
			err = up
		}
	}
	if err == nil {
		err = b.packs.saveIndex(ctx)
	}
	if err != nil {
		return err
	}
	s.Tree, s.Summary = &tree, b.summary()
	return nil
}

// store reads the source and saves its blobs; it answers the root tree.
func (b *backup) store(ctx context.Context, src Source, old *ID) (ID, error) {
	n := b.r.workers()
	b.jobs, b.chunks = make(chan fileJob, 2*n), make(chan chunkJob)
	b.large, b.buffers = make(chan struct{}, n), newChunkBuffers(n)
	g, ctx := errgroup.WithContext(ctx)
	root := &folder{b: b, path: "/", node: &Node{}}
	root.loadOld(ctx, old)
	g.Go(guarded(func() error {
		defer close(b.jobs)
		w := &builder{b: b, stack: []*folder{root}}
		if err := src.Walk(ctx, func(e *Entry) error { return w.visit(ctx, e) }); err != nil {
			return err
		}
		return w.end(ctx)
	}))
	var files sync.WaitGroup
	for range 2 * n { // reading waits for disks
		files.Add(1)
		g.Go(guarded(func() error {
			defer files.Done()
			return b.readFiles(ctx)
		}))
	}
	g.Go(func() error {
		files.Wait()
		close(b.chunks)
		return nil
	})
	for range n {
		g.Go(guarded(func() error { return b.saveChunks(ctx) }))
	}
	err := g.Wait()
	for job := range b.jobs { // after an error some are open still
		err = errors.Join(err, job.file.Close())
	}
	if err != nil {
		return ID{}, err
	}
	return root.node.Subtree, nil
}
