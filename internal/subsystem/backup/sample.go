package backup

import (
	"fmt"
	"io"
	"math/rand/v2"

	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/wire"
)

// Bounds of a restore drill.
const (
	drillFiles = 20
	drillBytes = 256 << 20
)

// sample chooses files at random, each with the same chance, from a listing of
// any length (algorithm R).
type sample struct {
	seen  int
	paths []string
	sizes []int64
}

func (s *sample) offer(path string, size int64) {
	s.seen++
	if len(s.paths) < drillFiles {
		s.paths, s.sizes = append(s.paths, path), append(s.sizes, size)
		return
	}
	if i := rand.IntN(s.seen); i < drillFiles {
		s.paths[i], s.sizes[i] = path, size
	}
}

// chosen are the files to read: no more bytes than a drill may take, but one
// file at least.
func (s *sample) chosen() []string {
	var all []string
	var bytes int64
	for i, p := range s.paths {
		if len(all) > 0 && bytes+s.sizes[i] > drillBytes {
			continue
		}
		all, bytes = append(all, p), bytes+s.sizes[i]
	}
	return all
}

// readEntries reads every file of a restore stream to its end and throws the
// bytes away; check sees each file and what was read of it.
func readEntries(stream extract.Stream, d *wire.BackupDrill, tell func(wire.Progress)) error {
	for e, err := range stream {
		if err != nil {
			return err
		}
		if e.Meta.Type != source.Regular || e.HardLink != "" {
			continue
		}
		var n int64
		if e.Content != nil {
			if n, err = io.Copy(io.Discard, e.Content); err != nil {
				d.First = e.Path
				return fmt.Errorf("restore %s: %w", e.Path, err)
			}
		}
		if n != e.Meta.Size {
			d.First = e.Path
			return fmt.Errorf("restore %s: %d bytes came, %d were saved", e.Path, n, e.Meta.Size)
		}
		d.Files++
		d.Bytes += n
		tell(wire.Progress{Stage: "drill", Text: fmt.Sprintf("%d files, %d bytes as they were saved", d.Files, d.Bytes)})
	}
	return nil
}
