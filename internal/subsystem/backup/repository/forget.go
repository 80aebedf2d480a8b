package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ForgetOptions say how Forget works.
type ForgetOptions struct {
	// AnyHost, AnyPaths and Tags change the groups to which the rules apply one by one: host and paths unless told
	// otherwise.
	AnyHost, AnyPaths, Tags bool
	// Of chooses the snapshots that the rules are for; nil chooses all. Spare names what stays whatever the rules say.
	Of, Spare func(Snapshot) bool
	DryRun    bool // only answer what would be done
}

// ForgetGroup is what becomes of the snapshots of one group, newest first.
type ForgetGroup struct {
	Hostname string     `json:"hostname,omitempty"`
	Paths    []string   `json:"paths,omitempty"`
	Tags     []string   `json:"tags,omitempty"`
	Keep     []Kept     `json:"keep"`
	Drop     []Snapshot `json:"drop"`
}

// Forget removes the snapshots that no rule keeps. Their data stays until Prune. It refuses rules that keep nothing of
// a group, and does nothing at all then.
func (r *Repository) Forget(ctx context.Context, k Keep, o ForgetOptions) (groups []ForgetGroup, err error) {
	if err := k.Valid(); err != nil {
		return nil, fmt.Errorf("forget: %w", err)
	}
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.release(ctx, &err)
	snaps, err := r.loadSnapshots(ctx, nil)
	if err != nil {
		return nil, err
	}
	if o.Of != nil {
		snaps = slices.DeleteFunc(snaps, func(s Snapshot) bool { return !o.Of(s) })
	}
	groups = groupSnapshots(snaps, o)
	for i := range groups {
		g := &groups[i]
		g.Keep, g.Drop = k.Apply(g.Drop, r.now())
		if o.Spare != nil {
			g.Drop = slices.DeleteFunc(g.Drop, func(s Snapshot) bool {
				spared := o.Spare(s)
				if spared {
					g.Keep = append(g.Keep, Kept{s, []string{"spared"}})
				}
				return spared
			})
		}
		if len(g.Keep) == 0 {
			return nil, fmt.Errorf("forget: the rules keep none of the %d snapshots of %s %q", len(g.Drop), g.Hostname, g.Paths)
		}
	}
	if o.DryRun {
		return groups, nil
	}
	for _, g := range groups {
		for _, s := range g.Drop {
			if err := r.removeSnapshot(ctx, lock, s.ID); err != nil {
				return groups, fmt.Errorf("forget: %w", err)
			}
		}
	}
	return groups, nil
}

// groupSnapshots answers the groups with all their snapshots in Drop.
func groupSnapshots(snaps []Snapshot, o ForgetOptions) []ForgetGroup {
	var groups []ForgetGroup
	places := map[string]int{}
	for _, s := range snaps {
		g := ForgetGroup{}
		if !o.AnyHost {
			g.Hostname = s.Hostname
		}
		if !o.AnyPaths {
			g.Paths = slices.Sorted(slices.Values(s.Paths))
		}
		if o.Tags {
			g.Tags = slices.Sorted(slices.Values(s.Tags))
		}
		key := strings.Join(slices.Concat([]string{g.Hostname, ""}, g.Paths, []string{""}, g.Tags), "\x00")
		place, known := places[key]
		if !known {
			place = len(groups)
			places[key] = place
			groups = append(groups, g)
		}
		groups[place].Drop = append(groups[place].Drop, s)
	}
	return groups
}

// RemoveSnapshots removes snapshots by ID. Their data stays until Prune.
func (r *Repository) RemoveSnapshots(ctx context.Context, ids ...ID) (err error) {
	ctx, lock, err := r.Lock(ctx, Exclusive)
	if err != nil {
		return err
	}
	defer lock.release(ctx, &err)
	var all error
	for _, id := range ids {
		all = errors.Join(all, r.removeSnapshot(ctx, lock, id))
	}
	return all
}

func (r *Repository) removeSnapshot(ctx context.Context, lock *Lock, id ID) error {
	if err := lock.guard(ctx); err != nil {
		return err
	}
	return remove(ctx, r.store, filePath(snapsDir, id))
}
