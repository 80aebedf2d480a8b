// Command docgen writes the generated part of docs/: the fault reference, the
// configuration, the API, the policies and the SSH knowledge base, each from the table that the program
// itself works by, and the coverage of the requirements from coverage.txt.
//
// What people have to write by hand is not here. The program is no part of the
// product; "make generate" runs it, and a test finds files that are not current.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"allclear/internal/agent"
)

//go:generate go run . ../..

// pages are texts by their path below docs/.
type pages map[string]string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docgen ROOT")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	all, err := generate(root)
	if err != nil {
		return err
	}
	docs := filepath.Join(root, "docs")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		file := filepath.Join(docs, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(all[name]), 0o644); err != nil {
			return err
		}
	}
	old, err := written(docs)
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, current := all[name]; !current {
			if err := os.Remove(filepath.Join(docs, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// generate makes every page.
func generate(root string) (pages, error) {
	stories, err := readStories(root)
	if err != nil {
		return nil, err
	}
	all := pages{}
	faultPages(all, stories)
	if err := configurationPage(all); err != nil {
		return nil, err
	}
	apiPage(all)
	policiesPage(all)
	knowledgePage(all)
	rows, err := parseCoverage(coverageText)
	if err != nil {
		return nil, err
	}
	all["coverage.md"] = coveragePage(rows)
	all["yang/"+agent.AlarmModule+".yang"] = yangModule()
	return all, nil
}

// written lists the pages of codes that are on disk: those of codes that are
// gone must go too.
func written(docs string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(docs, "faults", "*", "*.md"))
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		if files[i], err = filepath.Rel(docs, file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// note is the first line of every page.
const note = "<!-- Written by cmd/docgen: change what it is made from, then \"make generate\". -->\n"

// text builds a page.
type text struct{ strings.Builder }

func newText() *text {
	t := new(text)
	t.WriteString(note)
	return t
}

// line adds a line.
func (t *text) line(format string, args ...any) {
	if len(args) == 0 {
		t.WriteString(format + "\n")
		return
	}
	fmt.Fprintf(t, format+"\n", args...)
}

// row adds a row of a table.
func (t *text) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(c, "|", "\\|"), "\n", " ")
	}
	t.line("%s", "| "+strings.Join(cells, " | ")+" |")
}

// head begins a table.
func (t *text) head(cells ...string) {
	t.row(cells...)
	t.line("%s", strings.Repeat("|---", len(cells))+"|")
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func codes[S ~string](list []S) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = code(string(s))
	}
	return strings.Join(quoted, ", ")
}
