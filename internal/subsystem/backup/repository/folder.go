package repository

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"allclear/internal/subsystem/backup/source"
)

// folder is a folder of which the content is being backed up. Its nodes become ready in any order and are turned into
// text in theirs, as soon as all before are ready: a folder takes the memory of its text.
type folder struct {
	b     *backup
	up    *folder // nil for the root
	slot  int     // place in up
	path  string
	node  *Node
	old   []Node // what the parent snapshot has here
	isOld bool   // the parent snapshot has this folder
	was   ID     // its tree there

	last string // name of the newest child; the builder's

	mu    sync.Mutex // guards the fields below
	slots []slot     // those not in text yet
	base  int        // number of the first of slots
	text  []byte
	nodes int  // in text
	ended bool // no child will come
}

// slot is the place of a child.
type slot struct {
	node  *Node // nil: it is left out
	ready bool
}

// loadOld reads what the parent snapshot has in the folder. What cannot be read there is read again from the source.
func (f *folder) loadOld(ctx context.Context, tree *ID) {
	if tree == nil || tree.IsZero() {
		return
	}
	if nodes, err := f.b.parents.load(ctx, *tree); err == nil {
		f.old, f.isOld, f.was = nodes, true, *tree
	}
}

// find answers the node that the parent snapshot has under a name.
func (f *folder) find(name string) *Node {
	i, ok := slices.BinarySearchFunc(f.old, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return nil
	}
	return &f.old[i]
}

// reserve makes a place for the next child.
func (f *folder) reserve() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots = append(f.slots, slot{})
	return f.base + len(f.slots) - 1
}

// put fills a place; a nil node is left out. The last one to come stores the folder.
func (f *folder) put(ctx context.Context, place int, n *Node) error {
	f.mu.Lock()
	f.slots[place-f.base] = slot{n, true}
	f.advance()
	done := f.ended && len(f.slots) == 0
	f.mu.Unlock()
	if done {
		return f.store(ctx)
	}
	return nil
}

// advance turns what is ready into text. The caller holds the lock.
func (f *folder) advance() {
	i := 0
	for ; i < len(f.slots) && f.slots[i].ready; i++ {
		n := f.slots[i].node
		f.slots[i].node = nil
		if n == nil {
			continue
		}
		if f.nodes == 0 {
			f.text = append(f.text, treeHead...)
		} else {
			f.text = append(f.text, ',')
		}
		f.text = appendNode(f.text, n)
		f.nodes++
	}
	f.base += i
	f.slots = f.slots[i:]
}

// end says that no child will come.
func (f *folder) end(ctx context.Context) error {
	f.mu.Lock()
	f.ended = true
	f.old = nil
	done := len(f.slots) == 0
	f.mu.Unlock()
	if done {
		return f.store(ctx)
	}
	return nil
}

// store saves the tree blob and hands the folder's node to the folder above.
func (f *folder) store(ctx context.Context) error {
	if f.nodes == 0 {
		f.text = append(f.text, treeHead...)
	}
	id, err := f.b.packs.saveBlob(ctx, TreeBlob, append(f.text, treeTail...))
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.text = nil
	f.node.Subtree = id
	if f.up == nil {
		return nil
	}
	f.b.counts.dir(f.isOld, f.was == id)
	return f.up.put(ctx, f.slot, f.node)
}

// builder makes folders of the entries that come.
type builder struct {
	b     *backup
	stack []*folder // open folders, from the root
}

func (w *builder) top() *folder { return w.stack[len(w.stack)-1] }

// visit takes the next entry.
func (w *builder) visit(ctx context.Context, e *Entry) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	in := w.top()
	if e.Leave {
		if len(w.stack) == 1 || in.path != e.Path {
			return fmt.Errorf("the source leaves %q while it is in %q", e.Path, in.path)
		}
		w.stack = w.stack[:len(w.stack)-1]
		return in.end(ctx)
	}
	dir, name := path.Split(e.Path)
	if dir == "" {
		return fmt.Errorf("the source has %q, which is no absolute path", e.Path)
	}
	n := &Node{Name: name, Meta: *e.Meta}
	if dir[:max(1, len(dir)-1)] != in.path || n.ValidName() != nil || name <= in.last && in.last != "" {
		return fmt.Errorf("the source has %q after %q in %q", e.Path, in.last, in.path)
	}
	in.last = name
	w.b.counts.at(e.Path)
	tidy(n)
	switch n.Type {
	case source.Dir:
		return w.enter(ctx, in, e, n)
	case source.Regular:
		return w.file(ctx, in, e, n)
	case source.Socket:
		return nil
	}
	w.b.counts.others.Add(1)
	return in.put(ctx, in.reserve(), n)
}

// tidy leaves out what the format does not have for a type, and what would make equal folders differ.
func tidy(n *Node) {
	n.AccessTime = n.ModTime
	n.Content, n.noContent = nil, false
	switch n.Type {
	case source.Regular:
		n.LinkTarget, n.Device = "", 0
	case source.Symlink:
		n.Size, n.Device = 0, 0
	case source.Device, source.CharDevice:
		n.Size, n.LinkTarget = 0, ""
	default:
		n.Size, n.Links, n.LinkTarget, n.Device = 0, 0, "", 0
	}
}

func (w *builder) enter(ctx context.Context, in *folder, e *Entry, n *Node) error {
	f := &folder{b: w.b, up: in, slot: in.reserve(), path: e.Path, node: n}
	if old := in.find(n.Name); old != nil && old.Type == source.Dir {
		f.loadOld(ctx, &old.Subtree)
	}
	w.stack = append(w.stack, f)
	return nil
}

// file takes over the content of an unchanged file, or opens it and leaves the reading to others.
func (w *builder) file(ctx context.Context, in *folder, e *Entry, n *Node) error {
	old := in.find(n.Name)
	if old != nil && old.Type != source.Regular {
		old = nil
	}
	if old != nil && unchanged(old, n) && w.b.stored(old.Content) {
		n.Content = old.Content
		w.b.counts.file(true, true, n.Size)
		w.b.links.check(n)
		return in.put(ctx, in.reserve(), n)
	}
	f, err := e.Open()
	if source.IsSkip(err) {
		return nil
	}
	if err != nil {
		return err
	}
	job := fileJob{in: in, slot: in.reserve(), path: e.Path, file: f, known: old != nil, name: n.Name}
	select {
	case w.b.jobs <- job:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), f.Close())
	}
}

// unchanged tells whether a file is, as far as its metadata shows, the one that the parent snapshot has.
func unchanged(old, now *Node) bool {
	return old.Size == now.Size && old.ModTime.Equal(now.ModTime) && old.ChangeTime.Equal(now.ChangeTime) &&
		old.Inode == now.Inode && !old.noContent && old.Error == ""
}

// stored tells whether all blobs of a file are there.
func (b *backup) stored(content []ID) bool {
	for _, id := range content {
		if !b.idx.has(DataBlob, id) {
			return false
		}
	}
	return true
}

// end says that the source has nothing more.
func (w *builder) end(ctx context.Context) error {
	if len(w.stack) != 1 {
		return fmt.Errorf("the source ended inside %q", w.top().path)
	}
	return w.stack[0].end(ctx)
}
