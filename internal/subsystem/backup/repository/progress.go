package repository

import (
	"sync"
	"sync/atomic"
	"time"
)

// progressEvery is how often Progress functions are called.
const progressEvery = 250 * time.Millisecond

// Progress is how far an operation is. Sizes are in bytes; totals of 0 are not known.
type Progress struct {
	Path    string        `json:"path,omitempty"` // what was met last
	Elapsed time.Duration `json:"elapsed"`
	// Of a backup: what was gone through, read, newly found (before compression) and stored.
	Files  int64 `json:"files"`
	Dirs   int64 `json:"dirs"`
	Bytes  int64 `json:"bytes"`
	Read   int64 `json:"read"`
	Added  int64 `json:"added"`
	Stored int64 `json:"stored"`
	Sent   int64 `json:"sent"`
	// Of checks and pruning: Done of Total things or bytes of a Stage.
	Stage string `json:"stage,omitempty"`
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
}

// counts are those of a backup under way.
type counts struct {
	filesNew, filesChanged, filesSame atomic.Int64
	dirsNew, dirsChanged, dirsSame    atomic.Int64
	others, skipped, bytes, read      atomic.Int64
	path                              atomic.Pointer[string]
}

func (c *counts) at(path string) { c.path.Store(&path) }

func (c *counts) file(known, same bool, size int64) {
	c.bytes.Add(size)
	kind(known, same, &c.filesNew, &c.filesChanged, &c.filesSame).Add(1)
}

func (c *counts) dir(known, same bool) {
	kind(known, same, &c.dirsNew, &c.dirsChanged, &c.dirsSame).Add(1)
}

func kind(known, same bool, isNew, changed, equal *atomic.Int64) *atomic.Int64 {
	switch {
	case !known:
		return isNew
	case same:
		return equal
	}
	return changed
}

// report calls progress until the answered function is called, which calls it a last time.
func (c *counts) report(progress func(Progress), b *backup) (stop func()) {
	start := time.Now()
	return reportEvery(progress, func() Progress {
		p := Progress{
			Elapsed: time.Since(start),
			Files:   c.filesNew.Load() + c.filesChanged.Load() + c.filesSame.Load(),
			Dirs:    c.dirsNew.Load() + c.dirsChanged.Load() + c.dirsSame.Load(),
			Bytes:   c.bytes.Load(), Read: c.read.Load(),
			Added: b.packs.stats.plain.Load(), Stored: b.packs.stats.stored.Load(), Sent: b.packs.stats.sent.Load(),
		}
		if at := c.path.Load(); at != nil {
			p.Path = *at
		}
		return p
	})
}

// reportEvery calls progress with what now answers, until it is stopped, and then once more. A panic of progress is that
// of stop.
func reportEvery(progress func(Progress), now func() Progress) (stop func()) {
	if progress == nil {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	var failed error
	report := func() {
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				progress(now())
			case <-end:
				progress(now())
				return
			}
		}
	}
	wg.Go(func() { failed = try(report) })
	return func() {
		close(end)
		if wg.Wait(); failed != nil {
			panic(failed)
		}
	}
}

// summary is what the snapshot keeps of the counts.
func (b *backup) summary() *Summary {
	c, w := &b.counts, &b.packs.stats
	s := &Summary{
		FilesNew: c.filesNew.Load(), FilesChanged: c.filesChanged.Load(), FilesUnmodified: c.filesSame.Load(),
		DirsNew: c.dirsNew.Load(), DirsChanged: c.dirsChanged.Load(), DirsUnmodified: c.dirsSame.Load(),
		DataBlobs: w.dataBlobs.Load(), TreeBlobs: w.treeBlobs.Load(),
		DataAdded: w.plain.Load(), DataAddedPacked: w.stored.Load(),
		TotalBytesProcessed: c.bytes.Load(),
	}
	s.TotalFilesProcessed = s.FilesNew + s.FilesChanged + s.FilesUnmodified
	return s
}

// stageCounter is the progress of an operation with stages.
type stageCounter struct {
	name        atomic.Pointer[string]
	done, total atomic.Int64
}

func (s *stageCounter) stage(name string, total int64) {
	s.done.Store(0)
	s.total.Store(total)
	s.name.Store(&name)
}

func (s *stageCounter) add(n int64) { s.done.Add(n) }

func (s *stageCounter) report(progress func(Progress)) (stop func()) {
	start := time.Now()
	return reportEvery(progress, func() Progress {
		p := Progress{Elapsed: time.Since(start), Done: s.done.Load(), Total: s.total.Load()}
		if n := s.name.Load(); n != nil {
			p.Stage = *n
		}
		return p
	})
}
