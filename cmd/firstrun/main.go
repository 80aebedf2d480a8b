// Command firstrun is what "make run" runs: it starts a demonstration SSH server on loopback with algorithms from
// another time, writes a configuration that watches it, and starts the agent with that. The server reads its settings
// again whenever their file changes, so the fault can be mended with an editor, as on a real server. With the word
// backup it is what "make run-backup-example" runs: a server that stores files, and docs/examples/backup.yaml.
//
// It is no part of the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/atomicfile"
)

// weak is what the demonstration server begins with: no client of today agrees to either line.
const weak = `# The demonstration server of "make run". It is read again as soon as you save it.
KexAlgorithms diffie-hellman-group14-sha1
Ciphers aes128-cbc
`

func main() {
	example := len(os.Args) == 4 && os.Args[3] == "backup"
	if len(os.Args) != 3 && !example {
		fmt.Fprintln(os.Stderr, "usage: firstrun ALLCLEAR DIR [backup]   (make run and make run-backup-example do this)")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := run
	if example {
		work = func(ctx context.Context, allclear, dir string) error {
			return backupExample(ctx, allclear, dir, os.Getenv("CI") == "")
		}
	}
	if err := work(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "firstrun:", err)
		os.Exit(1)
	}
}

// run keeps server and agent going until ctx ends or the agent does.
func run(ctx context.Context, allclear, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "sshd"), 0o700); err != nil {
		return err
	}
	settings := filepath.Join(dir, "sshd_config")
	if err := atomicfile.WriteFile(settings, 0o600, []byte(weak)); err != nil {
		return err
	}
	d, err := startDemo(ctx, dir, parse(weak))
	if err != nil {
		return err
	}
	defer d.stop()
	config, err := configuration(d)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "allclear.yaml"), 0o600, config); err != nil {
		return err
	}
	socket := filepath.Join(dir, "allclear.sock")
	instructions(os.Stdout, allclear, socket, settings)
	watched := make(chan struct{})
	go func() { defer close(watched); watch(ctx, settings, d) }()
	defer func() { cancel(); <-watched }()

	agent := exec.CommandContext(ctx, allclear, "run", "--config", filepath.Join(dir, "allclear.yaml"),
		"--state-dir", filepath.Join(dir, "state"), "--socket", socket, "--listen", listen())
	agent.Stdout, agent.Stderr = os.Stdout, os.Stderr
	agent.Cancel = func() error { return agent.Process.Signal(syscall.SIGTERM) }
	agent.WaitDelay = 10 * time.Second
	err = agent.Run()
	if ctx.Err() != nil {
		return nil // stopped by Ctrl-C, as it should be
	}
	return err
}

func instructions(out io.Writer, allclear, socket, settings string) {
	fmt.Fprintf(out, `
The agent watches a demonstration SSH server. The link to its page comes below, in a
moment; open it in a browser. Or, in a second terminal:

    export ALLCLEAR_SOCKET=%s
    %s page login        # another link to the page: each works once
    %s status            # what is wrong
    %s fault list        # and its number, say 1
    %s fault show 1      # why, and what to do

Do what it says to %s
(it is read again as soon as you save it), then:

    %s verify            # look again: the fault clears by proof
    %s status            # ALL CLEAR

Ctrl-C here ends it all.

`, socket, allclear, allclear, allclear, allclear, settings, allclear, allclear)
}

// listen answers the usual address, or a free port when somebody has that one.
func listen() string {
	const usual = "127.0.0.1:9191"
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close() // nothing was accepted
	return usual
}

// configuration fills in docs/examples/first-run.yaml.
func configuration(d demo) ([]byte, error) {
	const (
		address = "127.0.0.1:2222"
		pin     = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		own     = "    # This host's own SSH server."
	)
	b, err := os.ReadFile(filepath.Join("docs", "examples", "first-run.yaml"))
	if err != nil {
		return nil, err
	}
	text := string(b)
	for _, mark := range []string{address, pin, own} {
		if strings.Count(text, mark) != 1 {
			return nil, fmt.Errorf("docs/examples/first-run.yaml must hold %q once", mark)
		}
	}
	text = strings.Replace(text, address, d.addr(), 1)
	text = strings.Replace(text, pin, ssh.FingerprintSHA256(d.key()), 1)
	if !speaksSSH("127.0.0.1:22") {
		text, _, _ = strings.Cut(text, own)
	}
	return []byte(text), nil
}

func speaksSSH(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	start := make([]byte, 4)
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return false
	}
	_, err = io.ReadFull(c, start)
	return err == nil && string(start) == "SSH-"
}

// watch hands the settings to the server whenever their file changes.
func watch(ctx context.Context, file string, d demo) {
	seen := weak
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b, err := os.ReadFile(file)
		if err != nil || string(b) == seen {
			continue // an editor may be between two steps of saving
		}
		before := seen
		seen = string(b)
		if err := d.reload(ctx, parse(seen)); err != nil {
			fmt.Printf("demonstration server: %v\nit goes on with the settings before\n", err)
			if err := d.reload(ctx, parse(before)); err != nil && !errors.Is(err, context.Canceled) {
				fmt.Printf("demonstration server: %v\n", err)
			}
			continue
		}
		fmt.Println("demonstration server: settings read again")
	}
}
