package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// judge decides about skips.
type judge struct {
	met      func(need string) bool
	packages map[string]string // Debian package by program
	complete bool              // missing programs are failures
}

// report prints the end of the run and answers whether all is well.
func (s *summary) report(out io.Writer, j judge) bool {
	s.reportTimes(out)
	well := s.reportSkips(out, j)
	for _, p := range s.builds {
		fmt.Fprintf(out, "did not build: %s\n", p)
	}
	for _, p := range s.broken {
		fmt.Fprintf(out, "failed outside any test: %s\n", p)
	}
	failed := s.failed + len(s.builds) + len(s.broken)
	if s.passed == 0 {
		fmt.Fprintln(out, "no test passed")
		well = false
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", s.passed, failed, len(s.skips))
	return well && failed == 0
}

func (s *summary) reportTimes(out io.Writer) {
	slices.SortStableFunc(s.times, func(a, b timing) int { return int(1000 * (b.seconds - a.seconds)) })
	fmt.Fprintln(out, "\nseconds per package, the slowest first:")
	for _, t := range s.times {
		if t.seconds >= 0.05 {
			fmt.Fprintf(out, "%8.1f  %s\n", t.seconds, t.pkg)
		}
	}
}

// reportSkips lists the skips by what they need and answers whether each is earned.
func (s *summary) reportSkips(out io.Writer, j judge) bool {
	if len(s.skips) == 0 {
		return true
	}
	well := true
	var packages []string
	fmt.Fprintln(out, "\nskipped:")
	for _, k := range s.skips {
		fmt.Fprintf(out, "    %s: %s\n", k.test, k.reason)
		list, ok := strings.CutPrefix(k.reason, "needs: ")
		if !ok {
			fmt.Fprintln(out, "        a skip must say what it needs: \"needs: program, root\"")
			well = false
			continue
		}
		lacks := false
		for _, need := range strings.Split(list, ", ") {
			if j.met(need) {
				continue
			}
			lacks = true
			p, program := j.packages[need]
			if program && !slices.Contains(packages, p) {
				packages = append(packages, p)
			}
			if j.complete && need != "soak" {
				fmt.Fprintf(out, "        %s should be here in this run\n", need)
				well = false
			}
		}
		if !lacks {
			fmt.Fprintln(out, "        this machine has all of that: the test could have run")
			well = false
		}
	}
	if len(packages) > 0 {
		slices.Sort(packages)
		fmt.Fprintf(out, "to run them too: apt-get update && apt-get install --no-install-recommends %s\n", strings.Join(packages, " "))
	}
	return well
}

// met reports whether the machine has what a test named. The words are those of Need in internal/lab.
func met(need string) bool {
	switch need {
	case "root":
		return os.Geteuid() == 0
	case "loop":
		_, err := os.Stat("/dev/loop-control")
		return err == nil && met("root") && met("mount") && met("umount")
	case "fuse":
		_, err := os.Stat("/dev/fuse")
		return err == nil && met("root")
	case "netns":
		_, err := os.Stat("/proc/self/ns/net")
		return err == nil && met("root") && met("ip")
	case "soak":
		return os.Getenv("ALLCLEAR_SOAK") == "1"
	}
	if strings.HasPrefix(need, "/") { // a file
		_, err := os.Stat(need)
		return err == nil
	}
	if _, err := exec.LookPath(need); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if _, err := exec.LookPath(dir + need); err == nil {
			return true
		}
	}
	return false
}

// readPackages reads lines of "program package purpose"; # begins a comment.
func readPackages(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) >= 2 && !strings.HasPrefix(f[0], "#") {
			list[f[0]] = f[1]
		}
	}
	return list, nil
}
