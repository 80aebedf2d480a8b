package repository

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Prune removes the data that no snapshot needs, under an exclusive lock. The order of its writes is: new packs, their
// index files, the index files without the removed packs, and only then are old index files and at last packs deleted:
// at every instant all that a snapshot needs is in an index and in place. What a run that was cut off has left the next
// one takes away.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (out PruneResult, err error) {
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return out, err
	}
	defer lock.release(ctx, &err)
	var at stageCounter
	defer at.report(o.Progress)()
	p, err := r.makePlan(ctx, o, &out, &at)
	if err != nil {
		return out, fmt.Errorf("prune: %w", err)
	}
	if o.DryRun {
		return out, nil
	}
	if err := p.execute(ctx, lock.guard, &at); err != nil {
		return out, fmt.Errorf("prune: %w", err)
	}
	return out, nil
}

func (p *plan) execute(ctx context.Context, guard func(context.Context) error, at *stageCounter) error {
	at.stage("unreferenced packs", int64(len(p.unreferenced)))
	for _, f := range p.unreferenced {
		if err := p.delete(ctx, guard, packPath(f.id)); err != nil {
			return err
		}
		at.add(1)
	}
	if _, _, err := p.r.tidy(ctx, guard); err != nil {
		return err
	}
	fresh, err := p.repack(ctx, guard, at)
	if err != nil {
		return err
	}
	old, err := p.rewriteIndex(ctx, guard, fresh)
	if err != nil {
		return err
	}
	at.stage("delete", int64(len(old)+p.out.PacksDeleted+p.out.PacksRepacked-len(p.unreferenced)))
	for _, id := range old {
		if err := p.delete(ctx, guard, filePath(indexDir, id)); err != nil {
			return err
		}
		p.out.IndexesDeleted++
		at.add(1)
	}
	for i := range p.packs {
		if s := &p.packs[i]; (s.drop || s.repack) && !p.missing[s.no] {
			if err := p.delete(ctx, guard, packPath(s.id)); err != nil {
				return err
			}
			at.add(1)
		}
	}
	return nil
}

func (p *plan) delete(ctx context.Context, guard func(context.Context) error, name string) error {
	if err := guard(ctx); err != nil {
		return err
	}
	return remove(ctx, p.r.store, name)
}

// repack copies the used blobs of the packs to be repacked into new ones, and answers those that are in no index file.
func (p *plan) repack(ctx context.Context, guard func(context.Context) error, at *stageCounter) ([]packEntry, error) {
	var from []uint32
	for i := range p.packs {
		if p.packs[i].repack {
			from = append(from, p.packs[i].no)
		}
	}
	if len(from) == 0 {
		return nil, nil
	}
	at.stage("repack", p.out.BytesRepacked)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w, work := newPackWriter(work, p.r, p.x.index, guard)
	err := p.copyBlobs(work, w, from, at)
	if err == nil {
		err = w.flush(work)
	} else {
		cancel(err)
		if up := w.up.Wait(); up != nil && work.Err() == nil {
			err = up
		}
	}
	p.out.PacksWritten = int(w.stats.packs.Load())
	p.out.IndexesWritten += len(w.written)
	return w.pending, err
}

// copyBlobs stores the used blobs of packs once more, a batch at a time.
func (p *plan) copyBlobs(ctx context.Context, w *packWriter, from []uint32, at *stageCounter) error {
	want := make(map[uint32][]location, len(from))
	for _, no := range from {
		want[no] = nil
	}
	for l := range p.x.all() {
		if _, in := want[l.no]; in && p.keeps(l) {
			want[l.no] = append(want[l.no], l)
		}
	}
	bufs := newRangeBuffers()
	b := newBatch()
	flush := func() error {
		b.fetch(ctx, p.r, p.x.index, bufs)
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(p.r.workers())
		for _, f := range b.blobs {
			g.Go(guarded(func() error {
				if f.err != nil {
					return f.err
				}
				return w.storeBlob(gctx, f.loc.kind, f.loc.id, f.data)
			}))
		}
		mem := b.mem
		b = newBatch()
		err := g.Wait()
		b.mem = mem
		return err
	}
	for _, no := range from {
		for _, l := range want[no] {
			if b.need(l); b.full() {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		at.add(p.packs[no].size)
	}
	return flush()
}

// rewriteIndex writes index files for the fresh packs and for those that stay, where theirs list a pack that goes or are
// small, and answers the files that can be deleted then.
func (p *plan) rewriteIndex(ctx context.Context, guard func(context.Context) error, fresh []packEntry) ([]ID, error) {
	gone := func(no uint32) bool { return p.packs[no].drop || p.packs[no].repack }
	var rewrite []indexFile
	small, touched := 0, false
	for _, f := range p.x.files {
		goes := slices.ContainsFunc(f.packs, gone)
		touched = touched || goes
		if goes || f.blobs < fullIndex || len(f.packs) > 1 && f.blobs > fullIndex+maxHeader/plainEntry {
			rewrite = append(rewrite, f)
		}
		if f.blobs < fullIndex {
			small++
		}
	}
	if !touched && small < 2 {
		return nil, nil
	}
	var old []ID
	var keep []uint32
	done := map[uint32]bool{}
	for _, f := range rewrite {
		old = append(old, f.id)
		for _, no := range f.packs {
			if !gone(no) && !done[no] {
				done[no] = true
				keep = append(keep, no)
			}
		}
	}
	return old, p.saveIndexes(ctx, guard, keep, fresh)
}

// saveIndexes writes as few index files as there can be. It gathers the blobs of one file at a time.
func (p *plan) saveIndexes(ctx context.Context, guard func(context.Context) error, keep []uint32, packs []packEntry) error {
	blobs := 0
	for _, e := range packs {
		blobs += len(e.blobs)
	}
	for len(keep) > 0 || len(packs) > 0 {
		n := 0
		for ; n < len(keep) && blobs < fullIndex; n++ {
			blobs += p.packs[keep[n]].blobs
		}
		packs = append(packs, p.x.entries(keep[:n])...)
		if err := guard(ctx); err != nil {
			return err
		}
		if _, err := p.r.saveUnpacked(ctx, indexDir, encodeIndex(packs)); err != nil {
			return err
		}
		p.out.IndexesWritten++
		keep, packs, blobs = keep[n:], nil, 0
	}
	return nil
}
