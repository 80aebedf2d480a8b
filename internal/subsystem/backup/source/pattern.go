package source

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxPatterns and maxPattern bound what a configuration may ask of every single file.
const (
	maxPatterns = 1000
	maxPattern  = 4096 // bytes
)

// PatternError names a pattern that cannot be used.
type PatternError struct{ Pattern, Wrong string }

func (e *PatternError) Error() string { return fmt.Sprintf("exclude %q: %s", e.Pattern, e.Wrong) }

// pattern is one compiled exclude.
type pattern struct {
	parts    []string // between the slashes; "**" stands for any number of folders
	absolute bool
	dirOnly  bool
}

// parsePattern reads one exclude by the rules of [Options.Exclude].
func parsePattern(s string) (pattern, error) {
	wrong := func(text string) (pattern, error) { return pattern{}, &PatternError{Pattern: s, Wrong: text} }
	switch {
	case s == "":
		return wrong("is empty")
	case len(s) > maxPattern:
		return wrong(fmt.Sprintf("is longer than %d bytes", maxPattern))
	case strings.HasPrefix(s, "!"):
		return wrong(`begins with "!"; there is no negation, write "\!" for a name that begins so`)
	case strings.ContainsRune(s, 0):
		return wrong("holds a zero byte")
	}
	p := pattern{absolute: strings.HasPrefix(s, "/"), dirOnly: strings.HasSuffix(s, "/")}
	for part := range strings.SplitSeq(s, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			return wrong(`holds ".."`)
		case "**":
			if n := len(p.parts); n > 0 && p.parts[n-1] == "**" {
				continue // twice is the same as once
			}
		default:
			if _, err := path.Match(part, ""); err != nil {
				return wrong(fmt.Sprintf("%q is no pattern for a name", part))
			}
		}
		p.parts = append(p.parts, part)
	}
	if len(p.parts) == 0 || !slices.ContainsFunc(p.parts, func(s string) bool { return s != "**" }) {
		return wrong("would leave out everything")
	}
	if !p.absolute && p.parts[0] != "**" {
		p.parts = slices.Insert(p.parts, 0, "**")
	}
	return p, nil
}

// match tells whether a thing is left out by this pattern itself. That a folder above it was is the walk's business:
// it never gets here then.
func (p pattern) match(names []string, dir bool) bool {
	return (dir || !p.dirOnly) && matchNames(p.parts, names)
}

// matchNames goes on greedily and, when a name does not fit, only moves what the last ** stands for: an earlier one is
// settled by its first fit. So the time is at most the product of the two lengths.
func matchNames(parts, names []string) bool {
	back := -1 // where to go on after the last ** when the present fit fails
	backName := 0
	p, n := 0, 0
	for n < len(names) {
		switch {
		case p < len(parts) && parts[p] == "**":
			back, backName = p+1, n
			p++
		case p < len(parts) && matchName(parts[p], names[n]):
			p++
			n++
		case back >= 0:
			backName++
			p, n = back, backName
		default:
			return false
		}
	}
	for p < len(parts) && parts[p] == "**" {
		p++
	}
	return p == len(parts)
}

func matchName(part, name string) bool {
	ok, err := path.Match(part, name)
	return ok && err == nil // the form was checked when it was read
}

// excluded tells whether any pattern leaves the path out. It splits the path only if it must.
func (t *Tree) excluded(full, name string, dir bool) bool {
	var names []string
	for _, p := range t.exclude {
		if len(p.parts) == 2 && p.parts[0] == "**" { // the common case: *.swp
			if (dir || !p.dirOnly) && matchName(p.parts[1], name) {
				return true
			}
			continue
		}
		if names == nil {
			names = strings.Split(strings.TrimPrefix(full, "/"), "/")
		}
		if p.match(names, dir) {
			return true
		}
	}
	return false
}
