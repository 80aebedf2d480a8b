package source_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/source"
)

// shell is a command as our own user.
func shell(t *testing.T, script string) source.Command {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return source.Command{Argv: []string{"sh", "-c", script}, RunAs: me.Username, Grace: 300 * time.Millisecond}
}

func TestOutputOfACommand(t *testing.T) {
	var out bytes.Buffer
	c := shell(t, `printf 'a\0b'; echo "$1" "$HOME_IS" >&1; pwd; env | cut -d= -f1 | sort | tr '\n' ' '; cat`)
	c.Argv = append(c.Argv, "x", "$(not) a 'shell'")
	c.Env = []string{"HOME_IS=set"}
	t.Setenv("SECRET", "1")
	n, err := c.Run(t.Context(), &out)
	want := "a\x00b$(not) a 'shell' set\n/\nHOME HOME_IS LANG LOGNAME PATH PWD USER "
	if err != nil || out.String() != want || n != int64(len(want)) {
		t.Errorf("%d bytes %q, %v\nwant %q", n, out.String(), err, want)
	}
}

func TestACommandThatFailsHasNoOutput(t *testing.T) {
	full := errors.New("disk full")
	for _, c := range []struct {
		name, script string
		max          int64
		w            *failing
		want         string
		is           error
	}{
		{"exit status", "echo bytes; echo 'no such table' >&2; exit 3", 0, nil, "exit status 3 after 6 bytes of output: no such table", nil},
		{"signal", "echo x; kill -SEGV $$", 0, nil, "ended by signal SIGSEGV after 2 bytes", nil},
		{"too much", "yes", 100_000, nil, "wrote more than is allowed: 100000 bytes", nil},
		{"exactly enough and exit 1", "printf 12345; exit 1", 5, nil, "exit status 1 after 5 bytes", nil},
		{"writer fails", "yes", 0, &failing{full}, "take its output: disk full", full},
		{"output held open", "sleep 1000 & echo started", 0, nil, "ended, but a process that it started kept its output open", nil},
	} {
		cmd := shell(t, c.script)
		cmd.MaxBytes = c.max
		var err error
		if c.w != nil {
			_, err = cmd.Run(t.Context(), c.w)
		} else {
			_, err = cmd.Run(t.Context(), &bytes.Buffer{})
		}
		e, ok := errors.AsType[*source.CommandError](err)
		if !ok || !strings.Contains(e.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	c := shell(t, "printf 12345")
	c.MaxBytes = 5
	if n, err := c.Run(t.Context(), &bytes.Buffer{}); n != 5 || err != nil {
		t.Errorf("exactly as much as allowed: %d, %v", n, err)
	}
}

type failing struct{ err error }

func (f *failing) Write([]byte) (int, error) { return 0, f.err }

// lines hands over each line that a command writes.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestTheWholeGroupEndsWithTheDeadline(t *testing.T) {
	// Neither the program nor its child heeds the polite request.
	c := shell(t, `trap '' TERM; sh -c 'trap "" TERM; while :; do sleep 0.1; done' & echo $!; while :; do sleep 0.1; done`)
	ctx, cancel := context.WithCancelCause(t.Context())
	out := make(lines, 10)
	done := make(chan error)
	go func() {
		_, err := c.Run(ctx, out)
		done <- err
	}()
	pid, err := strconv.Atoi(strings.TrimSpace(<-out))
	if err != nil {
		t.Fatal(err)
	}
	late := errors.New("the job's deadline of 1h0m0s")
	cancel(late)
	err = <-done
	if !errors.Is(err, late) || !strings.Contains(err.Error(), "was ended: the job's deadline") {
		t.Errorf("got %v", err)
	}
	if err := unix.Kill(pid, 0); err == nil && !zombie(pid) {
		t.Errorf("process %d still runs", pid)
	}
}

// zombie tells whether the process has ended and only waits for its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestCommandsThatMayNotRun(t *testing.T) {
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode) string {
		if err := errors.Join(os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\necho ran\n"), mode), os.Chmod(dir+"/"+name, mode)); err != nil {
			t.Fatal(err)
		}
		return dir + "/" + name
	}
	for _, c := range []struct {
		name string
		argv []string
		as   string
		want string
	}{
		{"nothing", nil, me.Username, "no program is named"},
		{"relative", []string{"./x"}, me.Username, "is not an absolute path"},
		{"missing", []string{"no-such-program-x"}, me.Username, "not found"},
		{"missing path", []string{"/no/such"}, me.Username, "no such file"},
		{"not executable", []string{write("plain", 0o644)}, me.Username, "is not an executable file"},
		{"writable by all", []string{write("open", 0o777)}, me.Username, "can be written by everybody"},
		{"zero byte", []string{"echo", "a\x00b"}, me.Username, "zero byte"},
		{"no such user", []string{"echo"}, "no-such-user-x", "run_as"},
	} {
		cmd := source.Command{Argv: c.argv, RunAs: c.as}
		_, err := cmd.Run(t.Context(), &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	ok := source.Command{Argv: []string{write("good", 0o755)}, RunAs: me.Username}
	var out bytes.Buffer
	if _, err := ok.Run(t.Context(), &out); err != nil || out.String() != "ran\n" {
		t.Errorf("a good one: %q, %v", out.String(), err)
	}
}

func TestRootRunsCommandsOnlyAsANamedUser(t *testing.T) {
	lab.Need(t, "root")
	if err := (source.Command{Argv: []string{"id"}}).Check(); !errors.Is(err, source.ErrNoRunAs) {
		t.Errorf("without run_as: %v", err)
	}
	var out bytes.Buffer
	_, err := source.Command{Argv: []string{"id"}, RunAs: "nobody"}.Run(t.Context(), &out)
	want, err2 := exec.CommandContext(t.Context(), "id", "nobody").Output()
	if err != nil || err2 != nil || out.String() != string(want) {
		t.Errorf("as nobody: %q, %v, want %q", out.String(), err, want)
	}
}

func TestWhatCanBeTrusted(t *testing.T) {
	lab.Need(t, "root")
	dir := t.TempDir()
	plant(t, dir, "good", "theirs", "group", "shared/in", "sticky/in", "away -> theirs", "chain -> shared/../good", "rel -> good", "loop -> loop")
	for name, mode := range map[string]os.FileMode{"group": 0o664, "shared": 0o777, "sticky": 0o777 | os.ModeSticky} {
		if err := os.Chmod(dir+"/"+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, owner := range map[string][2]int{"theirs": {65534, 0}, "group": {0, 65534}} {
		if err := os.Lchown(dir+"/"+name, owner[0], owner[1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, want string }{
		{"good", ""},
		{"rel", ""},
		{"sticky/in", ""},
		{"theirs", "belongs to another user (owner 65534"},
		{"away", "/theirs belongs to another user"},
		{"group", "can be written by group 65534"},
		{"shared/in", "/shared can be written by everybody"},
		{"chain", "/shared can be written by everybody"},
		{"none", "no such file"},
		{"loop", "too many levels"},
	} {
		err := source.CheckTrusted(dir + "/" + c.name)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
