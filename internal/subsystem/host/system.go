package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spaceOf asks the file system that dir is on.
func spaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	block := uint64(st.Frsize) // what Blocks counts; Bsize is the size of a good transfer
	if block == 0 {
		block = uint64(st.Bsize)
	}
	return Space{Free: st.Bavail * block, Total: st.Blocks * block, FreeInodes: st.Ffree, AllInodes: st.Files}, nil
}

// memoryInfo reads MemAvailable and MemTotal, in bytes, from /proc/meminfo.
func memoryInfo() (available, total uint64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // read only: nothing to lose
	return parseMemory(f)
}

// parseMemory reads the two values. A kernel before 3.14 has no MemAvailable:
// that is no zero but nothing known.
func parseMemory(r io.Reader) (available, total uint64, err error) {
	values := map[string]uint64{}
	in := bufio.NewScanner(io.LimitReader(r, 1<<16))
	for in.Scan() {
		name, rest, _ := strings.Cut(in.Text(), ":")
		if name != "MemAvailable" && name != "MemTotal" {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 54)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/meminfo, %s: %w", name, err)
		}
		values[name] = kib * 1024
	}
	if err := in.Err(); err != nil {
		return 0, 0, fmt.Errorf("read /proc/meminfo: %w", err)
	}
	available, known := values["MemAvailable"]
	if total = values["MemTotal"]; !known || total == 0 {
		return 0, 0, errors.New("/proc/meminfo lacks MemAvailable or MemTotal")
	}
	return available, total, nil
}
