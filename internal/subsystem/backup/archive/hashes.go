package archive

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"allclear/internal/subsystem/backup/extract"
)

// maxHashes bounds the list of hashes in a manifest: 256 KiB. It is a power of two.
const maxHashes = 8192

// Hashes is what a manifest says about every entry of its archive: a list of keyed hashes, each over Each entries in the
// order of the archive (the last over what is left). The key is a salt that stands inside the encrypted archive only, so
// the list, which stands beside it in the clear, tells nobody what the files hold.
//
// The hash of one entry is HMAC-SHA256(salt, 0x00 || fields), each field as its length in eight bytes, big-endian, and its
// bytes: type, path, target of a link, size in decimal, SHA-256 of the content (both empty unless it is a regular file). Two
// hashes are joined by HMAC-SHA256(salt, 0x01 || left || right), groups as the tree of RFC 9162 section 2.1.1.
type Hashes struct {
	Entries int64  `json:"entries"`
	Each    int64  `json:"each"` // a power of two
	List    []byte `json:"list"` // 32 bytes each
}

type digest = [sha256.Size]byte

// hasher builds the list. Memory is bounded whatever the number of entries: when the list is full, pairs are joined.
type hasher struct {
	mac   hash.Hash
	n     int64
	each  int64
	limit int
	list  []digest
	part  []subtree // of the group at the end, from large to small
}

type subtree struct {
	sum    digest
	leaves int64
}

func newHasher(salt []byte, limit int) *hasher {
	return &hasher{mac: hmac.New(sha256.New, salt), each: 1, limit: limit}
}

// entry adds one entry, with the hash of its content if it is a regular file.
func (h *hasher) entry(e *extract.Entry, content []byte) {
	size := ""
	if content != nil {
		size = fmt.Sprint(e.Meta.Size)
	}
	h.mac.Reset()
	h.mac.Write([]byte{0})
	for _, field := range [][]byte{[]byte(e.Meta.Type), []byte(e.Path), []byte(e.HardLink + e.Meta.LinkTarget), []byte(size), content} {
		h.mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		h.mac.Write(field)
	}
	var leaf digest
	h.mac.Sum(leaf[:0])
	h.add(leaf)
}

func (h *hasher) join(left, right digest) (sum digest) {
	h.mac.Reset()
	h.mac.Write([]byte{1})
	h.mac.Write(left[:])
	h.mac.Write(right[:])
	h.mac.Sum(sum[:0])
	return sum
}

func (h *hasher) add(leaf digest) {
	if len(h.list) == h.limit { // and part is empty then
		for i := range h.limit / 2 {
			h.list[i] = h.join(h.list[2*i], h.list[2*i+1])
		}
		h.list = h.list[:h.limit/2]
		h.each *= 2
	}
	h.n++
	at := subtree{leaf, 1}
	for len(h.part) > 0 && h.part[len(h.part)-1].leaves == at.leaves {
		left := h.part[len(h.part)-1]
		h.part = h.part[:len(h.part)-1]
		at = subtree{h.join(left.sum, at.sum), 2 * at.leaves}
	}
	if at.leaves == h.each {
		h.list = append(h.list, at.sum)
		return
	}
	h.part = append(h.part, at)
}

// sum answers the list.
func (h *hasher) sum() Hashes {
	out := Hashes{Entries: h.n, Each: h.each}
	for i := range h.list {
		out.List = append(out.List, h.list[i][:]...)
	}
	if n := len(h.part); n > 0 {
		last := h.part[n-1].sum
		for i := n - 2; i >= 0; i-- {
			last = h.join(h.part[i].sum, last)
		}
		out.List = append(out.List, last[:]...)
	}
	return out
}

// check refuses a list that no archive can have.
func (h Hashes) check() error {
	if h.Entries < 0 || h.Each < 1 || h.Each&(h.Each-1) != 0 || len(h.List) > maxHashes*sha256.Size {
		return fmt.Errorf("hashes of %d entries, each over %d, in %d bytes", h.Entries, h.Each, len(h.List))
	}
	groups := h.Entries / h.Each
	if h.Entries%h.Each > 0 {
		groups++
	}
	if int64(len(h.List)) != groups*sha256.Size {
		return fmt.Errorf("%d entries, each hash over %d, in a list of %d bytes", h.Entries, h.Each, len(h.List))
	}
	return nil
}
