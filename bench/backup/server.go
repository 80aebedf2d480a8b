package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sessions finds the processes whose parent is pid, with what the kernel knows of
// them (proc_pid_stat(5)).
func sessions(pid int) (map[int][]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int][]string{}
	for _, f := range files {
		p, stat, err := statOf(f)
		if err == nil && stat[1] == strconv.Itoa(pid) { // others end while we look
			all[p] = stat
		}
	}
	return all, nil
}

// statOf answers the fields behind the name: state, parent, ...
func statOf(file string) (pid int, fields []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, nil, err
	}
	head, rest, _ := strings.Cut(string(data), " (")
	rest = rest[strings.LastIndexByte(rest, ')')+1:]
	fields = strings.Fields(rest)
	if len(fields) < 20 {
		return 0, nil, fmt.Errorf("%s has %d fields", file, len(fields))
	}
	pid, err = strconv.Atoi(head)
	return pid, fields, err
}

// serverPID is the sshd that we have started.
func serverPID() (int, error) {
	ours, err := sessions(os.Getpid())
	if err != nil {
		return 0, err
	}
	for pid := range ours {
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && filepath.Base(name) == "sshd" {
			return pid, nil
		}
	}
	return 0, errors.New("no sshd is our child")
}

// tick is the unit of processor time in /proc (USER_HZ).
const tick = 10 * time.Millisecond

// served is the processor time of all sessions of the server that have ended. It
// waits for those that are about to.
func (b *bench) served(ctx context.Context) (time.Duration, error) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		open, err := sessions(b.server)
		if err != nil {
			return 0, err
		}
		if len(open) == 0 {
			break
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	_, stat, err := statOf(fmt.Sprintf("/proc/%d/stat", b.server))
	if err != nil {
		return 0, err
	}
	user, err := strconv.Atoi(stat[13])
	system, err2 := strconv.Atoi(stat[14])
	return time.Duration(user+system) * tick, errors.Join(err, err2)
}
