package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/atomicfile"
	"allclear/internal/lab"
)

// exampleAddress is where docs/examples/backup.yaml looks for its server.
const exampleAddress = "127.0.0.1:2222"

// backupExample is "make run-backup-example": a server that stores files, the
// agent with docs/examples/backup.yaml as it stands, and the commands that an
// operator would give. Without stay it ends after them.
func backupExample(ctx context.Context, allclear, dir string, stay bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // what an earlier run left
		return err
	}
	server, err := startNAS(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	door, err := openDoor(ctx, exampleAddress, server.Addr())
	if err != nil {
		return err
	}
	defer door()
	example, err := os.ReadFile(filepath.Join("docs", "examples", "backup.yaml"))
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "backup.yaml"), 0o600, example); err != nil {
		return err
	}
	socket := filepath.Join(dir, "allclear.sock")
	agent := exec.CommandContext(ctx, allclear, "run", "--config", filepath.Join(dir, "backup.yaml"), "--state-dir", filepath.Join(dir, "state"), "--socket", socket)
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	agent.Stdout, agent.Stderr = log, log
	agent.Cancel = func() error { return agent.Process.Signal(syscall.SIGTERM) }
	agent.WaitDelay = 10 * time.Second
	if err := agent.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	shown := show(ctx, allclear, socket, dir, ssh.FingerprintSHA256(server.HostKeys()[0]))
	if shown == nil && stay {
		fmt.Printf("\nThe agent goes on. In a second terminal:\n\n    export ALLCLEAR_SOCKET=%s\n    %s status\n\nCtrl-C here ends it all.\n", socket, allclear)
		select {
		case <-ctx.Done():
		case err := <-ended:
			return fmt.Errorf("the agent has ended: %w", err)
		}
	}
	cancel()
	<-ended
	return shown
}

// startNAS makes the key, the folder and a server for them below dir.
func startNAS(dir string) (*lab.SSHServer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "nas")
	if err := os.MkdirAll(filepath.Join(root, "srv", "backup"), 0o700); err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "id_ed25519"), 0o600, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	_, hostPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hostKey, err := ssh.NewSignerFromKey(hostPrivate)
	if err != nil {
		return nil, err
	}
	return lab.NewSSH(lab.SSHOptions{
		Version: "SSH-2.0-OpenSSH_9.2 demonstration", HostKeys: []ssh.Signer{hostKey},
		KEX:            []string{"curve25519-sha256", "diffie-hellman-group16-sha512"},
		AuthorizedKeys: []ssh.PublicKey{authorized}, SFTP: &lab.SFTPOptions{Root: root},
	})
}

// openDoor passes connections to the address of the example on to the server:
// the lab's servers have ports of their own.
func openDoor(ctx context.Context, at, to string) (closeAll func(), err error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the example's server needs %s, which something else has: %w", at, err)
	}
	var conns sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	conns.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { pass(ctx, from, to) })
		}
	})
	return func() { stop(); _ = l.Close(); conns.Wait() }, nil
}

// pass copies both ways until one side ends.
func pass(ctx context.Context, from net.Conn, to string) {
	defer from.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = from.Close() })()
	var other sync.WaitGroup
	other.Go(func() {
		_, _ = io.Copy(server, from) // how it ends is the business of the two
		_ = server.Close()
	})
	_, _ = io.Copy(from, server)
	_ = from.Close()
	other.Wait()
}

// show gives the commands one after the other and prints them with what they
// answer.
func show(ctx context.Context, allclear, socket, dir, fingerprint string) error {
	give := func(args ...string) error {
		cmd := exec.CommandContext(ctx, allclear, args...)
		cmd.Env = append(os.Environ(), "ALLCLEAR_SOCKET="+socket)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		fmt.Printf("\n$ allclear %s\n", strings.Join(args, " "))
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("allclear %s: %w", strings.Join(args, " "), err)
		}
		return nil
	}
	if err := answering(ctx, socket); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"backup", "trust", "nas1"},
		{"backup", "trust", "nas1", "--fingerprint", fingerprint},
		{"backup", "run", "etc", "--wait"},
		{"backup", "run", "conf", "--wait"},
		{"backup", "drill", "etc"},
		{"backup", "list", "etc", "--match", "host*"},
		{"backup", "restore", "etc", "/etc/hostname", "--to", filepath.Join(dir, "restored")},
		{"backup", "list"},
	} {
		if err := give(args...); err != nil {
			return err
		}
	}
	return same("/etc/hostname", filepath.Join(dir, "restored", "etc", "hostname"))
}

// same compares a restored file with the one that was backed up.
func same(of, restored string) error {
	want, err := os.ReadFile(of)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(restored)
	if err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("%s differs from %s", restored, of)
	}
	fmt.Printf("\n%s is %s, byte for byte.\n", restored, of)
	return nil
}

// answering waits until the agent has opened its door.
func answering(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
