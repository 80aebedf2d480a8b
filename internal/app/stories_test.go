package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"allclear/internal/api/client"
	"allclear/internal/app"
	"allclear/internal/cli"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/wire"
)

// The stories of testdata/faults run the real program, as a process of its own,
// against real servers: each breaks a thing, sees the one true fault raised by
// a look, mends the thing and sees the fault cleared by a look.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"allclear": func() { os.Exit(cli.Execute(context.Background(), os.Args[1:], cli.System(), program())) },
	})
}

const storyDir = "../../testdata/faults"

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           storyDir,
		Setup:         setUpStory,
		Condition:     condition,
		UpdateScripts: os.Getenv("UPDATE") != "",
		Cmds: commands(
			map[string]command{
				"agent": cmdAgent, "fault": cmdFault, "only": cmdOnly, "cleared": cmdCleared, "fill": cmdFill, "need": cmdNeed,
			},
			sshCommands, tlsCommands, systemCommands, notifyCommands, kmipCommands, backupCommands,
		),
	})
}

// TestEveryCodeHasAStory holds the catalogue to the rule: no story, no code.
func TestEveryCodeHasAStory(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(storyDir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	raised, cleared := map[string]bool{}, map[string]bool{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			code, _, _ := strings.Cut(words[1], "@")
			switch words[0] {
			case "fault":
				raised[code] = true
			case "cleared":
				cleared[code] = true
			}
		}
	}
	for _, e := range app.Catalogue().All() {
		if e.Never == "" && (!raised[string(e.Code)] || !cleared[string(e.Code)]) {
			t.Errorf("no story raises and clears %s", e.Code)
		}
	}
}

type command = func(ts *testscript.TestScript, neg bool, args []string)

func commands(sets ...map[string]command) map[string]command {
	all := map[string]command{}
	for _, set := range sets {
		for name, c := range set {
			all[name] = c
		}
	}
	return all
}

// story is what a script has running.
type story struct {
	lab     *lab.Lab
	socket  string
	agent   *exec.Cmd
	log     *os.File
	servers map[string]any // what the script has started, by its name
}

type storyKey struct{}

func setUpStory(env *testscript.Env) error {
	l, err := lab.New(context.Background(), "")
	if err != nil {
		return err
	}
	s := &story{lab: l, servers: map[string]any{}, socket: filepath.Join(l.Dir(), "s")} // short: a socket's path has 107 bytes at most
	env.Values[storyKey{}] = s
	env.Setenv("ALLCLEAR_SOCKET", s.socket)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("NO_COLOR", "1")
	name, err := me()
	if err != nil {
		return err
	}
	env.Setenv("ME", name)
	env.Defer(func() {
		if s.agent != nil {
			_ = s.agent.Process.Kill()
			_ = s.agent.Wait()
		}
		if err := l.Close(); err != nil {
			env.T().Log("lab: ", err)
		}
	})
	return nil
}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// condition knows [missing:NAME] for what [lab.Need] knows.
func condition(cond string) (bool, error) {
	what, ok := strings.CutPrefix(cond, "missing:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	return len(lab.Missing(what)) > 0, nil
}

// need NAME... skips the story where something is missing.
func cmdNeed(ts *testscript.TestScript, neg bool, args []string) {
	if missing := lab.Missing(args...); len(missing) > 0 {
		ts.Check(fmt.Errorf("put [missing:%s] skip 'needs: %s' before this", missing[0], missing[0]))
	}
}

// fill FILE... puts the values of variables into files: ports are known only
// when servers run.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// agent start|stop|kill|reload works the agent. It reads allclear.yaml, if
// there is one; further words of start are flags.
func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	if len(args) == 0 {
		ts.Fatalf("usage: agent start|stop|kill|reload")
	}
	switch args[0] {
	case "start":
		ts.Check(s.start(ts, args[1:]))
	case "stop":
		ts.Check(s.end(syscall.SIGTERM))
	case "kill":
		ts.Check(s.end(syscall.SIGKILL))
	case "reload":
		ts.Check(s.reload(ts))
	default:
		ts.Fatalf("agent: unknown word %q", args[0])
	}
}

func (s *story) start(ts *testscript.TestScript, flags []string) error {
	args := []string{"run", "--state-dir", ts.MkAbs("state"), "--listen", app.NoListen}
	if _, err := os.Stat(ts.MkAbs("allclear.yaml")); err == nil {
		args = append(args, "--config", ts.MkAbs("allclear.yaml"))
	}
	program, err := lookPath("allclear", ts.Getenv("PATH"))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(ts.MkAbs("agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.agent = exec.Command(program, append(args, flags...)...)
	s.agent.Env = append(os.Environ(), "ALLCLEAR_SOCKET="+s.socket, "HOME="+ts.Getenv("HOME"), clockEnv+"="+ts.Getenv(clockEnv))
	if roots := ts.Getenv("SSL_CERT_FILE"); roots != "" { // the system's roots, to crypto/x509
		s.agent.Env = append(s.agent.Env, "SSL_CERT_FILE="+roots)
	}
	s.agent.Stdout, s.agent.Stderr, s.log = log, log, log
	if err := s.agent.Start(); err != nil {
		return err
	}
	return s.answers(ts)
}

// reload asks for the configuration to be read again and waits until it was.
func (s *story) reload(ts *testscript.TestScript) error {
	read := func() int { return strings.Count(ts.ReadFile("agent.log"), `"msg":"configuration `) }
	before := read()
	if err := s.agent.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return await("the configuration to be read", func() bool { return read() > before })
}

// await waits for what another process is about to do; it judges nothing.
func await(what string, done func() bool) error {
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %s", what)
		}
		<-tick.C
	}
	return nil
}

