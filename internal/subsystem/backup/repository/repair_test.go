package repository_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
)

func TestADamagedIndexLosesNothing(t *testing.T) { synctest.Test(t, testDamagedIndex) }

func testDamagedIndex(t *testing.T) {
	mem, r := sealedWorld(t)
	snaps := read(t, r).Snapshots()
	want := content(t, r, snaps[1])
	indexes := mem.names("index/")
	mem.change(t, indexes[0], harms["one bit"])
	if err := mem.Remove(t.Context(), indexes[1]); err != nil {
		t.Fatal(err)
	}
	// Without any repair: from the headers of the packs.
	rd := read(t, r)
	if got := rd.Damage(); len(got) != 1 || !strings.Contains(got[0].Error(), filepath.Base(indexes[0])) {
		t.Errorf("damage %v", got)
	}
	if diff := cmp.Diff(want, content(t, r, snaps[1])); diff != "" {
		t.Error(diff)
	}
	got, err := r.RepairIndex(t.Context())
	if err != nil || got.Indexes != 1 || got.Packs != len(mem.names("data/")) || len(got.Unreadable) > 0 {
		t.Errorf("%+v %v", got, err)
	}
	checkAll(t, r)
	if got, err = r.RepairIndex(t.Context()); err != nil || got.Indexes+got.Packs != 0 {
		t.Errorf("the second time: %+v %v", got, err)
	}
}

func TestADamagedSnapshotDoesNotHideTheOthers(t *testing.T) { synctest.Test(t, testDamagedSnapshot) }

func testDamagedSnapshot(t *testing.T) {
	mem, r := sealedWorld(t)
	last := read(t, r).Snapshots()[1]
	want := content(t, r, last)
	for _, name := range mem.names("snapshots/") {
		if name != "snapshots/"+last.ID.String() {
			mem.change(t, name, harms["cut short"])
		}
	}
	rd := read(t, r)
	if all := rd.Snapshots(); len(all) != 1 || len(rd.Damage()) != 1 {
		t.Fatalf("%d snapshots, damage %v", len(all), rd.Damage())
	}
	if diff := cmp.Diff(want, content(t, r, last)); diff != "" {
		t.Error(diff)
	}
}

func TestRepairSaysWhichPacksCannotBeRead(t *testing.T) { synctest.Test(t, testRepairUnreadable) }

func testRepairUnreadable(t *testing.T) {
	mem, r := sealedWorld(t)
	for _, name := range mem.names("index/") {
		if err := mem.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	bad := mem.names("data/")[0]
	mem.change(t, bad, harms["last bit"])
	got, err := r.RepairIndex(t.Context())
	if err != nil || len(got.Unreadable) != 1 || !strings.Contains(got.Unreadable[0].Error(), filepath.Base(bad)) || got.Packs != len(mem.names("data/"))-1 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestLeftoversOfCutTransfersAreRemoved(t *testing.T) { synctest.Test(t, testLeftovers) }

func testLeftovers(t *testing.T) {
	mem, r := sealedWorld(t)
	whole := mem.names("")
	pack := mem.names("data/")[0]
	leave := func() {
		for _, name := range []string{pack, mem.names("index/")[0], mem.names("snapshots/")[0]} {
			if _, err := mem.Save(t.Context(), name+"-allclear-temp-00112233445566778899aabbccddeeff", strings.NewReader("half"), -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	leave()
	if files, bytes, err := r.Tidy(t.Context()); files != 3 || bytes != 12 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	if diff := cmp.Diff(whole, mem.names("")); diff != "" {
		t.Error(diff)
	}
	leave()
	if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range mem.names("") {
		if strings.Contains(name, "-temp-") {
			t.Errorf("prune left %s", name)
		}
	}
}
