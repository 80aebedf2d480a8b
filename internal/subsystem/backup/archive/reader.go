package archive

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"strconv"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

// What can be wrong with an archive, besides [ErrTruncated].
var (
	ErrDamaged  = errors.New("is damaged or was tampered with")
	ErrMismatch = errors.New("is not the archive that its manifest describes")
	ErrWrongKey = errors.New("cannot be opened with this key: it was encrypted for another one")
	ErrIdentity = errors.New("the key is no age identity (AGE-SECRET-KEY-1...)")
)

// DamageError says what is wrong with an archive, and where.
type DamageError struct {
	Archive string // its name, "" without a manifest
	Kind    error  // one of the Err values of this package
	At      int64  // bytes of the file that had been read
	Entry   string // the last entry that was whole, "" for none
	Detail  string
	Err     error // the cause; may be nil
}

func (e *DamageError) Error() string {
	name := e.Archive
	if name == "" {
		name = "archive"
	}
	text := fmt.Sprintf("%s %v", name, e.Kind)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Entry != "" {
		text += ", after " + strconv.Quote(e.Entry)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap answers kind and cause.
func (e *DamageError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// maxWindow bounds the memory that a zstd stream may ask for: what "zstd --long" uses.
const maxWindow = 128 << 20

// Reader reads one archive, from start to end.
type Reader struct {
	m        *Manifest // nil: unknown
	in       *input
	plain    *keeper // after age
	zst      *zstd.Decoder
	tar      *tarReader
	hashes   *hasher // nil without a manifest
	contents Contents
	content  hash.Hash
	pending  *extract.Entry // read, but not yet in the hashes
}

// input counts and hashes what is read of the file. Its counters may be looked at from another goroutine.
type input struct {
	r    io.Reader
	sum  hash.Hash
	n    atomic.Int64
	over atomic.Bool // the end was seen
	err  error       // other than the end
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.sum.Write(p[:n])
	in.n.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		in.over.Store(true)
	case err != nil:
		in.err = err
	}
	return n, err
}

// keeper remembers the error of a stream that others may wrap or replace.
type keeper struct {
	r   io.Reader
	err error
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.err = err
	}
	return n, err
}

// Open starts to read an archive with the identities of which one opens it. With its manifest everything is compared
// with that; without, damage is found all the same, but not another archive in its place. Errors are [*DamageError], or
// of r.
func Open(r io.Reader, m *Manifest, identities ...string) (*Reader, error) {
	keys := make([]age.Identity, len(identities))
	for i, s := range identities {
		key, err := age.ParseX25519Identity(strings.TrimSpace(s))
		if err != nil {
			return nil, ErrIdentity // the cause may quote the secret
		}
		keys[i] = key
	}
	if len(keys) == 0 {
		return nil, ErrIdentity
	}
	a := &Reader{m: m, in: &input{r: r, sum: sha256.New()}, content: sha256.New()}
	plain, err := age.Decrypt(a.in, keys...)
	if err != nil {
		return nil, a.headerError(err)
	}
	a.plain = &keeper{r: plain}
	a.zst, err = zstd.NewReader(a.plain, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<63), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, a.damage(err)
	}
	a.tar = newTarReader(a.zst)
	return a, nil
}

// headerError says why the file could not be opened at all.
func (a *Reader) headerError(err error) error {
	if a.in.err != nil {
		return fmt.Errorf("read archive: %w", a.in.err)
	}
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return a.problem(ErrWrongKey, "", nil)
	}
	return a.damage(err)
}

func (a *Reader) problem(kind error, detail string, cause error) *DamageError {
	e := &DamageError{Kind: kind, At: a.in.n.Load(), Detail: detail, Err: cause}
	if a.m != nil {
		e.Archive = a.m.Archive
	}
	if a.tar != nil {
		e.Entry = a.tar.last
	}
	return e
}

// damage tells a file that is too short from one that is changed.
func (a *Reader) damage(err error) error {
	if a.zst != nil {
		a.zst.Close() // ends reading ahead; the errors kept below are settled then
	}
	if a.in.err != nil {
		return fmt.Errorf("read archive: %w", a.in.err)
	}
	if a.plain != nil && a.plain.err != nil {
		err = a.plain.err
	}
	n, over := a.in.n.Load(), a.in.over.Load()
	switch {
	case over && a.m != nil && n < a.m.Size:
		return a.problem(ErrTruncated, fmt.Sprintf("has %d of %d bytes", n, a.m.Size), nil)
	case over && n == 0 || a.m == nil && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrTruncated)):
		return a.problem(ErrTruncated, fmt.Sprintf("ends after %d bytes", n), nil)
	case over && a.m == nil && a.plain != nil:
		return a.problem(ErrDamaged, fmt.Sprintf("its last piece, up to byte %d, is cut off or changed", n), err)
	}
	return a.problem(ErrDamaged, fmt.Sprintf("at or before byte %d", n), err)
}

