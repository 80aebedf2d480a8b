package repository

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes in the header of a pack, in bytes.
const (
	plainEntry      = 1 + 4 + 32     // type, length, ID
	compressedEntry = plainEntry + 4 // and the uncompressed length
	headerFixed     = sealOverhead + 4
	maxHeader       = 16 << 20 // that readers accept, about 409 000 entries
	minPack         = plainEntry + headerFixed
)

// maxPackBlobs keeps headers, and with them index files, small where blobs are tiny.
const maxPackBlobs = 10_000

// entrySize answers the bytes that a blob takes in the header.
func (b packedBlob) entrySize() int {
	if b.plain != 0 {
		return compressedEntry
	}
	return plainEntry
}

// packSize answers the size of a pack file that holds exactly these blobs.
func packSize(blobs []packedBlob) int64 {
	n := int64(headerFixed)
	for _, b := range blobs {
		n += int64(b.length) + int64(b.entrySize())
	}
	return n
}

// encodeHeader answers the header of a pack before it is sealed.
func encodeHeader(blobs []packedBlob) []byte {
	out := make([]byte, 0, len(blobs)*compressedEntry)
	for _, b := range blobs {
		t := byte(b.kind)
		if b.plain != 0 {
			t += 2
		}
		out = append(out, t)
		out = binary.LittleEndian.AppendUint32(out, b.length)
		if b.plain != 0 {
			out = binary.LittleEndian.AppendUint32(out, b.plain)
		}
		out = append(out, b.id[:]...)
	}
	return out
}

// decodeHeader reads an opened header.
func decodeHeader(b []byte) ([]packedBlob, error) {
	blobs := make([]packedBlob, 0, len(b)/plainEntry)
	var offset uint64
	for len(b) > 0 {
		t := b[0]
		if t > 3 {
			return nil, fmt.Errorf("header entry %d has the unknown type %d", len(blobs), t)
		}
		size := plainEntry
		if t >= 2 {
			size = compressedEntry
		}
		if len(b) < size {
			return nil, fmt.Errorf("header ends %d bytes into an entry of %d", len(b), size)
		}
		blob := packedBlob{kind: Kind(t & 1), offset: uint32(offset), length: binary.LittleEndian.Uint32(b[1:])} //nolint:gosec // checked below
		if t >= 2 {
			blob.plain = binary.LittleEndian.Uint32(b[5:])
			if blob.plain == 0 {
				return nil, fmt.Errorf("header entry %d is compressed from nothing", len(blobs))
			}
		}
		copy(blob.id[:], b[size-32:size])
		if blob.length <= sealOverhead {
			return nil, fmt.Errorf("header entry %d: blob of %d bytes", len(blobs), blob.length)
		}
		if offset += uint64(blob.length); offset >= 1<<32 {
			return nil, fmt.Errorf("header entry %d ends at byte %d", len(blobs), offset)
		}
		blobs = append(blobs, blob)
		b = b[size:]
	}
	return blobs, nil
}

// openHeader answers the blobs of a pack from the last bytes of its file; size is that of the whole file. When tail is
// too short it answers how many bytes are needed.
func openHeader(key *sealKey, tail []byte, size int64) (blobs []packedBlob, need int, err error) {
	if size < minPack || len(tail) < 4 {
		return nil, 0, fmt.Errorf("%d bytes are no pack, %d are the least", size, minPack)
	}
	n := int64(binary.LittleEndian.Uint32(tail[len(tail)-4:]))
	if n < sealOverhead || n > maxHeader+sealOverhead || n > size-4 {
		return nil, 0, fmt.Errorf("header length %d in a file of %d bytes", n, size)
	}
	if int64(len(tail)) < n+4 {
		return nil, int(n) + 4, nil
	}
	plain, err := key.open(nil, tail[len(tail)-4-int(n):len(tail)-4])
	if err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	blobs, err = decodeHeader(plain)
	if err == nil && packSize(blobs) != size {
		err = fmt.Errorf("the file has %d bytes, its header says %d", size, packSize(blobs))
	}
	return blobs, 0, err
}

// segmentSize is the unit in which packs under construction take memory, in bytes.
const segmentSize = 1 << 20

// segments lends memory to packs. What is given back is used again, so that the collector never sees it.
type segments struct{ free chan []byte }

