package backup_test

import (
	"slices"
	"strings"
	"testing"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup"
)

// qualifiers is what each drill must be found as: the exact cause, not just that
// something is wrong.
var qualifiers = map[fault.Code]string{
	backup.CodeJobFailed:      "begin",
	backup.CodeTransfer:       "reset",
	backup.CodeLocal:          "source",
	backup.CodeVerify:         "hash",
	backup.CodeOverdue:        "not-run",
	backup.CodeRestoreDrill:   "failed",
	backup.CodeRetention:      "",
	backup.CodeKeyUnavailable: "unreachable",
	backup.CodeNoSpace:        "",
	backup.CodeAccessDenied:   "permission",
	backup.CodeNoSFTP:         "subsystem",
	backup.CodeInsecure:       "",
	backup.CodeUpgrade:        "kex",
	backup.CodeKeyLocal:       "",
	backup.CodeNoRecovery:     "",
}

func drills(t *testing.T) []subsystem.Drill {
	t.Helper()
	b := must(backup.New(backup.Options{Dir: t.TempDir()}))(t)
	t.Cleanup(func() { b.Close() })
	return b.Drills()
}

func TestEveryCodeHasADrill(t *testing.T) {
	var drilled []fault.Code
	for _, d := range drills(t) {
		drilled = append(drilled, d.Code)
	}
	for _, e := range backup.Faults() {
		if n := len(slices.DeleteFunc(slices.Clone(drilled), func(c fault.Code) bool { return c != e.Code })); n != 1 {
			t.Errorf("%d drills for %s, want 1", n, e.Code)
		}
		if _, ok := qualifiers[e.Code]; !ok {
			t.Errorf("%s is not among the expectations", e.Code)
		}
	}
	if len(drilled) != len(backup.Faults()) {
		t.Errorf("%d drills for %d codes", len(drilled), len(backup.Faults()))
	}
}

func TestDrillsRaiseAndClearByProof(t *testing.T) {
	for _, d := range drills(t) {
		t.Run(strings.ReplaceAll(string(d.Code), "/", "-"), func(t *testing.T) {
			t.Parallel()
			newWorld(t).drill(d)
		})
	}
}

func (w *world) drill(d subsystem.Drill) {
	w.t.Helper()
	ctx := w.t.Context()
	c, err := d.Prepare(ctx, w.lab)
	if err != nil {
		w.t.Fatalf("prepare: %v", err)
	}
	if !strings.HasPrefix(c.Resource, w.lab.Resource("")) {
		w.t.Errorf("resource %s is outside of the drill", c.Resource)
	}
	if err := w.sched.Add(c); err != nil {
		w.t.Fatal(err)
	}
	if last := w.lookAs(c.ID(), fault.TriggerCreated); verdictOf(last, d.Code) != fault.Absent || len(last.Events) > 0 {
		w.t.Fatalf("before anything was broken: %v, events %v", last.Judgements, last.Events)
	}
	if err := d.Break(ctx, w.lab); err != nil {
		w.t.Fatalf("break: %v", err)
	}
	last := w.lookAs(c.ID(), fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindRaise}) {
		w.t.Fatalf("broken: events %v, judgements %+v", got, last.Judgements)
	}
	v, _ := w.view(d.Code, c.Resource)
	if got, want := v.Sense.Get("qualifier"), qualifiers[d.Code]; got != want {
		w.t.Errorf("qualifier %q, want %q; text %q", got, want, v.Text)
	}
	if len(v.Remedy) == 0 || v.Text == "" {
		w.t.Errorf("a fault without text or remedy: %q, %v", v.Text, v.Remedy)
	}
	if err := d.Repair(ctx, w.lab); err != nil {
		w.t.Fatalf("repair: %v", err)
	}
	last = w.lookAs(c.ID(), fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindClear}) {
		w.t.Fatalf("repaired: events %v, judgements %+v", got, last.Judgements)
	}
}

// verdictOf is what a look says of a code, on whatever resource.
func verdictOf(last check.Last, code fault.Code) fault.Verdict {
	for _, j := range last.Judgements {
		if j.Key.Code == code {
			return j.Verdict
		}
	}
	return fault.Unknown
}

func kindsOf(events []fault.Event, code fault.Code) (kinds []fault.Kind) {
	for _, ev := range events {
		if ev.Key.Code == code {
			kinds = append(kinds, ev.Kind)
		}
	}
	return kinds
}
