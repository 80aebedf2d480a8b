package repository

import (
	"context"
	"errors"
	"slices"
	"sync"
)

const (
	// batchSize is how many bytes of blobs are fetched and held together. While one batch is used the next is fetched
	// and a third is waiting.
	batchSize = 8 << 20
	// batchEvents bounds the steps of a batch, which may need the same blob again and again.
	batchEvents = 8192
	// joinGap is the gap between blobs over which one request goes on rather than a second being made, in bytes.
	joinGap = 1 << 20
	// joinSize bounds one request, in bytes: several requests at a time keep network and processors busy.
	joinSize = 4 << 20
	// fetches is how many requests are under way at a time.
	fetches = 4
)

// fetched is a blob of a batch.
type fetched struct {
	loc  location
	at   int // place in the batch's memory
	data []byte
	err  error
}

// event is one step of what is handed out: an item begins, or the item's next blob comes.
type event struct {
	item *Item
	blob *fetched
	err  error // with item: what is wrong with it or the place
}

// batch is a run of events with the blobs that they need.
type batch struct {
	events []event
	blobs  map[claim]*fetched
	size   int
	mem    []byte
	done   chan struct{} // closed when all blobs are there or have their error
}

func newBatch() *batch { return &batch{blobs: map[claim]*fetched{}, done: make(chan struct{})} }

// need adds a blob.
func (b *batch) need(l location) {
	key := claim{l.id, l.kind}
	f := b.blobs[key]
	if f == nil {
		f = &fetched{loc: l, at: b.size}
		b.blobs[key] = f
		b.size += l.plainLength()
	}
	b.events = append(b.events, event{blob: f})
}

func (b *batch) full() bool { return b.size >= batchSize || len(b.events) >= batchEvents }

// ranges joins blobs that lie near each other in a pack.
func (b *batch) ranges() [][]*fetched {
	all := make([]*fetched, 0, len(b.blobs))
	for _, f := range b.blobs {
		all = append(all, f)
	}
	slices.SortFunc(all, func(x, y *fetched) int {
		if x.loc.no != y.loc.no {
			return int(int64(x.loc.no) - int64(y.loc.no))
		}
		return int(int64(x.loc.offset) - int64(y.loc.offset))
	})
	var out [][]*fetched
	var start, end int64
	for _, f := range all {
		from, to := int64(f.loc.offset), int64(f.loc.offset)+int64(f.loc.length)
		last := len(out) - 1
		if last >= 0 && out[last][0].loc.no == f.loc.no && from-end <= joinGap && to-start <= joinSize {
			out[last] = append(out[last], f)
			end = max(end, to)
			continue
		}
		out = append(out, []*fetched{f})
		start, end = from, to
	}
	return out
}

// fetch reads and decodes all blobs of a batch. What goes wrong with a blob stays with it.
func (b *batch) fetch(ctx context.Context, r *Repository, x *index, bufs *rangeBuffers) {
	defer close(b.done)
	if err := try(func() { b.fetchRanges(ctx, r, x, bufs) }); err != nil {
		for _, f := range b.blobs {
			f.data, f.err = nil, err
		}
	}
}

func (b *batch) fetchRanges(ctx context.Context, r *Repository, x *index, bufs *rangeBuffers) {
	if cap(b.mem) < b.size {
		b.mem = make([]byte, b.size)
	}
	b.mem = b.mem[:b.size]
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, run := range b.ranges() {
		bufs.slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-bufs.slots }()
			if err := try(func() { b.fetchRange(ctx, r, x, run, bufs) }); err != nil {
				for _, f := range run {
					f.data, f.err = nil, err
				}
			}
		})
	}
}

func (b *batch) fetchRange(ctx context.Context, r *Repository, x *index, run []*fetched, bufs *rangeBuffers) {
	start := int64(run[0].loc.offset)
	var end int64
	for _, f := range run {
		end = max(end, int64(f.loc.offset)+int64(f.loc.length))
	}
	buf := bufs.get(int(end - start))
	defer bufs.put(buf)
	err := getRange(ctx, r.store, run[0].loc.pack, start, buf)
	for _, f := range run {
		f.err = err
		if err == nil {
			at := int64(f.loc.offset) - start
			room := b.mem[f.at:f.at:min(f.at+f.loc.plainLength(), len(b.mem))]
			f.data, f.err = r.decodeBlob(f.loc.packedBlob, buf[at:at+int64(f.loc.length)], room)
			if f.err == nil && f.loc.plain == 0 { // it lies in buf, which is lent
				f.data = append(room, f.data...)
			}
		}
		if f.err != nil && ctx.Err() == nil {
			f.data, f.err = r.loadBlob(ctx, x, f.loc.kind, f.loc.id) // another copy, or the whole story
		}
		if ctx.Err() != nil {
			f.err = errors.Join(f.err, context.Cause(ctx))
		}
	}
}

// rangeBuffers bounds the requests of all batches and lends them memory.
type rangeBuffers struct {
	slots chan struct{}
	free  chan []byte
}

func newRangeBuffers() *rangeBuffers {
	return &rangeBuffers{make(chan struct{}, fetches), make(chan []byte, fetches)}
}

func (p *rangeBuffers) get(size int) []byte {
	if size <= joinSize {
		select {
		case b := <-p.free:
			return b[:size]
		default:
			return make([]byte, size, joinSize)
		}
	}
	return make([]byte, size)
}

func (p *rangeBuffers) put(b []byte) {
	if cap(b) != joinSize {
		return
	}
	select {
	case p.free <- b:
	default:
	}
}
