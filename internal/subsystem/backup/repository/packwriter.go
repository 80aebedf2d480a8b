package repository

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// indexAge is how long finished packs wait for the index to fill up before it is saved, so that a long backup that is
// cut off has lost little.
const indexAge = 10 * time.Minute

// packWriter turns blobs into packs and sends them: claim, compress, seal, open again, collect, upload, list. It is
// safe for concurrent use. Memory: PackSize for each of four open packs (two a kind: see add) and for each upload.
type packWriter struct {
	r     *Repository
	idx   *index
	guard func(context.Context) error // asked before each write to the store
	segs  *segments
	slots chan struct{} // uploads under way
	work  chan *scratch // as many as blobs are compressed and sealed at a time
	up    *errgroup.Group
	// send starts an upload. It outlives the call that filled the pack, and ends with all uploads.
	send func(p *openPack)

	mu      sync.Mutex // guards the fields below
	open    [2][2]*openPack
	pending []packEntry // in place, not in an index file yet
	listed  int         // blobs of pending
	oldest  time.Time   // when the first of pending came
	written []ID        // index files

	stats writeStats
}

// writeStats count what was stored.
type writeStats struct {
	dataBlobs, treeBlobs, plain, stored, packs, sent atomic.Int64
}

// scratch is the memory for one blob at a time.
type scratch struct {
	sealed []byte
	back   []byte
	dec    *zstd.Decoder // made for the first compressed blob
}

// newPackWriter answers a writer and the context of its uploads, which ends when one fails.
func newPackWriter(ctx context.Context, r *Repository, idx *index, guard func(context.Context) error) (*packWriter, context.Context) {
	up, ctx := errgroup.WithContext(ctx)
	n := r.workers()
	w := &packWriter{
		r: r, idx: idx, guard: guard, up: up,
		segs:  newSegments((r.options.Uploads + 2) * r.options.PackSize / segmentSize),
		slots: make(chan struct{}, r.options.Uploads),
		work:  make(chan *scratch, n),
	}
	w.send = func(p *openPack) { up.Go(guarded(func() error { return w.upload(ctx, p) })) }
	for range n {
		w.work <- &scratch{}
	}
	return w, ctx
}

