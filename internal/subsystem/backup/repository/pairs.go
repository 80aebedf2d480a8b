package repository

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
)

// pairs keeps one (inode, device) from standing for two contents in a snapshot: readers take files with an equal pair
// for names of one file, some even when they have but one name. It takes about 20 bytes for each file.
type pairs struct {
	mu     sync.Mutex // guards the fields below
	seed   maphash.Seed
	single map[uint64]struct{} // hashed pairs of files with one name
	linked map[uint64]uint64   // hashed pairs of files with several -> content
}

// check leaves the pair out of a node of which another says something else: that it has one name where this has
// several, or another content.
func (p *pairs) check(n *Node) {
	if n.Inode == 0 {
		n.Links = min(n.Links, 1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.single == nil {
		p.seed, p.single, p.linked = maphash.MakeSeed(), map[uint64]struct{}{}, map[uint64]uint64{}
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], n.Inode)
	binary.LittleEndian.PutUint64(b[8:], n.DeviceID)
	key := maphash.Bytes(p.seed, b[:])
	content, several := p.linked[key]
	_, one := p.single[key]
	switch {
	case n.Links < 2 && !several:
		p.single[key] = struct{}{}
	case n.Links > 1 && !one && (!several || content == contentSum(n)):
		p.linked[key] = contentSum(n)
	default:
		n.Inode, n.Links = 0, 1
	}
}

func contentSum(n *Node) uint64 {
	sum := ContentHash(n.Content)
	return binary.LittleEndian.Uint64(sum[:])
}