func newSegments(keep int) *segments { return &segments{make(chan []byte, keep)} }

func (s *segments) get() []byte {
	select {
	case b := <-s.free:
		return b
	default:
		return make([]byte, 0, segmentSize)
	}
}

func (s *segments) put(all [][]byte) {
	for _, b := range all {
		select {
		case s.free <- b[:0]:
		default:
			return
		}
	}
}

// openPack is a pack under construction, in memory.
type openPack struct {
	kind  Kind
	blobs []packedBlob
	parts [][]byte
	size  int // bytes
}

// write appends to the pack.
func (p *openPack) write(s *segments, b []byte) {
	p.size += len(b)
	for len(b) > 0 {
		if n := len(p.parts); n == 0 || len(p.parts[n-1]) == segmentSize {
			p.parts = append(p.parts, s.get())
		}
		last := &p.parts[len(p.parts)-1]
		n := min(len(b), segmentSize-len(*last))
		*last = append(*last, b[:n]...)
		b = b[n:]
	}
}

// add appends a sealed blob.
func (p *openPack) add(s *segments, id ID, sealed []byte, plain int) {
	p.blobs = append(p.blobs, packedBlob{
		id: id, kind: p.kind, offset: uint32(p.size), length: uint32(len(sealed)), plain: uint32(plain), //nolint:gosec // bounded by the caller
	})
	p.write(s, sealed)
}

// merge appends all blobs of another pack.
func (p *openPack) merge(s *segments, o *openPack) {
	base := uint32(p.size) //nolint:gosec // at most the size of a pack
	for _, b := range o.blobs {
		b.offset += base
		p.blobs = append(p.blobs, b)
	}
	for _, part := range o.parts {
		p.write(s, part)
	}
	s.put(o.parts)
}

// full tells that the pack takes no further blob.
func (p *openPack) full(target int) bool { return p.size >= target || len(p.blobs) >= maxPackBlobs }

// finish appends the header and answers the pack's name.
func (p *openPack) finish(s *segments, key *sealKey) (ID, error) {
	plain := encodeHeader(p.blobs)
	sealed := key.seal(make([]byte, 0, len(plain)+sealOverhead+4), plain)
	back, err := key.open(nil, sealed)
	if err != nil {
		return ID{}, fmt.Errorf("read back a sealed pack header: %w", err)
	}
	if Hash(back) != Hash(plain) {
		return ID{}, errors.New("read back a sealed pack header: the content differs, which is a defect of this machine's memory")
	}
	n := len(sealed)
	p.write(s, binary.LittleEndian.AppendUint32(sealed, uint32(n))) //nolint:gosec // at most 16 MiB
	sum := sha256.New()
	for _, part := range p.parts {
		sum.Write(part)
	}
	return ID(sum.Sum(nil)), nil
}

// reader reads the finished pack from its start.
func (p *openPack) reader() *partsReader { return &partsReader{parts: p.parts, size: int64(p.size)} }

// partsReader reads a list of byte slices.
type partsReader struct {
	parts    [][]byte
	i        int // part
	at       int // in it
	size     int64
	consumed int64
}

func (r *partsReader) Read(b []byte) (int, error) {
	for r.i < len(r.parts) && r.at == len(r.parts[r.i]) {
		r.i, r.at = r.i+1, 0
	}
	if r.i == len(r.parts) {
		return 0, io.EOF
	}
	n := copy(b, r.parts[r.i][r.at:])
	r.at += n
	r.consumed += int64(n)
	return n, nil
}

// WriteTo hands over each part whole.
func (r *partsReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.i < len(r.parts) {
		n, err := w.Write(r.parts[r.i][r.at:])
		r.at += n
		total += int64(n)
		if err != nil {
			return total, err
		}
		r.i, r.at = r.i+1, 0
	}
	r.consumed += total
	return total, nil
}

// Seek goes back to the start, which is all that a repeated upload needs.
func (r *partsReader) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset != 0 {
		return 0, errors.New("only a seek to the start is possible")
	}
	r.i, r.at, r.consumed = 0, 0, 0
	return 0, nil
}

// Len answers the bytes that are left, which lets an SFTP client size its requests.
func (r *partsReader) Len() int { return int(r.size - r.consumed) }
