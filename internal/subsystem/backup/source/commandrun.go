package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// newCredential: SysProcAttr is package syscall's type.
func newCredential(uid, gid uint32, groups []uint32) *syscall.Credential {
	return &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
}

// errTooMuch ends a command that writes more than it may.
var errTooMuch = errors.New("wrote more than is allowed")

// errHeld: the command ended, but something that it had started still held its output open. Whether all of the output
// was there cannot be known, so it does not count.
var errHeld = errors.New("ended, but a process that it started kept its output open")

// Run runs the command and copies its output to w. Only a nil error means that w holds all of it: any exit status but
// 0, a signal, the end of ctx, too much output or an error of w is a [*CommandError], whatever bytes came before. When Run
// returns, nothing of the command's process group runs any more.
func (c Command) Run(ctx context.Context, w io.Writer) (int64, error) {
	p, err := c.prepare()
	if err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, &CommandError{Path: p.path, Exit: -1, Err: context.Cause(ctx)}
	}
	r, err := c.start(p, w)
	if err != nil {
		return 0, &CommandError{Path: p.path, Exit: -1, Err: err}
	}
	why := r.watch(ctx, c.grace())
	return r.finish(why)
}

func (c Command) grace() time.Duration {
	if c.Grace > 0 {
		return c.Grace
	}
	return DefaultGrace
}

// running is a command at work. Three goroutines serve it; finish waits for all of them.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
	tail           tail
	bytes          int64         // owned by the copying goroutine until copied is closed
	copyErr        error         // likewise
	copied         chan struct{} // stdout is at its end, or w or the bound refused more
	said           chan struct{} // stderr is at its end
	exited         chan struct{} // the program itself has ended, and is not reaped yet
}

func (c Command) start(p prepared, w io.Writer) (*running, error) {
	cmd := exec.Command(p.path, c.Argv[1:]...)
	cmd.Args[0] = c.Argv[0]
	cmd.Dir = "/"
	if c.Dir != "" {
		cmd.Dir = c.Dir
	}
	cmd.Env = p.environment(c.Env)
	cmd.SysProcAttr = p.cred
	r := &running{cmd: cmd, copied: make(chan struct{}), said: make(chan struct{}), exited: make(chan struct{})}
	stdout, outEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outEnd.Close()
	stderr, errEnd, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	defer errEnd.Close()
	r.stdout, r.stderr = stdout, stderr
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	if err := cmd.Start(); err != nil {
		stdout.Close()
		stderr.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	limit := c.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	go r.copy(w, limit)
	go r.listen()
	go r.await()
	return r, nil
}

// copy moves the output, at most limit bytes.
func (r *running) copy(w io.Writer, limit int64) {
	defer close(r.copied)
	buf := make([]byte, 256<<10)
	r.bytes, r.copyErr = io.CopyBuffer(onlyWriter{w}, io.LimitReader(r.stdout, limit), buf)
	if r.copyErr != nil {
		r.copyErr = fmt.Errorf("take its output: %w", r.copyErr)
		return
	}
	if n, _ := r.stdout.Read(buf[:1]); n > 0 {
		r.copyErr = fmt.Errorf("%w: %d bytes", errTooMuch, limit)
	}
}

// onlyWriter hides ReadFrom, so that the buffer given is the one used.
type onlyWriter struct{ io.Writer }

func (r *running) listen() {
	defer close(r.said)
	_, _ = io.Copy(&r.tail, r.stderr) // whatever ends it, the command's own end is what counts
}

// await sees the program end without reaping it, so that its number stays the number of its group until the group is
// ended too.
func (r *running) await() {
	defer close(r.exited)
	for {
		err := unix.Waitid(unix.P_PID, r.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (r *running) signal(s unix.Signal) { _ = unix.Kill(-r.cmd.Process.Pid, s) } // gone already is as good

// watch returns when the program has ended and its output is complete, or when both are not to be waited for any
// longer; it answers why not.
func (r *running) watch(ctx context.Context, grace time.Duration) (why error) {
	var over <-chan time.Time
	exited, copied, done := r.exited, r.copied, ctx.Done()
	end := func(err error) {
		why, done = err, nil
		r.signal(unix.SIGTERM)
		over = time.After(grace)
	}
	for exited != nil || copied != nil {
		select {
		case <-exited:
			exited = nil
			if why != nil {
				return why
			}
			over = time.After(grace)
		case <-copied:
			copied = nil
			if r.copyErr != nil && why == nil {
				end(r.copyErr)
			}
		case <-done:
			end(deadline(ctx))
		case <-over:
			if why == nil {
				why = errHeld
			}
			return why
		}
	}
	return why
}

// finish ends whatever is left and judges.
func (r *running) finish(why error) (int64, error) {
	r.signal(unix.SIGKILL)
	<-r.exited
	if why != nil {
		r.stdout.Close() // unblocks the copying even if something outside of the group holds the other end
	}
	<-r.copied
	r.stdout.Close()
	select {
	case <-r.said:
	case <-time.After(100 * time.Millisecond): // a process that left the group may hold it
	}
	r.stderr.Close()
	<-r.said
	err := r.cmd.Wait()
	if why == nil && err == nil {
		return r.bytes, nil
	}
	failed := &CommandError{Path: r.cmd.Path, Exit: -1, Bytes: r.bytes, Stderr: r.tail.text(), Err: why}
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok:
		failed.Exit = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			failed.Signal = status.Signal()
		}
	case err != nil && why == nil:
		failed.Err = err
	}
	return r.bytes, failed
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - stderrTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// text answers the tail as one line that is safe to print.
func (t *tail) text() string {
	s := strings.ToValidUTF8(string(t.buf), string(utf8.RuneError))
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
