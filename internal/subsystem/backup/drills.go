package backup

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
)

// Drills implements subsystem.Driller: one for each code. All run without
// privileges, network or installed programs, on an SSH server of the lab that
// serves files, with jobs and keys of their own.
func (b *Backup) Drills() []subsystem.Drill {
	return []subsystem.Drill{
		jobDrill(CodeJobFailed, func(s *stand) { s.server.Mode = lab.SSHClose }),
		jobDrill(CodeTransfer, func(s *stand) { s.server.SFTP.CutAfter = 1 }),
		drillOf(CodeLocal, drillSource),
		drillOf(CodeOverdue, drillOverdueJob),
		jobDrill(CodeRetention, func(s *stand) { s.server.SFTP.KeepAll = true }),
		copyDrill(CodeVerify, func(s *stand) check.Check { return s.backup.copyCheck(s.job, s.target) }),
		copyDrill(CodeRestoreDrill, func(s *stand) check.Check { return s.backup.drillCheck(s.job, s.target) }),
		drillOf(CodeKeyUnavailable, drillKey),
		targetDrill(CodeNoSpace, func(s *stand) { s.server.SFTP.Full = true }),
		targetDrill(CodeAccessDenied, func(s *stand) { s.server.SFTP.Deny = true }),
		targetDrill(CodeNoSFTP, func(s *stand) { s.server.SFTP.Refuse = true }),
		drillOf(CodeInsecure, drillSetting),
		targetDrill(CodeUpgrade, func(s *stand) { s.server.KEX = []string{"ecdh-sha2-nistp256"} }),
		drillOf(CodeKeyLocal, drillLocalKey),
		drillOf(CodeNoRecovery, drillRecovery),
	}
}

// stand is a job with its target in a lab: all that a drill breaks.
type stand struct {
	backup *Backup
	opts   Options
	job    Job
	target Target
	host   *lab.SSHServer
	well   lab.SSHOptions // the server as it is when nothing is broken
	server lab.SSHOptions // the server as it is
	root   string         // the target's folder on this machine
	source string         // what the job backs up
	keys   string         // the folder of its keys
}

// drillTimeout is of one connection to this machine.
const drillTimeout = 10 * time.Second

// newStand starts a server and makes an archive job for it.
func newStand(ctx context.Context, l *lab.Lab) (*stand, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a login key: %w", err)
	}
	login, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	policy, err := sshpolicy.Builtin(sshpolicy.DefaultPolicy)
	if err != nil {
		return nil, err
	}
	s := &stand{root: filepath.Join(l.Dir(), "target"), source: filepath.Join(l.Dir(), "source"), keys: filepath.Join(l.Dir(), "keys")}
	for _, dir := range []string{s.root, s.source, s.keys} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.fill(); err != nil {
		return nil, err
	}
	s.well = lab.SSHOptions{AuthorizedKeys: []ssh.PublicKey{login.PublicKey()}, SFTP: &lab.SFTPOptions{Root: s.root}}
	if s.host, err = l.SSH(s.well); err != nil {
		return nil, err
	}
	s.heal()
	s.target = Target{
		Name: "drill", Address: s.host.Addr(), User: "drill", Policy: policy, Path: "/", Protocol: sshpolicy.ProtocolSFTP, Timeout: drillTimeout,
		Login: func() (sshpolicy.Login, error) { return sshpolicy.Login{User: "drill", Key: login}, nil },
	}
	for _, k := range s.host.HostKeys() {
		s.target.Pins = append(s.target.Pins, sshpolicy.PinOf(k))
	}
	s.job = Job{Name: "drill", Kind: Archive, Sources: []string{s.source}, Target: "drill", Tries: 1, Keep: Keep{Last: 1}}
	return s, s.open(ctx, l)
}

// open makes the subsystem of the stand: a drill must leave nothing with the
// real one.
func (s *stand) open(_ context.Context, l *lab.Lab) error {
	keeper, err := labKeeper(l, s.keys, nil)
	if err != nil {
		return err
	}
	s.opts = Options{Dir: filepath.Join(l.Dir(), "backup"), Node: "drill", Targets: []Target{s.target}, Jobs: []Job{s.job}, Keys: keeper}
	if s.backup, err = New(s.opts); err != nil {
		return err
	}
	l.OnClose(s.backup.Close)
	return nil
}

// fill writes what the job backs up.
func (s *stand) fill() error {
	if err := os.MkdirAll(s.source, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.source, "file"), []byte("worth keeping\n"), 0o600)
}

// heal takes every broken switch back.
func (s *stand) heal() {
	sftp := *s.well.SFTP
	s.server = s.well
	s.server.SFTP = &sftp
}

