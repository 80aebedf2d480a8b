package app_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"allclear/internal/api/client"
	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

// backupCommands work backup jobs, the folders they go to and the lines in
// between in a story.
var backupCommands = map[string]command{
	"account": cmdAccount, "backdate": cmdBackdate, "copies": cmdCopies, "faulty": cmdFaulty, "found": cmdFound, "keyserver": cmdKeyServer, "kexbreak": cmdKexBreak,
	"offers": cmdOffers, "partial": cmdPartial, "proftpd": cmdProFTPD, "python": cmdPython, "random": cmdRandom, "tamper": cmdTamper, "until": cmdUntil,
}

// me is who runs the stories: the host's sshd lets in nobody else without root.
func me() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

// found CODE@RESOURCE... is "only" for an agent whose jobs have run: their keys
// hang on its own disk and have no recovery key, which are faults of their own.
func cmdFound(ts *testscript.TestScript, neg bool, args []string) {
	cmdOnly(ts, neg, append(args, "backup/key-local@backup", "backup/recovery-key-missing@backup"))
}

// account NAME FILE.pub makes a folder that an ordinary account may enter, and
// sets NAME to it, NAME_user to the account. Its files: copies, which belongs to
// the account, and authorized_keys with the public key.
func cmdAccount(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: account NAME FILE.pub")
	}
	const account = "nobody"
	u, err := user.Lookup(account)
	ts.Check(err)
	uid, err := strconv.Atoi(u.Uid)
	ts.Check(err)
	gid, err := strconv.Atoi(u.Gid)
	ts.Check(err)
	dir, err := os.MkdirTemp("", "story-") // others may not enter $WORK
	ts.Check(err)
	ts.Defer(func() { ts.Check(os.RemoveAll(dir)) })
	copies := filepath.Join(dir, "copies")
	ts.Check(errors.Join(
		os.Chmod(dir, 0o755), os.Mkdir(copies, 0o700), os.Chown(copies, uid, gid),
		os.WriteFile(filepath.Join(dir, "authorized_keys"), []byte(ts.ReadFile(args[1])), 0o644),
	))
	ts.Setenv(args[0], dir)
	ts.Setenv(args[0]+"_user", account)
}

// backdate JOB DURATION makes the records of a stopped agent about a job so much
// older: the machine was off, or nothing ran, for that long.
func cmdBackdate(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: backdate JOB DURATION")
	}
	by, err := time.ParseDuration(args[1])
	ts.Check(err)
	names, err := filepath.Glob(ts.MkAbs("state/backup/runs/" + args[0] + "/*.json"))
	ts.Check(err)
	for _, name := range append(names, ts.MkAbs("state/backup/proof/"+args[0]+".json")) {
		var record any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &record))
		data, err := json.Marshal(older(record, by))
		ts.Check(err)
		ts.Check(os.WriteFile(name, data, 0o600))
	}
}

// older moves every time in a JSON value back.
func older(v any, by time.Duration) any {
	switch v := v.(type) {
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return t.Add(-by).Format(time.RFC3339Nano)
		}
	case []any:
		for i := range v {
			v[i] = older(v[i], by)
		}
	case map[string]any:
		for key := range v {
			v[key] = older(v[key], by)
		}
	}
	return v
}

// faulty NAME SERVER WORD... puts a line in front of the server of that name, or
// changes it for connections from now on: throttle=BYTES a second, cut_sent=
// and stall_sent=BYTES from us, reset. Without words it is well.
func cmdFaulty(ts *testscript.TestScript, neg bool, args []string) {
	_, name, rest := verb(ts, "faulty", append([]string{"line"}, args...))
	if len(rest) == 0 {
		ts.Fatalf("usage: faulty NAME SERVER [WORD...]")
	}
	w := wordsOf(ts, rest[1:])
	o := lab.FaultOptions{
		Throttle: w.number("throttle"), CutSent: int64(w.number("cut_sent")), StallSent: int64(w.number("stall_sent")), CutReset: w.take("reset") != "",
	}
	w.done()
	if p, runs := storyOf(ts).servers[name].(*lab.FaultProxy); runs {
		p.Set(func(now *lab.FaultOptions) { *now = o })
		return
	}
	p, err := storyOf(ts).lab.Fault(ts.Getenv(rest[0]), o)
	ts.Check(err)
	keep(ts, name, p)
	publish(ts, name, p.Addr())
}

