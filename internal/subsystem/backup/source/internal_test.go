package source

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naive is the definition of a match, without the shortcuts.
func naive(parts, names []string) bool {
	switch {
	case len(parts) == 0:
		return len(names) == 0
	case parts[0] == "**":
		return naive(parts[1:], names) || len(names) > 0 && naive(parts, names[1:])
	}
	return len(names) > 0 && matchName(parts[0], names[0]) && naive(parts[1:], names[1:])
}

func TestMatchingAgreesWithItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "**", "a*"}), 1, 6).Draw(t, "parts")
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "c"}), 1, 7).Draw(t, "names")
		if got, want := matchNames(parts, names), naive(parts, names); got != want {
			t.Errorf("%q on %q: %v, want %v", parts, names, got, want)
		}
	})
}

func TestAHugeFolderIsListedInPartsThatKeepTheOrder(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 3000 {
		name := fmt.Sprintf("%x-%s", i*7919%3000, strings.Repeat("n", i%40))
		want = append(want, name)
		if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, budget := range []int{1, 4000, 20_000, listBudget} {
		l := &lister{budget: budget}
		var got []string
		parts := 0
		for more := true; more; parts++ {
			if budget == 1 && parts == 5 {
				want = want[:len(got)] // the smallest budget is right but slow
				break
			}
			var list *names
			if list, more, err = l.next(int(f.Fd())); err != nil {
				t.Fatal(err)
			}
			if list.size() > budget && len(list.at) > 1 {
				t.Errorf("budget %d: a part of %d bytes", budget, list.size())
			}
			got = slices.AppendSeq(got, list.all())
		}
		if budget == 1 {
			if !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("budget 1: %q, want %q", got, want)
			}
			want = nil
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				want = append(want, e.Name())
			}
			slices.Sort(want)
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("budget %d: %d names in %d parts, want %d in order", budget, len(got), parts, len(want))
		}
		if (parts > 1) != (budget < 100_000) {
			t.Errorf("budget %d: %d parts", budget, parts)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"*.swp", "/a/**/b/", "**", "[a-", "!x", `\!x`, "a//./b"} {
		f.Add(s, "/a/x/b")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		p, err := parsePattern(s)
		if err != nil {
			return
		}
		names := split(path)
		if len(names) > 12 || strings.Count(s, "/") > 12 {
			return
		}
		if got, want := p.match(names, true), naive(p.parts, names); got != want {
			t.Errorf("%q on %q: %v, want %v", s, path, got, want)
		}
	})
}
