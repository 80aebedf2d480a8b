package archive

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
)

// saltBytes is the length of the key of an archive's hashes.
const saltBytes = 32

// archiveComment begins the comment of an archive's tar stream; the salt follows in base64.
const archiveComment = FormatName + " salt="

// maxRecipients bounds the header of the file.
const maxRecipients = 20

// Writer writes one archive. It is used from one goroutine. The caller calls Tree or Output, then Close, then Seal;
// or Abort.
type Writer struct {
	recipients []string
	out        *meter
	age        io.WriteCloser
	zst        *zstd.Encoder
	tar        *tarWriter
	hashes     *hasher
	contents   Contents
	links      map[inode]*linked
	content    hash.Hash
	closed     bool
}

// meter passes bytes on, counts and hashes them.
type meter struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.sum.Write(p[:n])
	m.n += int64(n)
	return n, err
}

// ErrRecipient does not quote what was given: it may be the identity, put in the wrong place.
var ErrRecipient = errors.New("is no age X25519 recipient (age1...)")

// NewWriter starts an archive for those who hold the identities of the recipients (age1..., X25519 only, so that every
// age opens it).
func NewWriter(w io.Writer, recipients ...string) (*Writer, error) {
	if len(recipients) == 0 || len(recipients) > maxRecipients {
		return nil, fmt.Errorf("archive for %d recipients, want 1 to %d", len(recipients), maxRecipients)
	}
	keys := make([]age.Recipient, len(recipients))
	for i, s := range recipients {
		key, err := age.ParseX25519Recipient(s)
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i+1, ErrRecipient)
		}
		keys[i] = key
	}
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	a := &Writer{
		recipients: recipients, out: &meter{w: w, sum: sha256.New()}, hashes: newHasher(salt, maxHashes),
		links: map[inode]*linked{}, content: sha256.New(),
	}
	var err error
	if a.age, err = age.Encrypt(a.out, keys...); err != nil {
		return nil, fmt.Errorf("start archive: %w", err)
	}
	a.zst, err = zstd.NewWriter(a.age, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true), zstd.WithConcurrentBlocks(true),
		zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("start archive: %w", err)
	}
	if a.tar, err = newTarWriter(a.zst, archiveComment+base64.StdEncoding.EncodeToString(salt)); err != nil {
		return nil, fmt.Errorf("start archive: %w", err)
	}
	return a, nil
}

// Tree writes everything in the tree. What cannot be read, or cannot be kept in an archive, is in the report; an error
// ends the archive.
func (a *Writer) Tree(ctx context.Context, tree *source.Tree, report *source.Report) error {
	return tree.Walk(ctx, report, func(e *source.Entry) error {
		if e.Step == source.Leave {
			return nil
		}
		x := &extract.Entry{Path: strings.TrimPrefix(e.Path, "/"), Meta: *e.Meta}
		err := a.walked(ctx, e, x, report)
		switch {
		case source.IsSkip(err):
			return nil
		case errors.Is(err, ErrEntry):
			report.Add(source.Skip{Path: e.Path, Reason: source.LeftOut, Err: err})
			return nil
		}
		return err
	})
}

// walked writes one thing that the walk met.
func (a *Writer) walked(ctx context.Context, e *source.Entry, x *extract.Entry, report *source.Report) error {
	if x.Meta.Type != source.Regular {
		return a.write(x)
	}
	if first := a.linkTo(&x.Meta); first != "" {
		x.HardLink = first
		return a.write(x)
	}
	f, err := e.Open()
	if err != nil {
		return err
	}
	defer f.Close() // for the early ways out
	x.Meta = *f.Meta()
	content := &exact{ctx: ctx, r: f, left: x.Meta.Size}
	x.Content = content
	if err := a.write(x); err != nil {
		return err
	}
	a.remember(&x.Meta, x.Path)
	if content.err != nil {
		report.Add(source.Skip{Path: e.Path, Reason: source.LeftOut, Err: fmt.Errorf("is in the archive with %d bytes of zeros at its end, which could not be read", content.padded)})
		return nil
	}
	more, _ := f.Read(make([]byte, 1)) // an error of the disk is in the report
	if err := f.Close(); err != nil {
		return err
	}
	if more > 0 && !f.Changed() { // files of the kernel claim a size of 0
		report.Add(source.Skip{Path: e.Path, Reason: source.Changed, Err: fmt.Errorf("holds more than its size of %d bytes, which is what the archive has", x.Meta.Size)})
	}
	return nil
}

// write writes one entry and takes it into the hashes.
func (a *Writer) write(x *extract.Entry) error {
	var sum []byte
	if x.Meta.Type == source.Regular && x.HardLink == "" {
		a.content.Reset()
		if x.Content != nil {
			x.Content = io.TeeReader(x.Content, a.content)
		}
	}
	if err := a.tar.write(x); err != nil {
		return err
	}
	switch x.Meta.Type {
	case source.Regular:
		a.contents.Files++
		if x.HardLink == "" {
			sum = a.content.Sum(nil)
			a.contents.Bytes += x.Meta.Size
		}
	case source.Dir:
		a.contents.Folders++
	default:
		a.contents.Others++
	}
	a.hashes.entry(x, sum)
	return nil
}

// exact gives as many bytes as the header says, whatever becomes of the file: what is missing is zeros. That the file
// changed is reported when it is closed.
type exact struct {
	ctx    context.Context
	r      io.Reader
	left   int64
	padded int64
	ended  bool
	err    error // of the disk
}

func (x *exact) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	if err := context.Cause(x.ctx); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), x.left)]
	if !x.ended {
		n, err := x.r.Read(p)
		x.left -= int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		x.ended = true
		if !errors.Is(err, io.EOF) {
			x.err = err
		}
	}
	clear(p)
	x.left -= int64(len(p))
	x.padded += int64(len(p))
	return len(p), nil
}

// Output writes the output of a command as one file, readable by its owner only, with the time of the backup.
func (a *Writer) Output(ctx context.Context, name string, t time.Time, s *Spool) error {
	r, err := s.Reader()
	if err != nil {
		return err
	}
	return a.write(&extract.Entry{
		Path: name, Content: &watched{ctx: ctx, r: r},
		Meta: source.Meta{
			Type: source.Regular, Mode: 0o600, ModTime: t, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Size: s.Size(), Links: 1,
		},
	})
}

// watched stops with the context.
type watched struct {
	ctx context.Context
	r   io.Reader
}

func (w *watched) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// Close writes the end of the archive.
func (a *Writer) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	if err := a.tar.close(); err != nil {
		a.zst.Reset(io.Discard)
		return err
	}
	if err := a.zst.Close(); err != nil {
		return err
	}
	return a.age.Close()
}

// Abort ends the work without ending the archive: what was written can be told from a whole archive.
func (a *Writer) Abort() {
	if !a.closed {
		a.closed = true
		a.zst.Reset(io.Discard) // ends its goroutines
	}
}

// Seal fills in what the writer knows of a closed archive: format, size, hash, recipients, contents, hashes.
func (a *Writer) Seal(m *Manifest) {
	m.Format, m.Recipients = FormatName, a.recipients
	m.Size, m.SHA256 = a.out.n, hex.EncodeToString(a.out.sum.Sum(nil))
	m.Contents, m.Hashes = a.contents, a.hashes.sum()
}
