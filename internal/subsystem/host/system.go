package host

import (
	"bufio"
	"errors"
	"fmt"
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
	block := uint64(st.Bsize)
	return Space{Free: st.Bavail * block, Total: st.Blocks * block, FreeInodes: st.Ffree, AllInodes: st.Files}, nil
}

// memoryInfo reads MemAvailable and MemTotal, in bytes, from /proc/meminfo.
func memoryInfo() (available, total uint64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		name, rest, _ := strings.Cut(in.Text(), ":")
		if name != "MemAvailable" && name != "MemTotal" {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/meminfo, %s: %w", name, err)
		}
		if name == "MemAvailable" {
			available = kib * 1024
		} else {
			total = kib * 1024
		}
	}
	if total == 0 {
		return 0, 0, errors.New("/proc/meminfo has no MemTotal")
	}
	return available, total, in.Err()
}
