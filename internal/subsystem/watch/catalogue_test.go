package watch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/watch"
)

func entries(t *testing.T) []*fault.Entry {
	t.Helper()
	return must(fault.NewCatalogue(watch.Faults()...))(t).All() // it refuses what is empty
}

func TestCatalogueHoldsEveryCodeOfSSHAndConnectivity(t *testing.T) {
	c := must(fault.NewCatalogue(watch.Faults()...))(t)
	for _, code := range sshpolicy.Codes() {
		if _, ok := c.Get(fault.Code(code)); !ok {
			t.Errorf("no entry for %s", code)
		}
	}
	for _, cause := range netdiag.Causes() {
		code := cause.Code()
		if _, ok := c.Get(fault.Code(code)); !ok && code != "" && code != netdiag.CodeClock {
			t.Errorf("no entry for %s of cause %s", code, cause)
		}
	}
}

// placeholder is a name in braces in a text or command of the catalogue.
var placeholder = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

func TestTextsUseOnlyEvidenceThatLooksGive(t *testing.T) {
	for _, e := range entries(t) {
		texts := []string{e.Title, e.Impact, e.Cause}
		steps := slices.Clone(e.Remedy)
		for _, v := range e.Variants {
			texts = append(texts, v.Title, v.Cause)
			steps = append(steps, v.Remedy...)
		}
		for _, s := range steps {
			texts = append(texts, s.Text, s.Command)
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

// commands are those that the program has.
var commands = []string{"status", "fault", "verify", "check", "probe", "preflight", "config", "support", "drill", "version", "completion"}

func checkCommand(t *testing.T, where, command string) {
	t.Helper()
	rest, ours := strings.CutPrefix(command, "allclear ")
	if !ours {
		return
	}
	word, _, _ := strings.Cut(rest, " ")
	if !slices.Contains(commands, word) {
		t.Errorf("%s: no command %q in %q", where, word, command)
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(command, ""), "<>{}") || strings.Contains(command, "HOST") || strings.Contains(command, "TARGET") {
		t.Errorf("%s: %q cannot be run as it stands", where, command)
	}
}

func TestCommandsOfTheCatalogueExist(t *testing.T) {
	for _, e := range entries(t) {
		steps := slices.Clone(e.Remedy)
		for _, v := range e.Variants {
			steps = append(steps, v.Remedy...)
		}
		for _, s := range steps {
			checkCommand(t, string(e.Code), s.Command)
		}
	}
}

// senseKeys reads from the source of a package every constant that becomes a
// sense key: calls of these functions, and indexes of these fields.
func senseKeys(t *testing.T, dir string, calls []string, fields []string) []string {
	t.Helper()
	files := must(filepath.Glob(filepath.Join(dir, "*.go")))(t)
	var keys []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			keys = append(keys, must(strconv.Unquote(lit.Value))(t))
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file := must(parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution))(t)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains(calls, f.Name) && len(n.Args) == 2 {
					add(n.Args[0])
				}
			case *ast.IndexExpr:
				if s, ok := n.X.(*ast.SelectorExpr); ok && slices.Contains(fields, s.Sel.Name) {
					add(n.Index)
				}
			}
			return true
		})
	}
	return keys
}

// A key that a look may give and no entry declares would make the whole look
// count as failed, just when something is wrong.
func TestEveryKeyThatALookMayGiveIsDeclared(t *testing.T) {
	c := must(fault.NewCatalogue(watch.Faults()...))(t)
	for _, s := range []struct {
		dir           string
		calls, fields []string
		least         int // so that a renamed function does not make the test empty
		code          fault.Code
	}{
		{"../../netdiag", []string{"put"}, []string{"Evidence"}, 30, watch.CodeTLS},
		{"../../sshpolicy", []string{"set"}, nil, 24, watch.CodeCryptoError},
	} {
		keys := senseKeys(t, s.dir, s.calls, s.fields)
		if len(keys) < s.least {
			t.Fatalf("%s: found %d keys, want at least %d: %v", s.dir, len(keys), s.least, keys)
		}
		e, _ := c.Get(s.code)
		for _, key := range keys {
			if key != "resolver " && !e.Declares(key) { // one key for each resolver; the look joins them
				t.Errorf("%s gives %q, which %s does not declare", s.dir, key, s.code)
			}
		}
	}
	r := sshpolicy.Result{MissingDetail: []sshpolicy.Gap{}}
	for _, category := range sshpolicy.Categories() {
		for _, d := range []sshpolicy.Direction{sshpolicy.Both, sshpolicy.C2S, sshpolicy.S2C} {
			r.MissingDetail = append(r.MissingDetail, sshpolicy.Gap{
				Category: category, Direction: d, Offered: []string{"a"}, Allowed: []string{"b"}, Smallest: "b",
			})
		}
	}
	e, _ := c.Get(watch.CodeNoCommonAlgorithm)
	for key := range r.Facts() {
		directed := strings.HasPrefix(key, "kex_c2s") || strings.HasPrefix(key, "kex_s2c") || strings.HasPrefix(key, "host_key_c2s") || strings.HasPrefix(key, "host_key_s2c")
		if !directed && !e.Declares(key) { // key exchange and host key have no direction
			t.Errorf("a gap gives %q, which is not declared", key)
		}
	}
	for key := range r.Readings() {
		if e.IsFact(key) || !e.Declares(key) {
			t.Errorf("reading %q is a fact or not declared", key)
		}
	}
}

// What differs from look to look of an unchanged fault must not make events.
func TestVolatileEvidenceIsNoFact(t *testing.T) {
	for _, e := range entries(t) {
		for _, key := range []string{
			"detail", "clock", "offset_s", "hello_bytes", "first_bytes", "resolvers", "acceptance", "why",
			"server_said", "connections", "failures", "days_left", "life_left", "duration_ms",
		} {
			if e.IsFact(key) {
				t.Errorf("%s: %s is a fact", e.Code, key)
			}
		}
	}
}
