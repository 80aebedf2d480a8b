package backup

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// copies are the copies of one job at its target, opened with the job's key.
type copies interface {
	// save makes a copy: the stages source, transfer and verify of r. Nothing
	// partial ever counts as a copy.
	save(ctx context.Context, r *run) (saved, error)
	// retain removes what the keep rules do not keep, and never the copy made,
	// whatever its date is; "" is none.
	retain(ctx context.Context, made string) (retention, error)
	// tidy removes what transfers that were cut off have left. It claims that
	// nothing of the kind is there any more; what is too young to be known for
	// such stays for a later call.
	tidy(ctx context.Context) (bool, error)
	// verify looks at everything that the copies need and reads back percent of
	// it, what was not read for longest first; 100 is all. An error says that it
	// could not look.
	verify(ctx context.Context, percent float64, tell func(wire.Progress)) (lookRecord, error)
	// drill reads random files of the newest copy as a restore does. An error says
	// that it could not try.
	drill(ctx context.Context, tell func(wire.Progress)) (wire.BackupDrill, error)
	// list is newest first.
	list(ctx context.Context) ([]wire.BackupSnapshot, error)
	files(ctx context.Context, q wire.BackupListRequest) ([]wire.BackupFile, error)
	// restore opens a copy; nil paths mean all of it. The stream is read before the
	// session ends.
	restore(ctx context.Context, snapshot string, paths []string) (wire.BackupSnapshot, extract.Stream, error)
}

// saved is a copy that was made and read back.
type saved struct {
	copy string
	size int64 // bytes that it took at the target
}

// ErrNoCopy says that a job has no copy of that name, or none at all.
var ErrNoCopy = errors.New("no such copy")

// opened are the copies of a job with the connection they are reached by.
type opened struct {
	copies
	session *session
	job     *Job
	target  *Target
}

func (o *opened) close() error { return o.session.close() }

// open connects to the job's target and opens its copies. create makes what a
// first run needs: the key, the folder, the repository. A folder that held
// verified copies and is gone is made anew only when an operator asks: a disk
// that is not mounted must not look like a fresh start.
func (b *Backup) open(ctx context.Context, j *Job, t *Target, asked, create bool) (_ *opened, err error) {
	secret, err := b.secret(ctx, j, create)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	s, err := b.connect(ctx, t, asked)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if account, ok := s.files.(interface{ Bare() bool }); ok && account.Bare() && j.Kind == Repository {
		return nil, fmt.Errorf("keep the repository of job %s at %s: %w", j.Name, t.Name, errScpOnly)
	}
	held := !b.history.proof(j.Name).Verified.IsZero()
	if _, err := s.files.Stat(ctx, j.Name); errors.Is(err, fs.ErrNotExist) && create && (asked || !held) {
		if err := s.files.Mkdir(ctx, j.Name); err != nil {
			return nil, fmt.Errorf("make the folder of the job: %w", err)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil, b.folderGone(j, err)
	} else if err != nil {
		return nil, err
	}
	o := &opened{session: s, job: j, target: t}
	at := folder{s.files, j.Name}
	if j.Kind == Archive {
		o.copies, err = b.openArchives(j, t, s, at, secret)
	} else {
		o.copies, err = b.openRepository(ctx, j, at, secret, opening{create: create, asked: asked})
	}
	return o, err
}

// folderGone says that the job's folder is gone, or was never made.
func (b *Backup) folderGone(j *Job, err error) error {
	if b.history.proof(j.Name).Verified.IsZero() {
		return fmt.Errorf("%w: job %s has not made one yet", ErrNoCopy, j.Name)
	}
	return &verifyError{kind: "missing", path: j.Name, err: fmt.Errorf("the folder of job %s, which held verified copies, is gone from the target; a run asked for by an operator makes a new one: %w", j.Name, err)}
}

// keyState is what the newest look at a job's key has shown.
type keyState struct {
	at    time.Time
	none  bool // before the first run
	info  envelope.Info
	tried error
}

// secret opens the job's key. create makes it for a job that has none: the key
// is sealed before anything is encrypted with it.
func (b *Backup) secret(ctx context.Context, j *Job, create bool) ([]byte, error) {
	keys := b.options().Keys
	secret, info, err := keys.Open(ctx, j.keyID())
	if errors.Is(err, envelope.ErrNotFound) && create {
		var made []byte
		if made, err = newSecret(j.Kind); err == nil {
			err = keys.Protect(ctx, j.keyID(), made)
			clear(made)
		}
		if err == nil {
			secret, info, err = keys.Open(ctx, j.keyID())
		}
	}
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	b.keys[j.Name] = keyState{at: time.Now(), none: errors.Is(err, envelope.ErrNotFound), info: info, tried: err}
	b.mu.Unlock()
	if err != nil {
		return nil, &keyError{j.keyID(), err}
	}
	return secret, nil
}

// newSecret makes the password of a repository, 256 random bits, or the identity
// of archives.
func newSecret(k Kind) ([]byte, error) {
	if k == Archive {
		return newIdentity()
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	secret := make([]byte, base64.RawURLEncoding.EncodedLen(len(random)))
	base64.RawURLEncoding.Encode(secret, random[:])
	clear(random[:])
	return secret, nil
}

// skips puts the files that are not in the copy into a run's record. A file that
// was removed while the run went on is none: there was nothing left to save.
func skips(r *run, report *source.Report) {
	counts, listed := report.Counts(), report.Skips()
	r.change(false, func(b *wire.BackupRun) {
		b.SkippedCount, b.Skipped = int(counts[source.Unreadable]+counts[source.Swapped]+counts[source.LeftOut]), nil
		for _, s := range listed {
			if missing(s.Reason) && len(b.Skipped) < maxSkipListed {
				b.Skipped = append(b.Skipped, wire.BackupSkipped{Path: s.Path, Why: skipWhy(s)})
			}
		}
		for reason, text := range map[source.Reason]string{
			source.Vanished: "%d files were removed while they were to be read", source.Changed: "%d files changed while they were read; what is saved of them may be a mixture",
			source.Metadata: "%d files are saved without some of their metadata", source.LinkSource: "%d sources are symbolic links: the link is saved, not what it leads to",
		} {
			if n := counts[reason]; n > 0 {
				b.Notes = append(b.Notes, fmt.Sprintf(text, n))
			}
		}
		slices.Sort(b.Notes)
	})
}

func missing(r source.Reason) bool {
	return r == source.Unreadable || r == source.Swapped || r == source.LeftOut
}

func skipWhy(s source.Skip) string {
	if s.Err == nil {
		return string(s.Reason)
	}
	return fmt.Sprintf("%s: %v", s.Reason, s.Err)
}

// limited is how many files a listing answers.
const (
	listDefault = 1000
	listMax     = 10_000
)

func limited(n int) int {
	if n <= 0 {
		n = listDefault
	}
	return min(n, listMax)
}

// newestFirst turns snapshots around.
func newestFirst(all []wire.BackupSnapshot) []wire.BackupSnapshot {
	slices.SortStableFunc(all, func(a, b wire.BackupSnapshot) int { return b.Time.Compare(a.Time) })
	return all
}
