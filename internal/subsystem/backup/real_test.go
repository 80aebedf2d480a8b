package backup_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

// sshd starts the host's OpenSSH server; the target's folder is on this machine.
func (w *world) sshd(extra ...string) (*lab.SSHD, lab.SSHDConfig, backup.Target) {
	w.t.Helper()
	lab.Need(w.t, "sshd", "root") // only root surely has an account that sshd lets in
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	login := must(ssh.NewSignerFromKey(key))(w.t)
	c := lab.SSHDConfig{AuthorizedKeys: []ssh.PublicKey{login.PublicKey()}, KeyTypes: []string{"ed25519"}, Extra: extra}
	s := must(w.lab.SSHD(w.t.Context(), c))(w.t)
	t := target(w.t, s.Addr(), login, must(s.HostKey("ed25519"))(w.t))
	name := must(user.Current())(w.t).Username
	t.User, t.Path = name, w.t.TempDir()
	t.Login = func() (sshpolicy.Login, error) { return sshpolicy.Login{User: name, Key: login}, nil }
	t.Policy = must(sshpolicy.Builtin(sshpolicy.PolicyUCSM))(w.t)
	return s, c, t
}

const sftpLine = "Subsystem sftp internal-sftp"

func TestJobsRunToOpenSSHUnderTheSeedsPolicy(t *testing.T) {
	for _, c := range []struct {
		name     string
		extra    []string
		protocol sshpolicy.Protocol
		kind     backup.Kind
		want     sshpolicy.Protocol
	}{
		{"repository", []string{sftpLine}, sshpolicy.ProtocolSFTP, backup.Repository, sshpolicy.ProtocolSFTP},
		{"archive", []string{sftpLine}, sshpolicy.ProtocolSFTP, backup.Archive, sshpolicy.ProtocolSFTP},
		{"one session, rekeying", []string{sftpLine, "MaxSessions 1", "RekeyLimit 1M"}, sshpolicy.ProtocolSFTP, backup.Archive, sshpolicy.ProtocolSFTP},
		{"archive by SCP", []string{"Subsystem other internal-sftp"}, sshpolicy.ProtocolAny, backup.Archive, sshpolicy.ProtocolSCP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, _, target := w.sshd(c.extra...)
			target.Protocol = c.protocol
			j, dir := job(t, c.kind)
			w.begin([]backup.Target{target}, j)
			rec := w.run("etc")
			if rec.State != "success" || rec.Protocol != string(c.want) || !slices.Contains(target.Policy.KEX, rec.SSH.KEX) || !slices.Contains(target.Policy.Ciphers, rec.SSH.CipherC2S) {
				t.Fatalf("record %+v", rec)
			}
			if said := strings.Contains(strings.Join(rec.Notes, "\n"), "SCP"); said != (c.want == sshpolicy.ProtocolSCP) {
				t.Errorf("notes %q", rec.Notes)
			}
			w.restores(rec.Copy, dir)
			if d := must(do[wire.BackupDrill](w, "drill", `{"job":"etc"}`))(t); !d.Passed {
				t.Errorf("drill %+v", d)
			}
			w.look("backup.target@nas1")
			for _, code := range []fault.Code{backup.CodeNoSFTP, backup.CodeNoSpace, backup.CodeAccessDenied} {
				if w.active(code, "nas1") {
					t.Errorf("%s stands at a target that is well", code)
				}
			}
		})
	}
}

func TestWhatOpenSSHRefusesIsNamed(t *testing.T) {
	for _, c := range []struct {
		name, extra     string
		code, qualifier string
	}{
		{"no subsystem", "Subsystem other internal-sftp", "backup/target/no-sftp", "subsystem"},
		{"read-only", sftpLine + " -R", "backup/target/access-denied", "permission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, _, target := w.sshd(c.extra)
			j, _ := job(t, backup.Archive)
			w.begin([]backup.Target{target}, j)
			if rec := w.run("etc"); rec.State != "failed" || string(rec.Result.Code) != c.code || rec.Result.Qualifier != c.qualifier {
				t.Fatalf("%+v", rec.Result)
			}
			if v, _ := w.view(fault.Code(c.code), "nas1"); !v.Active || v.Sense.Get("qualifier") != c.qualifier {
				t.Errorf("fault %+v", v)
			}
			if v, _ := w.view(backup.CodeJobFailed, "etc"); !v.Active || len(v.MaskedBy) == 0 {
				t.Errorf("the symptom is told beside its cause: %+v", v)
			}
		})
	}
}

