package main

import (
	"slices"
	"strings"
	"testing"
)

// run feeds events and answers what was printed and whether all is well.
func run(t *testing.T, j judge, events ...string) (string, bool) {
	t.Helper()
	if j.met == nil {
		j.met = func(string) bool { return false }
	}
	s := newSummary()
	var out strings.Builder
	if err := s.read(strings.NewReader(strings.Join(events, "\n")+"\n"), &out); err != nil {
		t.Fatal(err)
	}
	well := s.report(&out, j)
	return out.String(), well
}

const (
	pass    = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}`
	pkgOK   = `{"Action":"output","Package":"p","Output":"ok  \tp\t1.25s\n"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":1.25}`
	skipped = `{"Action":"skip","Package":"p","Test":"TestS","Elapsed":0}`
)

func says(text string) string {
	return `{"Action":"output","Package":"p","Test":"TestS","Output":"    s_test.go:3: ` + text + `\n"}`
}

func TestEachRunIsJudged(t *testing.T) {
	has := func(things ...string) func(string) bool {
		return func(need string) bool { return slices.Contains(things, need) }
	}
	packages := map[string]string{"sshd": "openssh-server"}
	for _, c := range []struct {
		name   string
		judge  judge
		events []string
		well   bool
		want   []string
	}{
		{"all pass", judge{}, []string{pass, pkgOK}, true, []string{"ok  \tp\t1.25s\n", "     1.2  p\n", "1 passed, 0 failed, 0 skipped\n"}},
		{"nothing ran", judge{}, []string{pkgOK}, false, []string{"no test passed", "0 passed, 0 failed, 0 skipped\n"}},
		{
			"a failure shows its output",
			judge{},
			[]string{
				pass, `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: got 1\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestB"}`, `{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`, `{"Action":"fail","Package":"p"}`,
			},
			false,
			[]string{"b_test.go:1: got 1", "FAIL\tp", "1 passed, 1 failed, 0 skipped\n"},
		},
		{
			"a package that dies",
			judge{},
			[]string{pass, `{"Action":"output","Package":"p","Test":"TestB","Output":"panic: oh\n"}`, `{"Action":"fail","Package":"p"}`},
			false,
			[]string{"panic: oh", "failed outside any test: p", "1 passed, 1 failed, 0 skipped\n"},
		},
		{
			"a package that does not build",
			judge{},
			[]string{
				pass, `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined\n"}`, `{"ImportPath":"q","Action":"build-fail"}`,
				`{"Action":"fail","Package":"q","FailedBuild":"q"}`,
			},
			false,
			[]string{"q.go:1: undefined", "did not build: q", "1 passed, 1 failed, 0 skipped\n"},
		},
		{
			"an earned skip",
			judge{packages: packages},
			[]string{pass, says("needs: sshd"), skipped, pkgOK},
			true,
			[]string{"p.TestS: needs: sshd\n", "to run them too: apt-get update && apt-get install --no-install-recommends openssh-server\n", "1 passed, 0 failed, 1 skipped\n"},
		},
		{"a skip that could run", judge{met: has("sshd", "root")}, []string{pass, says("needs: sshd, root"), skipped}, false, []string{"could have run"}},
		{"a skip that lacks one of two", judge{met: has("sshd")}, []string{pass, says("needs: sshd, root"), skipped}, true, []string{"1 skipped"}},
		{
			"a script that skips",
			judge{met: has("sshd"), packages: map[string]string{"sshd": "openssh-server"}},
			[]string{pass, `{"Action":"output","Package":"p","Test":"TestS","Output":"        > [missing:sshd] skip 'needs: sshd'\n"}`, `{"Action":"output","Package":"p","Test":"TestS","Output":"        > [missing:root] skip 'needs: root'\n"}`, skipped},
			true,
			[]string{"p.TestS: needs: root\n"},
		},
		{"a skip without a need", judge{}, []string{pass, says("not today"), skipped}, false, []string{"must say what it needs"}},
		{"a skip without a word", judge{}, []string{pass, skipped}, false, []string{"must say what it needs"}},
		{"a missing program in a complete run", judge{complete: true}, []string{pass, says("needs: sshd"), skipped}, false, []string{"sshd should be here"}},
		{"soak in a complete run", judge{complete: true}, []string{pass, says("needs: soak"), skipped}, true, []string{"1 skipped"}},
		{"what go says itself", judge{}, []string{"go: downloading x", pass, pkgOK}, true, []string{"go: downloading x\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, well := run(t, c.judge, c.events...)
			if well != c.well {
				t.Errorf("well = %v, want %v", well, c.well)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("output lacks %q:\n%s", w, out)
				}
			}
			if last := out[strings.LastIndex(strings.TrimSuffix(out, "\n"), "\n")+1:]; !strings.HasSuffix(last, " skipped\n") {
				t.Errorf("the last line is %q", last)
			}
		})
	}
}
