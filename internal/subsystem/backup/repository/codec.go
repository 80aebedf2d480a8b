package repository

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// Compression is how hard blobs are compressed. Readers cannot tell and do not care.
type Compression uint8

// The levels. Trees, indexes and snapshots are compressed always.
const (
	CompressDefault Compression = iota
	CompressFastest
	CompressBetter
	CompressOff // data only
)

// zstdWindow is what the reference program writes; it also bounds what every reader must keep.
const zstdWindow = 512 << 10

// maxRatio bounds what zstd can make of one stored byte: a block of 128 KiB from 4 bytes. A claimed length beyond is
// false, and no memory is taken for it.
const maxRatio = 128 << 10 / 4

// codec compresses and decompresses. It is safe for concurrent use.
type codec struct {
	on   bool // version 2 and later
	data bool // compress data blobs too
	enc  *zstd.Encoder
	dec  *zstd.Decoder // limited to the room in its destination
}

func newCodec(version int, c Compression) (*codec, error) {
	level := zstd.SpeedDefault
	switch c {
	case CompressFastest:
		level = zstd.SpeedFastest
	case CompressBetter:
		level = zstd.SpeedBetterCompression
	}
	n := runtime.GOMAXPROCS(0)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderConcurrency(n))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &codec{on: version >= 2, data: c != CompressOff, enc: enc, dec: dec}, nil
}

// compress appends one zstd frame to dst.
func (c *codec) compress(dst, plain []byte) []byte { return c.enc.EncodeAll(plain, dst) }

// expand appends to dst what must come to exactly length bytes.
func (c *codec) expand(dst, packed []byte, length int) ([]byte, error) {
	if length > (len(packed)+1)*maxRatio {
		return nil, fmt.Errorf("%d bytes cannot be the compressed form of %d", len(packed), length)
	}
	start := len(dst)
	if cap(dst)-start < length {
		dst = append(make([]byte, 0, start+length), dst...)
	}
	out, err := c.dec.DecodeAll(packed, dst[:start:start+length])
	if err != nil {
		return nil, fmt.Errorf("decompress %d bytes to %d: %w", len(packed), length, err)
	}
	if len(out)-start != length {
		return nil, fmt.Errorf("decompressed to %d bytes, must be %d", len(out)-start, length)
	}
	return out, nil
}

// expandUpTo decompresses data of unknown length, at most limit bytes.
func (c *codec) expandUpTo(packed []byte, limit int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(packed); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	room := min(limit, (len(packed)+1)*maxRatio, max(8*len(packed), 64<<10))
	if h.HasFCS {
		if h.FrameContentSize > uint64(limit) { //nolint:gosec // limit is a positive constant
			return nil, fmt.Errorf("unpacks to %d bytes, %d are the most", h.FrameContentSize, limit)
		}
		room = min(int(h.FrameContentSize), (len(packed)+1)*maxRatio) //nolint:gosec // below limit
	}
	for {
		out, err := c.dec.DecodeAll(packed, make([]byte, 0, max(room, 1)))
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) || room >= limit {
			if err != nil {
				return nil, fmt.Errorf("decompress: %w", err)
			}
			return out, nil
		}
		room = min(limit, 4*room)
	}
}
