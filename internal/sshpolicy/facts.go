package sshpolicy

import (
	"maps"
	"slices"
)

// Fact is what the knowledge base says of one algorithm.
type Fact struct {
	Category Category
	Name     string
	Since    map[string]string // software -> first version that has it
	Dropped  map[string]string // software -> last version that offered it by default
	Weak     []string          // reasons to move away from it
	Broken   []string          // reasons not to use it
	Go       bool              // our own transport can do it
	OpenSSH  bool              // the ssh command can do it
}

// Facts answers the knowledge base, by category in the order of [Categories]
// and by name. Its sources stand in data/README.md.
func Facts() []Fact {
	var all []Fact
	for _, c := range Categories() {
		of := knowledge().algorithms[c]
		for _, name := range slices.Sorted(maps.Keys(of)) {
			f := of[name]
			all = append(all, Fact{
				Category: c, Name: name, Since: maps.Clone(f.Since), Dropped: maps.Clone(f.ServerDefaultUntil),
				Weak: slices.Clone(f.Weak), Broken: slices.Clone(f.Broken), Go: Go.Can(c, name), OpenSSH: OpenSSH.Can(c, name),
			})
		}
	}
	return all
}

// DefaultChange is what one OpenSSH release changed in what a server offers by
// default, against the release before it.
type DefaultChange struct {
	Version        string
	Category       Category
	Added, Dropped []string
}

// DefaultChanges lists them, the oldest release first. The first release that
// is known is left out: it changes nothing that is known.
func DefaultChanges() []DefaultChange {
	var all []DefaultChange
	releases := knowledge().releases
	for i, now := range releases {
		if i == 0 {
			continue
		}
		for _, c := range Categories() {
			added, dropped := without(now.list(c), releases[i-1].list(c)), without(releases[i-1].list(c), now.list(c))
			if len(added)+len(dropped) > 0 {
				all = append(all, DefaultChange{Version: now.Version, Category: c, Added: added, Dropped: dropped})
			}
		}
	}
	return all
}

// without answers what list has and other has not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(other, name) })
}