func (r *Repository) workers() int {
	if r.options.Workers > 0 {
		return r.options.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// saveBlob stores a blob unless it is stored or on its way already, and answers its ID.
func (w *packWriter) saveBlob(ctx context.Context, kind Kind, plain []byte) (ID, error) {
	id := Hash(plain)
	if !w.idx.claim(kind, id) {
		return id, nil
	}
	return id, w.storeBlob(ctx, kind, id, plain)
}

// storeBlob stores a blob in any case.
func (w *packWriter) storeBlob(ctx context.Context, kind Kind, id ID, plain []byte) error {
	if len(plain) == 0 || len(plain) > maxTree {
		return fmt.Errorf("store %v blob %s: %d bytes are not possible", kind, id, len(plain))
	}
	var s *scratch
	select {
	case s = <-w.work:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() {
		s.trim()
		w.work <- s
	}()
	codec, key := w.r.codec, w.r.key
	s.sealed = append(roomFor(s.sealed, len(plain)), make([]byte, aes.BlockSize)...)
	size := 0
	if codec.on && (codec.data || kind == TreeBlob) {
		s.sealed = codec.compress(s.sealed, plain)
		size = len(plain)
	} else {
		s.sealed = append(s.sealed, plain...)
	}
	s.sealed = key.sealInPlace(s.sealed, 0)
	if err := s.verify(key, id, size > 0); err != nil {
		return fmt.Errorf("read back %v blob %s after sealing: %w", kind, id, err)
	}
	if kind == TreeBlob {
		w.stats.treeBlobs.Add(1)
	} else {
		w.stats.dataBlobs.Add(1)
	}
	w.stats.plain.Add(int64(len(plain)))
	w.stats.stored.Add(int64(len(s.sealed)))
	return w.add(ctx, kind, id, s.sealed, size)
}

// roomFor answers an empty buffer for what becomes of a blob: b, if it is large enough, or a power of two from 1 MiB.
func roomFor(b []byte, plain int) []byte {
	need := plain + plain>>10 + 4096 // what cannot be compressed grows a little
	if cap(b) >= need {
		return b[:0]
	}
	return make([]byte, 0, max(segmentSize, 1<<bits.Len(uint(need-1)))) //nolint:gosec // positive
}

// backSize is how much is opened at a time when a blob is read back, in bytes.
const backSize = 64 << 10

// verify opens what was sealed: an error of the memory or the processor would otherwise be stored for ever. It takes no
// memory for the whole blob.
func (s *scratch) verify(key *sealKey, id ID, compressed bool) error {
	iv, c, err := key.check(s.sealed)
	if err != nil {
		return err
	}
	in := cipher.StreamReader{S: cipher.NewCTR(key.cipher, iv), R: bytes.NewReader(c)}
	sum := sha256.New()
	if compressed {
		err = s.expand(sum, in)
	} else {
		if s.back == nil {
			s.back = make([]byte, backSize)
		}
		_, err = io.CopyBuffer(sum, in, s.back)
	}
	if err == nil && ID(sum.Sum(nil)) != id {
		err = errors.New("the content differs, which is a defect of this machine's memory or processor")
	}
	return err
}

// expand decompresses in to out.
func (s *scratch) expand(out io.Writer, in io.Reader) (err error) {
	if s.dec == nil {
		s.dec, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	} else {
		err = s.dec.Reset(in)
	}
	if err == nil {
		_, err = s.dec.WriteTo(out)
	}
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	return nil
}

// trim gives the memory of an unusually large blob back.
func (s *scratch) trim() {
	if cap(s.sealed) > 4<<20 {
		s.sealed = nil
	}
}

// add puts a sealed blob into one of two open packs of its kind, chosen at random, so that who sees the store cannot
// read the lengths of chunks from the order of packs.
func (w *packWriter) add(ctx context.Context, kind Kind, id ID, sealed []byte, plain int) error {
	var coin [1]byte
	rand.Read(coin[:]) //nolint:errcheck // never fails
	target := w.r.options.PackSize
	if len(sealed) >= target { // a pack of its own
		p := &openPack{kind: kind}
		p.add(w.segs, id, sealed, plain)
		return w.finish(ctx, p)
	}
	w.mu.Lock()
	place := &w.open[kind][coin[0]&1]
	if *place == nil {
		*place = &openPack{kind: kind}
	}
	p := *place
	p.add(w.segs, id, sealed, plain)
	if !p.full(target) {
		w.mu.Unlock()
		return nil
	}
	*place = nil
	w.mu.Unlock()
	return w.finish(ctx, p)
}

// finish closes a pack and sends it. It waits for a free upload: that is what holds a fast source back.
func (w *packWriter) finish(ctx context.Context, p *openPack) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.send(p)
	return nil
}

// upload sends a pack and lists it.
func (w *packWriter) upload(ctx context.Context, p *openPack) error {
	defer func() { <-w.slots }()
	id, err := p.finish(w.segs, w.r.key)
	if err != nil {
		return err
	}
	if err := w.guard(ctx); err != nil {
		return err
	}
	if err := put(ctx, w.r.store, packPath(id), p.reader(), int64(p.size)); err != nil {
		return err
	}
	w.stats.packs.Add(1)
	w.stats.sent.Add(int64(p.size))
	w.segs.put(p.parts)
	if err := w.idx.add(id, p.blobs); err != nil {
		return err
	}
	return w.list(ctx, packEntry{id, p.blobs})
}

// list notes a pack that is in place, and saves an index file when there is enough for one.
func (w *packWriter) list(ctx context.Context, e packEntry) error {
	w.mu.Lock()
	if len(w.pending) == 0 {
		w.oldest = w.r.now()
	}
	w.pending = append(w.pending, e)
	w.listed += len(e.blobs)
	full := w.listed >= fullIndex || w.r.now().Sub(w.oldest) >= indexAge
	w.mu.Unlock()
	if full {
		return w.saveIndex(ctx)
	}
	return nil
}

// saveIndex writes an index file of the packs that are in none.
func (w *packWriter) saveIndex(ctx context.Context) error {
	w.mu.Lock()
	packs := w.pending
	w.pending, w.listed = nil, 0
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	if err := w.guard(ctx); err != nil {
		return err
	}
	id, err := w.r.saveUnpacked(ctx, indexDir, encodeIndex(packs))
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.written = append(w.written, id)
	w.mu.Unlock()
	return nil
}

// flush sends what is open, waits for all uploads and lists them. Nothing may be added meanwhile or later.
func (w *packWriter) flush(ctx context.Context) error {
	for kind := range w.open {
		a, b := w.open[kind][0], w.open[kind][1]
		w.open[kind] = [2]*openPack{}
		if a != nil && b != nil && a.size+b.size < w.r.options.PackSize {
			a.merge(w.segs, b)
			b = nil
		}
		for _, p := range []*openPack{a, b} {
			if p == nil {
				continue
			}
			if err := w.finish(ctx, p); err != nil {
				return err
			}
		}
	}
	return w.up.Wait()
}