// Entries answers the entries, once. The stream ends without an error only if the archive was read to its last byte and
// everything is as its writer left it: until then, what was yielded is authentic as it is, but may not be all, and may be
// of another archive than the manifest's. Whoever leaves the loop early calls Close.
func (a *Reader) Entries(ctx context.Context) extract.Stream {
	return func(yield func(*extract.Entry, error) bool) {
		defer a.Close()
		for {
			if err := context.Cause(ctx); err != nil {
				yield(nil, err)
				return
			}
			e, err := a.next()
			if errors.Is(err, io.EOF) {
				if err := a.end(); err != nil {
					yield(nil, err)
				}
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// next answers the next entry, whose content passes through the hash of its content.
func (a *Reader) next() (*extract.Entry, error) {
	if err := a.settle(); err != nil {
		return nil, err
	}
	e, err := a.tar.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, a.damage(err)
	}
	if a.hashes == nil && a.m != nil {
		salt, err := saltOf(a.tar.comment)
		if err != nil {
			return nil, a.problem(ErrMismatch, "", err)
		}
		a.hashes = newHasher(salt, math.MaxInt)
		a.hashes.each = a.m.Hashes.Each
	}
	a.content.Reset()
	a.pending = e
	switch e.Meta.Type {
	case source.Regular:
		a.contents.Files++
		a.contents.Bytes += e.Meta.Size
	case source.Dir:
		a.contents.Folders++
	default:
		a.contents.Others++
	}
	if e.Content != nil {
		e.Content = &body{a: a, r: io.TeeReader(e.Content, a.content)}
	}
	return e, nil
}

// body is the content of an entry; its errors say what is wrong with the archive.
type body struct {
	a *Reader
	r io.Reader
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.a.damage(err)
	}
	return n, err
}

func saltOf(comment string) ([]byte, error) {
	text, ok := strings.CutPrefix(comment, archiveComment)
	salt, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(salt) != saltBytes {
		return nil, errors.New("it does not begin as our archives do")
	}
	return salt, nil
}

// settle takes the entry before into the hashes and compares the group that it completes.
func (a *Reader) settle() error {
	e := a.pending
	if e == nil {
		return nil
	}
	a.pending = nil
	if e.Content != nil { // the rest, if it was not read
		if _, err := io.Copy(io.Discard, e.Content); err != nil {
			return err
		}
	}
	if a.hashes == nil {
		return nil
	}
	var sum []byte
	if e.Meta.Type == source.Regular && e.HardLink == "" {
		sum = a.content.Sum(nil)
	}
	a.hashes.entry(e, sum)
	if a.hashes.n%a.hashes.each != 0 {
		return nil
	}
	got := a.hashes.list[0]
	a.hashes.list = a.hashes.list[:0] // only the group at the end is kept
	return a.compare(got)
}

// compare judges the group that ends with the entry before.
func (a *Reader) compare(got digest) error {
	want := a.m.Hashes
	group := (a.hashes.n - 1) / want.Each
	if at := group * sha256.Size; at+sha256.Size > int64(len(want.List)) || string(want.List[at:at+sha256.Size]) != string(got[:]) {
		return a.problem(ErrMismatch, fmt.Sprintf("entries %d to %d have another hash", group*want.Each+1, a.hashes.n), nil)
	}
	return nil
}

// end checks, after the last entry, that there is nothing else and that all is as the manifest says.
func (a *Reader) end() error {
	if err := a.settle(); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := a.zst.Read(buf)
		if strings.Trim(string(buf[:n]), "\x00") != "" {
			return a.problem(ErrDamaged, "something follows its end", nil)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a.damage(err)
		}
	}
	if n, err := a.plain.Read(buf); n > 0 || !errors.Is(err, io.EOF) {
		return a.damage(errors.New("something follows its end"))
	}
	if a.m == nil {
		return nil
	}
	if a.hashes == nil {
		a.hashes = newHasher(nil, math.MaxInt)
	}
	if part := a.hashes.sum(); len(part.List) > 0 {
		if err := a.compare(digest(part.List)); err != nil {
			return err
		}
	}
	sum := hex.EncodeToString(a.in.sum.Sum(nil))
	switch n := a.in.n.Load(); {
	case n != a.m.Size:
		return a.problem(ErrMismatch, fmt.Sprintf("has %d bytes, the manifest says %d", n, a.m.Size), nil)
	case sum != a.m.SHA256:
		return a.problem(ErrMismatch, fmt.Sprintf("has sha256 %s, the manifest says %s", sum, a.m.SHA256), nil)
	case a.hashes.n != a.m.Hashes.Entries || a.contents != a.m.Contents:
		return a.problem(ErrMismatch, fmt.Sprintf("has %d entries %+v, the manifest says %d %+v", a.hashes.n, a.contents, a.m.Hashes.Entries, a.m.Contents), nil)
	}
	return nil
}

// Contents answers what was read so far.
func (a *Reader) Contents() Contents { return a.contents }

// Close gives back what the reader holds. The file is the caller's.
func (a *Reader) Close() { a.zst.Close() }

// Verify reads an archive whole and compares everything with its manifest, which may be nil.
func Verify(ctx context.Context, r io.Reader, m *Manifest, identities ...string) (Contents, error) {
	a, err := Open(r, m, identities...)
	if err != nil {
		return Contents{}, err
	}
	for _, err := range a.Entries(ctx) {
		if err != nil {
			return a.Contents(), err
		}
	}
	return a.Contents(), nil
}
