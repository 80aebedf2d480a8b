package repository

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Part is the part of the packs whose data is read. The zero value is all.
type Part struct {
	N, Of   int     // those whose first byte, modulo Of, is N-1: 1/7 to 7/7 together are all
	Percent float64 // of the packs, above 0 to 100
	Bytes   int64   // as many packs as come to this, at least one
}

func (p Part) valid() error {
	ways := 0
	if p.Of != 0 || p.N != 0 {
		ways++
		if p.N < 1 || p.N > p.Of || p.Of > 256 {
			return fmt.Errorf("part %d/%d: 1/n to n/n are possible, n up to 256", p.N, p.Of)
		}
	}
	if p.Percent != 0 {
		ways++
		if !(p.Percent > 0 && p.Percent <= 100) {
			return fmt.Errorf("%v percent: above 0 and up to 100 is possible", p.Percent)
		}
	}
	if p.Bytes != 0 {
		ways++
		if p.Bytes < 0 {
			return fmt.Errorf("%d bytes: a positive number is needed", p.Bytes)
		}
	}
	if ways > 1 {
		return errors.New("the part is given in several ways: n/t, percent or bytes")
	}
	return nil
}

// Coverage knows when the data of each pack was last read and found well. Its JSON form is kept by the caller between
// checks. It must not be used by two checks at a time.
type Coverage struct {
	Read map[ID]time.Time `json:"read"`
	// Bad are the packs that were damaged when they were read last. They are in every part that is read: a check that
	// does not look at them again must not find the repository well.
	Bad map[ID]bool `json:"bad,omitempty"`
}

// Since answers which part of the packs in the coverage, by number, was read at t or later; packs that were never read
// are in it with the zero time.
func (c *Coverage) Since(t time.Time) float64 {
	if len(c.Read) == 0 {
		return 0
	}
	n := 0
	for _, at := range c.Read {
		if !at.IsZero() && !at.Before(t) {
			n++
		}
	}
	return float64(n) / float64(len(c.Read))
}

// Oldest answers the time before which no pack was read last: everything was read since. The zero time says that some
// pack never was.
func (c *Coverage) Oldest() time.Time {
	var oldest time.Time
	first := true
	for _, at := range c.Read {
		if first || at.Before(oldest) {
			oldest, first = at, false
		}
	}
	return oldest
}

// follow forgets packs that are gone and takes in new ones as never read.
func (c *Coverage) follow(packs []ID) {
	now, bad := make(map[ID]time.Time, len(packs)), map[ID]bool{}
	for _, id := range packs {
		now[id] = c.Read[id]
		if c.Bad[id] {
			bad[id] = true
		}
	}
	c.Read, c.Bad = now, bad
}

// note takes in that a pack was read.
func (c *Coverage) note(id ID, at time.Time, well bool) {
	if well {
		c.Read[id] = at
		delete(c.Bad, id)
		return
	}
	c.Read[id] = time.Time{}
	c.Bad[id] = true
}