// kexbreak NAME SERVER KEX... puts something in front of the server of that name
// that ends every connection which chooses one of these key exchanges.
func cmdKexBreak(ts *testscript.TestScript, neg bool, args []string) {
	_, name, rest := verb(ts, "kexbreak", append([]string{"line"}, args...))
	if len(rest) == 0 {
		ts.Fatalf("usage: kexbreak NAME SERVER [KEX...]")
	}
	if k, runs := storyOf(ts).servers[name].(*lab.KexBreaker); runs {
		k.Break(rest[1:]...)
		return
	}
	k, err := storyOf(ts).lab.BreakKex(ts.Getenv(rest[0]), rest[1:]...)
	ts.Check(err)
	keep(ts, name, k)
	publish(ts, name, k.Addr())
}

// keyserver NAME runs the program's own key server for tests. What a client
// needs is in the folder NAME: ca.pem, client.pem, client.key.
func cmdKeyServer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: keyserver NAME")
	}
	dir := ts.MkAbs(args[0])
	program, err := lookPath("allclear", ts.Getenv("PATH"))
	ts.Check(err)
	cmd := exec.Command(program, "kmip", "serve", "--listen", "127.0.0.1:0", "--credentials", dir)
	ts.Check(cmd.Start())
	storyOf(ts).lab.OnClose(func() error {
		err := cmd.Process.Signal(os.Interrupt)
		return errors.Join(err, cmd.Wait())
	})
	var addr []byte
	ts.Check(await("a key server", func() bool {
		addr, err = os.ReadFile(filepath.Join(dir, "address"))
		return err == nil
	}))
	publish(ts, args[0], strings.TrimSpace(string(addr)))
}

// proftpd start NAME PASSWORD runs the host's ProFTPD; its account is "backup".
// proftpd stop NAME.
func cmdProFTPD(ts *testscript.TestScript, neg bool, args []string) {
	switch do, name, rest := verb(ts, "proftpd", args); do {
	case "start":
		p, err := storyOf(ts).lab.ProFTPD(context.Background(), lab.ProFTPDConfig{Password: rest[0]})
		ts.Check(err)
		keep(ts, name, p)
		publish(ts, name, p.Addr())
		publishKey(ts, name, "ed25519", p.HostKey())
	case "stop":
		ts.Check(kept[*lab.ProFTPD](ts, name).Stop())
	default:
		ts.Fatalf("proftpd: unknown word %q", do)
	}
}

// python paramiko|asyncssh NAME FILE.pub [no_sftp] runs a server made with that
// module, which lets the key in.
func cmdPython(ts *testscript.TestScript, neg bool, args []string) {
	module, name, rest := verb(ts, "python", args)
	start, known := map[string]func(*lab.Lab, context.Context, lab.PythonSSHConfig) (*lab.PythonSSH, error){
		"paramiko": (*lab.Lab).Paramiko, "asyncssh": (*lab.Lab).AsyncSSH,
	}[module]
	if !known || len(rest) == 0 {
		ts.Fatalf("usage: python paramiko|asyncssh NAME FILE.pub [no_sftp]")
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(ts.ReadFile(rest[0])))
	ts.Check(err)
	w := wordsOf(ts, rest[1:])
	c := lab.PythonSSHConfig{AuthorizedKeys: []ssh.PublicKey{key}, NoSFTP: w.take("no_sftp") != ""}
	w.done()
	s, err := start(storyOf(ts).lab, context.Background(), c)
	ts.Check(err)
	publish(ts, name, s.Addr())
	publishKey(ts, name, "ed25519", s.HostKey())
}

// random FILE BYTES writes so many bytes that nobody can compress.
func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: random FILE BYTES")
	}
	data := make([]byte, number(ts, args[1]))
	_, _ = rand.Read(data) // never fails
	file := ts.MkAbs(args[0])
	ts.Check(errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)))
}

// copies DIR N demands that N archives, each with its manifest, and no other files
// stand in the folder of a job, but for parts whose names say that they are none.
func cmdCopies(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: copies DIR N")
	}
	files, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	count := map[string]int{}
	for _, f := range files {
		names = append(names, f.Name())
		if sshpolicy.IsTemp(f.Name()) {
			continue
		}
		_, ending, _ := strings.Cut(f.Name(), ".")
		count[ending]++
	}
	n := number(ts, args[1])
	if want := map[string]int{"tar.zst.age": n, "manifest.json": n}; !maps.Equal(count, want) {
		ts.Fatalf("in %s are %q, want %d copies", args[0], names, n)
	}
}

