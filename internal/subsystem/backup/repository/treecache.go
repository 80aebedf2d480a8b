package repository

import (
	"context"
	"slices"
	"sync"
)

const (
	// pieceSize is the unit in which packs with trees are read, in bytes: trees that are needed together lie together,
	// and a request for each would take a round trip for each folder.
	pieceSize = 1 << 20
	// keptPieces bounds the memory for pieces of packs.
	keptPieces = 24
)

// treeReader reads tree blobs through a small cache of pieces of packs. It is safe for concurrent use.
type treeReader struct {
	r     *Repository
	x     *index
	sizes map[uint32]int64 // where the last blob of a pack ends, by pack number

	mu     sync.Mutex // guards pieces
	pieces []*piece   // most recently used last
}

// piece is a part of a pack that is there or on its way.
type piece struct {
	pack  uint32
	no    int64 // offset / pieceSize
	ready chan struct{}
	data  []byte // when ready
	err   error
}

func newTreeReader(r *Repository, x *index) *treeReader {
	return &treeReader{r: r, x: x, sizes: map[uint32]int64{}}
}

// measure learns how long the packs with trees are, so that no piece is asked for beyond their end.
func (t *treeReader) measure() {
	t.x.mu.RLock()
	defer t.x.mu.RUnlock()
	for l := range t.x.all() {
		if l.kind == TreeBlob {
			t.sizes[l.no] = max(t.sizes[l.no], int64(l.offset)+int64(l.length))
		}
	}
}

// load answers the nodes of a tree.
func (t *treeReader) load(ctx context.Context, id ID) ([]Node, error) {
	plain, err := t.blob(ctx, id)
	if err != nil {
		return nil, err
	}
	nodes, err := decodeTree(plain)
	return nodes, damaged("tree", id, err)
}

func (t *treeReader) blob(ctx context.Context, id ID) ([]byte, error) {
	l, ok := t.x.find(TreeBlob, id)
	if end := t.sizes[l.no]; ok && l.length <= 4*pieceSize && int64(l.offset)+int64(l.length) <= end {
		sealed, err := t.bytes(ctx, l, end)
		if err == nil {
			var plain []byte
			if plain, err = t.r.decodeBlob(l.packedBlob, sealed, nil); err == nil {
				return plain, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return t.r.loadBlob(ctx, t.x, TreeBlob, id) // large, or damaged: with the other copies and a full report
}

// bytes answers a copy of the stored blob.
func (t *treeReader) bytes(ctx context.Context, l location, end int64) ([]byte, error) {
	out := make([]byte, 0, l.length)
	at, to := int64(l.offset), int64(l.offset)+int64(l.length)
	for at < to {
		p, err := t.piece(ctx, l, at/pieceSize, end)
		if err != nil {
			return nil, err
		}
		in := p.data[at-p.no*pieceSize:]
		in = in[:min(int64(len(in)), to-at)]
		out = append(out, in...)
		at += int64(len(in))
	}
	return out, nil
}

func (t *treeReader) piece(ctx context.Context, l location, no, end int64) (*piece, error) {
	t.mu.Lock()
	if i := slices.IndexFunc(t.pieces, func(p *piece) bool { return p.pack == l.no && p.no == no }); i >= 0 {
		p := t.pieces[i]
		t.pieces = append(slices.Delete(t.pieces, i, i+1), p)
		t.mu.Unlock()
		select {
		case <-p.ready:
			return p, p.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	p := &piece{pack: l.no, no: no, ready: make(chan struct{})}
	if len(t.pieces) >= keptPieces {
		t.pieces = slices.Delete(t.pieces, 0, 1)
	}
	t.pieces = append(t.pieces, p)
	t.mu.Unlock()
	defer close(p.ready)
	p.data = make([]byte, min(pieceSize, end-no*pieceSize))
	if p.err = getRange(ctx, t.r.store, l.pack, no*pieceSize, p.data); p.err != nil {
		t.mu.Lock()
		t.pieces = slices.DeleteFunc(t.pieces, func(q *piece) bool { return q == p })
		t.mu.Unlock()
	}
	return p, p.err
}
