package sshpolicy_test

import (
	"testing"

	"allclear/internal/sshpolicy"
)

func TestAGuardHoldsBackWhatWasRefusedThreeTimes(t *testing.T) {
	guards := sshpolicy.NewGuards()
	wrong, other := sshpolicy.Login{User: "u", Password: "wrong"}, sshpolicy.Login{User: "u", Password: "other"}
	g := guards.At("nas1")
	for i := range sshpolicy.MaxRefusals {
		if g.Held(wrong) {
			t.Fatalf("held back after %d refusals", i)
		}
		if n := guards.At("nas1").Refuse(wrong); n != i+1 {
			t.Fatalf("refusal %d counts as %d", i+1, n)
		}
	}
	if !g.Held(wrong) || g.Held(other) || guards.At("nas2").Held(wrong) {
		t.Error("held back must be this credential at this server, and nothing else")
	}
	if n := g.Refuse(other); n != 1 {
		t.Errorf("another credential begins with %d", n)
	}
	g.Accept()
	if g.Refusals() != 0 || g.Held(other) {
		t.Error("an accepted login ends the count")
	}
	g.Refuse(wrong)
	guards.Keep(map[string]bool{"nas2": true})
	if guards.At("nas1").Refusals() != 0 {
		t.Error("a server that is gone is remembered")
	}
}
