package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// archivesRead is when each archive was read whole and found well, by name. Under
// badMark and its name is when one was found damaged: it is read again by every
// verification until it is well, for what is not looked at proves nothing.
type archivesRead map[string]time.Time

const badMark = "!" // begins no archive's name

func (r archivesRead) bad(name string) bool { return !r[badMark+name].IsZero() }

func (r archivesRead) note(name string, well bool) {
	now := time.Now().UTC()
	if well {
		r[name] = now
		delete(r, badMark+name)
		return
	}
	r[badMark+name] = now
	delete(r, name)
}

// verify looks at every manifest and size, and reads archives whole, those not
// read for longest first, until percent of all bytes is read.
func (a *archives) verify(ctx context.Context, percent float64, tell func(wire.Progress)) (lookRecord, error) {
	at := time.Now().UTC()
	h, err := a.look(ctx)
	if err != nil {
		return lookRecord{}, err
	}
	look := lookRecord{BackupVerify: wire.BackupVerify{Job: a.job.Name, At: at, Problems: []string{}, Copies: len(h.sizes), Objects: 2 * int64(len(h.sizes))}}
	for _, name := range h.manifests {
		look.add(&verifyError{kind: "missing", path: name, err: fmt.Errorf("the archive of %s is gone", name)})
	}
	if len(h.sizes) == 0 {
		look.add(&verifyError{kind: "missing", path: a.job.Name, err: errors.New("every archive of the job is gone")})
	}
	whole, err := a.structure(ctx, &h, &look, tell)
	if err != nil {
		return lookRecord{}, err
	}
	read := archivesRead{}
	a.b.history.coverage(a.job.Name, &read)
	if err := a.readDue(ctx, whole, read, percent, &look, tell); err != nil {
		return lookRecord{}, err
	}
	a.b.history.cover(a.job.Name, read)
	look.covered(whole, read, at.Add(-a.job.Proof.fullRead()))
	look.OK = len(look.Problems) == 0
	return look, nil
}

// structure reads the manifests; it answers those of archives that may be whole.
func (a *archives) structure(ctx context.Context, h *held, look *lookRecord, tell func(wire.Progress)) ([]*archive.Manifest, error) {
	var whole []*archive.Manifest
	for i, name := range h.newest() {
		look.Bytes += h.sizes[name]
		m, err := a.readManifest(ctx, name)
		if err == nil && m.Size != h.sizes[name] {
			err = a.truncated(m, h.sizes[name])
		}
		if v := asType[*verifyError](err); v != nil {
			look.add(*v)
			continue
		}
		if err != nil {
			return nil, err
		}
		whole = append(whole, m)
		tell(wire.Progress{Stage: stageVerify, Percent: percentage(int64(i), int64(2*len(h.sizes))), Text: fmt.Sprintf("%d manifests read", i+1)})
	}
	return whole, nil
}

// readDue reads archives whole.
func (a *archives) readDue(ctx context.Context, all []*archive.Manifest, read archivesRead, percent float64, look *lookRecord, tell func(wire.Progress)) error {
	order := slices.SortedStableFunc(slices.Values(all), func(x, y *archive.Manifest) int { return read[x.Archive].Compare(read[y.Archive]) })
	for _, m := range order {
		if !read.bad(m.Archive) && look.BytesRead > 0 && float64(look.BytesRead) >= percent/100*float64(look.Bytes) {
			continue
		}
		err := a.readWhole(ctx, m)
		if v := asType[*verifyError](err); v != nil {
			look.add(*v)
			read.note(m.Archive, false)
			continue
		}
		if err != nil {
			return err
		}
		read.note(m.Archive, true)
		look.BytesRead += m.Size
		tell(wire.Progress{Stage: stageVerify, Percent: 50 + percentage(look.BytesRead, look.Bytes)/2, Text: fmt.Sprintf("%d bytes read back", look.BytesRead)})
	}
	return nil
}

