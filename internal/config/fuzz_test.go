package config_test

import (
	"path/filepath"
	"regexp"
	"testing"

	"allclear/internal/config"
)

// goWords are what a reader of the file must never meet: names of Go types, of the YAML library, of system calls.
var goWords = regexp.MustCompile(`config\.[A-Z]|\*?yaml[.:]|unmarshal|!!map|reflect|goroutine|<nil>|%!`)

func FuzzParse(f *testing.F) {
	f.Add([]byte(issueExample))
	f.Add(config.Example())
	for _, s := range []string{"a: &a [*a]", "a: 1\na: 2", "<<: {}", "? [a]\n: b", "node: !!binary x", "--- a\n--- b", "watch: {ssh: [{name: a, address: '[::1]:1'}]}", "a: |\n x\n", "\ufeffnode: a", "node: \"\\u0000\"", "{a: b}: c", "&a a: *a"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		c, wrong := config.Parse(filepath.Join(dir, "f"), data)
		if c == nil || wrong == nil {
			t.Fatal("nil")
		}
		lines := 1
		for _, b := range data {
			if b == '\n' || b == '\r' || b == 0x85 || b == 0xa8 || b == 0xa9 { // YAML 1.1 line breaks: NEL, LS and PS too
				lines++
			}
		}
		for _, m := range wrong.Items() {
			if m.Message == "" || m.Line < 0 || m.Line > lines+1 || (m.Line > 0) != (m.Column > 0) {
				t.Errorf("mistake %+v in a file of %d lines", m, lines)
			}
			if w := goWords.FindString(m.Message + " " + m.Hint); w != "" && !goWords.Match(data) {
				t.Errorf("mistake %q; %q speaks of %q", m.Message, m.Hint, w)
			}
			for _, r := range m.Path + m.Message + m.Hint {
				if r < 0x20 || r == 0x7f {
					t.Errorf("control character %q in %+v", r, m)
				}
			}
		}
		if wrong.Err() != nil && wrong.Err().Error() == "" {
			t.Error("an empty error")
		}
	})
}
