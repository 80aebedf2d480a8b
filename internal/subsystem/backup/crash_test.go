package backup_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/envelope"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup"
	"allclear/internal/wire"
)

// child is what a process that is to be killed works with.
type child struct {
	Dir, Keys, Address, HostKey, Source string
	User, Path, Login                   string // Login is a password or a private key
	Kind                                backup.Kind
	Protocol                            sshpolicy.Protocol
}

// login is what the child shows to the server.
func (c *child) login() (sshpolicy.Login, error) {
	if !strings.HasPrefix(c.Login, "-----BEGIN") {
		return sshpolicy.Login{User: c.User, Password: sshpolicy.Secret(c.Login)}, nil
	}
	key, err := ssh.ParsePrivateKey([]byte(c.Login))
	return sshpolicy.Login{User: c.User, Key: key}, err
}

const childVariable = "ALLCLEAR_TEST_BACKUP_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(beChild(text))
	}
	// Most of these tests wait for disks and for other programs: more of them may
	// do so at a time than there are processors, unless somebody says otherwise.
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		if err := flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func (c *child) options() (backup.Options, func() error, error) {
	root, err := envelope.OpenFolder(c.Keys)
	if err != nil {
		return backup.Options{}, nil, err
	}
	local := envelope.NewLocalKey(root, time.Now)
	keeper, err := envelope.NewKeeper(envelope.Options{
		Folder: root, Wrap: local, Sources: map[envelope.Kind]envelope.KeySource{envelope.KindLocal: local},
	})
	if err != nil {
		return backup.Options{}, nil, err
	}
	pin, err := sshpolicy.ParsePin(c.HostKey)
	if err != nil {
		return backup.Options{}, nil, err
	}
	policy, err := sshpolicy.Builtin(sshpolicy.DefaultPolicy)
	return backup.Options{
		Dir: c.Dir, Node: "node1", Keys: keeper,
		Targets: []backup.Target{{
			Name: "nas1", Address: c.Address, User: c.User, Policy: policy, Path: c.Path, Protocol: c.Protocol, Pins: []sshpolicy.Pin{pin}, Login: c.login,
		}},
		Jobs: []backup.Job{{Name: "etc", Kind: c.Kind, Sources: []string{c.Source}, Target: "nas1", Tries: 1, Keep: backup.Keep{Last: 3}}},
	}, root.Close, err
}

// beChild runs the job again and again until it is killed, and says so.
func beChild(text string) int {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return 2
	}
	o, _, err := c.options()
	if err != nil {
		return 2
	}
	b, err := backup.New(o)
	if err != nil {
		return 2
	}
	go func() { _ = b.Run(context.Background(), nil) }()
	_, _ = os.Stdout.WriteString("begun\n")
	for {
		for _, a := range b.Actions() {
			if a.Name != "run" {
				continue
			}
			out, err := a.Do(context.Background(), []byte(`{"job":"etc","wait":true}`), nil)
			if rec, ok := out.(wire.BackupRun); err != nil || !ok || rec.State != "success" {
				_, _ = os.Stdout.WriteString("failed: " + rec.Result.Text + "\n")
				return 3
			}
		}
	}
}

// Whenever the agent is killed, what counts as a copy is whole, and the next
// agent goes on.
func TestKillAtAnyMoment(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, o, _ := w.server()
			o.AuthorizedKeys, o.Passwords = nil, map[string]string{"backup": "open sesame"}
			if err := s.Reconfigure(*o); err != nil {
				t.Fatal(err)
			}
			c := child{
				Dir: filepath.Join(t.TempDir(), "backup"), Keys: filepath.Join(t.TempDir(), "keys"), Address: s.Addr(),
				HostKey: ssh.FingerprintSHA256(s.HostKeys()[0]), Source: tree(t), Kind: kind,
				User: "backup", Path: "/copies", Login: "open sesame", Protocol: sshpolicy.ProtocolSFTP,
			}
			for range 8 {
				c.killOne(t)
			}
			w.whole(&c)
		})
	}
}

// whole begins the next agent after a child was killed: every copy is whole, and
// the job goes on.
func (w *world) whole(c *child) {
	w.t.Helper()
	w.opts.Dir = c.Dir
	left, release, err := c.options()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = release() })
	w.opts.Keys = left.Keys
	w.begin(left.Targets, left.Jobs...)
	if rec := w.run("etc"); rec.State != "success" {
		w.t.Fatalf("the run after it all: %+v", rec.Result)
	}
	if v := must(do[wire.BackupVerify](w, "verify", `{"job":"etc","full":true}`))(w.t); !v.OK {
		w.t.Errorf("verify %+v", v)
	}
	for _, snap := range must(do[wire.List[wire.BackupSnapshot]](w, "snapshots", `{"job":"etc"}`))(w.t).Items {
		w.restores(snap.ID, c.Source)
	}
	interrupted := 0
	for _, rec := range w.runs() {
		switch rec.State {
		case "running":
			w.t.Errorf("run %s goes on for ever", rec.ID)
		case "interrupted":
			interrupted++
		}
	}
	w.t.Logf("%d runs, %d of them cut off", len(w.runs()), interrupted)
}

// The agent dies while an archive is on its way by SCP: what came of it stands
// under no copy's name, and the next run is well.
func TestKillWhileAnArchiveIsSentBySCP(t *testing.T) {
	lab.Need(t, "sshd", "root")
	t.Parallel()
	w := newWorld(t)
	key, pemKey := newLogin(t)
	target := openssh(lab.SSHDConfig{Extra: list("Subsystem other internal-sftp")})(w, key)
	slow := must(w.lab.Fault(target.Address, lab.FaultOptions{StallSent: 1 << 20}))(t)
	c := child{
		Dir: filepath.Join(t.TempDir(), "backup"), Keys: filepath.Join(t.TempDir(), "keys"), Address: slow.Addr(), HostKey: target.Pins[0].String(),
		Source: tree(t), Kind: backup.Archive, User: target.User, Path: target.Path, Login: string(pemKey), Protocol: sshpolicy.ProtocolSCP,
	}
	big := filepath.Join(c.Source, "big")
	noise(t, big, 4<<20)
	cmd, out := c.start(t)
	w.until(func() bool { // it has stored a part, and no more comes
		parts := names(t, target.Path)
		if len(parts) != 1 {
			return false
		}
		info, err := os.Stat(parts[0])
		return err == nil && info.Size() > 512<<10
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // nothing it says matters now
	_ = cmd.Wait()                  // it was killed
	for _, name := range names(t, target.Path) {
		if !sshpolicy.IsTemp(filepath.Base(name)) {
			t.Errorf("%s stands under a copy's name", name)
		}
	}
	if err := os.Remove(big); err != nil {
		t.Fatal(err)
	}
	c.Address = target.Address
	w.whole(&c)
}

// killOne runs a child and kills it after a random time.
func (c *child) killOne(t *testing.T) {
	t.Helper()
	cmd, out := c.start(t)
	said := make([]byte, 1000)
	kill := time.AfterFunc(time.Duration(rand.IntN(1500))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if n, _ := out.Read(said); n > 0 {
		t.Errorf("child: %s", said[:n])
	}
	_ = cmd.Wait() // it was killed
}

// start begins a child, which has begun its first run.
func (c *child) start(t *testing.T) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+string(must(json.Marshal(c))(t)))
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 1000)
	n, err := out.Read(said)
	if err != nil || !strings.HasPrefix(string(said[:n]), "begun") {
		t.Errorf("child: %q, %v", said[:n], err)
	}
	return cmd, out
}
