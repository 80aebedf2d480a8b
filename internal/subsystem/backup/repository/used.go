package repository

import (
	"context"
	"errors"
	"fmt"

	"allclear/internal/subsystem/backup/source"
)

// bitset marks places of the index.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, n/64+1) }

func (b bitset) has(i uint32) bool { return b[i/64]>>(i%64)&1 == 1 }
func (b bitset) set(i uint32)      { b[i/64] |= 1 << (i % 64) }

// place answers where the first copy of a blob stands among the records.
func (x *index) place(kind Kind, id ID) (uint32, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	v := x.table[x.slot(kind, &id)]
	return v - 1, v != 0
}

// marker goes through all that is reachable from trees, each tree once, and marks the blobs in use.
type marker struct {
	trees *treeReader
	used  bitset // by the place of a blob's first copy
	// problem is told of what is wrong; its error ends the marking.
	problem func(what string, err error) error
	step    func() // after each tree
	seen    map[ID]bool
}

func newMarker(trees *treeReader, problem func(string, error) error) *marker {
	return &marker{trees: trees, used: newBitset(trees.x.count), problem: problem, step: func() {}, seen: map[ID]bool{}}
}

// mark follows a tree. from is what names it in problems.
func (m *marker) mark(ctx context.Context, tree ID, from string) error {
	type visit struct {
		id   ID
		path string
	}
	for stack := []visit{{tree, from}}; len(stack) > 0; {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		place, known := m.trees.x.place(TreeBlob, v.id)
		switch {
		case known && m.used.has(place), !known && m.seen[v.id]:
			continue
		case known:
			m.used.set(place)
		default:
			m.seen[v.id] = true
		}
		nodes, err := m.trees.load(ctx, v.id)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if _, isDamage := errors.AsType[*DamageError](err); !isDamage {
				return err // the store, not the tree
			}
			if err := m.problem(v.path, err); err != nil {
				return err
			}
		}
		last := ""
		for i := range nodes {
			n := &nodes[i]
			if err := m.node(v.id, v.path, n, i > 0 && n.Name <= last); err != nil {
				return err
			}
			last = n.Name
			if n.Type == source.Dir && !n.Subtree.IsZero() {
				stack = append(stack, visit{n.Subtree, v.path + "/" + n.Name})
			}
		}
		m.step()
	}
	return nil
}

// node judges one node and marks its data.
func (m *marker) node(tree ID, path string, n *Node, misplaced bool) error {
	err := n.valid()
	if err == nil && misplaced {
		err = fmt.Errorf("%q does not stand in order, names must ascend", n.Name)
	}
	if err != nil {
		if err := m.problem(path, damaged("tree", tree, err)); err != nil {
			return err
		}
	}
	for _, id := range n.Content {
		place, known := m.trees.x.place(DataBlob, id)
		if known {
			m.used.set(place)
			continue
		}
		if err := m.problem(path+"/"+n.Name, damaged("data", id, errNoIndex)); err != nil {
			return err
		}
	}
	return nil
}
