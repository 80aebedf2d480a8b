package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"allclear/internal/api/client"
	"allclear/internal/cli"
	"allclear/internal/lab"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"allclear": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System())) },
	})
}

// TestStories runs the stories of testdata with the real program. UPDATE=1
// writes what cmp finds different into the story.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       os.Getenv("UPDATE") == "1",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ALLCLEAR_SOCKET", e.WorkDir+"/run/s.sock")
			e.Setenv("HOME", e.WorkDir)
			e.Values[stageKey{}] = &stage{ssh: map[string]*lab.SSHServer{}, tls: map[string]*lab.TLSServer{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready, "ssh": sshServer, "https": httpsServer, "shape": shape, "until": until, "hup": hup, "envfile": envfile, "nowhere": nowhere,
		},
	})
}

type stageKey struct{}

// stage is what a story's servers stand on.
type stage struct {
	lab *lab.Lab
	ssh map[string]*lab.SSHServer
	tls map[string]*lab.TLSServer
}

func stageOf(ts *testscript.TestScript) *stage {
	s := ts.Value(stageKey{}).(*stage)
	if s.lab == nil {
		ctx, cancel := context.WithCancel(context.Background())
		l, err := lab.New(ctx, ts.MkAbs("."))
		ts.Check(err)
		s.lab = l
		ts.Defer(func() {
			if err := l.Close(); err != nil {
				ts.Logf("close the lab: %v", err)
			}
			cancel()
		})
	}
	return s
}

// exits CODE PROGRAM ARGS... runs a program and demands exactly that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// patience is how long a story waits for a process.
const patience = 20 * time.Second

func poll(ts *testscript.TestScript, what string, done func(context.Context) (bool, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		ok, err := done(ctx)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

// ready waits until the agent answers and has looked at everything.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	api := client.New(ts.Getenv("ALLCLEAR_SOCKET"))
	defer api.Close()
	poll(ts, "the agent has looked at everything", func(ctx context.Context) (bool, error) {
		st, err := api.Status(ctx)
		return err == nil && st.Summary.Checks > 0 && len(st.NotYet) == 0 && len(st.Stale) == 0, err
	})
}

// until PATTERN-TEXT COMMAND... repeats a command until its output holds the text.
func until(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, strings.Join(args, " "), func(context.Context) (bool, error) {
		err := ts.Exec(args[1], args[2:]...)
		return strings.Contains(ts.ReadFile("stdout"), args[0]), err
	})
}

// hup PIDFILE sends SIGHUP to the process whose pid is in the file that the
// journal's lock is.
func hup(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(os.Signal(hangup)))
}

// ssh NAME [kex=A,B] [cipher=A,B] [mac=A,B] [version=V] starts an SSH server,
// or changes it, and puts its address into $NAME and its Ed25519 key's pin into
// $NAME_PIN.
func sshServer(ts *testscript.TestScript, _ bool, args []string) {
	var o lab.SSHOptions
	for _, a := range args[1:] {
		k, v, _ := strings.Cut(a, "=")
		list := strings.Split(v, ",")
		switch k {
		case "kex":
			o.KEX = list
		case "cipher":
			o.Ciphers = list
		case "mac":
			o.MACs = list
		case "version":
			v, err := strconv.Unquote(`"` + v + `"`)
			ts.Check(err)
			o.Version = v
		case "password":
			o.Passwords = map[string]string{"backup": v}
		case "mode":
			o.Mode = lab.SSHMode(v)
		case "text":
			v, err := strconv.Unquote(`"` + v + `"`)
			ts.Check(err)
			o.Text = v
		default:
			ts.Fatalf("ssh: what is %q?", a)
		}
	}
	s := stageOf(ts)
	if srv := s.ssh[args[0]]; srv != nil {
		ts.Check(srv.Reconfigure(o))
		return
	}
	srv, err := s.lab.SSH(o)
	ts.Check(err)
	s.ssh[args[0]] = srv
	ts.Setenv(args[0], srv.Addr())
	for _, k := range srv.HostKeys() {
		if k.Type() == "ssh-ed25519" {
			ts.Setenv(args[0]+"_PIN", "ssh-ed25519 "+fingerprint(k))
		}
	}
}

// https NAME [status=N] starts an HTTPS server, or changes it: its address is
// in $NAME, the authority's certificate in the file ca.pem.
func httpsServer(ts *testscript.TestScript, _ bool, args []string) {
	s := stageOf(ts)
	srv := s.tls[args[0]]
	if srv == nil {
		var err error
		srv, err = s.lab.TLS(lab.TLSOptions{})
		ts.Check(err)
		s.tls[args[0]] = srv
		ts.Setenv(args[0], srv.Addr())
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), s.lab.CA().PEM, 0o600))
	}
	for _, a := range args[1:] {
		k, v, _ := strings.Cut(a, "=")
		if k != "status" {
			ts.Fatalf("https: what is %q?", a)
		}
		n, err := strconv.Atoi(v)
		ts.Check(err)
		srv.Set(func(o *lab.TLSOptions) { o.Status = n })
	}
}

// shape FILE writes the names and kinds of the values in the JSON on stdout,
// which are the contract, without the values. "shape FILE PATH" begins at a
// path such as items.0.
func shape(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	if len(args) > 1 {
		for _, step := range strings.Split(args[1], ".") {
			if list, ok := v.([]any); ok {
				i, err := strconv.Atoi(step)
				ts.Check(err)
				v = list[i]
				continue
			}
			v = v.(map[string]any)[step]
		}
	}
	var lines []string
	outline(&lines, "", v)
	slices.Sort(lines)
	all := slices.Clone(lines)
	lines = slices.DeleteFunc(lines, func(l string) bool { // an empty list says nothing where a full one is seen too
		path, empty := strings.CutSuffix(l, " list")
		return empty && slices.ContainsFunc(all, func(o string) bool { return strings.HasPrefix(o, path+"[]") })
	})
	text := strings.Join(slices.Compact(lines), "\n") + "\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func outline(lines *[]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if strings.HasSuffix(path, ".sense") || strings.HasSuffix(path, ".evidence") { // free keys
			*lines = append(*lines, path+" object")
			return
		}
		for k, w := range v {
			outline(lines, path+"."+k, w)
		}
	case []any:
		if len(v) == 0 {
			*lines = append(*lines, path+" list")
		}
		for _, w := range v {
			outline(lines, path+"[]", w)
		}
	case nil:
		*lines = append(*lines, path+" null")
	default:
		*lines = append(*lines, fmt.Sprintf("%s %T", path, v))
	}
}

// envfile FILE... puts the values of $NAMEs into files.
func envfile(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// nowhere TEXT DIR... demands that no file below the directories holds the
// text, and that there are files; with ! that one does.
func nowhere(ts *testscript.TestScript, neg bool, args []string) {
	files, hits := 0, []string{}
	for _, dir := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			if strings.Contains(string(b), args[0]) {
				hits = append(hits, path)
			}
			return nil
		}))
	}
	if files < len(args)-1 {
		ts.Fatalf("only %d files were there to search", files)
	}
	if neg != (len(hits) > 0) {
		ts.Fatalf("%q is in %q", args[0], hits)
	}
}
