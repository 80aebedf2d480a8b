package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
)

// segmentSize is how much one hash of a sent archive covers.
const segmentSize = 4 << 20

// segments hashes what is sent, piece by piece, so that parts of it can be
// compared after it was stored.
type segments struct {
	tell func(int64)
	n    int64
	now  hash.Hash
	sums [][sha256.Size]byte // of the pieces that are complete
}

func newSegments(tell func(int64)) *segments { return &segments{tell: tell, now: sha256.New()} }

func (s *segments) reset() { s.n, s.sums = 0, nil; s.now.Reset() }

// Write implements io.Writer.
func (s *segments) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		k := min(int64(len(p)), segmentSize-s.n%segmentSize)
		s.now.Write(p[:k]) // a hash takes all
		s.n += k
		if p = p[k:]; s.n%segmentSize == 0 {
			s.sums = append(s.sums, [sha256.Size]byte(s.now.Sum(nil)))
			s.now.Reset()
		}
	}
	s.tell(s.n)
	return all, nil
}

// compare reads back percent of the pieces, chosen at random, and the last one:
// a file that was cut short shows there. It answers how many bytes it read.
func (s *segments) compare(ctx context.Context, at folder, name string, percent float64) (read int64, err error) {
	sums := s.sums
	if s.n%segmentSize != 0 {
		sums = append(sums[:len(sums):len(sums)], [sha256.Size]byte(s.now.Sum(nil)))
	}
	if len(sums) == 0 {
		return 0, nil
	}
	last := len(sums) - 1
	chosen := append([]int{last}, rand.Perm(last)...)
	for i, piece := range chosen {
		if i > 1 && float64(read) >= percent/100*float64(s.n) {
			break
		}
		n, err := comparePiece(ctx, at, name, int64(piece)*segmentSize, min(segmentSize, s.n-int64(piece)*segmentSize), sums[piece])
		if read += n; err != nil {
			return read, err
		}
	}
	return read, nil
}

func comparePiece(ctx context.Context, at folder, name string, offset, length int64, want [sha256.Size]byte) (int64, error) {
	f, err := at.Open(ctx, name, offset, length)
	if err != nil {
		return 0, fmt.Errorf("read back %s: %w", name, err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return n, fmt.Errorf("read back %s: %w", name, err)
	}
	if got := sum.Sum(nil); string(got) != string(want[:]) {
		return n, &verifyError{
			kind: "hash", path: name, expected: hex.EncodeToString(want[:]), actual: hex.EncodeToString(got),
			err: fmt.Errorf("%s differs at the target from what was sent, within the %d bytes from %d", name, length, offset),
		}
	}
	return n, nil
}
