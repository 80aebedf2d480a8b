package repository_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
)

// checkAll fails the test unless all data is well, and answers the result.
func checkAll(t testing.TB, r *repository.Repository) repository.CheckResult {
	t.Helper()
	got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range got.Problems {
		t.Errorf("check: %s", p)
	}
	return got
}

func TestPruneRemovesOnlyWhatNoSnapshotNeeds(t *testing.T) {
	synctest.Test(t, testPruneRemovesOnlyWhatNoSnapshotNeeds)
}

func testPruneRemovesOnlyWhatNoSnapshotNeeds(t *testing.T) {
	r, dir := createDir(t)
	root := oddTree(t)
	for i := range 6 {
		write(t, root, map[string]string{"big": noise(uint64(100+i), 6<<20), fmt.Sprintf("new%d", i): noise(uint64(i), 1<<20)})
		if i > 2 {
			if err := os.Remove(filepath.Join(root, fmt.Sprintf("new%d", i-3))); err != nil {
				t.Fatal(err)
			}
		}
		backup(t, r, root)
	}
	before := checkAll(t, r)
	groups, err := r.Forget(t.Context(), repository.Keep{Last: 2}, repository.ForgetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 || len(groups[0].Keep) != 2 || len(groups[0].Drop) != 4 {
		t.Fatalf("groups %+v", groups)
	}
	want := content(t, r, groups[0].Keep[1].Snapshot)
	plan, err := r.Prune(t.Context(), repository.PruneOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Prune(t.Context(), repository.PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.BlobsRemoved == 0 || got.BlobsRemoved != plan.BlobsRemoved || got.PacksDeleted != plan.PacksDeleted {
		t.Errorf("planned %+v\ndone %+v", plan, got)
	}
	after := checkAll(t, r)
	// 4 x 6 MiB and a few of 1 MiB are no longer needed.
	if freed := before.BytesTotal - after.BytesTotal; freed < 22<<20 {
		t.Errorf("%d bytes were freed of %d", freed, before.BytesTotal)
	}
	if len(after.Hints) > 0 {
		t.Errorf("hints after pruning: %q", after.Hints)
	}
	if diff := cmp.Diff(want, content(t, r, groups[0].Keep[1].Snapshot)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(onDisk(t, root), content(t, r, groups[0].Keep[0].Snapshot)); diff != "" {
		t.Error(diff)
	}
	again, err := r.Prune(t.Context(), repository.PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.PacksDeleted+again.PacksRepacked+again.IndexesWritten != 0 {
		t.Errorf("a second prune did %+v", again)
	}
	if j := newRestic(t, dir); len(j.snapshots()) == 2 {
		j.check()
	}
}

func TestPruneTakesAwayEverythingWhenNothingIsKept(t *testing.T) {
	synctest.Test(t, testPruneTakesAwayEverythingWhenNothingIsKept)
}

func testPruneTakesAwayEverythingWhenNothingIsKept(t *testing.T) {
	r, dir := createDir(t)
	s := backup(t, r, oddTree(t))
	if err := r.RemoveSnapshots(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	got := checkAll(t, r)
	if got.Packs+got.Indexes+got.Blobs+len(got.Hints) != 0 {
		t.Errorf("left over: %+v", got)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "data", "*", "*"))
	if err != nil || len(packs) != 0 {
		t.Errorf("pack files left: %q %v", packs, err)
	}
}

func TestPruneOfWhatResticWrote(t *testing.T) { synctest.Test(t, testPruneOfWhatResticWrote) }

func testPruneOfWhatResticWrote(t *testing.T) {
	r, dir := sample(t)
	rd := read(t, r)
	snaps := rd.Snapshots()
	if err := r.RemoveSnapshots(t.Context(), snaps[0].ID); err != nil {
		t.Fatal(err)
	}
	want := content(t, r, snaps[1])
	got, err := r.Prune(t.Context(), repository.PruneOptions{MaxUnused: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got.BlobsRemoved == 0 || got.PacksRepacked == 0 || got.BytesUnused != 0 {
		t.Errorf("pruned %+v", got)
	}
	checkAll(t, r)
	if diff := cmp.Diff(want, content(t, r, snaps[1])); diff != "" {
		t.Error(diff)
	}
	newRestic(t, filepath.Join(dir, "repo")).check()
}

func TestPruneRefusesARepositoryThatIsNotWhole(t *testing.T) {
	synctest.Test(t, testPruneRefusesARepositoryThatIsNotWhole)
}

func testPruneRefusesARepositoryThatIsNotWhole(t *testing.T) {
	r, dir := createDir(t)
	backup(t, r, oddTree(t))
	packs, err := filepath.Glob(filepath.Join(dir, "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	if err := os.Remove(packs[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err == nil {
		t.Error("pruned with a pack missing")
	}
	left, err := filepath.Glob(filepath.Join(dir, "data", "*", "*"))
	if err != nil || len(left) != len(packs)-1 {
		t.Errorf("%d of %d packs left", len(left), len(packs)-1)
	}
}
