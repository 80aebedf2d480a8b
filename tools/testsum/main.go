// Command testsum reads "go test -json" on standard input and prints what a person wants of it: the closing line of
// every package as go test itself prints it, the whole output of what failed, the seconds of each package, what was
// skipped and the one apt-get line that ends those skips, and at the end "N passed, N failed, N skipped".
//
// It exits 1 when a test or a build failed, when no test ran, when a test skipped without saying what it needs
// ("needs: sshd, root"), or when it skipped although this machine has all that it names. With -complete a skip for a
// missing program fails too: the run was meant to have everything installed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of go test -json; see "go doc test2json" and "go help buildjson".
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build event
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

func main() {
	complete := flag.Bool("complete", false, "a skip for a missing program is a failure")
	packages := flag.String("packages", "scripts/packages.txt", "the list of programs and their Debian packages")
	flag.Parse()
	list, err := readPackages(*packages)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	s := newSummary()
	if err := s.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	if !s.report(os.Stdout, judge{met: met, packages: list, complete: *complete}) {
		os.Exit(1)
	}
}

// summary is what is known of the run so far.
type summary struct {
	output   map[string][]string // by "package test", until the test has passed
	skips    []skip
	times    []timing
	builds   []string // packages that did not build
	broken   []string // packages that failed outside any test
	passed   int
	failed   int
	failures map[string]int // failed tests by package
}

type skip struct{ test, reason string }

type timing struct {
	pkg     string
	seconds float64
}

func newSummary() *summary {
	return &summary{output: map[string][]string{}, failures: map[string]int{}}
}

// read takes in all events and prints what is to be seen while the tests run.
func (s *summary) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				s.take(e, out)
			} else {
				fmt.Fprint(out, line) // what go itself says
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event, out io.Writer) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "build-fail":
		s.builds = append(s.builds, e.ImportPath)
	case "output":
		if e.Test == "" && closing(e.Output) {
			fmt.Fprint(out, e.Output)
			return
		}
		s.output[id] = append(s.output[id], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageEnds(e, out)
		} else {
			s.testEnds(e, out)
		}
		delete(s.output, id)
	}
}

// closing reports whether a line is the last one that go test prints about a package.
func closing(line string) bool {
	for _, start := range []string{"ok  \t", "FAIL\t", "?   \t", "\t"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}

func (s *summary) testEnds(e event, out io.Writer) {
	text := s.output[e.Package+" "+e.Test]
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skips = append(s.skips, skip{test: e.Package + "." + e.Test, reason: reason(text)})
	case "fail":
		s.failed++
		s.failures[e.Package]++
		fmt.Fprintf(out, "%s", strings.Join(text, ""))
	}
}

func (s *summary) packageEnds(e event, out io.Writer) {
	s.times = append(s.times, timing{e.Package, e.Elapsed})
	if e.Action != "fail" || e.FailedBuild != "" {
		return
	}
	// A panic, a timeout or an exit in the middle: what was said by the package and by tests that never ended.
	for id, text := range s.output {
		if pkg, _, _ := strings.Cut(id, " "); pkg == e.Package {
			fmt.Fprint(out, strings.Join(text, ""))
			delete(s.output, id)
		}
	}
	if s.failures[e.Package] == 0 {
		s.broken = append(s.broken, e.Package)
	}
}

// reason finds what a skipped test said: the text behind "file_test.go:12: ",
// or, in a script, behind "skip", the last line that it came to.
func reason(output []string) string {
	script := ""
	for _, line := range output {
		if _, text, ok := strings.Cut(line, "_test.go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return strings.TrimSpace(text)
			}
		}
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "needs: ") {
			return text
		}
		if _, said, ok := strings.Cut(text, "] skip '"); ok && strings.HasPrefix(text, "> [") {
			script = strings.TrimSuffix(said, "'") // the script shows those before, too, that it passed
		}
	}
	return script
}
