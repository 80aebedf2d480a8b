package atomicfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/atomicfile"
)

func stage(t *testing.T, g *atomicfile.Generations, text string) string {
	t.Helper()
	s, err := g.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if err := s.Root().Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(s.Root(), "sub/text", 0o600, []byte(text)); err != nil {
		t.Fatal(err)
	}
	id, err := s.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func generations(t *testing.T, dir string) *atomicfile.Generations {
	t.Helper()
	g, err := atomicfile.OpenGenerations(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAGenerationIsInUseOnlyOnceActivated(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	first := stage(t, g, "one")
	if _, err := g.Current(); !errors.Is(err, atomicfile.ErrNoGeneration) {
		t.Errorf("Current before Activate: %v, want ErrNoGeneration", err)
	}
	if err := g.Activate(first); err != nil {
		t.Fatal(err)
	}
	second := stage(t, g, "two")
	if got := content(t, filepath.Join(dir, "current", "sub", "text")); got != "one" {
		t.Errorf("through current: %q, want %q", got, "one")
	}
	if err := g.Activate(second); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "current", "sub", "text")); got != "two" {
		t.Errorf("through current: %q, want %q", got, "two")
	}
}

func TestAnOlderGenerationCanBeActivatedAgain(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	first, second := stage(t, g, "one"), stage(t, g, "two")
	for _, id := range []string{second, first} {
		if err := g.Activate(id); err != nil {
			t.Fatal(err)
		}
	}
	got, err := g.Current()
	if err != nil || got != first {
		t.Errorf("Current = %q, %v; want %q", got, err, first)
	}
	if third := stage(t, g, "three"); third <= second {
		t.Errorf("the next generation is %q, want one after %q", third, second)
	}
}

func TestAnUnfinishedGenerationIsNeverListedAndIsSwept(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	id := stage(t, g, "one")
	crashed, err := g.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(crashed.Root(), "half", 0o600, []byte("half")); err != nil {
		t.Fatal(err)
	}
	ids, err := g.List()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{id}, ids); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	generations(t, dir) // the process after the crash
	if diff := cmp.Diff([]string{id}, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestAbortRemovesTheStage(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	s, err := g.Begin()
	if err != nil {
		t.Fatal(err)
	}
	s.Abort()
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("directory holds %q", got)
	}
	if _, err := s.Commit(); err == nil {
		t.Error("Commit after Abort went through")
	}
}

func TestActivateRefusesWhatIsNoGeneration(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	id := stage(t, g, "one")
	if err := g.Activate(id); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00000009"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", ".", "..", "../x", "1", "00000002", "00000009", "current"} {
		if err := g.Activate(bad); !errors.Is(err, atomicfile.ErrNoGeneration) {
			t.Errorf("Activate(%q) = %v, want ErrNoGeneration", bad, err)
		}
	}
	if got, err := g.Current(); err != nil || got != id {
		t.Errorf("Current = %q, %v; want %q", got, err, id)
	}
}

func TestPruneKeepsTheNewestAndTheOneInUse(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	var ids []string
	for _, text := range []string{"1", "2", "3", "4"} {
		ids = append(ids, stage(t, g, text))
	}
	if err := g.Activate(ids[0]); err != nil {
		t.Fatal(err)
	}
	if err := g.Prune(2); err != nil {
		t.Fatal(err)
	}
	got, err := g.List()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{ids[0], ids[3]}, got); diff != "" {
		t.Errorf("after Prune(2) (-want +got):\n%s", diff)
	}
	if err := g.Prune(0); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Current(); err != nil || got != ids[0] {
		t.Errorf("Current after Prune(0) = %q, %v; want %q", got, err, ids[0])
	}
}

func TestAForeignCurrentLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	g := generations(t, dir)
	if err := os.Symlink("/etc", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Current(); !errors.Is(err, atomicfile.ErrNoGeneration) {
		t.Errorf("Current = %q, %v; want ErrNoGeneration", got, err)
	}
}
