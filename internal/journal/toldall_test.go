package journal_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/fault"
)

func TestManyToldRecordsSurviveARestart(t *testing.T) {
	n := newNode(t)
	a, b, c := key(plain, "a"), key(plain, "b"), key(plain, "c")
	for _, k := range []fault.Key{a, b, c} {
		n.present(k)
	}
	tell := func(told map[fault.Key]*fault.Told) {
		t.Helper()
		if err := n.SetToldAll(t.Context(), "s", told); err != nil {
			t.Fatal(err)
		}
	}
	tell(map[fault.Key]*fault.Told{a: {}, b: {Notice: 1}, c: {Notice: 2, Severity: fault.Major}})
	tell(map[fault.Key]*fault.Told{b: nil})
	n.restart()
	want := map[fault.Key]fault.Told{a: {}, c: {Notice: 2, Severity: fault.Major}}
	if diff := cmp.Diff(want, n.Told("s")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