// add notes a problem; the first one names the fault.
func (l *lookRecord) add(v *verifyError) {
	if len(l.Problems) == 0 {
		l.Kind, l.Path, l.Expected, l.Actual = v.kind, v.path, v.expected, v.actual
	}
	if len(l.Problems) < maxProblems {
		l.Problems = append(l.Problems, v.Error())
	}
}

// failure is what the look found first.
func (l *lookRecord) failure() error {
	if len(l.Problems) == 0 {
		return errors.New("the copies are not well; the look names no problem")
	}
	return errors.New(l.Problems[0])
}

// covered says how much was read since a time, and forgets archives that are
// gone.
func (l *lookRecord) covered(all []*archive.Manifest, read archivesRead, since time.Time) {
	there := map[string]bool{}
	var bytes, total int64
	every := true
	for _, m := range all {
		there[m.Archive], there[badMark+m.Archive] = true, true
		total += m.Size
		at := read[m.Archive]
		if at.After(since) {
			bytes += m.Size
		}
		every = every && !at.IsZero()
		if !at.IsZero() && (l.Oldest.IsZero() || at.Before(l.Oldest)) {
			l.Oldest = at
		}
	}
	for name := range read {
		if !there[name] {
			delete(read, name)
		}
	}
	if !every {
		l.Oldest = time.Time{}
	}
	if total > 0 {
		l.ReadPercent = 100 * float64(bytes) / float64(total)
	}
}

// reading is an archive that is read.
type reading struct {
	*archive.Reader
	manifest *archive.Manifest
	file     io.Closer
}

// open opens an archive by its name; "" and "latest" are the newest.
func (a *archives) open(ctx context.Context, name string) (*reading, error) {
	h, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" || name == "latest" {
		if len(h.sizes) == 0 {
			return nil, fmt.Errorf("%w: job %s has no archive at the target", ErrNoCopy, a.job.Name)
		}
		name = h.newest()[0]
	}
	if _, ok := h.sizes[name]; !ok {
		return nil, fmt.Errorf("%w: job %s has no archive %q at the target", ErrNoCopy, a.job.Name, name)
	}
	m, err := a.readManifest(ctx, name)
	if err != nil {
		return nil, err
	}
	f, err := a.at.Open(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	r, err := archive.Open(f, m, a.identity)
	if err != nil {
		return nil, errors.Join(archiveDamage(name, err), f.Close())
	}
	return &reading{r, m, f}, nil
}

// drill restores the newest archive whole: an archive has no shorter way to a
// file in its middle, and its hashes are of all that it holds.
func (a *archives) drill(ctx context.Context, tell func(wire.Progress)) (wire.BackupDrill, error) {
	d := wire.BackupDrill{Job: a.job.Name}
	err := a.drillNewest(ctx, &d, tell)
	v := asType[*verifyError](err)
	switch {
	case err == nil:
		d.Passed = true
	case v != nil:
		d.Why, err = err.Error(), nil
		if d.First == "" {
			d.First = (*v).path
		}
	}
	return d, err
}

func (a *archives) drillNewest(ctx context.Context, d *wire.BackupDrill, tell func(wire.Progress)) error {
	r, err := a.open(ctx, "")
	if err != nil {
		return err
	}
	d.Copy = r.manifest.Archive
	err = readEntries(r.Entries(ctx), d, tell)
	return errors.Join(archiveDamage(d.Copy, err), r.file.Close())
}

// listedManifests is how many manifests a listing reads, those of the newest
// archives; of older ones it says what their names and sizes say.
const listedManifests = 50

