package main

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// coverageText is the table of requirements: one a line, NUMBER | what is
// wanted, in our words | what meets it | where it is proved.
//
//go:embed coverage.txt
var coverageText string

// chapter is a series of requirements of one source.
type chapter struct {
	name, title string
	count       int
}

// chapters returns the series, each numbered from 1.
func chapters() []chapter {
	return []chapter{
		{"R0", "Backup over SSH under a strict algorithm policy", 24},
		{"R1", "A client identity that renews, and the feeds behind it", 35},
		{"R2", "Key servers", 26},
		{"R3", "Endpoint protection on Linux", 38},
		{"RX", "What all four have in common", 10},
	}
}

// requirement is one row.
type requirement struct {
	number, want, met string
	tests             []string // names of Go tests, with /STORY for one story
	step              int      // of the later step that brings it, or the rest of it; 0: none
	context           bool     // it only sets the scene
}

// parseCoverage reads the table and reports every defect of its form.
func parseCoverage(table string) ([]requirement, error) {
	var rows []requirement
	var errs []error
	seen := map[string]bool{}
	at := 0
	for line := range strings.Lines(table) {
		at++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := parseRow(line)
		if err == nil && seen[r.number] {
			err = fmt.Errorf("%s stands twice", r.number)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("coverage.txt:%d: %w", at, err))
			continue
		}
		seen[r.number] = true
		rows = append(rows, r)
	}
	for _, c := range chapters() {
		for i := range c.count {
			number := fmt.Sprintf("%s-%d", c.name, i+1)
			if !seen[number] {
				errs = append(errs, fmt.Errorf("%s is missing", number))
			}
			delete(seen, number)
		}
	}
	for number := range seen {
		errs = append(errs, fmt.Errorf("no requirement is called %s", number))
	}
	return rows, errors.Join(errs...)
}

func parseRow(line string) (r requirement, err error) {
	cells := strings.Split(line, "|")
	if len(cells) != 4 {
		return r, fmt.Errorf("%d columns, need 4", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	r.number, r.want, r.met = cells[0], cells[1], cells[2]
	for word := range strings.SplitSeq(cells[3], ",") {
		word = strings.TrimSpace(word)
		switch step, isStep := strings.CutPrefix(word, "step "); {
		case word == "context":
			r.context = true
		case isStep:
			if r.step, err = strconv.Atoi(step); err != nil || r.step < 2 || r.step > 6 {
				return r, fmt.Errorf("%s: %q is no later step", r.number, word)
			}
		case strings.HasPrefix(word, "Test"):
			r.tests = append(r.tests, word)
		default:
			return r, fmt.Errorf("%s: %q is neither a test, a step nor context", r.number, word)
		}
	}
	switch {
	case r.want == "":
		return r, fmt.Errorf("%s says nothing", r.number)
	case len(r.tests) > 0 && r.met == "":
		return r, fmt.Errorf("%s has a test of nothing", r.number)
	case r.context && (len(r.tests) > 0 || r.step > 0):
		return r, fmt.Errorf("%s only sets the scene and is yet proved", r.number)
	}
	return r, nil
}

func coveragePage(rows []requirement) string {
	t := newText()
	t.line("# Coverage of the requirements\n")
	t.line("What the four systems that allclear replaces do, and must do better, numbered by their documents. Each row says what")
	t.line("meets it (a fault code, a check, a command) and which Go test proves that, or which later step brings it:")
	t.line("5 identity and content, 6 endpoint. `context` only sets the scene.")
	t.line("A row with both is met in part: for what is here.\n")
	proved, context := 0, 0
	for _, r := range rows {
		if len(r.tests) > 0 {
			proved++
		}
		if r.context {
			context++
		}
	}
	t.line("%d rows: %d proved by a test today, %d context, %d left to later steps.", len(rows), proved, context, len(rows)-proved-context)
	for _, c := range chapters() {
		t.line("\n## %s: %s\n", c.name, c.title)
		t.head("Number", "Wanted", "Met by", "Proved by")
		for _, r := range rows {
			if strings.HasPrefix(r.number, c.name+"-") {
				t.row(r.number, r.want, r.met, r.proof())
			}
		}
	}
	return t.String()
}

func (r *requirement) proof() string {
	var parts []string
	if len(r.tests) > 0 {
		parts = append(parts, codes(r.tests))
	}
	if r.step > 0 {
		parts = append(parts, fmt.Sprintf("step %d", r.step))
	}
	if r.context {
		parts = append(parts, "context")
	}
	return strings.Join(parts, ", ")
}
