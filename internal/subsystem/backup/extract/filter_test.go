package extract_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/extract"
)

func TestOnlyAPartWithTheFoldersThatLeadThere(t *testing.T) {
	all := []*extract.Entry{
		folder("etc"), file("etc/a", ""), folder("etc/ssh"), file("etc/ssh/key", ""), file("etc/ssh2", ""), folder("var"), folder("var/log"), file("var/log/x", ""), file("z", ""),
	}
	for _, c := range []struct{ paths, want, missing []string }{
		{[]string{"etc/ssh"}, []string{"etc", "etc/ssh", "etc/ssh/key"}, nil},
		{[]string{"z", "var/log/x"}, []string{"var", "var/log", "var/log/x", "z"}, nil},
		{[]string{"etc/ssh/no", "no"}, []string{"etc", "etc/ssh"}, []string{"etc/ssh/no", "no"}},
	} {
		part, missing := extract.Only(stream(nil, all...), c.paths...)
		var got []string
		for e, err := range part {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Path)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q: %s", c.paths, d)
		}
		if m := missing(); !slices.Equal(m, c.missing) {
			t.Errorf("%q: missing %q, want %q", c.paths, m, c.missing)
		}
	}
	broken := errors.New("broken")
	part, _ := extract.Only(stream(broken, all[0]), "z")
	var last error
	for _, err := range part {
		last = err
	}
	if !errors.Is(last, broken) {
		t.Errorf("the error of the stream became %v", last)
	}
}
