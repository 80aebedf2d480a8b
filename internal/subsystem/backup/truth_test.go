package backup_test

import (
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

// temporaries are the files below a folder that were never finished.
func temporaries(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && sshpolicy.IsTemp(name) {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatACutTransferLeftIsRemovedByTheNextRun(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, o, target := w.server()
			j, dir := job(t, kind)
			w.begin([]backup.Target{target}, j)
			if rec := w.run("etc"); rec.State != "success" {
				t.Fatalf("record %+v", rec.Result)
			}
			noise := make([]byte, 300<<10)
			_, _ = rand.Read(noise)
			if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o600); err != nil {
				t.Fatal(err)
			}
			o.SFTP.CutAfter = 20_000
			if err := s.Reconfigure(*o); err != nil {
				t.Fatal(err)
			}
			if rec := w.run("etc"); rec.State != "failed" {
				t.Fatalf("cut off: %s", rec.State)
			}
			left := temporaries(t, o.SFTP.Root)
			if len(left) == 0 {
				t.Fatal("the cut transfer left nothing, so this shows nothing")
			}
			o.SFTP.CutAfter = 0
			if err := s.Reconfigure(*o); err != nil {
				t.Fatal(err)
			}
			w.run("etc")
			if kind == backup.Archive { // no lock says whether somebody writes it: only its age does
				if got := temporaries(t, o.SFTP.Root); len(got) != len(left) {
					t.Errorf("young files were removed, which another agent may be writing: %v", got)
				}
				for _, name := range left {
					old := time.Now().Add(-48 * time.Hour)
					if err := os.Chtimes(name, old, old); err != nil {
						t.Fatal(err)
					}
				}
				w.run("etc")
			}
			if got := temporaries(t, o.SFTP.Root); len(got) > 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

// know writes what an earlier process has proved of the job.
func (w *world) know(proof map[string]any) {
	w.t.Helper()
	dir := filepath.Join(w.opts.Dir, "proof")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc.json"), must(json.Marshal(proof))(w.t), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestAClockThatWasSetBackStopsNothing(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Schedule = must(backup.ParseSchedule("0 0 1 1 *", time.UTC))(t)
	ahead := time.Now().AddDate(10, 0, 0)
	w.remember(ended(ahead.UTC().Format("20060102T150405.000Z")+"-aaaaaa", ahead, "failed", "schedule"))
	w.know(map[string]any{"since": ahead})
	w.begin([]backup.Target{target}, j)
	newest := func() wire.BackupJob { return viewOf[wire.List[wire.BackupJob]](t, w.backup, "jobs", nil).Items[0] }
	w.until(func() bool { return newest().State == "success" })
	w.stop()
	// Read anew, in the order of their names, the run of the wrong clock is not the newest again.
	j.Disabled = "for the test"
	w.begin([]backup.Target{target}, j)
	if got := newest(); got.State != "success" || got.Last.Started.After(time.Now()) {
		t.Errorf("the newest run is %s of %s", got.State, got.Last.Started)
	}
}

func TestACopyDatedInTheFutureIsNoProofThatNothingIsOverdue(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Overdue = time.Hour
	w.know(map[string]any{"since": time.Now().AddDate(-1, 0, 0), "verified": time.Now().AddDate(10, 0, 0)})
	w.begin([]backup.Target{target}, j)
	w.look("backup.job@etc")
	if v, _ := w.view(backup.CodeOverdue, "etc"); !v.Active || !strings.Contains(v.Text, "clock") {
		t.Errorf("%+v", v)
	}
}

func archivesIn(t *testing.T, folder string) []string {
	t.Helper()
	return must(filepath.Glob(filepath.Join(folder, "*.tar.zst.age")))(t)
}

func TestTheCopyJustMadeIsNeverRemoved(t *testing.T) {
	w := newWorld(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Keep = backup.Keep{Last: 1}
	w.begin([]backup.Target{target}, j)
	at := filepath.Join(o.SFTP.Root, "copies", "etc")
	first := w.run("etc")
	for _, ending := range []string{".tar.zst.age", ".manifest.json"} { // of a time when the clock was wrong
		base := strings.TrimSuffix(filepath.Join(at, first.Copy), ".tar.zst.age")
		if err := os.Rename(base+ending, filepath.Join(at, "etc-20990101T000000Z"+ending)); err != nil {
			t.Fatal(err)
		}
	}
	rec := w.run("etc")
	if _, err := os.Stat(filepath.Join(at, rec.Copy)); rec.State != "success" || err != nil {
		t.Errorf("%s: %v", rec.State, err)
	}
}

// Two hosts with a job of one name for one folder: neither removes what the other has made.
func TestArchivesOfAnotherHostAreNotRemoved(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Keep = backup.Keep{Last: 1}
	w.begin([]backup.Target{target}, j)
	first := w.run("etc")
	other.begin([]backup.Target{target}, j)
	for range 2 {
		if rec := other.run("etc"); rec.State != "success" {
			t.Fatalf("record %+v", rec.Result)
		}
	}
	at := filepath.Join(o.SFTP.Root, "copies", "etc")
	if _, err := os.Stat(filepath.Join(at, first.Copy)); err != nil {
		t.Errorf("the other host's retention: %v", err)
	}
	if v, _ := other.view(backup.CodeRetention, "etc"); !v.Active || !strings.Contains(v.Text, first.Copy) {
		t.Errorf("not said: %+v", v)
	}
	if n := len(archivesIn(t, at)); n != 2 {
		t.Errorf("%d archives, want one of each", n)
	}
}

func TestAFolderThatIsGoneIsNotMadeAnewBySchedule(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, o, target := w.server()
			j, _ := job(t, kind)
			w.begin([]backup.Target{target}, j)
			if rec := w.run("etc"); rec.State != "success" {
				t.Fatalf("record %+v", rec.Result)
			}
			w.stop()
			at := filepath.Join(o.SFTP.Root, "copies", "etc")
			for _, dir := range []string{at, filepath.Join(w.opts.Dir, "runs", "etc")} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			w.remember(ended("20200101T000000.000Z-aaaaaa", time.Now().Add(-3*time.Hour), "success", "schedule"))
			j.Schedule = must(backup.ParseSchedule("@hourly", time.UTC))(t)
			w.begin([]backup.Target{target}, j)
			w.until(func() bool {
				return len(w.runs()) == 2 && viewOf[wire.List[wire.BackupJob]](t, w.backup, "jobs", nil).Items[0].State != "running"
			})
			if r := w.runs()[0]; r.State != "failed" || r.Result.Code != backup.CodeVerify || r.Result.Qualifier != "missing" {
				t.Errorf("%s: %+v", r.State, r.Result)
			}
			if _, err := os.Stat(at); err == nil {
				t.Error("a disk that is not mounted was taken for a fresh start")
			}
			if rec := w.run("etc"); rec.State != "success" {
				t.Errorf("asked for by an operator: %+v", rec.Result)
			}
		})
	}
}

// A look that comes too soon after a connection is put off; it does not wait with an operator's behind it.
func TestALookThatIsPutOffHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	w.look("backup.target@nas1")
	before, began := w.connections(), time.Now()
	for _, judged := range w.lookAs("backup.target@nas1", fault.TriggerTimer).Judgements {
		if judged.Verdict != fault.Unknown {
			t.Errorf("without a connection %s is %v", judged.Key, judged.Verdict)
		}
	}
	if took := time.Since(began); took > 5*time.Second || w.connections() != before {
		t.Errorf("it took %s and %d connections", took, w.connections()-before)
	}
	if w.look("backup.target@nas1"); w.connections() != before+1 {
		t.Errorf("an operator's look right after it made %d connections", w.connections()-before)
	}
}

