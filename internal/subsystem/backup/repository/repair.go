package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// headerGuess is how much of the end of an unknown pack is read at first: it holds a header of 15 blobs.
const headerGuess = 15*compressedEntry + headerFixed

// tempMark stands in the names of files that are not whole yet, or were left so by a session that died.
const tempMark = "-allclear-temp-"

// packContent answers the blobs of a pack as its own header has them.
func (r *Repository) packContent(ctx context.Context, f found) ([]packedBlob, error) {
	for need := int64(headerGuess); ; {
		tail := make([]byte, min(need, f.size))
		if err := getRange(ctx, r.store, f.id, f.size-int64(len(tail)), tail); err != nil {
			return nil, err
		}
		blobs, more, err := openHeader(r.key, tail, f.size)
		if err != nil || more == 0 {
			return blobs, damaged("pack", f.id, err)
		}
		need = int64(more)
	}
}

// adopt takes the packs that are in no index file into the index, from their own headers, and answers them. A pack that
// cannot be read so is handed to broken.
func (r *Repository) adopt(ctx context.Context, x *index, broken func(error)) ([]packEntry, error) {
	all, err := listPacks(ctx, r.store)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards out and the calls of broken
	var out []packEntry
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for _, f := range all {
		if _, known := x.numbers[f.id]; known {
			continue
		}
		g.Go(guarded(func() error {
			blobs, err := r.packContent(gctx, f)
			if err == nil {
				err = damaged("pack", f.id, checkPack(packEntry{f.id, blobs}))
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				out = append(out, packEntry{f.id, blobs})
				return nil
			}
			if _, isDamage := errors.AsType[*DamageError](err); !isDamage {
				return err
			}
			broken(err)
			return nil
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, e := range out {
		if err := x.add(e.id, e.blobs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Repaired is what RepairIndex did.
type Repaired struct {
	Indexes    int     // damaged index files, replaced
	Packs      int     // packs that were in none and are again
	Unreadable []error // packs that are in none and do not say what they hold
}

// RepairIndex puts the packs that are in no readable index file into a new one, as their own headers describe them, and
// then removes the index files that cannot be read. Nothing else is touched.
func (r *Repository) RepairIndex(ctx context.Context) (out Repaired, err error) {
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return out, err
	}
	defer lock.release(ctx, &err)
	var damagedFiles []ID
	x, err := r.loadIndex(ctx, func(id ID, _ error) error {
		damagedFiles = append(damagedFiles, id)
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("repair the index: %w", err)
	}
	packs, err := r.adopt(ctx, x.index, func(err error) { out.Unreadable = append(out.Unreadable, err) })
	if err != nil {
		return out, fmt.Errorf("repair the index: %w", err)
	}
	out.Packs = len(packs)
	p := &plan{r: r, x: x, out: &PruneResult{}}
	for len(packs) > 0 {
		n, blobs := 0, 0
		for ; n < len(packs) && blobs < fullIndex; n++ {
			blobs += len(packs[n].blobs)
		}
		if err := p.saveIndexes(ctx, lock.guard, nil, packs[:n]); err != nil {
			return out, fmt.Errorf("repair the index: %w", err)
		}
		packs = packs[n:]
	}
	for _, id := range damagedFiles {
		if err := p.delete(ctx, lock.guard, filePath(indexDir, id)); err != nil {
			return out, fmt.Errorf("repair the index: %w", err)
		}
		out.Indexes++
	}
	return out, nil
}

// Tidy removes what transfers that were cut off have left under temporary names, and answers how many files it removed
// and their bytes. The exclusive lock says that none of them is still being written.
func (r *Repository) Tidy(ctx context.Context) (files int, bytes int64, err error) {
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return 0, 0, err
	}
	defer lock.release(ctx, &err)
	return r.tidy(ctx, lock.guard)
}

func (r *Repository) tidy(ctx context.Context, guard func(context.Context) error) (files int, bytes int64, err error) {
	subs, err := listAny(ctx, r.store, dataDir)
	if err != nil {
		return 0, 0, err
	}
	dirs := []string{indexDir, snapsDir, keysDir} // not locks: they are written at any time
	for _, sub := range subs {
		if sub.IsDir() {
			dirs = append(dirs, dataDir+"/"+sub.Name())
		}
	}
	for _, dir := range dirs {
		infos, err := listAny(ctx, r.store, dir)
		if err != nil {
			return files, bytes, err
		}
		for _, fi := range infos {
			id, _, temporary := strings.Cut(fi.Name(), tempMark)
			if fi.IsDir() || !temporary || !isID(id) {
				continue
			}
			if err := guard(ctx); err != nil {
				return files, bytes, err
			}
			if err := remove(ctx, r.store, dir+"/"+fi.Name()); err != nil {
				return files, bytes, err
			}
			files++
			bytes += fi.Size()
		}
	}
	return files, bytes, nil
}
