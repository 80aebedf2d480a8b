// Command journal measures the journal: how many faults a second reach the
// disk, what each costs in memory, how fast they are listed, and how long a
// restart after kill -9 takes. If Prometheus Alertmanager is installed it gets
// the same number of alerts in the same run.
//
//	go run ./bench/journal -n 100000
//
// Each measurement runs in a process of its own, so that one does not pay for
// the memory of another.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// part names the measurement that a child process is to run.
const part = "BENCH_JOURNAL_PART"

func main() {
	n := flag.Int("n", 100_000, "number of faults")
	dir := flag.String("dir", "", "where the journal lies; empty: a temporary directory")
	rival := flag.String("alertmanager", "prometheus-alertmanager", "program to compare with; empty: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if name := os.Getenv(part); name != "" {
		err = child(ctx, name, *dir, *n)
	} else {
		err = parent(ctx, *dir, *n, *rival)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is what a child measured.
type result struct {
	Store      float64 `json:"store"`       // faults a second to the disk
	Processor  float64 `json:"processor"`   // seconds of processor time a fault
	Bytes      float64 `json:"bytes"`       // resident a fault
	First      float64 `json:"first"`       // seconds to the first page
	List       float64 `json:"list"`        // seconds to list all
	Open       float64 `json:"open"`        // seconds to open
	Active     int     `json:"active"`      // faults active
	Disk       int64   `json:"disk"`        // bytes of database and log
	SlowestTxn float64 `json:"slowest_txn"` // seconds that the slowest caller waited
}

func (r *result) print(what string) {
	fmt.Printf("%-34s %10.0f faults/s   %.0f µs of processor time each, slowest caller waited %.0f ms\n",
		what, r.Store, r.Processor*1e6, r.SlowestTxn*1000)
}

func parent(ctx context.Context, dir string, n int, rival string) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "bench-journal-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		dir = temp
	}
	fmt.Printf("machine     %s\n\n", machine())
	callers, err := measure(ctx, "callers", filepath.Join(dir, "callers"), n)
	if err != nil {
		return err
	}
	callers.print("64 callers, one fault a look")
	looks, err := measure(ctx, "looks", filepath.Join(dir, "looks"), n)
	if err != nil {
		return err
	}
	looks.print("4 callers, 100 faults a look")
	fmt.Printf("%-34s %10.0f B          on disk %d B\n", "resident a fault", looks.Bytes, looks.Disk/int64(n))
	fmt.Printf("%-34s %10.1f ms\n%-34s %10.3f s\n", "first page of 100", looks.First*1000, fmt.Sprintf("list of %d", n), looks.List)
	again, err := measure(ctx, "open", filepath.Join(dir, "looks"), n)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10.3f s          %d active again, %.0f B resident each\n",
		"start after kill -9", again.Open, again.Active, again.Bytes)
	if path, err := exec.LookPath(rival); err == nil {
		return alertmanager(ctx, path, filepath.Join(dir, "alertmanager"), n)
	}
	fmt.Println("\nno Alertmanager here to compare with")
	return nil
}

// measure runs a part in a process of its own, which is killed by SIGKILL as
// soon as it has answered.
func measure(ctx context.Context, name, dir string, n int) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, "-n", strconv.Itoa(n), "-dir", dir)
	cmd.Env = append(os.Environ(), part+"="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed, of course
	if err != nil {
		return r, fmt.Errorf("part %s: %w", name, err)
	}
	return r, nil
}

// machine describes where the figures come from.
func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %d processors, Linux %s, %s, load %s, %s", model, runtime.NumCPU(),
		strings.TrimSpace(string(kernel)), runtime.Version(), strings.Join(strings.Fields(string(load))[:1], " "),
		time.Now().UTC().Format(time.DateOnly))
}

// resident is the resident memory of a process, in bytes; pid 0 is this one.
func resident(pid int) (int64, error) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	b, err := os.ReadFile("/proc/" + name + "/statm")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
