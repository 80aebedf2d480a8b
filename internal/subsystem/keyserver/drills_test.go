package keyserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/keyserver"
)

// qualifiers is what the drills of a code must be found as, in their order: the
// exact cause, not just that something is wrong.
var qualifiers = map[fault.Code][]string{
	keyserver.CodeUnreachable:       {"refused"},
	keyserver.CodeTLSFailed:         {"untrusted"},
	keyserver.CodeClientNotAccepted: {"expired"},
	keyserver.CodeUnsupported:       {"kmip-version", "type"},
	keyserver.CodeKMIPError:         {"refused"},
	keyserver.CodePrimaryConflict:   {""},
	keyserver.CodeSlow:              {"p95"},
	keyserver.CodeCertExpiring:      {"client"},
	keyserver.CodeKeyMissing:        {"not-found"},
	keyserver.CodeKeyWrong:          {""},
	keyserver.CodeReplicaLag:        {"missing"},
	keyserver.CodeNoPrimary:         {"none"},
	keyserver.CodeRedundancyLost:    {""},
	keyserver.CodeAllLost:           {""},
	keyserver.CodeRekeyFailed:       {"verify"},
	keyserver.CodeRekeyStale:        {""},
	keyserver.CodeRecoveryUnproven:  {"old"},
}

func TestEveryCodeThatIsRaisedHasADrill(t *testing.T) {
	drilled := map[fault.Code]int{}
	for _, d := range new(keyserver.KeyServers).Drills() {
		drilled[d.Code]++
	}
	for _, e := range keyserver.Faults() {
		if got, want := drilled[e.Code], len(qualifiers[e.Code]); got != want || (e.Never == "") != (want > 0) {
			t.Errorf("%d drills for %s, want %d; never raised: %q", got, e.Code, want, e.Never)
		}
	}
}

func TestDrillsRaiseAndClearByProof(t *testing.T) {
	nth := map[fault.Code]int{}
	for _, d := range new(keyserver.KeyServers).Drills() {
		want := qualifiers[d.Code][nth[d.Code]]
		nth[d.Code]++
		t.Run(fmt.Sprintf("%s-%d", strings.ReplaceAll(string(d.Code), "/", "-"), nth[d.Code]), func(t *testing.T) {
			t.Parallel()
			newWorld(t).drill(d, want)
		})
	}
}

func (w *world) drill(d subsystem.Drill, qualifier string) {
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
	if last := w.look(c.ID(), fault.TriggerCreated); verdict(last, d.Code) != fault.Absent || len(last.Events) > 0 {
		w.t.Fatalf("before anything was broken: %+v, events %v", last.Judgements, last.Events)
	}
	if err := d.Break(ctx, w.lab); err != nil {
		w.t.Fatalf("break: %v", err)
	}
	last := w.look(c.ID(), fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindRaise}) {
		w.t.Fatalf("broken: events %v, judgements %+v", got, last.Judgements)
	}
	for _, ev := range last.Events {
		if ev.Key.Code != d.Code {
			continue
		}
		v, _ := w.view(ev.Key.Code, ev.Key.Resource)
		if got := v.Sense.Get("qualifier"); got != qualifier {
			w.t.Errorf("qualifier %q, want %q; text %q", got, qualifier, v.Text)
		}
		if len(v.Remedy) == 0 || v.Text == "" || strings.Contains(v.Cause, "{") {
			w.t.Errorf("text %q, cause %q, remedy %v", v.Text, v.Cause, v.Remedy)
		}
	}
	if err := d.Repair(ctx, w.lab); err != nil {
		w.t.Fatalf("repair: %v", err)
	}
	last = w.look(c.ID(), fault.TriggerCreated)
	if got := kindsOf(last.Events, d.Code); !slices.Equal(got, []fault.Kind{fault.KindClear}) {
		w.t.Fatalf("repaired: events %v, judgements %+v", got, last.Judgements)
	}
	for _, ev := range last.Events {
		if ev.Key.Code == d.Code && ev.Reason != fault.Verified {
			w.t.Errorf("cleared as %v, want verified", ev.Reason)
		}
	}
}
