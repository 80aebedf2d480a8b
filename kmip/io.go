package kmip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"allclear/kmip/ttlv"
)

// firstRead is how much is allocated for a message before more of it has arrived.
const firstRead = 64 << 10

// ReadMessage reads one message, of at most limit bytes (0: ttlv.MaxSize), from r, which should have a
// deadline. It allocates little more than what arrives. The error is that of r, io.ErrUnexpectedEOF for
// a message cut short, io.EOF when nothing came, or a *ttlv.Error when the bytes cannot be a message.
func ReadMessage(r io.Reader, limit int) ([]byte, error) {
	var header [8]byte
	return readMessage(r, &header, limit)
}

func readMessage(r io.Reader, header *[8]byte, limit int) ([]byte, error) {
	if limit <= 0 || limit > ttlv.MaxSize {
		limit = ttlv.MaxSize
	}
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	tag := ttlv.Tag(binary.BigEndian.Uint32(header[:4]) >> 8)
	n := binary.BigEndian.Uint32(header[4:])
	switch {
	case tag != ttlv.TagRequestMessage && tag != ttlv.TagResponseMessage || header[3] != byte(ttlv.TypeStructure):
		return nil, &ttlv.Error{Reason: "no KMIP message begins like this"}
	case n > uint32(limit-8) || n%8 != 0:
		return nil, &ttlv.Error{Tag: tag, Reason: fmt.Sprintf("message of %d bytes, at most %d and a multiple of 8", n, limit-8)}
	}
	total := 8 + int(n)
	b := make([]byte, 8, min(total, firstRead))
	copy(b, header[:])
	for len(b) < total {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(total, 4*cap(b)))
			copy(grown, b)
			clear(b) // it may hold a key
			b = grown
		}
		part := b[len(b):cap(b)]
		k, err := io.ReadFull(r, part)
		b = b[:len(b)+k]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}
