package repository

import (
	"context"
	"errors"
	"fmt"
)

// compressedMark stands before the zstd frame of an index, snapshot or lock.
const compressedMark = 2

// encodeUnpacked answers the stored form of an index, snapshot or lock, opened again and compared.
func (r *Repository) encodeUnpacked(json []byte) ([]byte, error) {
	plain := json
	if r.codec.on {
		plain = r.codec.compress([]byte{compressedMark}, json)
	}
	sealed := r.key.seal(make([]byte, 0, len(plain)+sealOverhead), plain)
	back, err := r.decodeUnpacked(sealed, len(json))
	if err != nil {
		return nil, fmt.Errorf("read back what was sealed: %w", err)
	}
	if Hash(back) != Hash(json) {
		return nil, errors.New("read back what was sealed: the content differs, which is a defect of this machine's memory")
	}
	return sealed, nil
}

// decodeUnpacked answers the JSON, at most limit bytes of it.
func (r *Repository) decodeUnpacked(stored []byte, limit int) ([]byte, error) {
	plain, err := r.key.open(nil, stored)
	if err != nil {
		return nil, err
	}
	if len(plain) == 0 || plain[0] == '{' || plain[0] == '[' {
		if len(plain) > limit {
			return nil, fmt.Errorf("%d bytes, %d are the most", len(plain), limit)
		}
		return plain, nil
	}
	if plain[0] != compressedMark {
		return nil, fmt.Errorf("version byte %d is not known", plain[0])
	}
	return r.codec.expandUpTo(plain[1:], limit)
}

// saveUnpacked seals and stores JSON in one of the folders index, snapshots, locks.
func (r *Repository) saveUnpacked(ctx context.Context, dir string, json []byte) (ID, error) {
	sealed, err := r.encodeUnpacked(json)
	if err != nil {
		return ID{}, err
	}
	return putNamed(ctx, r.store, dir, sealed)
}

// loadUnpacked answers the JSON of an index, snapshot or lock.
func (r *Repository) loadUnpacked(ctx context.Context, what, dir string, id ID, limit int) ([]byte, error) {
	stored, err := getNamed(ctx, r.store, what, dir, id, int64(limit))
	if err != nil {
		return nil, err
	}
	b, err := r.decodeUnpacked(stored, limit)
	return b, damaged(what, id, err)
}
