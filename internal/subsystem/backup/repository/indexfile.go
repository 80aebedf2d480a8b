package repository

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// An index is saved when it has this many blobs, in bytes less than 8 MiB of JSON.
const fullIndex = 50_000

// packEntry is a pack in an index file.
type packEntry struct {
	id    ID
	blobs []packedBlob
}

// encodeIndex answers the JSON of an index file.
func encodeIndex(packs []packEntry) []byte {
	n := 0
	for _, p := range packs {
		n += 80 + 180*len(p.blobs)
	}
	b := append(make([]byte, 0, n), `{"packs":[`...)
	for i, p := range packs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendIDField(b, `{"id":"`, p.id), `,"blobs":[`...)
		for j, blob := range p.blobs {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(appendIDField(b, `{"id":"`, blob.id), `,"type":"`...)
			b = append(append(b, blob.kind.String()...), `","offset":`...)
			b = append(strconv.AppendUint(b, uint64(blob.offset), 10), `,"length":`...)
			b = strconv.AppendUint(b, uint64(blob.length), 10)
			if blob.plain != 0 {
				b = strconv.AppendUint(append(b, `,"uncompressed_length":`...), uint64(blob.plain), 10)
			}
			b = append(b, '}')
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}\n"...)
}

func appendIDField(b []byte, before string, id ID) []byte {
	b = append(b, before...)
	return append(hex.AppendEncode(b, id[:]), '"')
}

// decodeIndex reads the JSON of an index file and calls pack with each pack of it. A file of the time before packs had
// a name for the object (a bare array) is read too.
func decodeIndex(b []byte, pack func(packEntry) error) error {
	p := &jsonReader{b: b}
	one := func() error {
		e, err := decodePack(p)
		if err != nil {
			return err
		}
		if err := checkPack(e); err != nil {
			return err
		}
		return pack(e)
	}
	if p.peek() == '[' {
		if err := p.array(one); err != nil {
			return err
		}
		return p.end()
	}
	err := p.object(func(key []byte) error {
		if string(key) == "packs" {
			return p.array(one)
		}
		return p.skip()
	})
	if err != nil {
		return err
	}
	return p.end()
}

func decodePack(p *jsonReader) (packEntry, error) {
	var e packEntry
	err := p.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			e.id, err = p.id()
		case "blobs":
			err = p.array(func() error {
				b, err := decodeBlob(p)
				e.blobs = append(e.blobs, b)
				return err
			})
		default:
			err = p.skip()
		}
		return err
	})
	return e, err
}

func decodeBlob(p *jsonReader) (packedBlob, error) {
	var b packedBlob
	number := func() (uint32, error) {
		n, err := p.number(32)
		return uint32(n), err //nolint:gosec // 32 bits
	}
	err := p.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			b.id, err = p.id()
		case "type":
			var t []byte
			if t, err = p.text(); err == nil {
				switch string(t) {
				case "data":
					b.kind = DataBlob
				case "tree":
					b.kind = TreeBlob
				default:
					err = fmt.Errorf("blob type %.40q is not known", t)
				}
			}
		case "offset":
			b.offset, err = number()
		case "length":
			b.length, err = number()
		case "uncompressed_length":
			b.plain, err = number()
		default:
			err = p.skip()
		}
		return err
	})
	return b, err
}

// checkPack bounds what an index says of a pack.
func checkPack(e packEntry) error {
	if e.id.IsZero() {
		return errors.New("a pack without an ID")
	}
	for _, b := range e.blobs {
		switch {
		case b.id.IsZero():
			return fmt.Errorf("pack %s: a blob without an ID", e.id)
		case b.length <= sealOverhead:
			return fmt.Errorf("pack %s: blob %s has %d bytes", e.id, b.id, b.length)
		case uint64(b.offset)+uint64(b.length) >= 1<<32:
			return fmt.Errorf("pack %s: blob %s ends at byte %d", e.id, b.id, uint64(b.offset)+uint64(b.length))
		}
	}
	return nil
}

// indexFile is what a loaded index file said.
type indexFile struct {
	id    ID
	packs []uint32 // numbers in the index
	blobs int
}

// loadedIndex is the index with the files it came from.
type loadedIndex struct {
	*index
	files []indexFile
	// differ are packs of which two index files say different things.
	differ []ID
}

// loadIndex reads all index files. Each that is damaged is handed to broken, which answers whether that ends the
// loading; nil ends it at the first. A file that vanished meanwhile was replaced by another: the list is read again.
func (r *Repository) loadIndex(ctx context.Context, broken func(ID, error) error) (*loadedIndex, error) {
	const tries = 5
	for n := 1; ; n++ {
		x, err := r.loadIndexOnce(ctx, broken)
		if err == nil || n == tries || !errors.Is(err, fs.ErrNotExist) {
			return x, err
		}
	}
}

func (r *Repository) loadIndexOnce(ctx context.Context, broken func(ID, error) error) (*loadedIndex, error) {
	files, err := list(ctx, r.store, indexDir)
	if err != nil {
		return nil, err
	}
	x := &loadedIndex{index: newIndex()}
	var mu sync.Mutex // guards x.files and x.differ
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, f := range files {
		g.Go(guarded(func() error {
			b, err := r.loadUnpacked(gctx, "index", indexDir, f.id, maxIndex)
			var packs []packEntry
			if err == nil {
				err = damaged("index", f.id, decodeIndex(b, func(e packEntry) error {
					packs = append(packs, e)
					return nil
				}))
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				return damaged("index", f.id, x.take(f.id, packs))
			}
			if _, isDamage := errors.AsType[*DamageError](err); isDamage && broken != nil {
				mu.Lock()
				defer mu.Unlock()
				return broken(f.id, err)
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return x, nil
}

// take adds the content of one index file.
func (x *loadedIndex) take(id ID, packs []packEntry) error {
	f := indexFile{id: id}
	for _, e := range packs {
		before := x.blobsOf(e)
		if err := x.add(e.id, e.blobs); err != nil {
			return err
		}
		if no, known := x.numbers[e.id]; known {
			f.packs = append(f.packs, no)
			if before >= 0 && before != len(e.blobs) {
				x.differ = append(x.differ, e.id)
			}
		}
		f.blobs += len(e.blobs)
	}
	x.files = append(x.files, f)
	return nil
}

// blobsOf answers how many of the blobs that e lists are there exactly so; -1 when the pack is not known yet.
func (x *loadedIndex) blobsOf(e packEntry) int {
	no, known := x.numbers[e.id]
	if !known {
		return -1
	}
	same := 0
	for _, b := range e.blobs {
		if slices.ContainsFunc(x.findAll(b.kind, b.id), func(l location) bool { return l.no == no && l.packedBlob == b }) {
			same++
		}
	}
	return same
}
