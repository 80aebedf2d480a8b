package repository

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"sync"
)

// Kind tells the blobs of files from the blobs of folders. The same ID as both are two different blobs.
type Kind uint8

// The kinds of blobs.
const (
	DataBlob Kind = iota
	TreeBlob
)

func (k Kind) String() string {
	if k == TreeBlob {
		return "tree"
	}
	return "data"
}

// packedBlob is one blob of a pack, as header and index describe it.
type packedBlob struct {
	id     ID
	kind   Kind
	offset uint32
	length uint32 // as stored
	plain  uint32 // uncompressed length; 0: not compressed
}

// plainLength answers the bytes of the blob itself.
func (b packedBlob) plainLength() int {
	if b.plain != 0 {
		return int(b.plain)
	}
	return int(b.length) - sealOverhead
}

// location is a place where a blob is stored.
type location struct {
	packedBlob
	pack ID
	no   uint32 // of the pack
}

// record is a blob in the table, 56 bytes: a million blobs take about 64 MB.
type record struct {
	id                    ID
	pack                  uint32
	offset, length, plain uint32
	next                  uint32 // place in records + 1 of a further copy of the same blob
	kind                  Kind
}

const recordPage = 2048

// index is the union of all index files, and of what a backup under way has added. It is safe for concurrent use.
type index struct {
	mu      sync.RWMutex // guards all below
	packs   []ID
	numbers map[ID]uint32 // places in packs
	pages   [][]record
	count   int
	table   []uint32 // open addressing: place in pages + 1 of the first copy
	seed    uint64   // so that nobody can choose content that collides
	claimed map[claim]struct{}
}

// claim is a blob that is on its way into a pack.
type claim struct {
	id   ID
	kind Kind
}

func newIndex() *index {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return &index{numbers: map[ID]uint32{}, table: make([]uint32, 1024), seed: binary.LittleEndian.Uint64(b[:]) | 1, claimed: map[claim]struct{}{}}
}

func (x *index) at(place uint32) *record { return &x.pages[place/recordPage][place%recordPage] }

// slot answers where in the table the blob is or belongs.
func (x *index) slot(kind Kind, id *ID) int {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:])^uint64(kind), x.seed)
	mask := len(x.table) - 1
	for i := int(hi^lo) & mask; ; i = (i + 1) & mask { //nolint:gosec // masked
		v := x.table[i]
		if v == 0 {
			return i
		}
		if r := x.at(v - 1); r.kind == kind && r.id == *id {
			return i
		}
	}
}

func (x *index) grow() {
	old := x.table
	x.table = make([]uint32, 2*len(old))
	for _, v := range old {
		if v != 0 {
			r := x.at(v - 1)
			x.table[x.slot(r.kind, &r.id)] = v
		}
	}
}

// packNumber answers the number of a pack, made when it is new. The caller holds the lock.
func (x *index) packNumber(id ID) (n uint32, isNew bool) {
	if n, ok := x.numbers[id]; ok {
		return n, false
	}
	n = uint32(len(x.packs)) //nolint:gosec // bounded by the records
	x.packs = append(x.packs, id)
	x.numbers[id] = n
	return n, true
}

// add takes in the blobs of a pack, and what was claimed of them is no longer on its way. A pack that is there already
// is added only where it differs.
func (x *index) add(pack ID, blobs []packedBlob) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.count+len(blobs) > 1<<31 {
		return fmt.Errorf("more than %d blobs", x.count)
	}
	no, isNew := x.packNumber(pack)
	for _, b := range blobs {
		x.insert(no, isNew, b)
		delete(x.claimed, claim{b.id, b.kind})
	}
	return nil
}

func (x *index) insert(no uint32, isNew bool, b packedBlob) {
	if 2*x.count >= len(x.table) {
		x.grow()
	}
	i := x.slot(b.kind, &b.id)
	first := x.table[i]
	if !isNew {
		for v := first; v != 0; v = x.at(v - 1).next {
			if r := x.at(v - 1); r.pack == no && r.offset == b.offset && r.length == b.length && r.plain == b.plain {
				return
			}
		}
	}
	if x.count%recordPage == 0 {
		x.pages = append(x.pages, make([]record, 0, recordPage))
	}
	last := &x.pages[len(x.pages)-1]
	*last = append(*last, record{b.id, no, b.offset, b.length, b.plain, 0, b.kind})
	x.count++
	place := uint32(x.count) //nolint:gosec // bounded by add
	if first == 0 {
		x.table[i] = place
		return
	}
	head := x.at(first - 1)
	x.at(place-1).next, head.next = head.next, place
}

func (x *index) locate(r *record) location {
	return location{packedBlob{r.id, r.kind, r.offset, r.length, r.plain}, x.packs[r.pack], r.pack}
}

// find answers a place where the blob is stored.
func (x *index) find(kind Kind, id ID) (location, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if v := x.table[x.slot(kind, &id)]; v != 0 {
		return x.locate(x.at(v - 1)), true
	}
	return location{}, false
}

// has tells whether the blob is stored.
func (x *index) has(kind Kind, id ID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.table[x.slot(kind, &id)] != 0
}

// findAll answers all places where the blob is stored.
func (x *index) findAll(kind Kind, id ID) []location {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []location
	for v := x.table[x.slot(kind, &id)]; v != 0; v = x.at(v - 1).next {
		out = append(out, x.locate(x.at(v-1)))
	}
	return out
}

// claim answers true to exactly one caller for a blob that is neither stored nor claimed: that one must store it.
func (x *index) claim(kind Kind, id ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.table[x.slot(kind, &id)] != 0 {
		return false
	}
	c := claim{id, kind}
	if _, taken := x.claimed[c]; taken {
		return false
	}
	x.claimed[c] = struct{}{}
	return true
}

// all answers every copy of every blob. Nothing may be added meanwhile.
func (x *index) all() iter.Seq[location] {
	return func(yield func(location) bool) {
		for _, page := range x.pages {
			for i := range page {
				if !yield(x.locate(&page[i])) {
					return
				}
			}
		}
	}
}

// entries answers what an index file says of some packs. Nothing may be added meanwhile.
func (x *index) entries(packs []uint32) []packEntry {
	out := make([]packEntry, len(packs))
	places := make(map[uint32]int, len(packs))
	for i, no := range packs {
		out[i].id = x.packs[no]
		places[no] = i
	}
	if len(packs) == 0 {
		return nil
	}
	for l := range x.all() {
		if i, in := places[l.no]; in {
			out[i].blobs = append(out[i].blobs, l.packedBlob)
		}
	}
	for i := range out {
		sortByOffset(out[i].blobs)
	}
	return out
}

// byPack answers the blobs of every pack, by pack number, in the order of their offsets. Nothing may be added
// meanwhile.
func (x *index) byPack() [][]packedBlob {
	out := make([][]packedBlob, len(x.packs))
	for l := range x.all() {
		out[l.no] = append(out[l.no], l.packedBlob)
	}
	for _, blobs := range out {
		sortByOffset(blobs)
	}
	return out
}

func sortByOffset(blobs []packedBlob) {
	slices.SortFunc(blobs, func(a, b packedBlob) int { return int(int64(a.offset) - int64(b.offset)) })
}
