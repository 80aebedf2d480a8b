package repository

import (
	"context"
	"fmt"
	"iter"
	"path"
	"strings"

	"allclear/internal/subsystem/backup/source"
)

// maxDepth bounds how deep folders may be nested: beyond, a tree is taken for an attack.
const maxDepth = 10_000

// Found is one thing in a snapshot.
type Found struct {
	Path string // absolute, raw bytes: "/etc/passwd"
	Node *Node
}

// ListOptions choose what List answers. The zero value is everything.
type ListOptions struct {
	// Under is a path; only it and what lies below are answered.
	Under string
	// Shallow leaves out what lies below the folders in Under.
	Shallow bool
	// Match is a pattern of package path, compared with the last name, or with the whole path when it holds a '/'; or,
	// without any of *?[\, a text that the path contains, whatever the case of letters.
	Match string
}

// List answers what a snapshot holds, folders before their content, in the order of raw names. What is damaged is
// answered as its path and an error, and the rest follows; only an ended ctx ends the list.
func (rd *Reader) List(ctx context.Context, s Snapshot, o ListOptions) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		match, err := matcher(o.Match)
		if err != nil {
			yield(Found{}, err)
			return
		}
		ctx, cancel := rd.ctx(ctx)
		defer cancel()
		under := clean(o.Under)
		met := under == "/"
		w := walker{trees: rd.trees, enter: func(p string) bool { return within(p, under) || leadsTo(p, under) }}
		if o.Shallow {
			w.enter = func(p string) bool { return p == under || leadsTo(p, under) }
		}
		w.walk(ctx, *s.Tree, "", 0, func(f Found, err error) bool {
			if !within(f.Path, under) {
				return err == nil || yield(f, err)
			}
			met = true
			if err != nil {
				return yield(f, err)
			}
			return !match(f.Path) || yield(f, nil)
		})
		if !met && ctx.Err() == nil {
			yield(Found{Path: under}, fmt.Errorf("%s in snapshot %s: %w", under, s.ID.Short(), ErrNotFound))
		}
	}
}

// clean answers an absolute path without trailing slash; "" is the root.
func clean(p string) string { return path.Clean("/" + p) }

// within tells whether p is under or lies below it.
func within(p, under string) bool {
	return under == "/" || p == under || strings.HasPrefix(p, under) && p[len(under)] == '/'
}

// leadsTo tells whether p is a folder above under.
func leadsTo(p, under string) bool { return p != under && within(under, p) }

func matcher(pattern string) (func(p string) bool, error) {
	if pattern == "" {
		return func(string) bool { return true }, nil
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		low := strings.ToLower(pattern)
		return func(p string) bool { return strings.Contains(strings.ToLower(p), low) }, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	whole := strings.Contains(pattern, "/")
	return func(p string) bool {
		if !whole {
			p = path.Base(p)
		}
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	}, nil
}

// walker goes through a tree, folders before their content.
type walker struct {
	trees *treeReader
	// enter tells which folders are opened.
	enter func(path string) bool
	// leave is called after what lies below a folder that was entered, when it is not nil.
	leave func(f Found) bool
}

// walk answers false when visit did.
func (w *walker) walk(ctx context.Context, tree ID, at string, depth int, visit func(Found, error) bool) bool {
	here := at
	if here == "" {
		here = "/"
	}
	if depth > maxDepth {
		return visit(Found{Path: here}, damaged("tree", tree, fmt.Errorf("nested more than %d deep", maxDepth)))
	}
	nodes, err := w.trees.load(ctx, tree)
	if err != nil {
		return visit(Found{Path: here}, err) && ctx.Err() == nil
	}
	last := ""
	for i := range nodes {
		n := &nodes[i]
		f := Found{at + "/" + n.Name, n}
		err := n.valid()
		if err == nil && i > 0 && n.Name <= last {
			err = fmt.Errorf("%q stands after %q, names must ascend", n.Name, last)
		}
		if err != nil {
			if !visit(Found{Path: here}, damaged("tree", tree, err)) {
				return false
			}
			continue
		}
		last = n.Name
		if !visit(f, nil) {
			return false
		}
		if n.Type == source.Dir && w.enter(f.Path) {
			if !w.walk(ctx, n.Subtree, f.Path, depth+1, visit) {
				return false
			}
			if w.leave != nil && !w.leave(f) {
				return false
			}
		}
	}
	return true
}
