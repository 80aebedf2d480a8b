package extract

import (
	"slices"
	"strings"

	"allclear/internal/subsystem/backup/source"
)

// Only answers the part of a stream that lies at or below one of the paths, with the folders that lead there. A hard
// link to a file outside of that part is yielded as it is: if the stream holds the content only there, restoring says
// so. Paths that were not met are answered by the function, once the stream is at its end.
func Only(s Stream, paths ...string) (Stream, func() (missing []string)) {
	met := make([]bool, len(paths))
	part := func(yield func(*Entry, error) bool) {
		for e, err := range s {
			if err != nil {
				yield(nil, err)
				return
			}
			if wanted(e, paths, met) && !yield(e, nil) {
				return
			}
		}
	}
	return part, func() []string {
		var missing []string
		for i, p := range paths {
			if !met[i] {
				missing = append(missing, p)
			}
		}
		return missing
	}
}

// wanted tells whether an entry belongs to the part, and notes which paths it meets.
func wanted(e *Entry, paths []string, met []bool) bool {
	in := false
	for i, p := range paths {
		if within(e.Path, p) {
			met[i], in = true, true
		}
	}
	return in || e.Meta.Type == source.Dir && slices.ContainsFunc(paths, func(p string) bool { return within(p, e.Path) })
}

// within tells whether path is outer or lies in it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '/')
}