func (a *archives) list(ctx context.Context) ([]wire.BackupSnapshot, error) {
	h, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	var all []wire.BackupSnapshot
	for i, name := range h.newest() {
		_, at, _ := archive.ParseName(name) // look has parsed it
		snap := wire.BackupSnapshot{ID: name, Time: at, Host: a.b.options().Node, Paths: append([]string{}, a.job.Sources...), Size: h.sizes[name]}
		if i < listedManifests {
			m, err := a.readManifest(ctx, name)
			if err == nil {
				snap = wireArchive(m)
				snap.Size = h.sizes[name] // what is there
			} else if asType[*verifyError](err) == nil { // damage is for a verification to tell
				return nil, err
			}
		}
		all = append(all, snap)
	}
	return all, nil
}

func wireArchive(m *archive.Manifest) wire.BackupSnapshot {
	return wire.BackupSnapshot{
		ID: m.Archive, Time: m.Time, Host: m.Host, Paths: append([]string{}, m.Paths...), Size: m.Size, Files: m.Contents.Files, Program: m.Program,
	}
}

func (a *archives) files(ctx context.Context, q wire.BackupListRequest) ([]wire.BackupFile, error) {
	r, err := a.open(ctx, q.Snapshot)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.file.Close() }() // it was only read
	m := r.manifest
	var all []wire.BackupFile
	under, met := path.Clean("/"+q.Path), false
	for e, err := range r.Entries(ctx) {
		if err != nil {
			return all, archiveDamage(m.Archive, err)
		}
		name := "/" + e.Path
		if met = met || below(under, name); listedBy(&q, name) {
			all = append(all, wireFile(m.Archive, name, &e.Meta))
		}
		if len(all) == limited(q.Limit) {
			return all, nil
		}
	}
	if !met {
		return nil, fmt.Errorf("%w: %s is not in %s", ErrNoCopy, under, m.Archive)
	}
	return all, nil
}

// listedBy claims that a listing wants the name.
func listedBy(q *wire.BackupListRequest, name string) bool {
	under := path.Clean("/" + q.Path)
	switch {
	case !below(under, name):
		return false
	case q.Match == "":
		return name == under || path.Dir(name) == under
	case !strings.ContainsAny(q.Match, `*?[\`):
		return strings.Contains(strings.ToLower(name), strings.ToLower(q.Match))
	}
	against := path.Base(name)
	if strings.Contains(q.Match, "/") {
		against = name
	}
	ok, _ := path.Match(q.Match, against)
	return ok
}

// below claims that name is folder or lies below it.
func below(folder, name string) bool {
	return folder == "/" || name == folder || strings.HasPrefix(name, folder+"/")
}

func (a *archives) restore(ctx context.Context, snapshot string, paths []string) (wire.BackupSnapshot, extract.Stream, error) {
	r, err := a.open(ctx, snapshot)
	if err != nil {
		return wire.BackupSnapshot{}, nil, err
	}
	m := r.manifest
	return wireArchive(m), func(yield func(*extract.Entry, error) bool) {
		defer func() { _ = r.file.Close() }() // it was only read
		for e, err := range chosen(r.Entries(ctx), paths) {
			if !yield(e, archiveDamage(m.Archive, err)) || err != nil {
				return
			}
		}
	}, nil
}

// chosen are the entries that lie below one of the paths, and the folders above
// those; no paths choose all. A path that is not there is an error at the end. A
// link to a file that was not chosen stays a link: who writes the entries says
// that there is nothing to link to.
func chosen(all extract.Stream, paths []string) extract.Stream {
	if len(paths) == 0 {
		return all
	}
	return func(yield func(*extract.Entry, error) bool) {
		met := map[string]bool{}
		for e, err := range all {
			if err != nil {
				yield(nil, err)
				return
			}
			name, want := "/"+e.Path, false
			for _, p := range paths {
				p = path.Clean(p)
				if below(p, name) {
					want, met[p] = true, true
				}
				want = want || e.Meta.Type == source.Dir && below(name, p)
			}
			if !want {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
		for _, p := range paths {
			if !met[path.Clean(p)] {
				yield(nil, fmt.Errorf("%w: %s is not in the archive", ErrNoCopy, p))
				return
			}
		}
	}
}
