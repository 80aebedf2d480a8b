package backup_test

import (
	"testing"

	"allclear/internal/subsystem/backup"
)

func TestARunSavesAndIsProved(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	w.begin([]backup.Target{target}, backup.Job{Name: "etc", Kind: backup.Repository, Sources: []string{tree(t)}, Target: "nas1"})
	rec := w.run("etc")
	if rec.State != "success" {
		t.Fatalf("run: %+v", rec)
	}
}