func TestAHostKeyThatChangedStopsTheJobBeforeAnythingIsSent(t *testing.T) {
	w := newWorld(t)
	s, c, target := w.sshd(sftpLine)
	j, _ := job(t, backup.Archive)
	w.begin([]backup.Target{target}, j)
	if rec := w.run("etc"); rec.State != "success" {
		t.Fatalf("record %+v", rec.Result)
	}
	if err := s.ChangeHostKeys(); err != nil {
		t.Fatal(err)
	}
	if err := s.Reconfigure(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if rec := w.run("etc"); rec.State != "failed" || rec.Result.Class != "trust" || rec.Result.Code != "ssh/host-key-changed" {
		t.Errorf("%s %+v", rec.State, rec.Result)
	}
	if heard := w.lastHeard(); heard.Auth != nil && len(heard.Auth.Tried) > 0 {
		t.Errorf("a credential was shown to a server that nobody knows: %+v", heard.Auth)
	}
}

// Damage of every kind is found, named, and gone only when the copies are whole.
func TestDamageAtTheTargetIsNamed(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name      string
		kind      backup.Kind
		file      string              // a pattern
		damage    func([]byte) []byte // nil: removed
		qualifier []string
	}{
		{"archive changed", backup.Archive, "*.age", flip, []string{"hash"}},
		{"archive cut short", backup.Archive, "*.age", half, []string{"truncated"}},
		{"archive gone", backup.Archive, "*.age", nil, []string{"missing"}},
		{"manifest changed", backup.Archive, "*.json", flip, []string{"hash"}},
		{"pack changed", backup.Repository, "data/*/*", flip, []string{"hash", "decrypt"}},
		{"pack cut short", backup.Repository, "data/*/*", half, []string{"truncated", "hash"}},
		{"pack gone", backup.Repository, "data/*/*", nil, []string{"missing"}},
		{"snapshot changed", backup.Repository, "snapshots/*", flip, []string{"hash", "decrypt"}},
		{"every snapshot gone", backup.Repository, "snapshots/*", nil, []string{"missing"}},
		{"key changed", backup.Repository, "keys/*", flip, []string{"hash", "decrypt"}},
		{"config gone", backup.Repository, "config", nil, []string{"missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, o, target := w.server()
			j, _ := job(t, c.kind)
			j.Proof.ReadPercent = 100
			w.begin([]backup.Target{target}, j)
			if rec := w.run("etc"); rec.State != "success" {
				t.Fatalf("record %+v", rec.Result)
			}
			files := must(filepath.Glob(filepath.Join(o.SFTP.Root, "copies", "etc", c.file)))(t)
			if len(files) == 0 {
				t.Fatal("nothing to damage")
			}
			whole := must(os.ReadFile(files[0]))(t)
			if c.damage == nil {
				if err := os.Remove(files[0]); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(files[0], c.damage(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			v := must(do[wire.BackupVerify](w, "verify", `{"job":"etc","full":true}`))(t)
			seen, _ := w.view(backup.CodeVerify, "etc")
			if v.OK || len(v.Problems) == 0 || !seen.Active || !slices.Contains(c.qualifier, seen.Sense.Get("qualifier")) {
				t.Fatalf("%+v\nqualifier %q of %s", v, seen.Sense.Get("qualifier"), seen.Text)
			}
			if err := os.WriteFile(files[0], whole, fs.FileMode(0o600)); err != nil {
				t.Fatal(err)
			}
			w.look("backup.copy@etc")
			if w.active(backup.CodeVerify, "etc") {
				t.Error("stands although the copies are whole again")
			}
		})
	}
}

func TestAnUnreadableFileIsSkippedAndSaidSo(t *testing.T) {
	const unreadable = "/proc/self/mem" // a regular file whose reading fails, for root too
	w := newWorld(t)
	_, _, target := w.server()
	j, _ := job(t, backup.Archive)
	other := j
	j.Sources = append(j.Sources, unreadable)
	other.Name, other.Kind = "two", backup.Repository
	other.Sources = j.Sources
	w.begin([]backup.Target{target}, j, other)
	for _, name := range []string{"etc", "two"} {
		rec := w.run(name)
		t.Logf("%s %+v %v", rec.State, rec.Result, rec.Skipped)
		v, _ := w.view(backup.CodeLocal, name)
		if rec.State != "success" || rec.Result.Class != "ok-with-skips" || rec.SkippedCount != 1 || !v.Active || v.Severity != fault.Minor || v.Sense.Get("qualifier") != "skipped" {
			t.Errorf("%s: %+v, fault %+v", name, rec, v)
		}
		if w.active(backup.CodeJobFailed, name) {
			t.Error("the run counts as failed")
		}
	}
}
