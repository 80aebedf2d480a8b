package repository

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
)

// PruneOptions say how Prune works.
type PruneOptions struct {
	// MaxUnused is how many percent of the repository may stay unused rather than being copied around. 0 means 5; below
	// 0 nothing may.
	MaxUnused float64
	// RepackLimit bounds the bytes of the packs that are copied in one run. 0: no bound.
	RepackLimit int64
	DryRun      bool // only answer what would be done
	Progress    func(Progress)
}

// PruneResult is what Prune did, or would do. Sizes are in bytes of packs.
type PruneResult struct {
	Snapshots                      int
	PacksKept, PacksDeleted        int   // deleted whole, unreferenced ones included
	PacksUnreferenced              int   // in no index
	PacksRepacked, PacksWritten    int   // copied and then deleted, new
	BytesBefore, BytesAfter        int64 // of all packs; after a dry run an estimate
	BytesRepacked, BytesUnused     int64 // copied; unused data that stays
	BlobsUsed, BlobsRemoved        int
	IndexesDeleted, IndexesWritten int
}

// packState is what a plan knows of an indexed pack.
type packState struct {
	no            uint32
	id            ID
	size          int64 // as the index says
	used, unused  int64 // bytes of blobs
	usedBlobs     int
	blobs         int
	copies        int // blobs that lie elsewhere too
	kinds         [2]bool
	mustCompress  bool
	small, repack bool
	drop          bool
}

// plan is what Prune will do.
type plan struct {
	r            *Repository
	x            *loadedIndex
	o            PruneOptions
	used         bitset            // by the place of a blob's first copy
	chosen       map[uint32]uint32 // of used blobs with several copies: first copy -> the pack whose copy stays
	packs        []packState
	unreferenced []found
	missing      map[uint32]bool // unneeded packs without a file
	out          *PruneResult
}

// makePlan answers what to do. Anything that is not as it must be stops it: nothing is removed from a repository that
// is not understood.
func (r *Repository) makePlan(ctx context.Context, o PruneOptions, out *PruneResult, at *stageCounter) (*plan, error) {
	x, err := r.loadIndex(ctx, nil)
	if err != nil {
		return nil, err
	}
	snaps, err := r.loadSnapshots(ctx, nil)
	if err != nil {
		return nil, err
	}
	trees := newTreeReader(r, x.index)
	trees.measure()
	m := newMarker(trees, func(where string, err error) error { return fmt.Errorf("%s: %w", where, err) })
	at.stage("trees", int64(len(snaps)))
	for _, s := range snaps {
		if err := m.mark(ctx, *s.Tree, "snapshot "+s.ID.Short()+":"); err != nil {
			return nil, err
		}
		at.add(1)
	}
	out.Snapshots = len(snaps)
	p := &plan{r: r, x: x, o: o, used: m.used, chosen: map[uint32]uint32{}, missing: map[uint32]bool{}, out: out}
	p.count()
	if err := p.compareFiles(ctx); err != nil {
		return nil, err
	}
	p.decide()
	p.tally()
	return p, nil
}

// keeps tells whether the copy of a blob at l is the one that is kept.
func (p *plan) keeps(l location) bool {
	place, known := p.x.place(l.kind, l.id)
	if !known || !p.used.has(place) {
		return false
	}
	pack, several := p.chosen[place]
	return !several || pack == l.no
}

// count fills in the state of each pack.
func (p *plan) count() {
	p.packs = make([]packState, len(p.x.packs))
	for no := range p.packs {
		p.packs[no] = packState{no: uint32(no), id: p.x.packs[no], size: headerFixed} //nolint:gosec // as in the index
	}
	several := map[uint32][]location{}
	for l := range p.x.all() {
		s := &p.packs[l.no]
		s.blobs++
		s.size += int64(l.length) + int64(l.entrySize())
		s.kinds[l.kind] = true
		s.mustCompress = s.mustCompress || l.kind == TreeBlob && l.plain == 0 && p.r.codec.on
		place, _ := p.x.place(l.kind, l.id)
		switch {
		case !p.used.has(place):
			s.unused += int64(l.length)
		case p.x.at(place).next != 0:
			s.copies++
			several[place] = append(several[place], l)
		default:
			s.usedBlobs++
			s.used += int64(l.length)
		}
	}
	for place, copies := range several {
		p.choose(place, copies)
	}
}

// choose picks the copy of a blob that is kept: one in a pack that must stay for other blobs, else one in a pack of
// nothing but copies, which a prune that was cut off has written.
func (p *plan) choose(place uint32, copies []location) {
	rank := func(l location) int {
		s := &p.packs[l.no]
		switch {
		case s.usedBlobs > 0:
			return 0
		case s.copies == s.blobs:
			return 1
		}
		return 2
	}
	best := slices.MinFunc(copies, func(a, b location) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a.no, b.no)) })
	p.chosen[place] = best.no
	taken := false // a pack may hold the same blob twice
	for _, l := range copies {
		s := &p.packs[l.no]
		if l.no == best.no && !taken {
			taken = true
			s.usedBlobs++
			s.used += int64(l.length)
		} else {
			s.unused += int64(l.length)
		}
	}
}

