package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"allclear/internal/subsystem/backup/source"
)

// Item is one thing to restore. Of a file it is the content too, which must be read, or left, before the next item is
// asked for: Read, WriteTo and Blobs take from the same place. An error of theirs names the damaged blob; the content
// is not complete then, and the items after it still come.
type Item struct {
	Path string // as it was, absolute, raw bytes
	Node Node   // of a file, Size is what the content comes to
	// HardLink is the Path of an earlier item that is the same file; the content does not come again.
	HardLink string
	// Above: a folder above the paths that were asked for.
	Above bool

	s    *stream
	rest []byte // of the blob that Read is in
	err  error
}

// RestoreOptions choose what is restored.
type RestoreOptions struct {
	// Paths, each with all that lies below; none means everything.
	Paths []string
}

// Restore answers a snapshot's things in the order of their raw names, folders before their content. What cannot be
// restored comes as an Item with its path and an error, and the rest follows. A path that the snapshot does not have
// is answered as [ErrNotFound] at the end.
func (rd *Reader) Restore(ctx context.Context, snap Snapshot, o RestoreOptions) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		ctx, cancel := rd.ctx(ctx)
		defer cancel()
		ctx, fail := context.WithCancelCause(ctx)
		s := &stream{
			rd: rd, planned: make(chan *batch), coming: make(chan *batch, 1), memory: make(chan []byte, 4),
			ended: ctx.Done(), cause: func() error { return context.Cause(ctx) },
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer fail(nil)
		wg.Go(func() {
			defer close(s.planned)
			if err := try(func() { s.plan(ctx, *snap.Tree, snap.ID, o) }); err != nil {
				fail(err)
			}
		})
		wg.Go(func() {
			defer close(s.coming)
			if err := try(func() { s.fetch(ctx) }); err != nil {
				fail(err)
			}
		})
		for {
			ev, err := s.nextItem()
			if err != nil {
				yield(&Item{}, err)
				return
			}
			if ev == nil || !yield(ev.item, ev.err) {
				return
			}
		}
	}
}

// stream is the way of batches from the plan to the reader.
type stream struct {
	rd      *Reader
	planned chan *batch
	coming  chan *batch // being fetched or ready, in order
	memory  chan []byte // of batches that were used
	cur     *batch
	pos     int   // next event of cur
	item    *Item // the one that was answered last
	ended   <-chan struct{}
	cause   func() error // why it ended
}

