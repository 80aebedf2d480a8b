package repository

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Snapshot is one backup: a tree and where it came from.
type Snapshot struct {
	// ID is the name of the snapshot's file and no part of it.
	ID       ID        `json:"-"`
	Time     time.Time `json:"time"`
	Parent   *ID       `json:"parent,omitempty"`
	Tree     *ID       `json:"tree"`
	Paths    []string  `json:"paths"`
	Hostname string    `json:"hostname,omitempty"`
	Username string    `json:"username,omitempty"`
	UID      uint32    `json:"uid,omitempty"`
	GID      uint32    `json:"gid,omitempty"`
	Excludes []string  `json:"excludes,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Original *ID       `json:"original,omitempty"`
	Program  string    `json:"program_version,omitempty"`
	Summary  *Summary  `json:"summary,omitempty"`
}

// Summary counts what a backup did. Sizes are in bytes.
type Summary struct {
	BackupStart         time.Time `json:"backup_start"`
	BackupEnd           time.Time `json:"backup_end"`
	FilesNew            int64     `json:"files_new"`
	FilesChanged        int64     `json:"files_changed"`
	FilesUnmodified     int64     `json:"files_unmodified"`
	DirsNew             int64     `json:"dirs_new"`
	DirsChanged         int64     `json:"dirs_changed"`
	DirsUnmodified      int64     `json:"dirs_unmodified"`
	DataBlobs           int64     `json:"data_blobs"`
	TreeBlobs           int64     `json:"tree_blobs"`
	DataAdded           int64     `json:"data_added"`
	DataAddedPacked     int64     `json:"data_added_packed"`
	TotalFilesProcessed int64     `json:"total_files_processed"`
	TotalBytesProcessed int64     `json:"total_bytes_processed"`
}

func parseSnapshot(id ID, b []byte) (Snapshot, error) {
	s := Snapshot{ID: id}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode: %w", err)
	}
	if s.Tree == nil || s.Tree.IsZero() {
		return s, errors.New("it names no tree")
	}
	return s, nil
}

func (r *Repository) loadSnapshot(ctx context.Context, id ID) (Snapshot, error) {
	b, err := r.loadUnpacked(ctx, "snapshot", snapsDir, id, maxSmall)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := parseSnapshot(id, b)
	return s, damaged("snapshot", id, err)
}

// loadSnapshots reads all snapshots, oldest first. Each that is damaged is handed to broken, which answers whether
// that ends the loading; nil ends it at the first.
func (r *Repository) loadSnapshots(ctx context.Context, broken func(ID, error) error) ([]Snapshot, error) {
	files, err := list(ctx, r.store, snapsDir)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards out and the calls of broken
	var out []Snapshot
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, f := range files {
		g.Go(guarded(func() error {
			s, err := r.loadSnapshot(gctx, f.id)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				out = append(out, s)
				return nil
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed since it was listed
			}
			if _, isDamage := errors.AsType[*DamageError](err); isDamage && broken != nil {
				return broken(f.id, err)
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Snapshot) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return out, nil
}

// saveSnapshot writes the snapshot's file, the last step of a backup.
func (r *Repository) saveSnapshot(ctx context.Context, s *Snapshot) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	s.ID, err = r.saveUnpacked(ctx, snapsDir, b)
	return err
}

// parentOf answers the newest snapshot of the same host and the same paths that is not newer than now; nil for none.
func parentOf(all []Snapshot, hostname string, paths []string, now time.Time) *Snapshot {
	for i := len(all) - 1; i >= 0; i-- {
		s := &all[i]
		if s.Hostname == hostname && !s.Time.After(now) && samePaths(s.Paths, paths) {
			return s
		}
	}
	return nil
}

func samePaths(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
