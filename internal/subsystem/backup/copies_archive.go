package backup

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"filippo.io/age"

	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// archives are the copies of a job that keeps archives.
type archives struct {
	b        *Backup
	job      *Job
	target   *Target
	session  *session
	at       folder
	identity string // opens the archives
	to       string // the recipient that belongs to it
	sign     ed25519.PrivateKey
}

// signingInfo divides the key that signs manifests from the identity that it is
// made from (RFC 5869).
const signingInfo = "allclear manifest signature 1"

// newIdentity makes the identity of a job's archives.
func newIdentity() ([]byte, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make an age identity: %w", err)
	}
	return []byte(id.String()), nil
}

// openArchives opens the job's archives. Who has the identity, and nobody else,
// can sign a manifest: so the verification finds one that was put there.
func (b *Backup) openArchives(j *Job, t *Target, s *session, at folder, secret []byte) (copies, error) {
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, &keyError{j.keyID(), archive.ErrIdentity} // the cause may quote the secret
	}
	seed, err := hkdf.Key(sha256.New, []byte(id.String()), nil, signingInfo, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("make the key that signs manifests: %w", err)
	}
	return &archives{
		b: b, job: j, target: t, session: s, at: at, identity: id.String(), to: id.Recipient().String(), sign: ed25519.NewKeyFromSeed(seed),
	}, nil
}

func (a *archives) trusted() ed25519.PublicKey {
	key, _ := a.sign.Public().(ed25519.PublicKey) // what an Ed25519 key has
	return key
}

// content is what goes into an archive.
type content struct {
	tree   *source.Tree
	report *source.Report
	spool  *archive.Spool // of a command's output, else nil
	name   string         // of that output
	at     time.Time
}

func (c *content) close() error {
	if c.spool == nil {
		return nil
	}
	return c.spool.Close()
}

// maxSpool bounds what is kept on this machine before it is sent: the output of
// a command, and archives for servers that only speak SCP.
const maxSpool = 1 << 40

// prepare is the source stage. A command runs here, to its end: its exit status
// is known before anything is sent.
func (a *archives) prepare(ctx context.Context, at time.Time) (*content, error) {
	c := &content{report: &source.Report{}, at: at, name: a.job.StoreAs}
	if a.job.Command == nil {
		o := source.Options{Roots: a.job.Sources, Exclude: a.job.Exclude, OneFileSystem: a.job.OneFileSystem}
		if archive.Profile(a.job.Profile) == archive.Config {
			o = archive.ConfigOnly(o)
		}
		var err error
		if c.tree, err = source.New(o); err != nil {
			return nil, err
		}
		return c, rootsThere(c.tree)
	}
	if c.name == "" {
		c.name = a.job.Name
	}
	c.spool = archive.NewSpool(a.b.options().Dir, maxSpool)
	if _, err := a.job.Command.Run(ctx, c.spool); err != nil {
		return nil, errors.Join(fmt.Errorf("run the job's command: %w", err), c.close())
	}
	return c, nil
}

func rootsThere(t *source.Tree) error {
	for _, root := range t.Roots() {
		if _, err := os.Lstat(root); err != nil {
			return &source.RootError{Path: root, Err: err}
		}
	}
	return nil
}

