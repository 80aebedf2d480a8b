package backup_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/check"
	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/watch"
	"allclear/internal/wire"
)

// world is a running backup subsystem with a real scheduler over the real fault
// core; the journal is in memory, the server in this process.
type world struct {
	t      *testing.T
	lab    *lab.Lab
	sched  *check.Scheduler
	backup *backup.Backup
	opts   backup.Options
	keeper *envelope.Keeper
	stop   func() // ends the subsystem and waits

	start time.Time
	order atomic.Uint64

	mu    sync.Mutex // guards the fields below
	set   *fault.Set
	shown time.Time
	heard []sshpolicy.Result
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := must(fault.NewCatalogue(slices.Concat(backup.Faults(), watch.Faults(), keyserver.Faults(), check.Faults())...))(t)
	l := must(lab.New(t.Context(), t.TempDir()))(t)
	w := &world{t: t, lab: l, start: time.Now(), set: fault.NewSet(c, fault.DefaultLimits()), stop: func() {}}
	w.sched = check.NewScheduler(check.Options{Recorder: w, Entries: c, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.sched.Run(ctx); err != nil {
			t.Errorf("scheduler: %v", err)
		}
	})
	w.opts = backup.Options{Dir: filepath.Join(t.TempDir(), "backup"), Node: "node1", Endpoints: w}
	w.keeper = newKeeper(t)
	w.opts.Keys = w.keeper
	t.Cleanup(func() {
		w.stop()
		stop()
		running.Wait()
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return w
}

func newKeeper(t *testing.T) *envelope.Keeper {
	t.Helper()
	root := must(envelope.OpenFolder(filepath.Join(t.TempDir(), "keys")))(t)
	t.Cleanup(func() { root.Close() })
	local := envelope.NewLocalKey(root, time.Now)
	return must(envelope.NewKeeper(envelope.Options{
		Folder: root, Wrap: local, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: local},
	}))(t)
}

func (w *world) NextOrder() uint64 { return w.order.Add(1) }

func (w *world) Clock() fault.Clock {
	now := time.Now()
	return fault.Clock{Wall: now, Boot: now.Sub(w.start), BootID: "boot"}
}

func (w *world) Observe(_ context.Context, l fault.Look) (fault.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := fault.Now{Clock: w.Clock(), Order: w.order.Load()}
	now.Shown = now.Wall
	if !now.Shown.After(w.shown) {
		now.Shown = w.shown.Add(time.Microsecond)
	}
	out, err := w.set.Look(&l, now)
	w.set.Commit()
	if n := len(out.Events); n > 0 {
		w.shown = out.Events[n-1].At
	}
	return out, err
}

// Report implements backup.Endpoints.
func (w *world) Report(_ string, r sshpolicy.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, r)
}

// lastHeard is how the newest connection went.
func (w *world) lastHeard() sshpolicy.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.heard) == 0 {
		return sshpolicy.Result{}
	}
	return w.heard[len(w.heard)-1]
}

// view is the fault as people see it; ok is false when it never was.
func (w *world) view(code fault.Code, resource string) (fault.View, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.set.View(fault.Key{Code: code, Resource: resource}, w.Clock())
}

func (w *world) active(code fault.Code, resource string) bool {
	v, ok := w.view(code, resource)
	return ok && v.Active
}

// server is an SSH server with SFTP below root, and the target that is it.
func (w *world) server() (*lab.SSHServer, *lab.SSHOptions, backup.Target) {
	w.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	signer := must(ssh.NewSignerFromKey(key))(w.t)
	root := w.t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "copies"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	o := &lab.SSHOptions{AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}, SFTP: &lab.SFTPOptions{Root: root}}
	s := must(w.lab.SSH(*o))(w.t)
	t := target(w.t, s.Addr(), signer, s.HostKeys()...)
	t.Path = "/copies"
	return s, o, t
}

func target(t *testing.T, addr string, login ssh.Signer, hostKeys ...ssh.PublicKey) backup.Target {
	t.Helper()
	out := backup.Target{
		Name: "nas1", Address: addr, User: "backup", Policy: must(sshpolicy.Builtin(sshpolicy.DefaultPolicy))(t), Protocol: sshpolicy.ProtocolSFTP,
		Login: func() (sshpolicy.Login, error) { return sshpolicy.Login{User: "backup", Key: login}, nil },
	}
	for _, k := range hostKeys {
		out.Pins = append(out.Pins, sshpolicy.PinOf(k))
	}
	return out
}

// tree makes a small tree to back up.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "alpha", "sub/b": "beta", "sub/empty": "", "sub/c c": "gamma\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// begin starts the subsystem with these jobs.
func (w *world) begin(targets []backup.Target, jobs ...backup.Job) {
	w.t.Helper()
	w.opts.Targets, w.opts.Jobs = targets, jobs
	w.backup = must(backup.New(w.opts))(w.t)
	if err := w.sched.Set(w.planned(), nil); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.backup.Run(ctx, w.sched); err != nil {
			w.t.Errorf("backup: %v", err)
		}
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := w.backup.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
}

// planned are the checks, without the pause between looks that servers need.
// They look on demand only: the first look of each is far away.
func (w *world) planned() []check.Check {
	all := w.backup.Checks()
	for i := range all {
		all[i].Gap = 0
	}
	return all
}

// look takes an operator's look, which must end in order.
func (w *world) look(id string) check.Last { return w.lookAs(id, fault.TriggerOperator) }

func (w *world) lookAs(id string, trigger fault.Trigger) check.Last {
	w.t.Helper()
	last := must(w.sched.Look(w.t.Context(), id, trigger))(w.t)
	if last.Failure != "" || last.RecordError != nil {
		w.t.Fatalf("look of %s: failure %q, record error %v", id, last.Failure, last.RecordError)
	}
	return last
}

// do carries out an action.
func do[Out any](w *world, name, in string) (Out, error) {
	w.t.Helper()
	for _, a := range w.backup.Actions() {
		if a.Name != name {
			continue
		}
		out, err := a.Do(w.t.Context(), []byte(in), func(wire.Progress) {})
		typed, _ := out.(Out)
		return typed, err
	}
	w.t.Fatalf("no action %s", name)
	panic("not reached")
}

// run runs a job and waits.
func (w *world) run(job string) wire.BackupRun {
	w.t.Helper()
	return must(do[wire.BackupRun](w, "run", `{"job":"`+job+`","wait":true}`))(w.t)
}

// until waits for what another goroutine does.
func (w *world) until(done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatal("it did not come in 20 s")
		}
	}
}
