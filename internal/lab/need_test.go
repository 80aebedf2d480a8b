package lab_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/lab"
)

type skips struct{ said string }

func (s *skips) Helper()          {}
func (s *skips) Skip(args ...any) { s.said = fmt.Sprint(args...) }

func TestNeedNamesOnlyWhatIsMissing(t *testing.T) {
	var s skips
	lab.Need(&s, "sh", "no-such-program-a", "no-such-program-b")
	if want := "needs: no-such-program-a, no-such-program-b"; s.said != want {
		t.Errorf("skip says %q, want %q", s.said, want)
	}
}

func TestNeedIsSilentWhenAllIsThere(t *testing.T) {
	var s skips
	lab.Need(&s, "sh")
	if s.said != "" {
		t.Errorf("skipped with %q although sh is there", s.said)
	}
}

func TestRootIsMetByRootOnly(t *testing.T) {
	want := []string{"root"}
	if os.Geteuid() == 0 {
		want = []string{}
	}
	if diff := cmp.Diff(want, lab.Missing("root")); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestProgramLooksBeyondThePath(t *testing.T) {
	t.Setenv("PATH", "")
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := os.Stat(dir + "/" + e.Name()); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 == 0o111 {
				if lab.Program(e.Name()) == "" {
					t.Errorf("%s/%s is not found", dir, e.Name())
				}
				return
			}
		}
	}
	t.Skip("needs: a program in /usr/sbin")
}
