package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"allclear/internal/lab"
)

// program runs one of the others and answers the most memory that it, or one of
// its children, had resident.
func program(ctx context.Context, env []string, name string, args ...string) (outcome, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	o := outcome{Busy: busy(cmd)}
	if used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		o.Peak = used.Maxrss << 10
	}
	return o, nil
}

// busy is the processor time of a program that has ended, and of its children.
func busy(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// missing is the program's name when it is not there.
func missing(name string) string { return strings.Join(lab.Missing(name), "") }

// sshOptions are for ssh and scp: our key and our server's, and nothing of the
// user's configuration.
func (b *bench) sshOptions() []string {
	return []string{
		"-F", "none", "-i", b.at("key"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + b.at("known_hosts"),
	}
}

// scp copies the large file into a folder.
func (b *bench) scp(ctx context.Context, addr, from, folder string) (outcome, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return outcome{}, err
	}
	args := append(b.sshOptions(), "-q", "-P", port, from+"/data", b.user+"@"+host+":"+folder+"/data")
	return program(ctx, nil, "scp", args...)
}

// rclone copies the large file into a folder.
func (b *bench) rclone(ctx context.Context, from, folder string) (outcome, error) {
	host, port, err := net.SplitHostPort(b.sshd.Addr())
	if err != nil {
		return outcome{}, err
	}
	return program(ctx, nil, "rclone", "copyto", "--config", "/dev/null", "--ignore-checksum", "--sftp-disable-hashcheck",
		"--sftp-host", host, "--sftp-port", port, "--sftp-user", b.user, "--sftp-key-file", b.at("key"),
		"--sftp-known-hosts-file", b.at("known_hosts"), "--sftp-use-insecure-cipher", // group exchange counts as that
		from+"/data", ":sftp:"+folder+"/data")
}

// restic runs restic on the repository in a folder at the server.
func (b *bench) restic(ctx context.Context, addr, folder string, args ...string) (outcome, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return outcome{}, err
	}
	ssh := strings.Join(append(append([]string{"ssh"}, b.sshOptions()...), "-p", port, b.user+"@"+host, "-s", "sftp"), " ")
	return program(ctx, []string{"RESTIC_PASSWORD_FILE=" + b.at("password"), "RESTIC_CACHE_DIR=" + b.at("cache")}, "restic",
		append([]string{"-q", "-o", "sftp.command=" + ssh, "-r", "sftp:" + b.user + "@" + host + ":" + folder}, args...)...)
}