func (s *stand) apply() error { return s.host.Reconfigure(s.server) }

// run makes one run; what it finds is the check's to judge.
func (s *stand) run(ctx context.Context) error {
	s.backup.runNow(ctx, &s.job, &s.target)
	return ctx.Err()
}

// runWell makes a run that must succeed.
func (s *stand) runWell(ctx context.Context) error {
	if rec := s.backup.runNow(ctx, &s.job, &s.target); rec.State != stateSuccess {
		return fmt.Errorf("the run in the lab ended as %s: %s", rec.State, rec.Result.Text)
	}
	return nil
}

func (s *stand) jobCheck() check.Check { return s.backup.jobCheck(s.job, s.target) }

// rig is a healthy thing in a lab with the check on it and a way to break it.
type rig struct {
	check         check.Check
	broken, whole func(ctx context.Context) error
}

// drillOf makes a drill of a function that builds a rig on a stand.
func drillOf(code fault.Code, build func(ctx context.Context, l *lab.Lab, s *stand) (rig, error)) subsystem.Drill {
	var r rig
	return subsystem.Drill{
		Code: code,
		Prepare: func(ctx context.Context, l *lab.Lab) (check.Check, error) {
			s, err := newStand(ctx, l)
			if err != nil {
				return check.Check{}, err
			}
			if r, err = build(ctx, l, s); err != nil {
				return check.Check{}, err
			}
			r.check.Resource = l.Resource("backup")
			// The lab's servers punish nobody for looking often. A look at the causes,
			// which a raise starts, might see the repair before the drill does.
			r.check.Gap, r.check.Causes, r.check.Every = 0, nil, time.Hour
			return r.check, nil
		},
		Break:  func(ctx context.Context, _ *lab.Lab) error { return r.broken(ctx) },
		Repair: func(ctx context.Context, _ *lab.Lab) error { return r.whole(ctx) },
	}
}

// jobDrill breaks the server and runs the job into it.
func jobDrill(code fault.Code, breakIt func(*stand)) subsystem.Drill {
	return drillOf(code, func(ctx context.Context, _ *lab.Lab, s *stand) (rig, error) {
		return rig{
			check:  s.jobCheck(),
			broken: func(ctx context.Context) error { breakIt(s); return errors.Join(s.apply(), s.run(ctx)) },
			whole:  func(ctx context.Context) error { s.heal(); return errors.Join(s.apply(), s.runWell(ctx)) },
		}, s.runWell(ctx)
	})
}

// targetDrill breaks the server; the look itself meets it.
func targetDrill(code fault.Code, breakIt func(*stand)) subsystem.Drill {
	return drillOf(code, func(_ context.Context, _ *lab.Lab, s *stand) (rig, error) {
		t := s.target
		t.Planned = t.Policy
		t.Planned.Name, t.Planned.KEX = "planned", []string{"curve25519-sha256"}
		return rig{
			check:  s.backup.targetCheck(t),
			broken: func(context.Context) error { breakIt(s); return s.apply() },
			whole:  func(context.Context) error { s.heal(); return s.apply() },
		}, nil
	})
}

// copyDrill changes a byte of the stored copy, and changes it back.
func copyDrill(code fault.Code, look func(*stand) check.Check) subsystem.Drill {
	return drillOf(code, func(ctx context.Context, _ *lab.Lab, s *stand) (rig, error) {
		if err := s.runWell(ctx); err != nil {
			return rig{}, err
		}
		flip := func(context.Context) error {
			name := filepath.Join(s.root, s.job.Name, s.backup.history.proof(s.job.Name).Copy)
			stored, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			stored[len(stored)-1] ^= 1
			return os.WriteFile(name, stored, 0o600)
		}
		return rig{check: look(s), broken: flip, whole: flip}, nil
	})
}

// drillSource takes away what the job backs up.
func drillSource(ctx context.Context, _ *lab.Lab, s *stand) (rig, error) {
	return rig{
		check:  s.jobCheck(),
		broken: func(ctx context.Context) error { return errors.Join(os.RemoveAll(s.source), s.run(ctx)) },
		whole:  func(ctx context.Context) error { return errors.Join(s.fill(), s.runWell(ctx)) },
	}, s.runWell(ctx)
}

// drillOverdueJob makes the record of the newest copy as old as that of a job
// that has not run for two days.
func drillOverdueJob(ctx context.Context, _ *lab.Lab, s *stand) (rig, error) {
	s.job.Overdue = day
	return rig{
		check: s.jobCheck(),
		broken: func(context.Context) error {
			s.backup.history.prove(s.job.Name, func(p *proof) { p.Verified = p.Verified.Add(-2 * day) })
			return nil
		},
		whole: s.runWell,
	}, s.runWell(ctx)
}

