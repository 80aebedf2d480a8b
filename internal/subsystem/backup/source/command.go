package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a command, where it sets none.
const (
	DefaultMaxBytes = 64 << 30 // of its output
	DefaultGrace    = 5 * time.Second
	stderrTail      = 4 << 10
)

// searchPath is where a command without a slash in its name is looked for: never in what somebody's environment says.
var searchPath = [...]string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Command is a program whose output is to be backed up. It is run as it is written, without a shell.
type Command struct {
	// Argv is the program, by absolute path or by a name looked for in the system's folders, and its arguments.
	Argv []string
	// RunAs is the user who runs it: required when we are root, else empty or our own user.
	RunAs string
	// Dir is where it runs, "" is "/".
	Dir string
	// Env is added to PATH, HOME, USER, LOGNAME and LANG, the only variables it has otherwise.
	Env []string
	// MaxBytes bounds its output, 0 is [DefaultMaxBytes]. A command that writes more is ended and has failed.
	MaxBytes int64
	// Grace is how long it has to end after a SIGTERM, and how long others may hold its output open after it ended,
	// before all of its process group are killed; 0 is [DefaultGrace].
	Grace time.Duration
}

// ErrNoRunAs: a command run by root must say as whom; root itself must be asked for by name.
var ErrNoRunAs = errors.New("run_as is required when the agent is root")

// CommandError says how a command failed. None of its output counts then.
type CommandError struct {
	Path   string
	Exit   int         // exit status; -1 when it was ended by a signal or never started
	Signal unix.Signal // 0 when it ended by itself
	Bytes  int64       // how much it had written
	Stderr string      // the last lines of what it said, at most 4 KiB
	Err    error       // why we ended it, or why it could not be run; may be nil
}

func (e *CommandError) Error() string {
	text := "command " + show(e.Path)
	switch {
	case e.Err != nil:
		text += ": " + e.Err.Error()
	case e.Signal != 0:
		text += ": ended by signal " + unix.SignalName(e.Signal)
	default:
		text += ": exit status " + strconv.Itoa(e.Exit)
	}
	text += fmt.Sprintf(" after %d bytes of output", e.Bytes)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

func (e *CommandError) Unwrap() error { return e.Err }

// prepared is a command that may be run.
type prepared struct {
	path string
	as   *user.User
	cred *syscall.SysProcAttr
}

// Check makes sure that the command may be run as it is named: the program exists, can be trusted ([CheckTrusted]) and
// executed, and RunAs is a user that we can be. It runs nothing.
func (c Command) Check() error {
	_, err := c.prepare()
	return err
}

func (c Command) prepare() (prepared, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return prepared{}, errors.New("command: no program is named")
	}
	if slices.ContainsFunc(slices.Concat(c.Argv, c.Env, []string{c.Dir}), func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return prepared{}, fmt.Errorf("command %s: an argument holds a zero byte", show(c.Argv[0]))
	}
	path, err := findProgram(c.Argv[0])
	if err != nil {
		return prepared{}, fmt.Errorf("command %s: %w", show(c.Argv[0]), err)
	}
	if err := CheckTrusted(path); err != nil {
		return prepared{}, fmt.Errorf("command %s: %w", show(c.Argv[0]), err)
	}
	as, cred, err := c.identity()
	if err != nil {
		return prepared{}, fmt.Errorf("command %s: %w", show(c.Argv[0]), err)
	}
	return prepared{path: path, as: as, cred: cred}, nil
}

// findProgram answers the absolute path of an executable file.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			return "", errNotAbsolute
		}
		return name, executable(name)
	}
	for _, dir := range searchPath {
		if path := dir + "/" + name; executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w in %s", exec.ErrNotFound, strings.Join(searchPath[:], ":"))
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return cause(err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return errNotExecutable
	}
	return nil
}

// identity answers the user that the command runs as, and how to become that.
func (c Command) identity() (*user.User, *syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		me, err := user.LookupId(strconv.Itoa(os.Geteuid()))
		if err != nil {
			return nil, nil, err
		}
		if c.RunAs != "" && c.RunAs != me.Username {
			return nil, nil, fmt.Errorf("run_as %s: only root can do that, the agent is %s", c.RunAs, me.Username)
		}
		return me, attr, nil
	}
	if c.RunAs == "" {
		return nil, nil, ErrNoRunAs
	}
	as, err := user.Lookup(c.RunAs)
	if err != nil {
		return nil, nil, fmt.Errorf("run_as: %w", err)
	}
	ids, err := as.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("run_as %s: groups: %w", c.RunAs, err)
	}
	numbers := []uint32{}
	for _, id := range slices.Concat([]string{as.Uid, as.Gid}, ids) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("run_as %s: %w", c.RunAs, err)
		}
		numbers = append(numbers, uint32(n))
	}
	attr.Credential = newCredential(numbers[0], numbers[1], numbers[2:])
	return as, attr, nil
}

// environment is all that the command sees of ours.
func (p prepared) environment(extra []string) []string {
	return slices.Concat([]string{
		"PATH=" + strings.Join(searchPath[:], ":"),
		"HOME=" + p.as.HomeDir,
		"USER=" + p.as.Username,
		"LOGNAME=" + p.as.Username,
		"LANG=C.UTF-8",
	}, extra)
}

// deadline wraps the cause of a context that ended so that the text says what happened to the command.
func deadline(ctx context.Context) error {
	return fmt.Errorf("was ended: %w", context.Cause(ctx))
}