// answers waits until the agent's door is open.
func (s *story) answers(ts *testscript.TestScript) error {
	c := client.New(s.socket)
	defer c.Close()
	err := await("the agent's door", func() bool {
		_, err := c.Status(context.Background())
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, ts.ReadFile("agent.log"))
	}
	return nil
}

func (s *story) end(signal syscall.Signal) error {
	if s.agent == nil {
		return errors.New("no agent runs")
	}
	err := s.agent.Process.Signal(signal)
	waitErr := s.agent.Wait()
	s.agent = nil
	if signal == syscall.SIGKILL {
		waitErr = nil
	}
	return errors.Join(err, waitErr, s.log.Close())
}

func lookPath(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in PATH", name)
}

// fault CODE@RESOURCE WORD... demands that the fault is active now. The words
// are KEY=VALUE or KEY~REGEXP, where KEY is severity, state, text, title, cause,
// remedy, command, masked_by or a sense key.
func cmdFault(ts *testscript.TestScript, neg bool, args []string) {
	f := ask(ts, args)
	if active := f.State == fault.Active || f.State == fault.Clearing; active == neg {
		ts.Fatalf("%s is %s", args[0], f.State)
	}
	expect(ts, f, args[1:])
}

// cleared CODE@RESOURCE [REASON] demands that the fault was raised and is clear,
// by a look unless another reason is named.
func cmdCleared(ts *testscript.TestScript, neg bool, args []string) {
	f := ask(ts, args)
	reason := fault.Verified
	if len(args) > 1 {
		reason = args[1]
	}
	if f.State != fault.Clear || f.ClearReason != reason {
		ts.Fatalf("%s is %s, clear reason %q", args[0], f.State, f.ClearReason)
	}
}

// only CODE@RESOURCE... demands that these and no others are active; drills do
// not count. Without words nothing may be active.
func cmdOnly(ts *testscript.TestScript, neg bool, args []string) {
	c := client.New(storyOf(ts).socket)
	defer c.Close()
	var active []string
	for f, err := range c.AllFaults(context.Background(), client.Filter{}) {
		ts.Check(err)
		if !f.Drill {
			active = append(active, string(f.Code)+"@"+f.Resource)
		}
	}
	slices.Sort(active)
	slices.Sort(args)
	if !slices.Equal(active, args) {
		ts.Fatalf("active are %q, want %q", active, args)
	}
}

func ask(ts *testscript.TestScript, args []string) wire.Fault {
	if len(args) == 0 {
		ts.Fatalf("which fault?")
	}
	c := client.New(storyOf(ts).socket)
	defer c.Close()
	f, err := c.Fault(context.Background(), args[0])
	ts.Check(err)
	return f
}

var expectation = regexp.MustCompile(`^([a-z0-9_.]+)(=|~)(.*)$`)

func expect(ts *testscript.TestScript, f wire.Fault, words []string) {
	for _, w := range words {
		m := expectation.FindStringSubmatch(w)
		if m == nil {
			ts.Fatalf("%q is not KEY=VALUE or KEY~REGEXP", w)
		}
		got := value(f, m[1])
		switch m[2] {
		case "=":
			if got != m[3] {
				ts.Fatalf("%s is %q, want %q", m[1], got, m[3])
			}
		case "~":
			re, err := regexp.Compile("(?s)" + m[3])
			ts.Check(err)
			if !re.MatchString(got) {
				ts.Fatalf("%s is %q, want a match of %q", m[1], got, m[3])
			}
		}
	}
}

func value(f wire.Fault, key string) string {
	var texts, commands []string
	for _, r := range f.Remedy {
		texts, commands = append(texts, r.Text), append(commands, r.Command)
	}
	switch key {
	case "severity":
		return f.Severity.String()
	case "state":
		return string(f.State)
	case "text":
		return f.Text
	case "title":
		return f.Title
	case "cause_text":
		return f.Cause
	case "remedy":
		return strings.Join(texts, "\n")
	case "command":
		return strings.Join(commands, "\n")
	case "masked_by":
		return strings.Join(f.MaskedBy, " ")
	case "count":
		return fmt.Sprint(f.Count)
	}
	return f.Sense[key]
}
