package watch_test

import (
	"slices"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/watch"
)

// qualifiers is what each drill must be found as: the exact cause, not just
// that something is wrong.
var qualifiers = map[fault.Code]string{
	watch.CodeNoCommonAlgorithm: "kex,cipher,mac",
	watch.CodeCryptoError:       "bad-signature",
	watch.CodeNameNotResolved:   "NXDOMAIN",
	watch.CodeUnreachable:       "refused",
	watch.CodeNotSSH:            "banner",
	watch.CodeHostKeyUnknown:    "",
	watch.CodeHostKeyChanged:    "",
	watch.CodeAuthFailed:        "password",
	watch.CodeDNS:               "nxdomain",
	watch.CodeTCP:               "refused",
	watch.CodeProxy:             "auth",
	watch.CodeTLS:               "untrusted",
	watch.CodeClientCert:        "revoked",
	watch.CodeHTTP:              "5xx",
	watch.CodeCertExpiring:      "",
	watch.CodeCertExpired:       "",
	watch.CodeCertInvalid:       "key-mismatch",
}

func TestEveryCodeHasADrill(t *testing.T) {
	var drilled []fault.Code
	for _, d := range watch.New(watch.Options{}).Drills() {
		drilled = append(drilled, d.Code)
	}
	for _, e := range watch.Faults() {
		if n := len(slices.DeleteFunc(slices.Clone(drilled), func(c fault.Code) bool { return c != e.Code })); n != 1 {
			t.Errorf("%d drills for %s, want 1", n, e.Code)
		}
		if _, ok := qualifiers[e.Code]; !ok {
			t.Errorf("%s is not among the expectations", e.Code)
		}
	}
	if len(drilled) != len(watch.Faults()) {
		t.Errorf("%d drills for %d codes", len(drilled), len(watch.Faults()))
	}
}

func TestDrillsRaiseAndClearByProof(t *testing.T) {
	for _, d := range watch.New(watch.Options{}).Drills() {
		t.Run(strings.ReplaceAll(string(d.Code), "/", "-"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.drill(d)
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
	id := w.add(c)
	if last := w.look(id, fault.TriggerCreated); verdicts(last, c.Resource)[string(d.Code)] != fault.Absent || len(last.Events) > 0 {
		w.t.Fatalf("before anything was broken: %v, events %v", verdicts(last, c.Resource), last.Events)
	}
	if err := d.Break(ctx, w.lab); err != nil {
		w.t.Fatalf("break: %v", err)
	}
	last := w.look(id, fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindRaise}) {
		w.t.Fatalf("broken: events %v, verdicts %v", got, verdicts(last, c.Resource))
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
	last = w.look(id, fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindClear}) {
		w.t.Fatalf("repaired: events %v, verdicts %v", got, verdicts(last, c.Resource))
	}
	for _, ev := range last.Events {
		if ev.Key.Code == d.Code && ev.Reason != fault.Verified {
			w.t.Errorf("cleared as %v, want verified", ev.Reason)
		}
	}
}
