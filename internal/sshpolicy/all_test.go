package sshpolicy_test

import (
	"fmt"
	"testing"
	"time"

	"allclear/internal/lab"
	"allclear/internal/sshpolicy"
)

// Of a thousand targets every tenth never says a word: all are done one timeout
// and a little later, because the silent ones wait side by side.
func TestAThousandTargetsWithSilentOnesEndInOneTimeout(t *testing.T) {
	good := server(t, lab.SSHOptions{Mode: lab.SSHOffer, Offer: canned()})
	silent := server(t, lab.SSHOptions{Mode: lab.SSHSilent})
	const timeout = 3 * time.Second
	targets := make([]sshpolicy.Target, 1000)
	for i := range targets {
		targets[i] = sshpolicy.Target{Name: fmt.Sprint(i), Addr: good.Addr()}
		if i%10 == 0 {
			targets[i].Addr = silent.Addr()
		}
	}
	began := time.Now()
	seen := make(map[int]bool)
	for i, r := range sshpolicy.ProbeAll(t.Context(), targets, 0, sshpolicy.Options{Policy: builtin(t, "ucsm-4.0-2a"), OfferOnly: true, Timeout: timeout}) {
		if seen[i] || r.Target != targets[i].Name {
			t.Fatalf("result %d is for %s, seen before: %v", i, r.Target, seen[i])
		}
		seen[i] = true
		want := ""
		if i%10 == 0 {
			want = sshpolicy.CodeNotSSH
		}
		if r.Code != want || r.OK != (want == "") {
			t.Errorf("target %d: code %q: %s", i, r.Code, r.Error)
		}
	}
	if took := time.Since(began); len(seen) != len(targets) || took > timeout+2*time.Second {
		t.Errorf("%d results in %s, want %d within %s", len(seen), took, len(targets), timeout+2*time.Second)
	}
}

func TestLeavingTheLoopEarlyEndsTheRest(t *testing.T) {
	silent := server(t, lab.SSHOptions{Mode: lab.SSHSilent})
	closed := server(t, lab.SSHOptions{Mode: lab.SSHClose})
	targets := []sshpolicy.Target{target(closed.Addr())}
	for range 50 {
		targets = append(targets, target(silent.Addr()))
	}
	began := time.Now()
	for range sshpolicy.ProbeAll(t.Context(), targets, 10, sshpolicy.Options{Policy: builtin(t, "modern"), Timeout: time.Minute}) {
		break
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// BenchmarkProbeAll reads the offers of canned responders in this process; the
// figure includes what the responders cost.
func BenchmarkProbeAll(b *testing.B) {
	s, err := lab.NewSSH(lab.SSHOptions{Mode: lab.SSHOffer, Offer: canned()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	o := sshpolicy.Options{Policy: builtin(b, "ucsm-4.0-2a"), OfferOnly: true}
	targets := make([]sshpolicy.Target, 5000)
	for i := range targets {
		targets[i] = target(s.Addr())
	}
	for b.Loop() {
		for i, r := range sshpolicy.ProbeAll(b.Context(), targets, 256, o) {
			if !r.OK {
				b.Fatalf("%d: %s", i, r.Error)
			}
		}
	}
	b.ReportMetric(float64(len(targets)*b.N)/b.Elapsed().Seconds(), "targets/s")
}
