package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"allclear/internal/app"
	"allclear/internal/fault"
)

const root = "../.."

func TestGeneratedFilesAreCurrent(t *testing.T) {
	all, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	docs := filepath.Join(root, "docs")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		got, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			t.Errorf("%v: make generate", err)
		} else if string(got) != all[name] {
			t.Errorf("docs/%s is not current: make generate", name)
		}
	}
	old, err := written(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if _, current := all[name]; !current {
			t.Errorf("docs/%s is of a code that is gone: make generate", name)
		}
	}
}

func TestEveryCodeHasAPage(t *testing.T) {
	all, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range app.Catalogue().All() {
		e := entry.General()
		page := all["faults/"+string(e.Code)+".md"]
		for _, want := range []string{e.Title, e.Impact, e.Cause, e.Raise, e.Clear} {
			if !strings.Contains(page, strings.ReplaceAll(want, "|", "\\|")) {
				t.Errorf("the page of %s lacks %q", e.Code, want)
			}
		}
		for _, step := range e.Remedy {
			if !strings.Contains(page, step.Text) || !strings.Contains(page, step.Command) {
				t.Errorf("the page of %s lacks the step %q", e.Code, step.Text)
			}
		}
	}
}

func TestCoverageNamesTestsThatExist(t *testing.T) {
	rows, err := parseCoverage(coverageText)
	if err != nil {
		t.Fatal(err)
	}
	tests := testFunctions(t)
	for _, r := range rows {
		for _, name := range r.tests {
			function, story, hasStory := strings.Cut(name, "/")
			if !tests[function] {
				t.Errorf("%s is proved by %s, which does not exist", r.number, function)
			}
			if !hasStory {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, storyDir, story+".txtar")); err != nil || function != "TestStories" {
				t.Errorf("%s is proved by %s: %v", r.number, name, err)
			}
		}
	}
}

var codeForm = regexp.MustCompile("`([a-z]+(?:/[a-z-]+)+)`")

func TestCoverageNamesCodesThatExist(t *testing.T) {
	rows, err := parseCoverage(coverageText)
	if err != nil {
		t.Fatal(err)
	}
	catalogue := app.Catalogue()
	for _, r := range rows {
		for _, m := range codeForm.FindAllStringSubmatch(r.met, -1) {
			if _, known := catalogue.Get(fault.Code(m[1])); !known && r.step == 0 {
				t.Errorf("%s is met by %s, which is in no catalogue", r.number, m[1])
			}
		}
	}
}

func TestCoverageRefusesWhatIsNotSound(t *testing.T) {
	for table, want := range map[string]string{
		"R0-1 | a | b | TestX\nR0-1 | a | b | TestX": "R0-1 stands twice",
		"R0-1 | a | b | TestX":                       "R0-2 is missing",
		"R9-1 | a | b | TestX":                       "no requirement is called R9-1",
		"R0-1 | a | b | step 1":                      "is no later step",
		"R0-1 | a | b | soon":                        "neither a test",
		"R0-1 | a | | TestX":                         "a test of nothing",
		"R0-1 | | b | TestX":                         "says nothing",
		"R0-1 | a | b | context, TestX":              "is yet proved",
		"R0-1 | a | b":                               "3 columns",
	} {
		if _, err := parseCoverage(table); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", table, err, want)
		}
	}
}

// testFunctions returns the names of all Go tests, as "go test -list" would.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "build" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") && fn.Type.Params.NumFields() == 1 {
				found[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 100 {
		t.Fatalf("only %d tests found", len(found))
	}
	return found
}