func (a *archives) save(ctx context.Context, r *run) (done saved, err error) {
	r.enter(stageSource)
	at, name, err := a.free(ctx)
	if err != nil {
		return saved{}, err
	}
	c, err := a.prepare(ctx, at)
	if err != nil {
		return saved{}, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r.leave(stageSource, "read while it is sent")
	r.enter(stageTransfer)
	last, _ := a.b.history.last(a.job.Name)
	sent, w, err := a.send(ctx, r, name, c, last.BytesSent)
	skips(r, c.report)
	if err != nil {
		return saved{}, err
	}
	m := a.manifest(name, c, r)
	w.Seal(m)
	if err := a.saveManifest(ctx, m); err != nil {
		return saved{}, err
	}
	r.change(false, func(b *wire.BackupRun) {
		b.Files, b.Bytes, b.FilesNew = m.Contents.Files, m.Contents.Bytes, m.Contents.Files
	})
	r.leave(stageTransfer, name)
	r.enter(stageVerify)
	if err := a.readBack(ctx, r, m, sent); err != nil {
		return saved{}, err
	}
	return saved{copy: name, size: m.Size}, nil
}

// free is the time of a new archive and its name, which must be new: names are
// to the second. It is later than those that are there, so that of several runs
// within one second, and after a clock was set back a little, the newest is taken
// for the newest.
func (a *archives) free(ctx context.Context) (time.Time, string, error) {
	h, err := a.look(ctx)
	if err != nil {
		return time.Time{}, "", err
	}
	at := time.Now().UTC().Truncate(time.Second)
	for _, name := range h.newest() {
		_, made, _ := archive.ParseName(name) // look has parsed it
		if !made.Before(at) && made.Sub(at) < maxAhead {
			at = made.Add(time.Second)
			break
		}
	}
	for {
		name, err := archive.Name(a.job.Name, at)
		if err != nil {
			return at, "", err
		}
		if _, err = a.at.Stat(ctx, name); err == nil {
			at = at.Add(time.Second)
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return at, name, err
	}
}

// write makes the archive.
func (a *archives) write(ctx context.Context, to io.Writer, c *content) (*archive.Writer, error) {
	w, err := archive.NewWriter(to, a.to)
	if err != nil {
		return nil, &localError{qualifier: "encrypt", err: err}
	}
	if c.spool != nil {
		err = w.Output(ctx, c.name, c.at, c.spool)
	} else {
		err = w.Tree(ctx, c.tree, c.report)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		w.Abort()
		return nil, fmt.Errorf("make the archive: %w", err)
	}
	return w, nil
}

// send makes the archive and stores it at once; where the protocol must know the
// size before, by way of an encrypted spool.
func (a *archives) send(ctx context.Context, r *run, name string, c *content, expected int64) (*segments, *archive.Writer, error) {
	began := time.Now()
	told := time.Time{}
	sent := newSegments(func(n int64) {
		if now := time.Now(); now.Sub(told) > tellEvery {
			told = now
			seen := c.report.Seen()
			r.progress(stageTransfer, percentage(n, expected), func(b *wire.BackupRun) {
				b.Files, b.Bytes, b.BytesSent, b.Rate = seen.Files, seen.Bytes, n, rate(n, now.Sub(began))
			})
		}
	})
	w, err := a.piped(ctx, name, c, sent)
	if errors.Is(err, errors.ErrUnsupported) && sent.n == 0 {
		sent.reset()
		w, err = a.spooled(ctx, name, c, sent)
	}
	r.change(false, func(b *wire.BackupRun) { b.BytesSent, b.Rate = sent.n, rate(sent.n, time.Since(began)) })
	return sent, w, err
}

// tellEvery is how often progress is told.
const tellEvery = 250 * time.Millisecond

// piped sends the archive while it is made.
func (a *archives) piped(ctx context.Context, name string, c *content, sent *segments) (*archive.Writer, error) {
	if a.session.files.Protocol() == sshpolicy.ProtocolSCP {
		return nil, errors.ErrUnsupported
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, in := io.Pipe()
	type made struct {
		w   *archive.Writer
		err error
	}
	maker := make(chan made, 1)
	go func() { // awaited through maker
		var w *archive.Writer
		err := guarded(func() (err error) {
			w, err = a.write(ctx, in, c)
			return err
		})
		_ = in.CloseWithError(err) // never fails
		maker <- made{w, err}
	}()
	n, err := a.at.Save(ctx, name, io.TeeReader(out, sent), -1)
	if err != nil {
		cancel(err)
		_ = out.CloseWithError(err) // never fails
	}
	m := <-maker
	switch {
	case err != nil:
		return nil, fmt.Errorf("store %s: %w", name, err) // has the maker's own error, if that came first
	case m.err != nil:
		return nil, errors.Join(m.err, a.at.Remove(ctx, name))
	case n != sent.n:
		return nil, &verifyError{kind: "truncated", path: name, expected: fmt.Sprint(sent.n), actual: fmt.Sprint(n), err: fmt.Errorf("store %s: %d of %d bytes arrived", name, n, sent.n)}
	}
	return m.w, nil
}

// spooled makes the archive on this machine first.
func (a *archives) spooled(ctx context.Context, name string, c *content, sent *segments) (_ *archive.Writer, err error) {
	spool := archive.NewSpool(a.b.options().Dir, maxSpool)
	defer func() { err = errors.Join(err, spool.Close()) }()
	w, err := a.write(ctx, spool, c)
	if err != nil {
		return nil, err
	}
	in, err := spool.Reader()
	if err != nil {
		return nil, fmt.Errorf("read the spooled archive: %w", err)
	}
	_, err = a.at.Save(ctx, name, io.TeeReader(in, sent), spool.Size())
	return w, err
}

func (a *archives) manifest(name string, c *content, r *run) *archive.Manifest {
	m := &archive.Manifest{
		Archive: name, Job: a.job.Name, Host: a.b.options().Node, Time: c.at, Program: program, Profile: archive.Profile(a.job.Profile), Skipped: map[string]int64{},
	}
	if m.Profile == "" {
		m.Profile = archive.Full
	}
	if c.tree != nil {
		m.Paths = c.tree.Roots()
	} else {
		m.Command = a.job.Command.Argv
	}
	for reason, n := range c.report.Counts() {
		m.Skipped[string(reason)] = n
	}
	rec := r.record()
	if n := rec.SSH; n != nil {
		m.Transfer = &archive.Transfer{
			Target: a.target.Name, Protocol: rec.Protocol, Policy: n.Policy, KEX: n.KEX, HostKey: n.HostKey, Cipher: n.CipherC2S, MAC: n.MACC2S,
		}
	}
	return m
}

// saveManifest makes the archive a copy: what has no manifest counts as nothing.
func (a *archives) saveManifest(ctx context.Context, m *archive.Manifest) error {
	data, err := archive.Sign(m, a.sign)
	if err != nil {
		return err
	}
	name := archive.ManifestName(m.Archive)
	if _, err := a.at.Save(ctx, name, bytes.NewReader(data), int64(len(data))); err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	return nil
}

// maxManifest bounds a manifest that is read back.
const maxManifest = 4 << 20

// readManifest reads the manifest of an archive and checks that this job has
// signed it.
func (a *archives) readManifest(ctx context.Context, name string) (*archive.Manifest, error) {
	at := archive.ManifestName(name)
	f, err := a.at.Open(ctx, at, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	m, _, err := archive.ParseManifest(data, a.trusted())
	if err == nil && m.Archive != name {
		err = fmt.Errorf("%w: it is of %s", archive.ErrManifest, m.Archive)
	}
	if err != nil {
		return nil, &verifyError{kind: "hash", path: at, err: fmt.Errorf("%s %w", at, err)}
	}
	return m, nil
}

// readBack is the verify stage: the manifest, the size, and parts of the archive
// by the hashes that were taken while it was sent; a small archive whole.
func (a *archives) readBack(ctx context.Context, r *run, sentAs *archive.Manifest, sent *segments) error {
	m, err := a.readManifest(ctx, sentAs.Archive)
	if err != nil {
		return err
	}
	info, err := a.at.Stat(ctx, m.Archive)
	if err != nil {
		return err
	}
	if info.Size() != m.Size || m.SHA256 != sentAs.SHA256 {
		return a.truncated(m, info.Size())
	}
	var read int64
	if percent := a.job.Proof.readPercent(); percent >= 100 || m.Size <= segmentSize {
		read, err = m.Size, a.readWhole(ctx, m)
	} else {
		read, err = sent.compare(ctx, a.at, m.Archive, percent)
	}
	r.change(false, func(b *wire.BackupRun) { b.BytesRead = read })
	if err != nil {
		return err
	}
	r.leave(stageVerify, fmt.Sprintf("manifest and size as they were sent, %d of %d bytes read back", read, m.Size))
	return nil
}

func (a *archives) truncated(m *archive.Manifest, has int64) error {
	return &verifyError{
		kind: "truncated", path: m.Archive, expected: fmt.Sprint(m.Size), actual: fmt.Sprint(has),
		err: fmt.Errorf("%s has %d bytes at the target, %d were sent", m.Archive, has, m.Size),
	}
}

// readWhole reads an archive to its last byte, decrypts it and compares every
// entry with the manifest.
func (a *archives) readWhole(ctx context.Context, m *archive.Manifest) error {
	f, err := a.at.Open(ctx, m.Archive, 0, -1)
	if err != nil {
		return fmt.Errorf("read %s: %w", m.Archive, err)
	}
	_, err = archive.Verify(ctx, f, m, a.identity)
	return errors.Join(archiveDamage(m.Archive, err), f.Close())
}

// archiveDamage says of an error of package archive that it is damage, where it
// is.
func archiveDamage(name string, err error) error {
	kind := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, archive.ErrTruncated):
		kind = "truncated"
	case errors.Is(err, archive.ErrWrongKey):
		kind = "decrypt"
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrMismatch):
		kind = "hash"
	default:
		return err
	}
	return &verifyError{kind: kind, path: name, err: err}
}
