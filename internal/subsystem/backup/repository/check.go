package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Level is how deeply a check looks. Each looks at all that those before it look at.
type Level int

// The levels.
const (
	CheckIndex     Level = iota + 1 // the index files are readable and do not contradict each other
	CheckPacks                      // each pack is there and has its size
	CheckStructure                  // each snapshot has all its trees, and each file its blobs
	CheckData                       // packs are read, and each blob is what its ID says
)

// CheckOptions say what Check looks at.
type CheckOptions struct {
	Level Level
	Part  Part // of the packs, for CheckData
	// Coverage, if not nil, chooses the packs that were not read for longest and notes what was read and found well.
	Coverage *Coverage
	Progress func(Progress)
}

// Problem is something that is wrong: data is lost or in danger.
type Problem struct {
	// Where is the file of the repository, or the path in a snapshot.
	Where string
	Err   error
}

func (p Problem) String() string { return p.Where + ": " + p.Err.Error() }

// CheckResult is what a check found.
type CheckResult struct {
	Problems []Problem // the first maxProblems of Wrong
	Wrong    int       // how many there are
	Hints    []string  // harmless: left by a run that was cut off, or by another program
	// What was looked at.
	Indexes, Packs, Blobs, Snapshots, Trees int
	PacksRead                               int
	BytesRead                               int64 // of packs
	BytesTotal                              int64 // of all packs
}

// maxProblems bounds what one result lists.
const maxProblems = 1000

func (c *CheckResult) problem(where string, err error) {
	if c.Wrong++; len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, Problem{where, err})
	}
}

// checker is a check under way.
type checker struct {
	r     *Repository
	o     CheckOptions
	out   *CheckResult
	x     *loadedIndex
	packs [][]packedBlob // by number
	sizes map[ID]int64   // of the files
	snaps []Snapshot
	at    stageCounter
}

// Check looks for damage. It changes nothing and holds a shared lock, so that backups can go on meanwhile while nothing
// is removed; they add, and what is read first is judged by what is read later: snapshots, index, packs. Damage is in
// the result; the error says that the check could not be done to its end, and the result is what was found before.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (out CheckResult, err error) {
	if o.Level < CheckIndex || o.Level > CheckData {
		return out, fmt.Errorf("check: level %d is not known", o.Level)
	}
	if err := o.Part.valid(); err != nil {
		return out, fmt.Errorf("check: %w", err)
	}
	ctx, lock, err := r.Lock(ctx, Shared)
	if err != nil {
		return out, err
	}
	defer lock.release(ctx, &err)
	c := &checker{r: r, o: o, out: &out}
	defer c.at.report(o.Progress)()
	for _, step := range []struct {
		level Level
		do    func(context.Context) error
	}{{CheckStructure, c.snapshots}, {CheckIndex, c.index}, {CheckPacks, c.files}, {CheckStructure, c.structure}, {CheckData, c.data}} {
		if o.Level < step.level {
			continue
		}
		if err := step.do(ctx); err != nil {
			return out, fmt.Errorf("check: %w", err)
		}
	}
	return out, nil
}

func (c *checker) snapshots(ctx context.Context) (err error) {
	c.at.stage("snapshots", 0)
	c.snaps, err = c.r.loadSnapshots(ctx, func(id ID, err error) error {
		c.out.problem(filePath(snapsDir, id), err)
		return nil
	})
	c.out.Snapshots = len(c.snaps)
	return err
}

func (c *checker) index(ctx context.Context) (err error) {
	c.at.stage("index", 0)
	c.x, err = c.r.loadIndex(ctx, func(id ID, err error) error {
		c.out.problem(filePath(indexDir, id), err)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range c.x.differ {
		c.out.problem(packPath(id), errors.New("two index files say different things of this pack"))
	}
	listed := make([]int, len(c.x.packs))
	for _, f := range c.x.files {
		for _, no := range f.packs {
			listed[no]++
		}
	}
	c.packs = c.x.byPack()
	for no, n := range listed {
		if n > 1 {
			c.out.Hints = append(c.out.Hints, fmt.Sprintf("pack %s is in %d index files", c.x.packs[no], n))
		}
		if blobs := c.packs[no]; slices.ContainsFunc(blobs, func(b packedBlob) bool { return b.kind != blobs[0].kind }) {
			c.out.Hints = append(c.out.Hints, fmt.Sprintf("pack %s holds data and trees", c.x.packs[no]))
		}
	}
	c.out.Indexes, c.out.Packs, c.out.Blobs = len(c.x.files), len(c.x.packs), c.x.count
	return nil
}

// files compares the packs with what the index says of them.
func (c *checker) files(ctx context.Context) error {
	c.at.stage("packs", 0)
	all, err := listPacks(ctx, c.r.store)
	if err != nil {
		return err
	}
	c.sizes = make(map[ID]int64, len(all))
	for _, f := range all {
		c.sizes[f.id] = f.size
	}
	for no, id := range c.x.packs {
		want := packSize(c.packs[no])
		size, there := c.sizes[id]
		switch {
		case !there:
			c.out.problem(packPath(id), damaged("pack", id, fmt.Errorf("the file is missing, it should have %d bytes: %w", want, fs.ErrNotExist)))
		case size != want:
			c.out.problem(packPath(id), damaged("pack", id, fmt.Errorf("the file has %d bytes, the index says %d", size, want)))
		default:
			c.out.BytesTotal += size
		}
	}
	orphans := 0
	for _, f := range all {
		if _, known := c.x.numbers[f.id]; !known {
			orphans++
		}
	}
	if orphans > 0 {
		c.out.Hints = append(c.out.Hints, fmt.Sprintf("%d packs are in no index, left by a backup that was cut off; pruning removes them", orphans))
	}
	return nil
}

// structure follows all snapshots.
func (c *checker) structure(ctx context.Context) error {
	c.at.stage("trees", int64(len(c.snaps)))
	trees := newTreeReader(c.r, c.x.index)
	trees.measure()
	m := newMarker(trees, func(where string, err error) error {
		c.out.problem(where, err)
		return nil
	})
	m.step = func() { c.out.Trees++ }
	for _, s := range c.snaps {
		if err := m.mark(ctx, *s.Tree, "snapshot "+s.ID.Short()+":"); err != nil {
			return err
		}
		c.at.add(1)
	}
	return nil
}

// now is the time that a coverage notes, in whole seconds.
func (c *checker) now() time.Time { return c.r.now().UTC().Truncate(time.Second) }
