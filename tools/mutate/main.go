// Command mutate proves that tests would notice: it seeds the small bugs listed in PACKAGE/testdata/mutants.txt into
// the package, one at a time and in an overlay, so that the work tree is never touched, and demands that each makes
// the tests fail that the list names for it. It exits 1 when a bug goes unnoticed, does not build, or when the text it
// replaces is not found exactly once; then the list or a test has to be mended. Names as arguments choose bugs.
//
// An entry of the list is one line "== NAME | FILE | TESTS", TESTS being what "go test -run" takes, and then lines that
// begin with "-", the old text, and with "+", the new. Lines that begin with "#" and empty ones are comments.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	top := flag.String("top", ".", "the folder of the module")
	pkg := flag.String("package", "internal/fault", "the package to seed bugs into, below top")
	least := flag.Int("least", 24, "fewer bugs than this are a failure when none is chosen by name")
	jobs := flag.Int("jobs", 2, "bugs tried at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *top, *pkg, *least, *jobs, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, top, pkg string, least, jobs int, names []string) error {
	dir, err := filepath.Abs(filepath.Join(top, pkg))
	if err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(dir, "testdata", "mutants.txt"))
	if err != nil {
		return err
	}
	all, err := parse(string(list))
	if err != nil {
		return err
	}
	if len(names) == 0 && len(all) < least {
		return fmt.Errorf("%d bugs are listed, at least %d are wanted", len(all), least)
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(m mutant) bool { return !slices.Contains(names, m.name) })
		if len(all) != len(names) {
			return fmt.Errorf("%d of the %d bugs are in the list", len(all), len(names))
		}
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if out, failed, err := test(ctx, dir, "", "."); err != nil {
		return err
	} else if failed {
		return fmt.Errorf("%s fails its tests without any bug:\n%s", pkg, out)
	}
	start := time.Now()
	missed := try(ctx, dir, work, jobs, all)
	fmt.Printf("%d of %d bugs were caught in %.0f s\n", len(all)-missed, len(all), time.Since(start).Seconds())
	if missed > 0 {
		return fmt.Errorf("%d bugs were not caught", missed)
	}
	return ctx.Err()
}

// try seeds every mutant, jobs at a time, and returns how many were not caught.
func try(ctx context.Context, dir, work string, jobs int, all []mutant) (missed int) {
	var mu sync.Mutex // guards missed and the order of lines on stdout
	var wg sync.WaitGroup
	next := make(chan mutant)
	for range jobs {
		wg.Go(func() {
			for m := range next {
				err := m.caught(ctx, dir, work)
				mu.Lock()
				if err != nil {
					missed++
					fmt.Printf("FAIL  %-34s %v\n", m.name, err)
				} else {
					fmt.Printf("ok    %-34s by %s\n", m.name, m.tests)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		next <- m
	}
	close(next)
	wg.Wait()
	return missed
}

// mutant is one small bug and the tests that must notice it.
type mutant struct{ name, file, tests, old, new string }

// parse reads the list of mutants.
func parse(list string) ([]mutant, error) {
	var all []mutant
	seen := map[string]bool{}
	for i, line := range strings.Split(list, "\n") {
		if head, ok := strings.CutPrefix(line, "== "); ok {
			f := strings.Split(head, " | ")
			if len(f) != 3 || seen[f[0]] {
				return nil, fmt.Errorf(`line %d: want "== NAME | FILE | TESTS" with a new name`, i+1)
			}
			seen[f[0]] = true
			all = append(all, mutant{name: f[0], file: f[1], tests: f[2]})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if len(all) == 0 || line[0] != '-' && line[0] != '+' {
			return nil, fmt.Errorf("line %d: %q is neither old text nor new", i+1, line)
		}
		m := &all[len(all)-1]
		if line[0] == '-' {
			m.old += line[1:] + "\n"
		} else {
			m.new += line[1:] + "\n"
		}
	}
	for _, m := range all {
		if m.old == "" || m.old == m.new {
			return nil, fmt.Errorf("%s changes nothing", m.name)
		}
	}
	return all, nil
}

// seed returns the source with the bug in it.
func (m mutant) seed(source string) (string, error) {
	if n := strings.Count(source, m.old); n != 1 {
		return "", fmt.Errorf("its old text is in %s %d times, not once", m.file, n)
	}
	return strings.Replace(source, m.old, m.new, 1), nil
}

// caught returns nil if the named tests fail with the bug.
func (m mutant) caught(ctx context.Context, dir, work string) error {
	path := filepath.Join(dir, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bad, err := m.seed(string(source))
	if err != nil {
		return err
	}
	file, overlay := filepath.Join(work, m.name+".go"), filepath.Join(work, m.name+".json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(file, []byte(bad), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return err
	}
	out, failed, err := test(ctx, dir, overlay, m.tests)
	switch {
	case err != nil:
		return err
	case !failed:
		return fmt.Errorf("survived: %s did not notice", m.tests)
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
		return fmt.Errorf("does not build:\n%s", out)
	case bytes.Contains(out, []byte("no tests to run")):
		return fmt.Errorf("no test is called %s", m.tests)
	}
	return nil
}

// test runs the package's tests; failed claims that go test said so. Random
// tests try more than they do alone, leave no files and lose no time on the
// smallest example.
func test(ctx context.Context, dir, overlay, tests string) (out []byte, failed bool, err error) {
	args := []string{"test", "-count=1", "-failfast", "-vet=off", "-timeout=2m", "-run", tests}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	args = append(args, ".", "-rapid.nofailfile", "-rapid.shrinktime=1ms", "-rapid.checks=300")
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = dir
	out, err = c.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); exited && ctx.Err() == nil {
		return out, true, nil
	}
	if err == nil && bytes.Contains(out, []byte("no tests to run")) {
		return out, false, fmt.Errorf("no test is called %s", tests)
	}
	return out, false, err
}
