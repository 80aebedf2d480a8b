package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/repository"
)

// held is what lies in the job's folder.
type held struct {
	sizes     map[string]int64 // archives that have a manifest
	orphans   []string         // archives without one, and left-overs of cut off transfers
	young     int              // like these, but maybe of a run that is under way
	manifests []string         // manifests without their archive
}

// orphanAge is how old an archive without a manifest must be to be no run's that
// is under way.
const orphanAge = day

func (a *archives) look(ctx context.Context) (held, error) {
	infos, err := a.at.List(ctx, ".")
	if err != nil {
		return held{}, fmt.Errorf("list the archives: %w", err)
	}
	h := held{sizes: map[string]int64{}}
	there := map[string]fs.FileInfo{}
	for _, i := range infos {
		there[i.Name()] = i
	}
	for name, i := range there {
		job, at, err := archive.ParseName(name)
		base, isManifest := strings.CutSuffix(name, archive.ManifestEnding)
		switch {
		case sshpolicy.IsTemp(name):
			h.orphan(name, i.ModTime())
		case isManifest && there[base+archive.ArchiveEnding] == nil:
			h.manifests = append(h.manifests, name)
		case err != nil || job != a.job.Name: // somebody else's
		case there[archive.ManifestName(name)] != nil:
			h.sizes[name] = i.Size()
		default:
			h.orphan(name, at)
		}
	}
	slices.Sort(h.manifests)
	return h, nil
}

// orphan takes in a file that belongs to no copy.
func (h *held) orphan(name string, at time.Time) {
	if time.Since(at) > orphanAge {
		h.orphans = append(h.orphans, name)
	} else {
		h.young++
	}
}

// newest are the names of the archives, newest first.
func (h *held) newest() []string {
	names := slices.Collect(maps.Keys(h.sizes))
	slices.SortFunc(names, func(x, y string) int {
		_, atX, _ := archive.ParseName(x) // look has parsed them
		_, atY, _ := archive.ParseName(y)
		return atY.Compare(atX)
	})
	return names
}

func (a *archives) retain(ctx context.Context, made string) (retention, error) {
	h, err := a.look(ctx)
	if err != nil {
		return retention{}, err
	}
	names := h.newest()
	remove := a.expired(names, made)
	var foreign []string
	if len(remove) > 0 { // so it matters whose they are
		if foreign, err = a.foreign(ctx, names); err != nil {
			return retention{Copies: len(names), Expired: len(remove)}, err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(foreign, name) })
		remove = a.expired(names, made)
	}
	out := retention{Copies: len(names), Expired: len(remove)}
	for _, name := range remove {
		if err := a.remove(ctx, archive.ManifestName(name), name); err != nil { // what has no manifest is no copy any more
			return out, err
		}
		out.Removed, out.Copies, out.Expired = out.Removed+1, out.Copies-1, out.Expired-1
	}
	if len(foreign) > 0 {
		return out, fmt.Errorf("%d archives in the folder of job %s are signed by another key than this job's, the newest is %s: they stay. "+
			"If two hosts have a job of this name for this folder, give one another name or path", len(foreign), a.job.Name, foreign[0])
	}
	return out, a.remove(ctx, h.orphans...)
}

// expired are those of the archives that the keep rules do not keep.
func (a *archives) expired(all []string, made string) []string {
	names := map[repository.ID]string{}
	var snaps []repository.Snapshot
	for _, name := range all {
		_, at, _ := archive.ParseName(name) // look has parsed it
		id := repository.Hash([]byte(name))
		names[id] = name
		snaps = append(snaps, repository.Snapshot{ID: id, Time: at})
	}
	_, drop := keepOf(a.job.Keep).Apply(snaps, time.Now())
	var out []string
	for _, s := range drop {
		if name := names[s.ID]; name != made {
			out = append(out, name)
		}
	}
	return out
}

// foreign are those of the archives that somebody else has signed: another host
// with a job of the same name, or this one before it lost its keys. They are not
// ours to remove.
func (a *archives) foreign(ctx context.Context, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		_, err := a.readManifest(ctx, name)
		switch {
		case errors.Is(err, archive.ErrUntrusted):
			out = append(out, name)
		case err != nil && asType[*verifyError](err) == nil: // a damaged one is ours, and may expire
			return nil, err
		}
	}
	return out, nil
}

// tidy removes archives that never got their manifest, and files under temporary
// names. Young ones stay: another agent may be writing them.
func (a *archives) tidy(ctx context.Context) (bool, error) {
	h, err := a.look(ctx)
	if err == nil {
		err = a.remove(ctx, h.orphans...)
	}
	return err == nil && h.young == 0, err
}

func (a *archives) remove(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := a.at.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}
