package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/restic/chunker"

	"allclear/internal/subsystem/backup/source"
)

// readSize is how much is read of a file at a time, in bytes. A file that ends within the minimum length of a chunk is
// one chunk.
const readSize = 1 << 20

// fileJob is a file to read.
type fileJob struct {
	in    *folder
	slot  int
	path  string
	name  string
	file  File
	known bool // the parent snapshot has a file here
}

// chunkJob is a chunk of a larger file.
type chunkJob struct {
	to    *pieces
	place int
	data  []byte
}

// pieces are the chunks of one file, which are stored by several goroutines.
type pieces struct {
	wg  sync.WaitGroup
	mu  sync.Mutex // guards the fields below
	ids []ID
	err error
}

func (p *pieces) set(place int, id ID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids[place] = id
	if p.err == nil {
		p.err = err
	}
	p.wg.Done()
}

// chunkBuffers lends memory for chunks, in powers of two from 1 to 4 MiB; the few larger ones are left to the collector.
type chunkBuffers struct{ free [3]chan []byte }

func newChunkBuffers(keep int) *chunkBuffers {
	c := &chunkBuffers{}
	for i := range c.free {
		c.free[i] = make(chan []byte, keep)
	}
	return c
}

// get answers an empty buffer for at least size bytes.
func (c *chunkBuffers) get(size int) []byte {
	for class := range c.free {
		if 1<<(20+class) < size {
			continue
		}
		select {
		case b := <-c.free[class]:
			return b[:0]
		default:
			return make([]byte, 0, 1<<(20+class))
		}
	}
	return make([]byte, 0, max(size, chunker.MaxSize))
}

func (c *chunkBuffers) put(b []byte) {
	for class := range c.free {
		if cap(b) == 1<<(20+class) {
			select {
			case c.free[class] <- b:
			default:
			}
			return
		}
	}
}

// readFiles reads files until there are no more.
func (b *backup) readFiles(ctx context.Context) error {
	reader := &fileReader{b: b, buf: make([]byte, readSize)}
	for job := range b.jobs {
		if err := reader.read(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

// fileReader reads one file after the other.
type fileReader struct {
	b   *backup
	buf []byte
	cut *chunker.BaseChunker
}

// read stores the content of a file and puts its node in place.
func (fr *fileReader) read(ctx context.Context, job fileJob) error {
	content, size, err := fr.content(ctx, job.file)
	n := &Node{Name: job.name, Meta: *job.file.Meta(), Content: content}
	if cerr := job.file.Close(); err == nil {
		err = cerr
	}
	if source.IsSkip(err) {
		fr.b.counts.skipped.Add(1)
		return job.in.put(ctx, job.slot, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", job.path, err)
	}
	tidy(n)
	n.Content, n.Size = content, size
	fr.b.links.check(n)
	fr.b.counts.file(job.known, false, size)
	return job.in.put(ctx, job.slot, n)
}

// fill reads until the buffer is full or the file ends.
func (fr *fileReader) fill(f io.Reader) (n int, end bool, err error) {
	for n < len(fr.buf) {
		m, err := f.Read(fr.buf[n:])
		n += m
		fr.b.counts.read.Add(int64(m))
		if errors.Is(err, io.EOF) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// content stores the chunks of a file and answers their IDs and the bytes read.
func (fr *fileReader) content(ctx context.Context, f io.Reader) ([]ID, int64, error) {
	n, end, err := fr.fill(f)
	if err != nil || n == 0 {
		return nil, 0, err
	}
	if end && n <= chunker.MinSize { // no boundary can be in it
		id, err := fr.b.packs.saveBlob(ctx, DataBlob, fr.buf[:n])
		return []ID{id}, int64(n), err
	}
	select { // each large file takes memory for a chunk
	case fr.b.large <- struct{}{}:
		defer func() { <-fr.b.large }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	if fr.cut == nil {
		fr.cut = chunker.NewBase(fr.b.r.conf.Polynomial)
	} else {
		fr.cut.Reset(fr.b.r.conf.Polynomial)
	}
	p := &pieces{}
	size, err := fr.chunks(ctx, f, p, n, end)
	p.wg.Wait()
	return p.ids, size, errors.Join(err, p.err)
}

// chunks cuts a file of which n bytes are in the buffer, and hands its chunks on.
func (fr *fileReader) chunks(ctx context.Context, f io.Reader, p *pieces, n int, end bool) (size int64, err error) {
	chunk := fr.b.buffers.get(2 * readSize)
	defer func() { fr.b.buffers.put(chunk) }()
	for {
		size += int64(n)
		for data := fr.buf[:n]; len(data) > 0; {
			at := fr.cut.NextSplitPoint(data)
			take := data
			if at >= 0 {
				take = data[:at]
			}
			data = data[len(take):]
			if len(chunk)+len(take) > cap(chunk) {
				larger := append(fr.b.buffers.get(len(chunk)+len(take)), chunk...)
				fr.b.buffers.put(chunk)
				chunk = larger
			}
			chunk = append(chunk, take...)
			if at >= 0 {
				if err := fr.hand(ctx, p, chunk); err != nil {
					return size, err
				}
				chunk = fr.b.buffers.get(2 * readSize)
			}
		}
		if end {
			break
		}
		if n, end, err = fr.fill(f); err != nil {
			return size, err
		}
	}
	if len(chunk) > 0 {
		err = fr.hand(ctx, p, chunk)
		chunk = nil
	}
	return size, err
}

// hand gives a chunk, and its buffer, to those who store.
func (fr *fileReader) hand(ctx context.Context, p *pieces, chunk []byte) error {
	p.mu.Lock()
	place := len(p.ids)
	p.ids = append(p.ids, ID{})
	p.mu.Unlock()
	p.wg.Add(1)
	select {
	case fr.b.chunks <- chunkJob{p, place, chunk}:
		return nil
	case <-ctx.Done():
		p.wg.Done()
		return context.Cause(ctx)
	}
}

// saveChunks stores chunks until there are no more.
func (b *backup) saveChunks(ctx context.Context) error {
	for job := range b.chunks {
		id, err := b.packs.saveBlob(ctx, DataBlob, job.data)
		job.to.set(job.place, id, err)
		b.buffers.put(job.data)
		if err != nil {
			return err
		}
	}
	return nil
}
