package main

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := parse("# a comment\n\n== one | a.go | TestA\n-\told\n-\ttwo\n+\tnew\n== two | b.go | TestB|TestC\n-x\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []mutant{{"one", "a.go", "TestA", "\told\n\ttwo\n", "\tnew\n"}, {"two", "b.go", "TestB|TestC", "x\n", ""}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{
		"-x\n", "== one | a.go\n-x\n", "== one | a.go | T\n x\n", "== one | a.go | T\n-x\n+x\n", "== one | a.go | T\n+x\n",
		"== one | a.go | T\n-x\n== one | a.go | T\n-y\n",
	} {
		if m, err := parse(bad); err == nil {
			t.Errorf("%q was read as %q", bad, m)
		}
	}
}

func TestSeed(t *testing.T) {
	m := mutant{name: "m", file: "a.go", old: "b\n", new: "B\n"}
	if got, err := m.seed("a\nb\nc\n"); err != nil || got != "a\nB\nc\n" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, source := range []string{"a\nc\n", "b\nb\n"} {
		if _, err := m.seed(source); err == nil || !strings.Contains(err.Error(), "not once") {
			t.Errorf("%q: %v", source, err)
		}
	}
}
