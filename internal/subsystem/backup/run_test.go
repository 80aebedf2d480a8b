package backup_test

import (
	"bytes"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/stream"
	"allclear/internal/wire"
)

func kinds() []backup.Kind { return []backup.Kind{backup.Repository, backup.Archive} }

// job is one of that kind over a small tree, which it answers too.
func job(t *testing.T, kind backup.Kind) (backup.Job, string) {
	dir := tree(t)
	return backup.Job{Name: "etc", Kind: kind, Sources: []string{dir}, Target: "nas1", Tries: 1}, dir
}

func TestARunSavesAndIsProvedAndRestores(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, _, target := w.server()
			j, dir := job(t, kind)
			w.begin([]backup.Target{target}, j)
			rec := w.run("etc")
			if rec.State != "success" || rec.Result.Class != "ok" || rec.Percent != 100 || rec.Copy == "" || rec.Files != 4 || rec.Bytes != 15 || rec.BytesRead == 0 || rec.SSH.KEX == "" {
				t.Fatalf("record %+v", rec)
			}
			var stages []string
			for _, s := range rec.Stages {
				stages = append(stages, s.Name+" "+s.State)
			}
			if want := []string{"begin success", "source success", "transfer success", "verify success", "done success"}; !slices.Equal(stages, want) {
				t.Errorf("stages %v", stages)
			}
			w.restores(rec.Copy, dir)
			if v := must(do[wire.BackupVerify](w, "verify", `{"job":"etc","full":true}`))(t); !v.OK || v.Copies != 1 || v.ReadPercent != 100 {
				t.Errorf("verify %+v", v)
			}
			if d := must(do[wire.BackupDrill](w, "drill", `{"job":"etc"}`))(t); !d.Passed || d.Files == 0 {
				t.Errorf("drill %+v", d)
			}
			w.lists(rec.Copy, dir)
			for _, id := range []string{"backup.job@etc", "backup.copy@etc", "backup.drill@etc", "backup.key@etc", "backup.target@nas1"} {
				for _, judged := range w.look(id).Judgements {
					if judged.Verdict == fault.Present {
						t.Errorf("%s after a run that succeeded: %s", judged.Key, judged.Why)
					}
				}
			}
		})
	}
}

// restores streams the copy as the command line does and compares it with the
// tree.
func (w *world) restores(snapshot, dir string) {
	w.t.Helper()
	w.restoresOf("etc", snapshot, dir)
}

func (w *world) restoresOf(job, snapshot, dir string) {
	w.t.Helper()
	var b bytes.Buffer
	send := w.backup.Downloads()[0].Send
	q := url.Values{"job": {job}, "snapshot": {snapshot}, "path": {dir}}
	if err := send(w.t.Context(), q, &b); err != nil {
		w.t.Fatal(err)
	}
	in := must(stream.NewReader(&b))(w.t)
	got := map[string]string{}
	for e, err := range in.Entries() {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Meta.Type != source.Regular {
			continue
		}
		name := strings.TrimPrefix("/"+e.Path, dir+"/")
		if got[name] = ""; e.Content != nil {
			got[name] = string(must(io.ReadAll(e.Content))(w.t))
		}
	}
	if end, ok := in.End(); !ok || end.Problems != 0 {
		w.t.Errorf("end %+v, %v", end, ok)
	}
	want := map[string]string{"a": "alpha", "sub/b": "beta", "sub/empty": "", "sub/c c": "gamma\n"}
	if len(got) != len(want) {
		w.t.Errorf("restored %q", got)
	}
	for name, content := range want {
		if got[name] != content {
			w.t.Errorf("%s: %q, want %q", name, got[name], content)
		}
	}
	q.Set("path", dir+"/no-such")
	if err := send(w.t.Context(), q, io.Discard); err == nil {
		w.t.Error("a path that is not in the copy was restored")
	}
}

// A link to a file that was not chosen stays a link, which nobody can make then:
// never an empty file.
func TestALinkToAFileThatWasNotChosenIsNoEmptyFile(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, _, target := w.server()
			j, dir := job(t, kind)
			if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "z")); err != nil {
				t.Fatal(err)
			}
			w.begin([]backup.Target{target}, j)
			if rec := w.run("etc"); rec.State != "success" {
				t.Fatalf("record %+v", rec.Result)
			}
			var b bytes.Buffer
			if err := w.backup.Downloads()[0].Send(t.Context(), url.Values{"job": {"etc"}, "path": {dir + "/z"}}, &b); err != nil {
				t.Fatal(err)
			}
			to := t.TempDir()
			report, err := extract.To(t.Context(), to, must(stream.NewReader(&b))(t).Entries(), extract.Options{})
			got, readErr := os.ReadFile(filepath.Join(to, dir, "z"))
			if readErr == nil && string(got) != "alpha" {
				t.Errorf("restored %q; %+v, %v", got, report, err)
			}
			if readErr != nil && (report == nil || report.Missing == 0) {
				t.Errorf("not restored, and not said: %+v, %v", report, err)
			}
		})
	}
}

