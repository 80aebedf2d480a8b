package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup/stream"
)

// maxRestorePaths bounds the paths of one restore.
const maxRestorePaths = 10_000

// Downloads implements subsystem.Downloader.
func (b *Backup) Downloads() []subsystem.Download {
	return []subsystem.Download{{Path: "restore", Role: subsystem.Admin, Type: stream.ContentType, Send: b.sendRestore}}
}

// sendRestore streams a copy, or the paths of it that q names: job, snapshot
// ("" is the newest) and any number of path.
func (b *Backup) sendRestore(ctx context.Context, q url.Values, w io.Writer) error {
	var paths []string
	for _, p := range q["path"] {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("path %q is not absolute: paths are those that were backed up", p)
		}
		paths = append(paths, p)
	}
	if len(paths) > maxRestorePaths {
		return fmt.Errorf("%d paths; at most %d can be named", len(paths), maxRestorePaths)
	}
	return b.reading(ctx, q.Get("job"), func(o *opened) error {
		snap, entries, err := o.restore(ctx, q.Get("snapshot"), paths)
		if err != nil {
			return err
		}
		_, err = stream.Write(w, snap, entries)
		return errors.Join(err, context.Cause(ctx))
	})
}
