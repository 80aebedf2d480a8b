// Command agent measures what an idle agent costs: it starts the built program
// with 200 checks a minute (50 SSH servers, 50 TLS endpoints, 100 certificate
// files, all well, all real and on loopback), and reads its start-up time, its
// memory and its processor time from outside.
//
//	go run ./bench/agent [-minutes N] [PROGRAM]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"allclear/internal/lab"
)

const (
	servers, endpoints, certificates = 50, 50, 100
	ticksPerSecond                   = 100 // USER_HZ, on every Linux
)

func main() {
	minutes := flag.Int("minutes", 3, "how long to measure, after one minute of warming up")
	flag.Parse()
	program := "build/allclear"
	if flag.NArg() > 0 {
		program = flag.Arg(0)
	}
	if err := run(program, *minutes); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(program string, minutes int) (err error) {
	ctx := context.Background()
	l, err := lab.New(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	file, err := configure(l)
	if err != nil {
		return err
	}
	socket := filepath.Join(l.Dir(), "s")
	cmd := exec.Command(program, "run", "--config", file, "--state-dir", filepath.Join(l.Dir(), "state"), "--socket", socket)
	log, err := os.Create(filepath.Join(l.Dir(), "log"))
	if err != nil {
		return err
	}
	cmd.Stderr = log
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := answers(socket); err != nil {
		return err
	}
	fmt.Printf("machine       %d cores, %s\n", runtime.NumCPU(), kernel())
	fmt.Printf("start         %d ms until the socket answers\n", time.Since(begun).Milliseconds())
	time.Sleep(time.Minute) // the first look of every check
	before, err := usage(cmd.Process.Pid)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(minutes) * time.Minute)
	after, err := usage(cmd.Process.Pid)
	if err != nil {
		return err
	}
	cpu := (after.seconds - before.seconds) / (float64(minutes) * 60)
	fmt.Printf("checks        %d a minute, for %d minutes\n", servers+endpoints+certificates, minutes)
	fmt.Printf("memory        %.1f MiB resident (peak %.1f)\n", after.rss, after.peak)
	fmt.Printf("processor     %.2f %% of a core, %.2f ms a look\n", cpu*100, cpu*60_000/(servers+endpoints+certificates))
	out, err := exec.Command(program, "status", "--socket", socket).Output()
	fmt.Printf("status        %s\n", strings.SplitN(string(out), "\n", 2)[0])
	return err
}

// configure starts the servers and writes the configuration that watches them.
func configure(l *lab.Lab) (string, error) {
	server, err := l.SSH(lab.SSHOptions{})
	if err != nil {
		return "", err
	}
	endpoint, err := l.TLS(lab.TLSOptions{})
	if err != nil {
		return "", err
	}
	ca, err := l.WriteFile("ca.pem", l.CA().PEM)
	if err != nil {
		return "", err
	}
	pair, err := l.Issue(lab.CertOptions{NotAfter: time.Now().AddDate(1, 0, 0)})
	if err != nil {
		return "", err
	}
	cert, err := l.WriteFile("cert.pem", pair.CertPEM)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "node: bench\nlisten: \"\"\nwatch:\n  ssh:\n")
	key := server.HostKeys()[0]
	for i := range servers {
		fmt.Fprintf(&b, "    - {name: ssh%d, address: %q, interval: 1m, host_keys: [%q]}\n", i, server.Addr(), key.Type()+" "+ssh.FingerprintSHA256(key))
	}
	b.WriteString("  tls:\n")
	for i := range endpoints {
		fmt.Fprintf(&b, "    - {name: tls%d, address: %q, server_name: lab.test, ca: \"file:%s\", interval: 1m}\n", i, endpoint.Addr(), ca)
	}
	b.WriteString("  certificates:\n")
	for i := range certificates {
		fmt.Fprintf(&b, "    - {name: cert%d, path: %q, interval: 1m}\n", i, cert)
	}
	return l.WriteFile("allclear.yaml", []byte(b.String()))
}

func answers(socket string) error {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			return c.Close()
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the agent does not answer")
}

type use struct{ seconds, rss, peak float64 }

// usage reads processor time from /proc/PID/stat and memory, in MiB, from
// /proc/PID/status.
func usage(pid int) (u use, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return u, err
		}
		u.seconds += n / ticksPerSecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		switch name, rest, _ := strings.Cut(line, ":"); name {
		case "VmRSS", "VmHWM":
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				return u, err
			}
			if name == "VmRSS" {
				u.rss = kib / 1024
			} else {
				u.peak = kib / 1024
			}
		}
	}
	return u, nil
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(b)) + ", " + runtime.Version()
}
