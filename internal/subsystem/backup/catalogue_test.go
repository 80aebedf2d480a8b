package backup_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/watch"
)

// placeholder is a name in braces in a text or command of the catalogue.
var placeholder = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

func catalogue(t *testing.T) *fault.Catalogue {
	t.Helper()
	return must(fault.NewCatalogue(slices.Concat(backup.Faults(), watch.Faults(), keyserver.Faults())...))(t) // it refuses what is empty
}

func TestTextsUseOnlyEvidenceThatLooksGive(t *testing.T) {
	for _, e := range backup.Faults() {
		texts, steps := []string{e.Title, e.Impact, e.Cause}, slices.Clone(e.Remedy)
		for _, v := range e.Variants {
			texts, steps = append(texts, v.Title, v.Cause), append(steps, v.Remedy...)
		}
		for _, s := range steps {
			texts = append(texts, s.Text, s.Command)
			if strings.ContainsAny(placeholder.ReplaceAllString(s.Command, ""), "<>{}") && !strings.Contains(s.Command, "&&") {
				t.Errorf("%s: %q cannot be run as it stands", e.Code, s.Command)
			}
		}
		for _, text := range texts {
			for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
				if m[1] != "resource" && !e.Declares(m[1]) {
					t.Errorf("%s: %s is no evidence of it, in %q", e.Code, m[0], text)
				}
			}
		}
	}
}

// The true cause must be able to mask the symptom: all that can go wrong with
// the way to a target.
func TestAFailedJobIsCausedByWhateverBreaksItsTarget(t *testing.T) {
	e, _ := catalogue(t).Get(backup.CodeJobFailed)
	for _, w := range watch.Faults() {
		if strings.HasPrefix(string(w.Code), "ssh/") && !slices.Contains(e.CausedBy, w.Code) {
			t.Errorf("%s is no cause of %s", w.Code, e.Code)
		}
	}
	for _, b := range backup.Faults() {
		if strings.HasPrefix(string(b.Code), "backup/target/") && !slices.Contains(e.CausedBy, b.Code) {
			t.Errorf("%s is no cause of %s", b.Code, e.Code)
		}
	}
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	for _, c := range w.backup.Checks() {
		for _, k := range c.Causes {
			if k.Resource != "nas1" && k.Resource != "etc" {
				t.Errorf("%s names %s, which is of another resource", c.ID(), k)
			}
		}
	}
}

// What differs from look to look of an unchanged fault must not make events.
func TestVolatileEvidenceIsNoFact(t *testing.T) {
	for _, e := range backup.Faults() {
		for _, key := range []string{"run", "try", "percent", "bytes", "failures", "since", "offset", "rate", "files_skipped", "free", "need", "last_good", "age", "problems", "verified", "copies", "expired", "drill_id"} {
			if e.IsFact(key) {
				t.Errorf("%s: %s is a fact", e.Code, key)
			}
		}
	}
}
