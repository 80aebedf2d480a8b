package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/notify"
	"allclear/internal/wire"
)

// These make the program a node instead of a benchmark.
const (
	nodeDir  = "ZOMBIE_NODE_DIR"
	nodeHook = "ZOMBIE_NODE_HOOK"
)

// allclear is a node in a process of its own, which reads what is true from its
// standard input: NAME there|gone, or NAME shelve|unshelve.
type allclear struct {
	dir, hook string
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	truth     map[string]bool
}

func newNode(r *receiver, dir string) (system, error) {
	return &allclear{dir: dir, hook: r.url, truth: map[string]bool{}}, nil
}

func (a *allclear) start() (err error) {
	a.cmd = exec.Command(os.Args[0])
	a.cmd.Env = append(os.Environ(), nodeDir+"="+a.dir, nodeHook+"="+a.hook)
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		return err
	}
	for name, there := range a.truth { // a node looks at everything when it starts
		if err := a.is(name, there); err != nil {
			return err
		}
	}
	return nil
}

func (a *allclear) say(line string) error {
	if _, err := fmt.Fprintln(a.in, line); err != nil {
		return err
	}
	answer, err := a.out.ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "ok" {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}

func (a *allclear) is(name string, there bool) error {
	a.truth[name] = there
	if a.cmd == nil {
		return nil
	}
	return a.say(name + map[bool]string{true: " there", false: " gone"}[there])
}

func (a *allclear) quiet(on bool) error {
	return a.say(symptom + map[bool]string{true: " shelve", false: " unshelve"}[on])
}

func (a *allclear) kill() error {
	err := a.cmd.Process.Kill()
	_ = a.cmd.Wait() // it was killed
	a.cmd = nil
	return err
}

func (a *allclear) stop() {
	if a.cmd != nil {
		_ = a.kill() // it has ended by itself then
	}
}

func code(name string) fault.Code { return fault.Code("zombie/" + name) }

// node is the child: a journal and a notifier until standard input ends.
func node(dir, hook string) error {
	entry := func(name string) fault.Entry {
		return fault.Entry{
			Code: code(name), Title: name, Impact: "i", Cause: "c", Raise: "r", Clear: "c", Severity: fault.Major,
			Remedy: []fault.Remedy{{Text: "mend it", Impact: "none"}},
		}
	}
	s := entry(symptom)
	s.CausedBy = []fault.Code{code(cause)}
	catalogue, err := fault.NewCatalogue(append(notify.Faults(), entry(cause), s)...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	store, err := journal.Open(ctx, journal.Options{Dir: dir + "/journal", Node: "n1", Catalogue: catalogue, BallastBytes: -1})
	if err != nil {
		cancel()
		return err
	}
	sink, err := notify.NewWebhook(notify.WebhookOptions{HTTPOptions: notify.HTTPOptions{URL: hook}})
	if err != nil {
		cancel()
		return errors.Join(err, store.Close())
	}
	n := notify.New(notify.Options{Node: "n1", Journal: store, Wire: wireOf}, []notify.Config{
		{Name: "hook", Kind: "webhook", Identity: hook, Stateful: true, Parallel: 4, Sink: sink},
	})
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx, nobody{}) }) // it answers nil
	wg.Go(func() { ticks(ctx, store) })
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer := "ok"
		if err := obey(ctx, store, lines.Text()); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	cancel()
	wg.Wait()
	return store.Close()
}

func ticks(ctx context.Context, store *journal.Store) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_, _ = store.Tick(ctx) // the next one is a second away
		}
	}
}

func obey(ctx context.Context, store *journal.Store, line string) error {
	name, what, _ := strings.Cut(line, " ")
	k := fault.Key{Code: code(name), Resource: "r"}
	verdict := fault.Absent
	switch what {
	case "shelve", "unshelve":
		_, err := store.Operate(ctx, k, fault.Operator{Op: fault.Op(what), By: "bench", Reason: "bench", For: time.Hour})
		return err
	case "there":
		verdict = fault.Present
	}
	l := fault.Look{
		Check: name + "@r", Started: store.NextOrder(), Ended: store.NextOrder(), At: store.Now(), Every: time.Minute, Timeout: time.Second,
		Observations: []fault.Observation{{Key: k, Verdict: verdict, Text: "seen"}},
	}
	if name == symptom {
		l.Causes = []fault.Key{{Code: code(cause), Resource: "r"}}
	}
	_, err := store.Observe(ctx, l)
	if err == nil && name == symptom && verdict == fault.Present { // as the scheduler does: a symptom asks for its cause
		return obey(ctx, store, cause+" gone")
	}
	return err
}

func wireOf(v *fault.View) wire.Fault {
	return wire.Fault{
		ID: v.ID, Seq: v.Seq, Node: "n1", Code: v.Key.Code, Resource: v.Key.Resource, Severity: v.Shown, State: v.Condition,
		Title: v.Title, RaisedAt: &v.Raised, ChangedAt: &v.Changed,
	}
}

type nobody struct{}

func (nobody) Ask(string, fault.Trigger) {}

func (nobody) Report(context.Context, string, fault.Trigger, func(*check.Report)) error { return nil }
