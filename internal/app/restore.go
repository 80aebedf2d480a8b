package app

import (
	"context"
	"fmt"
	"io"
	"strings"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/stream"
	"allclear/internal/wire"
)

// RestoreOptions say where and how a restore writes.
type RestoreOptions struct {
	Dest string // the folder; made if it is not there
	// Replace are paths, as they were backed up, below which what the copy does
	// not have is removed; ReplaceRoots means all that the copy is of.
	Replace      []string
	ReplaceRoots bool
	Privileged   bool // as root: also setuid bits, devices, system attributes
	Resume       bool // leave files alone that are there with the same size and time
	Progress     func(wire.Progress)
}

// Restore writes a copy, as the agent sends it, with the rights of this
// process. The report is true whatever the error is.
func Restore(ctx context.Context, from io.Reader, o RestoreOptions) (wire.BackupRestore, error) {
	out := wire.BackupRestore{Destination: o.Dest, Problems: []wire.BackupSkipped{}}
	in, err := stream.NewReader(from)
	if err != nil {
		return out, err
	}
	out.Snapshot = in.Snapshot()
	if o.ReplaceRoots {
		o.Replace = out.Snapshot.Paths
	}
	opts := extract.Options{Privileged: o.Privileged, SkipSame: o.Resume, Sync: true}
	for _, p := range o.Replace {
		if p = strings.Trim(p, "/"); p == "" {
			p = "."
		}
		opts.Replace = append(opts.Replace, p)
	}
	if total := out.Snapshot.Files; o.Progress != nil {
		opts.Progress = func(r *extract.Report) {
			p := wire.Progress{Stage: "restore", Text: fmt.Sprintf("%d files, %d bytes", r.Files, r.Bytes)}
			if total > 0 {
				p.Percent = min(100, 100*float64(r.Files)/float64(total))
			}
			o.Progress(p)
		}
	}
	r, err := extract.To(ctx, o.Dest, in.Entries(), opts)
	fill(&out, r)
	return out, err
}

func fill(out *wire.BackupRestore, r *extract.Report) {
	out.Files, out.Folders, out.Links, out.HardLinks, out.Specials = r.Files, r.Folders, r.Links, r.HardLinks, r.Specials
	out.Same, out.Bytes, out.Removed, out.Missing, out.Incomplete = r.Same, r.Bytes, r.Removed, r.Missing, r.Incomplete
	out.Held, out.Last, out.Complete = wire.BackupHeld(r.Held), r.Last, r.Complete
	for _, p := range r.First {
		out.Problems = append(out.Problems, wire.BackupSkipped{Path: p.Path, Why: p.Err.Error()})
	}
}