// compareFiles compares the plan with the packs that are there.
func (p *plan) compareFiles(ctx context.Context) error {
	all, err := listPacks(ctx, p.r.store)
	if err != nil {
		return err
	}
	sizes := make(map[ID]int64, len(all))
	for _, f := range all {
		sizes[f.id] = f.size
		p.out.BytesBefore += f.size
		if _, known := p.x.numbers[f.id]; !known {
			p.unreferenced = append(p.unreferenced, f)
		}
	}
	for i := range p.packs {
		s := &p.packs[i]
		size, there := sizes[s.id]
		switch needed := s.usedBlobs > 0; {
		case !there && needed:
			return damaged("pack", s.id, fmt.Errorf("the file is missing and %d of its blobs are needed: %w", s.usedBlobs, fs.ErrNotExist))
		case !there:
			p.missing[s.no] = true
		case size != s.size && needed:
			return damaged("pack", s.id, fmt.Errorf("the file has %d bytes, the index says %d, and %d of its blobs are needed", size, s.size, s.usedBlobs))
		}
	}
	return nil
}

// decide marks the packs to delete and those to repack.
func (p *plan) decide() {
	limit := p.smallLimit()
	var candidates []*packState
	var usedBytes, unusedBytes int64
	for i := range p.packs {
		s := &p.packs[i]
		if s.usedBlobs == 0 {
			s.drop = true
			continue
		}
		usedBytes += s.used
		unusedBytes += s.unused
		mixed := s.kinds[DataBlob] && s.kinds[TreeBlob]
		s.small = s.size < limit[s.kinds[TreeBlob]]
		if s.unused > 0 || mixed || s.mustCompress || s.small {
			candidates = append(candidates, s)
		}
	}
	slices.SortStableFunc(candidates, func(a, b *packState) int {
		return cmp.Or(cmp.Compare(rankOf(a), rankOf(b)), cmp.Compare(b.unusedShare(), a.unusedShare()))
	})
	allowed := p.allowedUnused(usedBytes)
	var copied int64
	for _, s := range candidates {
		if p.o.RepackLimit > 0 && copied+s.size > p.o.RepackLimit {
			break
		}
		if rankOf(s) == 2 && unusedBytes <= allowed {
			continue
		}
		s.repack = true
		copied += s.size
		unusedBytes -= s.unused
	}
	p.out.BytesUnused = unusedBytes
}

// allowedUnused answers the bytes that may stay unused.
func (p *plan) allowedUnused(used int64) int64 {
	percent := p.o.MaxUnused
	switch {
	case percent == 0:
		percent = 5
	case percent < 0:
		return 0
	case percent >= 100:
		return 1 << 62
	}
	return int64(percent / (100 - percent) * float64(used))
}

// rankOf orders what is repacked: trees and mixed packs, small ones, the others.
func rankOf(s *packState) int {
	switch {
	case s.kinds[TreeBlob] && s.unused > 0, s.kinds[TreeBlob] && s.kinds[DataBlob], s.mustCompress:
		return 0
	case s.small:
		return 1
	}
	return 2
}

func (s *packState) unusedShare() float64 { return float64(s.unused) / float64(s.used+s.unused) }

// smallLimit answers, for packs without and with trees, the size below which a fully used pack is joined with others;
// 0 where there are fewer than ten such.
func (p *plan) smallLimit() map[bool]int64 {
	out := map[bool]int64{}
	for _, trees := range []bool{false, true} {
		var sizes []int64
		for i := range p.packs {
			if s := &p.packs[i]; s.usedBlobs > 0 && s.kinds[TreeBlob] == trees {
				sizes = append(sizes, s.size)
			}
		}
		slices.Sort(sizes)
		if len(sizes) == 0 {
			continue
		}
		limit := max(4<<20, sizes[len(sizes)*3/100]) * 8 / 10
		if n, _ := slices.BinarySearch(sizes, limit); n >= 10 {
			out[trees] = limit
		}
	}
	return out
}

// tally fills in what the plan comes to.
func (p *plan) tally() {
	out := p.out
	out.PacksUnreferenced, out.PacksDeleted = len(p.unreferenced), len(p.unreferenced)
	for _, f := range p.unreferenced {
		out.BytesAfter -= f.size
	}
	out.BytesAfter += out.BytesBefore
	for i := range p.packs {
		s := &p.packs[i]
		out.BlobsUsed += s.usedBlobs
		switch {
		case s.drop:
			out.PacksDeleted++
			out.BlobsRemoved += s.blobs
			if !p.missing[s.no] {
				out.BytesAfter -= s.size
			}
		case s.repack:
			out.PacksRepacked++
			out.BytesRepacked += s.size
			out.BlobsRemoved += s.blobs - s.usedBlobs
			out.BytesAfter -= s.unused
		default:
			out.PacksKept++
		}
	}
}
