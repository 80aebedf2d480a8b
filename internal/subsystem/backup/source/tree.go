package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say what belongs to a backup.
type Options struct {
	// Roots are absolute paths of files or folders.
	Roots []string
	// Exclude are patterns of what is left out. The rules are restic's where both have them:
	//
	//   - a pattern is compared name by name; in a name, * ? [a-z] and \ work as in [path.Match] and never match a slash
	//   - ** as a whole name stands for any number of folders, none included
	//   - a pattern that begins with / is compared from the top, any other from every folder: *.swp, .cache/mozilla
	//   - what matches is left out with everything below it; a / at the end restricts the pattern to folders
	//   - the sources themselves are never left out, nor the folders above them
	//   - there is no negation: a pattern that begins with ! is refused (write \! for a name that does)
	Exclude []string
	// OneFileSystem leaves out what is mounted below a root; the folder on which it is mounted is kept, empty.
	OneFileSystem bool
	// MaxFileBytes leaves out regular files that are larger; 0 is no bound. Such files count as excluded.
	MaxFileBytes int64
}

// maxRoots bounds the sources of one job.
const maxRoots = 10000

// RootError names a source that cannot be backed up at all.
type RootError struct {
	Path string
	Err  error
}

func (e *RootError) Error() string { return fmt.Sprintf("source %s: %v", show(e.Path), e.Err) }

func (e *RootError) Unwrap() error { return e.Err }

// The mistakes in naming a source.
var (
	errNotAbsolute = errors.New("is not an absolute path")
	errZeroByte    = errors.New("holds a zero byte")
	errDotDot      = errors.New(`holds ".."`)
	errNoRoots     = errors.New("no source is named")
)

// Tree is what belongs to a backup. It holds no open files and may be walked many times.
type Tree struct {
	roots   []string
	exclude []pattern
	oneFS   bool
	maxFile int64
}

// New checks the form of the options and answers all that is wrong with them, joined: [*RootError], [*PatternError].
// It does not look at the file system.
func New(o Options) (*Tree, error) {
	t := &Tree{oneFS: o.OneFileSystem, maxFile: o.MaxFileBytes}
	var wrong []error
	switch {
	case len(o.Roots) == 0:
		wrong = append(wrong, errNoRoots)
	case len(o.Roots) > maxRoots:
		wrong = append(wrong, fmt.Errorf("%d sources are named, at most %d are allowed", len(o.Roots), maxRoots))
	}
	for _, root := range o.Roots {
		switch {
		case !strings.HasPrefix(root, "/"):
			wrong = append(wrong, &RootError{Path: root, Err: errNotAbsolute})
		case strings.ContainsRune(root, 0):
			wrong = append(wrong, &RootError{Path: root, Err: errZeroByte})
		case slices.Contains(strings.Split(root, "/"), ".."):
			wrong = append(wrong, &RootError{Path: root, Err: errDotDot}) // means another place when a link is passed
		default:
			t.roots = append(t.roots, path.Clean(root))
		}
	}
	if len(o.Exclude) > maxPatterns {
		wrong = append(wrong, fmt.Errorf("%d patterns to exclude, at most %d are allowed", len(o.Exclude), maxPatterns))
	}
	for _, s := range o.Exclude {
		p, err := parsePattern(s)
		if err != nil {
			wrong = append(wrong, err)
		}
		t.exclude = append(t.exclude, p)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	t.roots = withoutNested(t.roots)
	return t, nil
}

// withoutNested sorts the roots and drops those that lie in another one.
func withoutNested(roots []string) []string {
	slices.Sort(roots)
	var out []string
	for _, root := range roots {
		if !slices.ContainsFunc(out, func(outer string) bool { return within(root, outer) }) {
			out = append(out, root)
		}
	}
	return out
}

// within tells whether path is outer or lies in it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '/' || outer == "/")
}

// Roots answers the sources, cleaned, sorted, without those that lie in another one.
func (t *Tree) Roots() []string { return slices.Clone(t.roots) }

// Step says where a walk stands.
type Step uint8

// The steps of a walk.
const (
	Enter Step = iota + 1 // a folder, before what is in it
	Leave                 // the same folder, after that
	Item                  // anything that is no folder
)

// Entry is one step of a walk.
type Entry struct {
	Step Step
	// Path is absolute, byte by byte; Name is its last element.
	Path, Name string
	// Meta is the receiver's to keep. Enter and Leave of a folder carry the same one.
	Meta *Meta
	// Parent marks the folders above a root, of which only what leads to the roots follows.
	Parent bool

	w  *walker
	in *folder // where Name was found
}

// Walk calls visit for everything in the tree, from the caller's goroutine: depth first, in each folder by the raw
// bytes of the names. A root /a/b comes as Enter /a, Enter /a/b, what is in it, Leave /a/b, Leave /a, both with
// their real metadata. The folder / itself never comes: with it as root, its children stand at the top.
//
// Walk answers only what ends a backup: roots that are not there (before the first visit, joined [*RootError]s) or
// cannot be opened, folders deeper than about sixty below one that was moved elsewhere meanwhile, the cause of ctx, or
// the error of visit. Everything else is in the report, and the walk goes on.
func (t *Tree) Walk(ctx context.Context, r *Report, visit func(*Entry) error) error {
	if err := t.look(); err != nil {
		return err
	}
	w := &walker{tree: t, ctx: ctx, report: r, visit: visit, owners: newOwners()}
	fd, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	top := &folder{fd: fd}
	defer top.close()
	return w.parent(top, newBranch(t.roots))
}

// look finds the roots that are not there.
func (t *Tree) look() error {
	var wrong []error
	for _, root := range t.roots {
		if _, err := os.Lstat(root); err != nil {
			wrong = append(wrong, &RootError{Path: root, Err: cause(err)})
		}
	}
	return errors.Join(wrong...)
}

// cause takes the operation and the path off an error that will be told with both.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// branch is a folder on the way to the roots.
type branch struct {
	name  string
	root  bool      // a root itself: has no branches
	below []*branch // by name
}

// newBranch answers the top of all ways to the roots, which are sorted and not nested.
func newBranch(roots []string) *branch {
	top := &branch{root: roots[0] == "/"}
	for _, root := range roots {
		at := top
		for name := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
			if name == "" {
				continue
			}
			i := slices.IndexFunc(at.below, func(b *branch) bool { return b.name == name })
			if i < 0 {
				i = len(at.below)
				at.below = append(at.below, &branch{name: name})
			}
			at = at.below[i]
		}
		at.root = true
	}
	top.sort()
	return top
}

func (b *branch) sort() {
	slices.SortFunc(b.below, func(x, y *branch) int { return strings.Compare(x.name, y.name) })
	for _, c := range b.below {
		c.sort()
	}
}
