package backup_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

func TestKeepRulesAndOrphans(t *testing.T) {
	w := newWorld(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Keep = backup.Keep{Last: 2}
	w.begin([]backup.Target{target}, j)
	at := filepath.Join(o.SFTP.Root, "copies", "etc")
	for i := range 4 {
		if rec := w.run("etc"); rec.State != "success" || rec.Removed != max(0, min(1, i-1)) {
			t.Fatalf("run %d: %+v", i, rec)
		}
		if i == 0 { // a run that was cut off before its manifest, two years ago; and somebody else's file
			for _, name := range []string{"etc-20240101T000000Z.tar.zst.age", "notes.txt"} {
				if err := os.WriteFile(filepath.Join(at, name), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var archives, others int
	for _, f := range must(os.ReadDir(at))(t) {
		if strings.HasSuffix(f.Name(), ".tar.zst.age") {
			archives++
		} else if !strings.HasSuffix(f.Name(), ".manifest.json") {
			others++
		}
		if strings.HasPrefix(f.Name(), "etc-2024") {
			t.Error("an archive without a manifest stays")
		}
	}
	if archives != 2 || others != 1 {
		t.Errorf("%d archives and %d other files stay", archives, others)
	}
}

func TestARepositoryThatIsGoneIsNotMadeAnewBySchedule(t *testing.T) {
	w := newWorld(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Repository)
	w.begin([]backup.Target{target}, j)
	if rec := w.run("etc"); rec.State != "success" {
		t.Fatalf("record %+v", rec.Result)
	}
	if err := os.RemoveAll(filepath.Join(o.SFTP.Root, "copies", "etc")); err != nil {
		t.Fatal(err)
	}
	w.look("backup.copy@etc")
	if v, _ := w.view(backup.CodeVerify, "etc"); !v.Active || v.Sense.Get("qualifier") != "missing" {
		t.Fatalf("a folder that is gone: %+v", v)
	}
	if rec := w.run("etc"); rec.State != "success" { // asked for by an operator
		t.Fatalf("record %+v", rec.Result)
	}
	if w.active(backup.CodeVerify, "etc") {
		t.Error("stands after a new copy was verified")
	}
}

// wrongKeys is a key wrapper with a defect, while wrong.
type wrongKeys struct {
	backup.KeyWrapper
	wrong atomic.Bool
}

func (k *wrongKeys) Open(ctx context.Context, id string) ([]byte, envelope.Info, error) {
	if k.wrong.Load() {
		panic("a defect")
	}
	return k.KeyWrapper.Open(ctx, id)
}

func TestADefectEndsTheRunAndNothingElse(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	keys := &wrongKeys{KeyWrapper: w.keeper}
	w.opts.Keys = keys
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	keys.wrong.Store(true)
	if rec := w.run("etc"); rec.State != "failed" || rec.Result.Class != "internal" || rec.Result.Code != backup.CodeJobFailed {
		t.Fatalf("%s %+v", rec.State, rec.Result)
	}
	keys.wrong.Store(false)
	if rec := w.run("etc"); rec.State != "success" || w.active(backup.CodeJobFailed, "etc") {
		t.Fatalf("the run after it: %s %+v", rec.State, rec.Result)
	}
}

func TestStopWaitsForRuns(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, a := range w.backup.Actions() {
		if a.Name == "run" {
			if _, err := a.Do(ctx, []byte(`{"job":"etc","wait":true}`), nil); err == nil {
				t.Error("an action whose caller is gone succeeded")
			}
		}
	}
	if _, err := do[wire.BackupRun](w, "run", `{"jobs":"etc"}`); err == nil {
		t.Error("a misspelt field was taken")
	}
	if _, err := do[wire.BackupRun](w, "run", `{"job":"nope"}`); err == nil || !strings.Contains(err.Error(), "etc") {
		t.Errorf("a job that is not there: %v", err)
	}
}
