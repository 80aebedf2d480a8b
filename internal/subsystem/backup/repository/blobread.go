package repository

import (
	"context"
	"errors"
	"fmt"
)

// decodeBlob opens, decompresses and verifies a stored blob. sealed is overwritten. The answer lies in sealed or in
// buf, which is used when it is large enough.
func (r *Repository) decodeBlob(b packedBlob, sealed, buf []byte) ([]byte, error) {
	plain, err := r.key.openInPlace(sealed)
	if err == nil && b.plain != 0 {
		if b.plain > maxTree {
			return nil, damaged(b.kind.String(), b.id, fmt.Errorf("%d bytes, %d are the most", b.plain, maxTree))
		}
		plain, err = r.codec.expand(buf[:0], plain, int(b.plain))
	}
	if err != nil {
		return nil, damaged(b.kind.String(), b.id, err)
	}
	if got := Hash(plain); got != b.id {
		return nil, damaged(b.kind.String(), b.id, fmt.Errorf("its content has the hash %s", got))
	}
	return plain, nil
}

// loadBlob reads one blob from where the index has it; when one copy is damaged, from the next.
func (r *Repository) loadBlob(ctx context.Context, x *index, kind Kind, id ID) ([]byte, error) {
	places := x.findAll(kind, id)
	if len(places) == 0 {
		return nil, damaged(kind.String(), id, errNoIndex)
	}
	var all error
	for _, l := range places {
		if l.length > maxTree {
			return nil, damaged(kind.String(), id, fmt.Errorf("%d bytes stored, %d are the most", l.length, maxTree))
		}
		sealed := make([]byte, l.length)
		err := getRange(ctx, r.store, l.pack, int64(l.offset), sealed)
		if err == nil {
			var plain []byte
			if plain, err = r.decodeBlob(l.packedBlob, sealed, nil); err == nil {
				return plain, nil
			}
			err = fmt.Errorf("pack %s, byte %d: %w", l.pack, l.offset, err)
		}
		all = errors.Join(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, all
}