func TestADamagedSnapshotDoesNotMakeAnOlderOneTheNewest(t *testing.T) {
	w := newWorld(t)
	_, o, target := w.server()
	j, dir := job(t, backup.Repository)
	w.begin([]backup.Target{target}, j)
	old := w.run("etc")
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	rec := w.run("etc")
	file := filepath.Join(o.SFTP.Root, "copies", "etc", "snapshots", rec.Copy)
	if err := os.Truncate(file, 100); err != nil {
		t.Fatal(err)
	}
	send := w.backup.Downloads()[0].Send
	if err := send(t.Context(), url.Values{"job": {"etc"}}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), rec.Copy) {
		t.Errorf("the newest copy: %v", err)
	}
	if err := send(t.Context(), url.Values{"job": {"etc"}, "snapshot": {old.Copy}}, &strings.Builder{}); err != nil {
		t.Errorf("a copy by its id: %v", err)
	}
	w.until(func() bool { return w.active(backup.CodeVerify, "etc") }) // whoever met it has asked for a verification
}

func TestADamagedArchiveIsReadAgainUntilItIsGone(t *testing.T) {
	w := newWorld(t)
	_, o, target := w.server()
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	first := w.run("etc")
	w.run("etc")
	file := filepath.Join(o.SFTP.Root, "copies", "etc", first.Copy)
	content := must(os.ReadFile(file))(t)
	content[len(content)/2] ^= 1
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := must(do[wire.BackupVerify](w, "verify", `{"job":"etc","full":true}`))(t); v.OK {
		t.Fatal("the damage was not found")
	}
	w.run("etc") // an archive that was never read comes before others
	for range 3 {
		w.look("backup.copy@etc")
		if !w.active(backup.CodeVerify, "etc") {
			t.Fatal("cleared by a verification that did not read the damaged archive")
		}
	}
	for _, name := range []string{file, strings.TrimSuffix(file, ".tar.zst.age") + ".manifest.json"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if w.look("backup.copy@etc"); w.active(backup.CodeVerify, "etc") {
		t.Error("stands although the damaged archive is gone")
	}
}