// drillKey hides the key file that opens the job's key.
func drillKey(ctx context.Context, l *lab.Lab, s *stand) (rig, error) {
	if err := s.runWell(ctx); err != nil {
		return rig{}, err
	}
	away := filepath.Join(l.Dir(), "hidden")
	var name string
	return rig{
		check: s.backup.keyCheck(s.job),
		broken: func(context.Context) error {
			files, err := os.ReadDir(s.keys)
			i := slices.IndexFunc(files, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), ".key") })
			if err != nil || i < 0 {
				return errors.Join(err, errors.New("no local key file in the lab"))
			}
			name = filepath.Join(s.keys, files[i].Name())
			return os.Rename(name, away)
		},
		whole: func(context.Context) error { return os.Rename(away, name) },
	}, nil
}

// drillSetting weakens the target's configuration.
func drillSetting(_ context.Context, _ *lab.Lab, s *stand) (rig, error) {
	weak := s.opts
	weak.Targets = slices.Clone(weak.Targets)
	weak.Targets[0].Insecure = []Setting{{Name: "policy", Value: "old", Why: "a drill"}}
	return rig{
		check:  s.backup.settingsCheck(s.target),
		broken: func(context.Context) error { s.backup.Configure(weak); return nil },
		whole:  func(context.Context) error { s.backup.Configure(s.opts); return nil },
	}, nil
}

// drillLocalKey takes the key of the job from a key server to a file.
func drillLocalKey(ctx context.Context, l *lab.Lab, s *stand) (rig, error) {
	return keysRig(ctx, l, s, keeping{recovery: true})
}

// drillRecovery takes the recovery key away.
func drillRecovery(ctx context.Context, l *lab.Lab, s *stand) (rig, error) {
	return keysRig(ctx, l, s, keeping{server: true})
}

// keeping is how keys are kept: under a key server or a file, with a recovery
// key or without.
type keeping struct{ server, recovery bool }

// keysRig moves the job's key between a keeper with all that is wanted and a
// poorer one.
func keysRig(ctx context.Context, l *lab.Lab, s *stand, poorer keeping) (rig, error) {
	use := map[string]func(context.Context) error{}
	for name, how := range map[string]keeping{"better": {server: true, recovery: true}, "poorer": poorer} {
		var server *labKey
		if how.server {
			server = newLabKey()
		}
		k, err := labKeeper(l, filepath.Join(l.Dir(), name), server)
		if err != nil {
			return rig{}, err
		}
		if how.recovery {
			if _, _, err := k.CreateRecovery(ctx); err != nil {
				return rig{}, err
			}
		}
		if err := k.Protect(ctx, s.job.keyID(), []byte("a secret of the drill")); err != nil {
			return rig{}, err
		}
		o := s.opts
		o.Keys = k
		use[name] = func(context.Context) error { s.backup.Configure(o); return nil }
	}
	return rig{check: s.backup.keysCheck(), broken: use["poorer"], whole: use["better"]}, use["better"](ctx)
}

// labKeeper keeps keys in a folder of the lab, under its key server when there
// is one, else under a file.
func labKeeper(l *lab.Lab, dir string, server *labKey) (*envelope.Keeper, error) {
	root, err := envelope.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	l.OnClose(root.Close)
	local := envelope.NewLocalKey(root, time.Now)
	o := envelope.Options{Folder: root, Wrap: local, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: local}}
	if server != nil {
		o.Wrap, o.Sources[envelope.KindKMIP] = server, server
	}
	return envelope.NewKeeper(o)
}

// labKey is a key server with one key, in memory.
type labKey struct {
	bytes []byte
	ref   envelope.SlotRef
}

func newLabKey() *labKey {
	k := &labKey{bytes: make([]byte, envelope.KeySize)}
	_, _ = rand.Read(k.bytes) // never fails
	k.ref = envelope.SlotRef{
		Kind: envelope.KindKMIP, Group: "lab", UID: "1", Name: "drill", Gen: 1, Check: envelope.CheckOf(k.bytes), Created: time.Now().UTC().Truncate(time.Second),
	}
	return k
}

// Key implements envelope.KeySource.
func (k *labKey) Key(context.Context, envelope.SlotRef) (envelope.Key, error) {
	secret, err := envelope.NewSecret(slices.Clone(k.bytes))
	return envelope.Key{Secret: secret, From: "lab"}, err
}

// Current implements envelope.Wrapper.
func (k *labKey) Current(context.Context, string) (envelope.SlotRef, *envelope.Secret, error) {
	secret, err := envelope.NewSecret(slices.Clone(k.bytes))
	return k.ref, secret, err
}
