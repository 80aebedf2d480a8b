// Command style checks what docs and reviews would otherwise have to repeat: the rules of CONTRIBUTING.md that a
// machine can see and that neither gofumpt nor staticcheck look at. Its arguments are folders, read with all below
// them; it prints file:line: rule and exits 1 when it found something.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxFile = 500 // lines of a file, tests aside
	maxFunc = 60  // lines of a function, tests aside
)

// mayInit are the only files that may have an init function.
var mayInit = []string{"internal/sshpolicy/group18.go"}

var (
	unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	ownedTodo  = regexp.MustCompile(`\bTODO\([a-z]+\): .+, until .+`)
)

func main() {
	roots := os.Args[1:]
	if len(roots) == 0 {
		roots = []string{"."}
	}
	found := 0
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "testdata" || e.Name() == ".git" || e.Name() == "build"):
				return filepath.SkipDir
			case !e.Type().IsRegular() || !strings.HasSuffix(name, ".go"):
				return nil
			}
			source, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for _, line := range check(filepath.ToSlash(name), source) {
				fmt.Println(line)
				found++
			}
			return nil
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "style:", err)
			os.Exit(1)
		}
	}
	if found > 0 {
		os.Exit(1)
	}
}

// checker walks one file.
type checker struct {
	name string
	test bool
	// bubble: a test of synthetic time, in which sleeping takes no time.
	bubble bool
	set    *token.FileSet
	found  []string
}

// check answers what is wrong with a file.
func check(name string, source []byte) []string {
	c := &checker{name: name, test: strings.HasSuffix(name, "_test.go"), set: token.NewFileSet()}
	f, err := parser.ParseFile(c.set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	if ast.IsGenerated(f) {
		return nil
	}
	for _, imp := range f.Imports {
		c.bubble = c.bubble || c.test && imp.Path.Value == `"testing/synctest"`
	}
	if n := strings.Count(string(source), "\n"); n > maxFile && !c.test {
		c.say(f.Package, "the file has %d lines, at most %d: one idea per file", n, maxFile)
	}
	for _, group := range f.Comments {
		if text := group.Text(); unfinished.MatchString(text) && !ownedTodo.MatchString(text) {
			c.say(group.Pos(), "unfinished work: \"TODO(name): what, until when\", or finish it")
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			c.function(d)
		case *ast.GenDecl:
			c.types(d)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			c.call(call)
		}
		return true
	})
	return c.found
}

func (c *checker) say(at token.Pos, format string, args ...any) {
	p := c.set.Position(at)
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", c.name, p.Line, fmt.Sprintf(format, args...)))
}

func (c *checker) function(fn *ast.FuncDecl) {
	if fn.Name.Name == "init" && fn.Recv == nil && !allowed(c.name) {
		c.say(fn.Pos(), "init: app wires everything by plain calls")
	}
	if c.test {
		return
	}
	if fn.Name.IsExported() && fn.Recv == nil && fn.Doc == nil {
		c.say(fn.Pos(), "%s is public and has no comment", fn.Name.Name)
	}
	if n := c.set.Position(fn.End()).Line - c.set.Position(fn.Pos()).Line + 1; n > maxFunc {
		c.say(fn.Pos(), "%s has %d lines, at most %d", fn.Name.Name, n, maxFunc)
	}
	if r := fn.Type.Results; r != nil && r.NumFields() > 3 {
		c.say(fn.Pos(), "%s has %d results, at most 3", fn.Name.Name, r.NumFields())
	}
}

func (c *checker) types(d *ast.GenDecl) {
	for _, s := range d.Specs {
		t, ok := s.(*ast.TypeSpec)
		if ok && !c.test && t.Name.IsExported() && d.Doc == nil && t.Doc == nil && t.Comment == nil {
			c.say(t.Pos(), "%s is public and has no comment", t.Name.Name)
		}
	}
}

func allowed(name string) bool {
	for _, f := range mayInit {
		if strings.HasSuffix(name, f) {
			return true
		}
	}
	return false
}

// call looks at calls by the name they are written with: pkg.Func or value.Method.
func (c *checker) call(call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return
	}
	text, literal := first(call)
	switch x.Name + "." + sel.Sel.Name {
	case "time.Sleep":
		if !c.bubble {
			c.say(call.Pos(), "time.Sleep: wait for a signal, or use testing/synctest")
		}
	case "fmt.Errorf", "errors.New":
		if literal && (strings.Contains(text, "failed to ") || strings.HasPrefix(text, "error ")) {
			c.say(call.Pos(), "%q: say what was tried and with what, then the cause", text)
		}
	case "t.Skip", "t.Skipf", "b.Skip", "b.Skipf", "f.Skip", "f.Skipf":
		if literal && !strings.HasPrefix(text, "needs: ") {
			c.say(call.Pos(), "%q: a skip says what it needs: \"needs: program, root\"", text)
		}
	case "t.SkipNow", "b.SkipNow", "f.SkipNow":
		c.say(call.Pos(), "a skip says what it needs: \"needs: program, root\"")
	}
}

// first answers the first argument if it is a text written there.
func first(call *ast.CallExpr) (string, bool) {
	if len(call.Args) == 0 {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