// plan walks the tree and makes batches.
func (s *stream) plan(ctx context.Context, tree, snap ID, o RestoreOptions) {
	p := planner{s: s, b: newBatch(), seen: map[[2]uint64]firstName{}}
	var paths []string
	for _, path := range o.Paths {
		paths = append(paths, clean(path))
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	wanted := func(p string) bool { return slices.ContainsFunc(paths, func(u string) bool { return within(p, u) }) }
	above := func(p string) bool { return slices.ContainsFunc(paths, func(u string) bool { return leadsTo(p, u) }) }
	met := make([]bool, len(paths))
	w := walker{trees: s.rd.trees, enter: func(p string) bool { return wanted(p) || above(p) }}
	ok := w.walk(ctx, tree, "", 0, func(f Found, err error) bool {
		in := wanted(f.Path)
		if !in && !above(f.Path) && err == nil {
			return true
		}
		for i, u := range paths {
			met[i] = met[i] || within(f.Path, u)
		}
		if err == nil && !in && f.Node.Type != source.Dir {
			return true
		}
		return p.item(ctx, f, !in, err)
	})
	for i, u := range paths {
		if ok && !met[i] && u != "/" {
			ok = p.item(ctx, Found{Path: u}, false, fmt.Errorf("%s in snapshot %s: %w", u, snap.Short(), ErrNotFound))
		}
	}
	if ok {
		p.ship(ctx)
	}
}

// firstName is the first name of a file with several.
type firstName struct {
	path    string
	content ID
}

// planner fills batches.
type planner struct {
	s    *stream
	b    *batch
	seen map[[2]uint64]firstName
}

// ship hands the batch on.
func (p *planner) ship(ctx context.Context) bool {
	select {
	case p.s.planned <- p.b:
		p.b = newBatch()
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *planner) item(ctx context.Context, f Found, above bool, err error) bool {
	it := &Item{Path: f.Path, Above: above, s: p.s}
	if err != nil {
		p.b.events = append(p.b.events, event{item: it, err: err})
		return true
	}
	it.Node = *f.Node
	if it.Node.Type != source.Regular {
		p.b.events = append(p.b.events, event{item: it})
		return !p.b.full() || p.ship(ctx)
	}
	places := make([]location, len(it.Node.Content))
	it.Node.Size = 0
	for i, id := range it.Node.Content {
		l, ok := p.s.rd.x.find(DataBlob, id)
		if !ok {
			p.b.events = append(p.b.events, event{item: it, err: damaged("data", id, errNoIndex)})
			return true
		}
		places[i] = l
		it.Node.Size += int64(l.plainLength())
	}
	p.b.events = append(p.b.events, event{item: it})
	if p.linked(it) {
		return true
	}
	for _, l := range places {
		if p.b.full() && !p.ship(ctx) {
			return false
		}
		p.b.need(l)
	}
	return !p.b.full() || p.ship(ctx)
}

// linked tells whether the file came under another name already. Both must say that they have several names, and have
// the same content: an inode number alone proves nothing.
func (p *planner) linked(it *Item) bool {
	n := &it.Node
	if n.Links < 2 || n.Inode == 0 {
		return false
	}
	key, content := [2]uint64{n.Inode, n.DeviceID}, ContentHash(n.Content)
	first, met := p.seen[key]
	if !met {
		p.seen[key] = firstName{it.Path, content}
		return false
	}
	if first.content == content {
		it.HardLink = first.path
		return true
	}
	return false
}

// fetch starts the fetching of batches in their order: one is used, one is ready or nearly, one is under way.
func (s *stream) fetch(ctx context.Context) {
	bufs := newRangeBuffers()
	var wg sync.WaitGroup
	defer wg.Wait()
	for b := range s.planned {
		select {
		case b.mem = <-s.memory:
		default:
		}
		wg.Go(func() { b.fetch(ctx, s.rd.r, s.rd.x.index, bufs) })
		select {
		case s.coming <- b:
		case <-ctx.Done():
			return
		}
	}
}

// next answers the next event without taking it; nil at the end.
func (s *stream) next() (*event, error) {
	for s.cur == nil || s.pos == len(s.cur.events) {
		if s.cur != nil {
			select {
			case s.memory <- s.cur.mem:
			default:
			}
			s.cur = nil
		}
		select {
		case b, ok := <-s.coming:
			if !ok {
				return nil, s.cause()
			}
			<-b.done
			s.cur, s.pos = b, 0
		case <-s.ended:
			return nil, s.cause()
		}
	}
	return &s.cur.events[s.pos], nil
}

// nextItem passes over the rest of the present item and answers the next event with an item, nil at the end.
func (s *stream) nextItem() (*event, error) {
	for {
		ev, err := s.next()
		if ev == nil || err != nil {
			return nil, err
		}
		s.pos++
		if ev.item != nil {
			s.item = ev.item
			return ev, nil
		}
	}
}

// next answers the next blob of the item, io.EOF after the last. The answer is valid until the next call.
func (it *Item) next() ([]byte, error) {
	if it.err != nil {
		return nil, it.err
	}
	if it.s == nil || it.s.item != it {
		return nil, fmt.Errorf("%s: the content is read too late, after the next item was asked for", it.Path)
	}
	ev, err := it.s.next()
	switch {
	case err != nil:
		it.err = err
	case ev == nil || ev.item != nil:
		it.err = io.EOF
	default:
		it.s.pos++
		if ev.blob.err == nil {
			return ev.blob.data, nil
		}
		it.err = fmt.Errorf("%s: %w", it.Path, ev.blob.err)
	}
	return nil, it.err
}

// Blobs answers the content in its chunks, each valid until the next; the last pair may hold an error.
func (it *Item) Blobs() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			b, err := it.next()
			if errors.Is(err, io.EOF) || !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Read reads the content.
func (it *Item) Read(p []byte) (int, error) {
	for len(it.rest) == 0 {
		b, err := it.next()
		if err != nil {
			return 0, err
		}
		it.rest = b
	}
	n := copy(p, it.rest)
	it.rest = it.rest[n:]
	return n, nil
}

// WriteTo writes the content that was not read yet.
func (it *Item) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		n, err := w.Write(it.rest)
		total += int64(n)
		if err != nil {
			return total, err
		}
		if it.rest, err = it.next(); errors.Is(err, io.EOF) {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}