// offers NAME CATEGORY=LIST... demands that the SSH server of that name offers
// these algorithms, in this order, and no others; marks of extensions do not count.
func cmdOffers(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: offers NAME CATEGORY=LIST...")
	}
	policy, err := sshpolicy.Builtin(sshpolicy.DefaultPolicy)
	ts.Check(err)
	r := sshpolicy.Probe(context.Background(), sshpolicy.Target{Name: args[0], Addr: ts.Getenv(args[0])}, sshpolicy.Options{Policy: policy})
	if r.Offer == nil {
		ts.Fatalf("%s offers nothing: %s", args[0], r.Error)
	}
	lists := map[string][]string{
		"kex": r.Offer.KEX, "host_key": r.Offer.HostKey, "cipher": r.Offer.CipherC2S, "mac": r.Offer.MACC2S,
	}
	for _, a := range args[1:] {
		category, want, _ := strings.Cut(a, "=")
		got := slices.DeleteFunc(slices.Clone(lists[category]), func(name string) bool {
			return strings.HasPrefix(name, "kex-strict-") || strings.HasPrefix(name, "ext-info-")
		})
		if strings.Join(got, ",") != want {
			ts.Fatalf("%s offers %s %s, want %s", args[0], category, strings.Join(got, ","), want)
		}
	}
}

// tampered are the files that a story has spoiled, as they were.
type tampered map[string][]byte

// tamper flip|cut|hide PATTERN changes the last byte of each file that matches,
// cuts its second half off, or takes it away. ! tamper mends all of it.
func cmdTamper(ts *testscript.TestScript, neg bool, args []string) {
	was, _ := storyOf(ts).servers["tampered"].(tampered)
	if neg {
		for name, data := range was {
			ts.Check(os.WriteFile(name, data, 0o600))
		}
		keep(ts, "tampered", tampered{})
		return
	}
	if len(args) != 2 {
		ts.Fatalf("usage: [!] tamper flip|cut|hide PATTERN")
	}
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	spoiled := maps.Clone(was)
	if spoiled == nil {
		spoiled = tampered{}
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		ts.Check(err)
		if _, known := spoiled[name]; !known {
			spoiled[name] = data
		}
		ts.Check(spoil(args[0], name, data))
	}
	keep(ts, "tampered", spoiled)
}

func spoil(how, name string, data []byte) error {
	switch how {
	case "flip":
		data = slices.Clone(data)
		data[len(data)-1] ^= 1
		return os.WriteFile(name, data, 0o600)
	case "cut":
		return os.Truncate(name, int64(len(data)/2))
	case "hide":
		return os.Remove(name)
	}
	return fmt.Errorf("tamper: unknown word %q", how)
}

// until JOB CONDITION waits for what goes on in a job by itself: that the
// newest run has ended as "success", "failed" or "interrupted", or that a restore
// drill has passed since ("drilled").
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: until JOB success|failed|interrupted|drilled")
	}
	c := client.New(storyOf(ts).socket)
	defer c.Close()
	ts.Check(await("job "+args[0]+" to be: "+args[1], func() bool {
		var jobs wire.List[wire.BackupJob]
		ts.Check(c.View(context.Background(), "backup", "jobs", url.Values{}, &jobs))
		i := slices.IndexFunc(jobs.Items, func(j wire.BackupJob) bool { return j.Name == args[0] })
		if i < 0 {
			ts.Fatalf("no job %s", args[0])
		}
		return jobIs(&jobs.Items[i], args[1])
	}))
}

func jobIs(j *wire.BackupJob, condition string) bool {
	if condition == "drilled" {
		d := j.Proof.DrillPassed
		return j.Running == nil && j.Last != nil && d != nil && !d.Before(j.Last.Started)
	}
	return j.Running == nil && j.Last != nil && j.Last.State == condition
}

// partial DIR waits until a file of which not all has come stands somewhere below
// the folder; ! partial DIR demands that there is none.
func cmdPartial(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: partial DIR")
	}
	find := func() (found string) {
		ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(name string, e fs.DirEntry, err error) error {
			if err == nil && sshpolicy.IsTemp(name) {
				if info, err := e.Info(); err == nil && info.Size() > 0 {
					found = name
				}
			}
			return nil // files come and go
		}))
		return found
	}
	if !neg {
		ts.Check(await("a part of a file below "+args[0], func() bool { return find() != "" }))
	} else if name := find(); name != "" {
		ts.Fatalf("%s stays", name)
	}
}
