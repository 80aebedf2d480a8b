package backup_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

// remember writes the record of an earlier process into the folder.
func (w *world) remember(rec wire.BackupRun) {
	w.t.Helper()
	dir := filepath.Join(w.opts.Dir, "runs", rec.Job)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, rec.ID+".json"), must(json.Marshal(rec))(w.t), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) runs() []wire.BackupRun {
	return viewOf[wire.List[wire.BackupRun]](w.t, w.backup, "runs", nil).Items
}

func ended(id string, at time.Time, state, trigger string) wire.BackupRun {
	return wire.BackupRun{ID: id, Job: "etc", Target: "nas1", State: state, Trigger: trigger, Started: at, Ended: &at}
}

func TestAStartThatWasMissedIsMadeGood(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Schedule = must(backup.ParseSchedule("@hourly", time.UTC))(t)
	w.remember(ended("20200101T000000.000Z-aaaaaa", time.Now().Add(-3*time.Hour), "success", "schedule"))
	w.begin([]backup.Target{target}, j)
	var jobs []wire.BackupJob
	w.until(func() bool {
		jobs = viewOf[wire.List[wire.BackupJob]](t, w.backup, "jobs", nil).Items
		return len(w.runs()) == 2 && jobs[0].State != "running"
	})
	if r := w.runs()[0]; r.Trigger != "catch-up" || r.State != "success" {
		t.Errorf("run %+v", r)
	}
	if len(jobs) != 1 || jobs[0].State != "success" || jobs[0].Next == nil || jobs[0].Next.Before(time.Now()) || jobs[0].Next.After(time.Now().Add(time.Hour)) {
		t.Errorf("jobs %+v", jobs)
	}
}

func TestARunThatEndsItsMachineIsNotCaughtUpForEver(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Schedule = must(backup.ParseSchedule("0 0 1 1 *", time.UTC))(t)
	now := time.Now()
	for i, id := range []string{"20200101T000000.000Z-a", "20200101T000000.000Z-b", "20200101T000000.000Z-c"} {
		w.remember(ended(id, now.Add(time.Duration(i-3)*time.Minute), "running", "catch-up"))
	}
	w.begin([]backup.Target{target}, j)
	next := viewOf[wire.List[wire.BackupJob]](t, w.backup, "jobs", nil).Items[0].Next
	if next == nil || next.Before(now.Add(time.Minute)) {
		t.Errorf("after three runs that were cut off the next is at %v", next)
	}
	if len(w.runs()) != 3 {
		t.Errorf("runs %+v", w.runs())
	}
}

func TestADisabledJobRunsByHandOnlyAndBecomesOverdue(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Schedule, j.Disabled, j.Overdue = must(backup.ParseSchedule("@hourly", time.UTC))(t), "moving house", time.Nanosecond
	w.remember(ended("20200101T000000.000Z-aaaaaa", time.Now().Add(-3*time.Hour), "success", "schedule"))
	w.begin([]backup.Target{target}, j)
	w.look("backup.job@etc")
	v, _ := w.view(backup.CodeOverdue, "etc")
	if !v.Active || v.Sense.Get("qualifier") != "disabled" || v.Severity != fault.Minor {
		t.Errorf("before the first verified copy: %+v", v)
	}
	if rec := w.run("etc"); rec.State != "success" {
		t.Fatalf("record %+v", rec.Result)
	}
	if v, _ := w.view(backup.CodeOverdue, "etc"); !v.Active || v.Severity != fault.Major {
		t.Errorf("with a verified copy: %+v", v)
	}
	if n := len(w.runs()); n != 2 {
		t.Errorf("%d runs, want the one by hand", n)
	}
}

func TestAWeakSettingOfAJobStandsUntilItsEnd(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	over := backup.Setting{Name: "policy", Value: "old", Until: time.Now().Add(-time.Minute)}
	target.Insecure, j.Insecure = []backup.Setting{over}, []backup.Setting{over, {Name: "run_as", Value: "root", Why: "needs everything"}}
	w.begin([]backup.Target{target}, j)
	w.look("backup.settings@nas1")
	if w.active(backup.CodeInsecure, "nas1") {
		t.Error("a setting whose end has passed is told")
	}
	if v, _ := w.view(backup.CodeInsecure, "nas1/etc"); !v.Active || v.Sense.Get("settings") != "run_as=root (needs everything)" {
		t.Errorf("the job's setting: %+v", v)
	}
	j.Insecure = nil
	w.opts.Jobs = []backup.Job{j}
	w.backup.Configure(w.opts)
	w.look("backup.settings@nas1")
	if w.active(backup.CodeInsecure, "nas1/etc") {
		t.Error("a setting that was taken out is told")
	}
}

func TestTheZeroValueCanBeDescribed(t *testing.T) {
	b := new(backup.Backup)
	if text, configured := b.Describe(); configured || text == "" {
		t.Errorf("%q, %v", text, configured)
	}
	if len(b.Faults()) == 0 || len(b.Actions()) == 0 || len(b.Views()) == 0 || len(b.Downloads()) == 0 || len(b.Drills()) == 0 || len(b.Checks()) != 0 {
		t.Error("documents are made from the zero value")
	}
}
