package source

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Reason says why something is not in the backup as it stands on the disk.
type Reason string

// The reasons.
const (
	Unreadable Reason = "unreadable" // open or read was refused or went wrong: not in the backup
	Vanished   Reason = "vanished"   // gone between the listing of its folder and the look: not in the backup
	Changed    Reason = "changed"    // changed while it was read: in the backup, perhaps as a mixture
	Swapped    Reason = "swapped"    // became another kind of thing under our hands: not in the backup
	Metadata   Reason = "metadata"   // in the backup without some of its metadata
	LinkSource Reason = "link"       // a source that is a symbolic link: the link itself is in the backup
	LeftOut    Reason = "left-out"   // anything else that the writer of the backup could not keep
)

// Skip is one thing that is not in the backup as it stands on the disk.
type Skip struct {
	Path   string // absolute, byte by byte
	Reason Reason
	Err    error
}

func (s Skip) String() string { return fmt.Sprintf("%s %s: %v", s.Reason, show(s.Path), s.Err) }

// SkipError says that one thing had to be left out. It is in the report already: leave the thing out and go on.
type SkipError struct{ Skip Skip }

func (e *SkipError) Error() string { return e.Skip.String() }

func (e *SkipError) Unwrap() error { return e.Skip.Err }

// IsSkip tells whether err is, or wraps, a [*SkipError].
func IsSkip(err error) bool {
	_, ok := errors.AsType[*SkipError](err)
	return ok
}

// MaxSkips is the number of skips that a report holds; the counts go on.
const MaxSkips = 100

// Seen counts what a walk has met.
type Seen struct {
	Files, Dirs, Others int64
	Sockets             int64 // never backed up: they mean nothing without their process
	Excluded            int64 // by a pattern or their size, on another or on a kernel's own file system
	Bytes               int64 // sizes of the files
}

// Report is what is to be said about one run: bounded, however bad the tree is. The zero value is ready; it is safe for
// concurrent use.
type Report struct {
	mu     sync.Mutex // guards all below
	first  []Skip
	counts map[Reason]int64
	seen   Seen
}

// Add takes one more skip.
func (r *Report) Add(s Skip) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[Reason]int64{}
	}
	r.counts[s.Reason]++
	if len(r.first) < MaxSkips {
		r.first = append(r.first, s)
	}
}

// skip adds and answers the error for it.
func (r *Report) skip(path string, reason Reason, err error) error {
	s := Skip{Path: path, Reason: reason, Err: err}
	r.Add(s)
	return &SkipError{Skip: s}
}

// Skips answers the first [MaxSkips] in the order in which they were met.
func (r *Report) Skips() []Skip {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.first)
}

// Counts answers how often each reason was met.
func (r *Report) Counts() map[Reason]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Total answers the number of all skips.
func (r *Report) Total() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n int64
	for _, c := range r.counts {
		n += c
	}
	return n
}

// Seen answers what was met so far.
func (r *Report) Seen() Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// saw counts by one more thing.
func (r *Report) saw(count func(*Seen)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(&r.seen)
}
