package repository_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/repository"
)

// restic is the reference program on one repository: the judge of what we write, and the author of what we must read.
type restic struct {
	t    testing.TB
	repo string
	home string
}

func newRestic(t testing.TB, repo string) *restic {
	t.Helper()
	lab.Need(t, "restic")
	return &restic{t: t, repo: repo, home: t.TempDir()}
}

// try runs restic and answers what it prints.
func (j *restic) try(args ...string) (string, error) {
	cmd := exec.CommandContext(j.t.Context(), lab.Program("restic"), append([]string{"-r", j.repo, "--no-cache"}, args...)...)
	cmd.Env = []string{"HOME=" + j.home, "RESTIC_PASSWORD=" + string(password), "TZ=UTC", "GOMAXPROCS=2"}
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("restic %s: %w\n%s%s", strings.Join(args, " "), err, &out, &talk)
	}
	return out.String(), nil
}

func (j *restic) run(args ...string) string {
	j.t.Helper()
	out, err := j.try(args...)
	if err != nil {
		j.t.Fatal(err)
	}
	return out
}

// check has the judge read everything.
func (j *restic) check() {
	j.t.Helper()
	if out := j.run("check", "--read-data"); !strings.Contains(out, "no errors were found") {
		j.t.Fatalf("restic check:\n%s", out)
	}
}

// restored is what the judge restores of a snapshot, in the form of onDisk below root.
func (j *restic) restored(snapshot, root string) map[string]string {
	j.t.Helper()
	target := j.t.TempDir()
	j.run("restore", snapshot, "--target", target)
	got := map[string]string{}
	for name, what := range onDisk(j.t, filepath.Join(target, root)) {
		if rest, ok := strings.CutPrefix(name, target+"/"); ok {
			got["/"+rest] = what
		}
	}
	for up := filepath.Dir(root); up != "/"; up = filepath.Dir(up) {
		got[up] = "dir"
	}
	return got
}

func (j *restic) snapshots() []string {
	j.t.Helper()
	var all []struct{ ID string }
	if err := json.Unmarshal([]byte(j.run("snapshots", "--json")), &all); err != nil {
		j.t.Fatal(err)
	}
	var ids []string
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// lostByJudge is the one link that restic 0.14 cannot keep.
func lostByJudge(m map[string]string) map[string]string {
	for name := range m {
		if filepath.Base(name) == "badlink" {
			delete(m, name)
		}
	}
	return m
}

func TestResticAcceptsAndRestoresWhatWeWrite(t *testing.T) {
	r, dir := createDir(t)
	j := newRestic(t, dir)
	root := oddTree(t)
	s := backup(t, r, root)
	j.check()
	if diff := cmp.Diff(lostByJudge(onDisk(t, root)), lostByJudge(j.restored(s.ID.String(), root))); diff != "" {
		t.Errorf("restored by restic:\n%s", diff)
	}
}

func TestWeReadWhatResticWrote(t *testing.T) {
	dir := t.TempDir()
	j := newRestic(t, dir)
	j.run("init")
	root := oddTree(t)
	j.run("backup", root)
	r, err := repository.Open(t.Context(), openDir(t, dir), password, options())
	if err != nil {
		t.Fatal(err)
	}
	got := content(t, r, read(t, r).Snapshots()[0])
	if diff := cmp.Diff(lostByJudge(onDisk(t, root)), lostByJudge(got)); diff != "" {
		t.Errorf("restored by us:\n%s", diff)
	}
	// On top of it, ours: nothing is stored twice, and chunks have the same boundaries.
	s := backup(t, r, root)
	if s.Summary.DataBlobs != 0 {
		t.Errorf("%d data blobs were stored again", s.Summary.DataBlobs)
	}
	j.check()
}

func TestResticGoesOnWithOurRepository(t *testing.T) {
	r, dir := createDir(t)
	j := newRestic(t, dir)
	root := oddTree(t)
	backup(t, r, root)
	write(t, root, map[string]string{"big": noise(9, 5<<20), "later": "x"})
	j.run("backup", "--host", "test-host", root)
	if err := os.Remove(filepath.Join(root, "zeros")); err != nil {
		t.Fatal(err)
	}
	backup(t, r, root)
	j.check()
	j.run("forget", "--keep-last", "1", "--prune", "--group-by", "")
	j.check()
	left := j.snapshots()
	if len(left) != 1 {
		t.Fatalf("restic left %d snapshots", len(left))
	}
	s, err := read(t, r).Snapshot(left[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk(t, root), content(t, r, s)); diff != "" {
		t.Error(diff)
	}
}