// choose answers the packs to read.
func (c *checker) choose() []ID {
	p := c.o.Part
	var all []ID
	for _, id := range c.x.packs {
		if _, there := c.sizes[id]; there && (p.Of == 0 || int(id[0])%p.Of == p.N-1) {
			all = append(all, id)
		}
	}
	if c.o.Coverage != nil {
		c.o.Coverage.follow(c.x.packs)
	}
	if p.Percent == 0 && p.Bytes == 0 {
		return all
	}
	shuffle(all)
	bad := 0
	if cov := c.o.Coverage; cov != nil {
		rank := func(id ID) int {
			if cov.Bad[id] {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(all, func(a, b ID) int { return cmp.Or(rank(a)-rank(b), cov.Read[a].Compare(cov.Read[b])) })
		for bad < len(all) && cov.Bad[all[bad]] {
			bad++
		}
	}
	if p.Percent != 0 {
		return all[:max(bad, min(len(all), int(math.Ceil(p.Percent/100*float64(len(all))))))]
	}
	var sum int64
	for i, id := range all {
		if sum += c.sizes[id]; sum >= p.Bytes && i+1 >= bad {
			return all[:i+1]
		}
	}
	return all
}

// shuffle orders by chance, which nobody who damages packs can foresee.
func shuffle(ids []ID) {
	for i := len(ids) - 1; i > 0; i-- {
		if n, err := rand.Int(rand.Reader, big.NewInt(int64(i+1))); err == nil {
			j := int(n.Int64())
			ids[i], ids[j] = ids[j], ids[i]
		}
	}
}

// data reads packs, a few at a time.
func (c *checker) data(ctx context.Context) error {
	packs := c.choose()
	var total int64
	for _, id := range packs {
		total += c.sizes[id]
	}
	c.at.stage("data", total)
	var mu sync.Mutex // guards c.out and the coverage
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(3, c.r.workers()+1))
	for _, id := range packs {
		g.Go(guarded(func() error {
			p := &packChecker{r: c.r, id: id, size: c.sizes[id], want: c.packs[c.x.numbers[id]], read: &c.at.done}
			err := p.check(ctx)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil && !p.damage {
				return err // the store, not the pack
			}
			mu.Lock()
			defer mu.Unlock()
			c.out.PacksRead++
			c.out.BytesRead += c.sizes[id]
			if err != nil {
				c.out.problem(packPath(id), damaged("pack", id, err))
			}
			if c.o.Coverage != nil {
				c.o.Coverage.note(id, c.now(), err == nil)
			}
			return nil
		}))
	}
	return g.Wait()
}

// packChecker reads one pack from start to end.
type packChecker struct {
	r      *Repository
	id     ID
	size   int64
	want   []packedBlob // as the index has it, by offset
	read   *atomic.Int64
	damage bool // the error is about the pack
}

func (p *packChecker) bad(format string, args ...any) error {
	p.damage = true
	return fmt.Errorf(format, args...)
}

func (p *packChecker) check(ctx context.Context) error {
	f, err := p.r.store.Open(ctx, packPath(p.id), 0, -1)
	if err != nil {
		return fmt.Errorf("read pack %s: %w", p.id, err)
	}
	defer f.Close()
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(&countingReader{f, p.read}, sum), 256<<10)
	var wrong []error
	var at int64
	var sealed, plain []byte
	for _, b := range p.want {
		if int64(b.offset) != at {
			return p.bad("the index has blob %s at byte %d, the one before it ends at %d", b.id, b.offset, at)
		}
		if b.length > maxTree {
			return p.bad("blob %s has %d bytes, %d are the most", b.id, b.length, maxTree)
		}
		sealed = slices.Grow(sealed[:0], int(b.length))[:b.length]
		if n, err := io.ReadFull(in, sealed); err != nil {
			return p.ended(at+int64(n), err)
		}
		out, err := p.r.decodeBlob(b, sealed, plain)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("byte %d: %w", at, err))
		} else if b.plain != 0 {
			plain = out
		}
		at += int64(b.length)
	}
	if err := p.header(in, at); err != nil {
		if !p.damage {
			return err // the store
		}
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 {
		if got := ID(sum.Sum(nil)); got != p.id {
			return p.bad("the file has the hash %s", got)
		}
		return nil
	}
	p.damage = true
	return errors.Join(wrong...)
}

// ended tells a file that is too short from a store that failed.
func (p *packChecker) ended(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return p.bad("the file ends at byte %d of %d", at, p.size)
	}
	return fmt.Errorf("read pack %s: %w", p.id, err)
}

// header reads the rest of the pack, which is its header, and compares it with the index.
func (p *packChecker) header(in io.Reader, at int64) error {
	tail, err := io.ReadAll(io.LimitReader(in, maxHeader+headerFixed+1))
	if err != nil {
		return p.ended(at+int64(len(tail)), err)
	}
	if size := at + int64(len(tail)); size != p.size {
		return p.bad("the file ends at byte %d of %d", size, p.size)
	}
	blobs, need, err := openHeader(p.r.key, tail, p.size)
	switch {
	case err != nil:
		return p.bad("%w", err)
	case need != 0:
		return p.bad("the header takes %d bytes, %d are left behind the blobs that the index has", need, len(tail))
	case !slices.Equal(blobs, p.want):
		return p.bad("header and index differ: %d and %d blobs", len(blobs), len(p.want))
	}
	return nil
}

// countingReader tells a progress of each read.
type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n.Add(int64(n))
	return n, err
}
