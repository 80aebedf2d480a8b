// Package cli is the command line: commands, output and exit codes. It reaches
// the agent only through package client; commands that need no agent call
// package app.
//
// It decides nothing about faults. What it adds is for people: tables, colour
// on a terminal, hints, and the promise that no foreign byte reaches the
// terminal unescaped.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"allclear/internal/api/client"
	"allclear/internal/app"
	"allclear/internal/config"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// The exit codes.
const (
	exitOK          = 0 // ok, all clear
	exitError       = 1 // a real error
	exitUsage       = 2 // usage or configuration
	exitFaults      = 3 // faults active, or the look found something
	exitUnreachable = 4 // the agent cannot be reached
)

// Std is what a run of the command line talks to.
type Std struct {
	In       io.Reader
	Out, Err io.Writer
	Env      []string // KEY=VALUE
	Now      func() time.Time
}

// System is the Std of this process.
func System() Std {
	return Std{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ(), Now: time.Now}
}

// Program is what the commands need of the rest of the program.
type Program struct {
	Run            func(ctx context.Context, o app.Options) error
	Catalogue      func() *fault.Catalogue
	CheckConfig    func(file string) error
	Socket         func() string
	Version        func() wire.Version
	Policies       func() []string
	ProbeSSH       func(ctx context.Context, targets []string, o app.SSHProbe, tell func(int, wire.SSHProbe)) error
	ProbeEndpoints func(ctx context.Context, targets []string, o app.EndpointProbe, tell func(int, wire.EndpointProbe)) error
	ServeKMIP      func(ctx context.Context, k app.KMIPServer, ready func(wire.KMIPServing)) error
	ProbeKMIP      func(ctx context.Context, targets []string, o app.KMIPProbe, tell func(int, wire.KMIPProbe)) error
	Restore        func(ctx context.Context, from io.Reader, o app.RestoreOptions) (wire.BackupRestore, error)
}

// Main runs one command line and returns its exit code. An interrupt ends it.
func Main(ctx context.Context, args []string, std Std) int {
	return Execute(ctx, args, std, Whole())
}

// Whole is the program with everything real behind it.
func Whole() Program {
	return Program{
		Run: app.Run, Catalogue: app.Catalogue, CheckConfig: app.CheckConfig, Socket: app.Socket,
		Version: app.Version, Policies: app.Policies, ProbeSSH: app.ProbeSSH, ProbeEndpoints: app.ProbeEndpoints, ServeKMIP: app.ServeKMIP, ProbeKMIP: app.ProbeKMIP, Restore: app.Restore,
	}
}

// Execute is Main with another program behind it, for tests.
func Execute(ctx context.Context, args []string, std Std, p Program) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &commands{std: std, program: p, out: newPrinter(std.Out, std.Env, std.Now), talk: newPrinter(std.Err, std.Env, std.Now)}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	err := root.ExecuteContext(ctx)
	if flushErr := c.out.err; err == nil && flushErr != nil {
		err = fmt.Errorf("write the result: %w", flushErr)
	}
	return c.end(err)
}

// commands carries what all commands share.
type commands struct {
	std     Std
	program Program
	out     *printer // results
	talk    *printer // everything else
	flags   struct {
		socket string
		output string
	}
}

// client returns the way to the agent. --socket goes before the environment,
// that before the rule of the documentation.
func (c *commands) client() *client.Client { return client.New(c.socket()) }

func (c *commands) socket() string {
	if c.flags.socket != "" {
		return c.flags.socket
	}
	if s := environ(c.std.Env, "ALLCLEAR_SOCKET"); s != "" {
		return s
	}
	return c.program.Socket()
}

func environ(env []string, key string) string {
	value := ""
	for _, kv := range env {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			value = kv[len(key)+1:]
		}
	}
	return value
}

// found is the end of a command that did its work and found something: nothing
// more is printed.
type found struct{ code int }

func (f found) Error() string { return fmt.Sprintf("exit code %d", f.code) }

// usageError is a mistake in the command line.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usagef(hint, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), hint}
}

// end prints what went wrong and gives the exit code.
func (c *commands) end(err error) int {
	if err == nil {
		return exitOK
	}
	if f, ok := errors.AsType[found](err); ok {
		return f.code
	}
	code, hint := classify(err)
	if c.flags.output == outputNagios {
		fmt.Fprintf(c.std.Out, "ALLCLEAR UNKNOWN - %s\n", nagiosText(err.Error()))
		return nagiosUnknown
	}
	if c.flags.output == outputJSON {
		reply := wire.ErrorReply{Error: wire.Error{Code: errorCode(err, code), Message: err.Error(), Hint: hint}}
		c.talk.json(reply)
		return code
	}
	c.talk.line("%s %s", c.talk.style(styleBad, "allclear:"), safeLines(err.Error()))
	if hint != "" {
		c.talk.line("%s %s", c.talk.style(styleDim, "hint:"), safe(hint))
	}
	return code
}

// classify gives the exit code of an error, and what the operator can do.
func classify(err error) (code int, hint string) {
	if e, ok := errors.AsType[*usageError](err); ok {
		return exitUsage, e.hint
	}
	if e, ok := errors.AsType[*app.UsageError](err); ok {
		return exitUsage, e.Hint
	}
	if _, ok := errors.AsType[*config.Mistakes](err); ok {
		return exitUsage, "nothing was started; mend the file, then: allclear config check FILE"
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		if e.Status == 400 {
			return exitUsage, e.Hint
		}
		return exitError, e.Hint
	}
	if errors.Is(err, client.ErrUnreachable) {
		return exitUnreachable, unreachableHint(err)
	}
	return exitError, ""
}

func unreachableHint(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES):
		return "the socket is for root and members of group allclear: use sudo, or be added with: usermod -aG allclear USER"
	case errors.Is(err, syscall.ENOENT):
		return "start the agent with: allclear run; or name its socket with --socket or ALLCLEAR_SOCKET"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the agent has ended and left its socket behind; start it with: allclear run"
	}
	return "is the agent running? allclear run starts it"
}

// errorCode is the stable word for an error in JSON.
func errorCode(err error, exit int) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Code
	}
	switch exit {
	case exitUsage:
		return "usage"
	case exitUnreachable:
		return "unreachable"
	}
	return "error"
}
