package repository

import (
	"context"
	"io"

	"allclear/internal/subsystem/backup/source"
)

// Entry is one thing that a [Source] has to be backed up.
type Entry struct {
	Path string // absolute, raw bytes
	Meta *source.Meta
	// Leave: the folder's content is complete.
	Leave bool
	// Open opens a regular file. It is called during the visit; the file is read and closed later, by another
	// goroutine.
	Open func() (File, error)
}

// File is an open regular file.
type File interface {
	io.ReadCloser
	// Meta is that of the open file, which may have changed since it was listed.
	Meta() *source.Meta
}

// Source says what is backed up: depth first, folders before and (Leave) after their content, the children of a folder
// in the order of their raw names. Folders above what was asked for come too, with their real metadata and only the
// children that lead to it. "/" itself never comes. An error of visit ends the walk and is answered.
//
// An error of Open or Read that [source.IsSkip] tells of leaves the file out; the source has reported it. Any other
// error ends the backup.
type Source interface {
	Walk(ctx context.Context, visit func(*Entry) error) error
}

// Files makes a tree of files, with a report of what could not be read, a [Source].
func Files(t *source.Tree, r *source.Report) Source { return files{t, r} }

type files struct {
	tree   *source.Tree
	report *source.Report
}

// Walk implements [Source].
func (f files) Walk(ctx context.Context, visit func(*Entry) error) error {
	return f.tree.Walk(ctx, f.report, func(e *source.Entry) error {
		open := func() (File, error) {
			f, err := e.Open()
			if err != nil {
				return nil, err
			}
			return f, nil
		}
		return visit(&Entry{Path: e.Path, Meta: e.Meta, Leave: e.Step == source.Leave, Open: open})
	})
}