func (w *world) lists(snapshot, dir string) {
	w.t.Helper()
	snaps := must(do[wire.List[wire.BackupSnapshot]](w, "snapshots", `{"job":"etc"}`))(w.t)
	if len(snaps.Items) != 1 || snaps.Items[0].ID != snapshot || snaps.Items[0].Size == 0 || snaps.Items[0].Files != 4 {
		w.t.Errorf("snapshots %+v", snaps)
	}
	for query, want := range map[string][]string{
		`{"job":"etc","path":"` + dir + `/sub"}`: {"sub/b", "sub/c c", "sub/empty"},
		`{"job":"etc","match":"C C"}`:            {"sub/c c"},
		`{"job":"etc","match":"[ab]"}`:           {"a", "sub/b"},
		`{"job":"etc","match":"[ab]","limit":1}`: {"a"},
	} {
		var got []string
		for _, f := range must(do[wire.List[wire.BackupFile]](w, "list", query))(w.t).Items {
			if f.Type == "file" {
				got = append(got, strings.TrimPrefix(f.Path, dir+"/"))
			}
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{`{"job":"etc","snapshot":"etc-20000101T000000Z.tar.zst.age"}`, `{"job":"etc","path":"` + dir + `/no-such"}`} {
		if got, err := do[wire.List[wire.BackupFile]](w, "list", query); err == nil {
			w.t.Errorf("%s: listed %v", query, got.Items)
		}
	}
}

// The judge of a repository is restic with the password that the agent gives.
func TestResticOpensTheRepositoryOfAJob(t *testing.T) {
	lab.Need(t, "restic")
	w := newWorld(t)
	_, o, target := w.server()
	j, dir := job(t, backup.Repository)
	w.begin([]backup.Target{target}, j)
	if rec := w.run("etc"); rec.State != "success" {
		t.Fatalf("record %+v", rec)
	}
	secret := must(do[wire.BackupSecret](w, "password", `{"job":"etc"}`))(t)
	if _, err := do[wire.BackupSecret](w, "identity", `{"job":"etc"}`); err == nil || strings.Contains(err.Error(), secret.Secret) {
		t.Errorf("identity of a repository: %v", err)
	}
	restic := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "restic", append([]string{"-r", filepath.Join(o.SFTP.Root, "copies", "etc"), "--no-cache"}, args...)...)
		c.Env = append(os.Environ(), "RESTIC_PASSWORD="+secret.Secret)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("restic %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	restic("check", "--read-data")
	to := t.TempDir()
	restic("restore", "latest", "--target", to)
	if got := string(must(os.ReadFile(filepath.Join(to, dir, "sub", "b")))(t)); got != "beta" {
		t.Errorf("restored %q", got)
	}
}

// The four suspects of seed 000, and time-out, are five diagnoses (R0-14).
func TestTheSuspectsAreToldApart(t *testing.T) {
	for _, c := range []struct {
		name, class, code, qualifier string
		spoil                        func(w *world, s *lab.SSHServer, o *lab.SSHOptions, t *backup.Target, j *backup.Job)
	}{
		{"ip", "ip", "ssh/unreachable", "refused", func(w *world, _ *lab.SSHServer, _ *lab.SSHOptions, t *backup.Target, _ *backup.Job) {
			t.Address = must(w.lab.RefusedAddr())(w.t)
		}},
		{"name", "ip", "ssh/name-not-resolved", "*", func(_ *world, _ *lab.SSHServer, _ *lab.SSHOptions, t *backup.Target, _ *backup.Job) {
			t.Address = "no-such-host.invalid:22"
		}},
		{"timeout", "timeout", "ssh/unreachable", "timeout", func(w *world, _ *lab.SSHServer, _ *lab.SSHOptions, t *backup.Target, _ *backup.Job) {
			t.Address, t.Timeout = must(w.lab.BlackHole())(w.t).Addr(), 300*time.Millisecond
		}},
		{"password", "password", "ssh/auth-failed", "publickey", func(_ *world, _ *lab.SSHServer, o *lab.SSHOptions, _ *backup.Target, _ *backup.Job) {
			o.AuthorizedKeys = nil
			o.Passwords = map[string]string{"backup": "x"}
		}},
		{"space", "space", "backup/target/no-space", "", func(_ *world, _ *lab.SSHServer, o *lab.SSHOptions, _ *backup.Target, _ *backup.Job) {
			o.SFTP.Full = true
		}},
		{"access", "access", "backup/target/access-denied", "permission", func(_ *world, _ *lab.SSHServer, o *lab.SSHOptions, _ *backup.Target, _ *backup.Job) {
			o.SFTP.Deny = true
		}},
		{"path", "access", "backup/target/access-denied", "chroot", func(_ *world, _ *lab.SSHServer, _ *lab.SSHOptions, t *backup.Target, _ *backup.Job) {
			t.Path = "/not-mounted"
		}},
		{"algorithm", "algorithm", "ssh/no-common-algorithm", "kex", func(_ *world, _ *lab.SSHServer, o *lab.SSHOptions, _ *backup.Target, _ *backup.Job) {
			o.KEX = []string{"diffie-hellman-group14-sha1"}
		}},
		{"trust", "trust", "ssh/host-key-unknown", "", func(_ *world, _ *lab.SSHServer, _ *lab.SSHOptions, t *backup.Target, _ *backup.Job) {
			t.Pins = nil
		}},
		{"subsystem", "protocol", "backup/target/no-sftp", "subsystem", func(_ *world, _ *lab.SSHServer, o *lab.SSHOptions, _ *backup.Target, _ *backup.Job) {
			o.SFTP.Refuse = true
		}},
		{"source", "source", "backup/local-failed", "source", func(_ *world, _ *lab.SSHServer, _ *lab.SSHOptions, _ *backup.Target, j *backup.Job) {
			j.Sources = []string{"/no/such/source"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, o, target := w.server()
			j, _ := job(t, backup.Archive)
			c.spoil(w, s, o, &target, &j)
			if err := s.Reconfigure(*o); err != nil {
				t.Fatal(err)
			}
			w.begin([]backup.Target{target}, j)
			rec := w.run("etc")
			if r := rec.Result; rec.State != "failed" || r.Class != c.class || string(r.Code) != c.code || c.qualifier != "*" && r.Qualifier != c.qualifier {
				t.Fatalf("%s: %+v, want %s %s (%s)", rec.State, r, c.class, c.code, c.qualifier)
			}
			if !w.active(backup.CodeJobFailed, "etc") {
				t.Error("the run answered before its fault stood")
			}
			if strings.HasPrefix(c.code, "backup/target/") && !w.active(rec.Result.Code, "nas1") || c.code == "backup/local-failed" && !w.active(rec.Result.Code, "etc") {
				t.Errorf("%s does not stand", rec.Result.Code)
			}
			if strings.HasPrefix(c.code, "ssh/") {
				if heard := w.lastHeard(); heard.Code != c.code {
					t.Errorf("whoever watches the target heard %q", heard.Code)
				}
			}
			line := rec.UCS
			if !strings.HasPrefix(line, "[Critical] F999723 ") || !strings.Contains(line, " sys/backup-nas1 Fsm Failed 1 ") || !strings.Contains(line, "Remote-Invocation-Error: "+c.code+": ") || strings.Contains(line, "End point timed out") {
				t.Errorf("line %q", line)
			}
		})
	}
}

func TestAFailedRunIsTriedAgainAndOneThatCannotSucceedIsNot(t *testing.T) {
	w := newWorld(t)
	s, o, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Tries, j.Backoff = 3, time.Millisecond
	o.SFTP.CutAfter = 1
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	w.begin([]backup.Target{target}, j)
	if rec := w.run("etc"); rec.State != "failed" || rec.Try != 3 || rec.Result.Code != backup.CodeTransfer || rec.Result.Stage != "transfer" {
		t.Errorf("cut off: %s, try %d, %+v", rec.State, rec.Try, rec.Result)
	}
	v, _ := w.view(backup.CodeJobFailed, "etc")
	if !v.Active || v.Sense.Get("qualifier") != "transfer" || v.Sense.Get("child_code") != string(backup.CodeTransfer) || len(v.MaskedBy) == 0 {
		t.Errorf("the symptom: %+v", v)
	}
	o.SFTP.CutAfter, o.SFTP.Deny = 0, true
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	if rec := w.run("etc"); rec.State != "failed" || rec.Try != 1 {
		t.Errorf("denied: %s, try %d, %+v", rec.State, rec.Try, rec.Result)
	}
	o.SFTP.Deny = false
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	if rec := w.run("etc"); rec.State != "success" {
		t.Fatalf("repaired: %+v", rec.Result)
	}
	for _, code := range []fault.Code{backup.CodeJobFailed, backup.CodeTransfer} {
		if w.active(code, "etc") {
			t.Errorf("%s stands after a run that succeeded", code)
		}
	}
	if w.active(backup.CodeAccessDenied, "nas1") {
		t.Error("the target's fault stands after a run that succeeded")
	}
}

func TestARunThatTheAgentsEndCutsOffIsRecordedAndCaughtUp(t *testing.T) {
	w := newWorld(t)
	s, o, target := w.server()
	j, _ := job(t, backup.Archive)
	j.Schedule = must(backup.ParseSchedule("0 0 1 1 *", time.UTC))(t)
	o.Mode = lab.SSHBannerOnly
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	target.Timeout = time.Minute
	w.begin([]backup.Target{target}, j)
	rec := must(do[wire.BackupRun](w, "run", `{"job":"etc"}`))(t)
	if rec.State != "running" {
		t.Fatalf("a run that nobody waits for: %+v", rec)
	}
	w.until(func() bool {
		return viewOf[wire.BackupRun](t, w.backup, "run", url.Values{"id": {rec.ID}}).Stages[0].State == "in-progress"
	})
	again := must(do[wire.BackupRun](w, "run", `{"job":"etc"}`))(t)
	if again.ID != rec.ID {
		t.Errorf("two runs of a job at once: %s and %s", rec.ID, again.ID)
	}
	// What kill -9 leaves: the folder as it is while the run goes on.
	left := w.opts
	left.Dir = filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left.Dir, os.DirFS(w.opts.Dir)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	for _, dir := range []string{left.Dir, w.opts.Dir} {
		left.Dir = dir
		b := must(backup.New(left))(t)
		runs := viewOf[wire.List[wire.BackupRun]](t, b, "runs", url.Values{"job": {"etc"}}).Items
		if len(runs) != 1 || runs[0].State != "interrupted" || runs[0].Ended == nil || runs[0].Result.Class != "interrupted" || runs[0].Result.Stage != "begin" {
			t.Errorf("%s: %+v", dir, runs)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func viewOf[T any](t *testing.T, b *backup.Backup, path string, q url.Values) T {
	t.Helper()
	for _, v := range b.Views() {
		if v.Path == path {
			out, ok := must(v.Get(t.Context(), q))(t).(T)
			if !ok {
				t.Fatalf("view %s is of another type", path)
			}
			return out
		}
	}
	t.Fatalf("no view %s", path)
	panic("not reached")
}

func TestLoginsAreHeldBackBeforeTheAccountIsLocked(t *testing.T) {
	w := newWorld(t)
	s, o, target := w.server()
	good := o.AuthorizedKeys
	o.AuthorizedKeys = s.HostKeys()[:1] // another key
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	look := func() { w.lookAs("backup.target@nas1", fault.TriggerContent) }
	for range 5 {
		look()
	}
	if n := w.connections(); n != 3 {
		t.Errorf("%d connections with a refused credential, want 3", n)
	}
	w.look("backup.target@nas1")
	if n := w.connections(); n != 4 {
		t.Errorf("an operator's look made %d connections, want 1", n-3)
	}
	o.AuthorizedKeys = good
	if err := s.Reconfigure(*o); err != nil {
		t.Fatal(err)
	}
	w.look("backup.target@nas1")
	look()
	if n := w.connections(); n != 6 {
		t.Errorf("after a login that was accepted: %d connections, want 6", n)
	}
}

func (w *world) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heard)
}

func TestACommandsOutputIsSaved(t *testing.T) {
	lab.Need(t, "root")
	w := newWorld(t)
	_, _, target := w.server()
	j := backup.Job{Name: "etc", Kind: backup.Archive, Target: "nas1", Tries: 1, StoreAs: "dump.txt", Command: &source.Command{Argv: []string{"/bin/echo", "hello"}, RunAs: "root"}}
	bad := j
	bad.Name, bad.Command = "bad", &source.Command{Argv: []string{"/bin/false"}, RunAs: "root"}
	w.begin([]backup.Target{target}, j, bad)
	if rec := w.run("etc"); rec.State != "success" || rec.Bytes != 6 {
		t.Fatalf("record %+v", rec)
	}
	var b bytes.Buffer
	if err := w.backup.Downloads()[0].Send(t.Context(), url.Values{"job": {"etc"}}, &b); err != nil {
		t.Fatal(err)
	}
	for e, err := range must(stream.NewReader(&b))(t).Entries() {
		if err != nil || e.Path != "dump.txt" || string(must(io.ReadAll(e.Content))(t)) != "hello\n" {
			t.Errorf("restored %v, %v", e, err)
		}
	}
	if rec := w.run("bad"); rec.State != "failed" || rec.Result.Code != backup.CodeLocal || rec.Result.Qualifier != "command" || rec.Result.Stage != "source" {
		t.Errorf("record %+v", rec)
	}
}
