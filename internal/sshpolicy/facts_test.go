package sshpolicy_test

import (
	"slices"
	"testing"

	"allclear/internal/sshpolicy"
)

func TestTheKnowledgeBaseSaysWhatOpenSSHTenDropped(t *testing.T) {
	var dropped []string
	for _, c := range sshpolicy.DefaultChanges() {
		if c.Category == sshpolicy.KEX && c.Version == "10.0" {
			dropped = c.Dropped
		}
	}
	for _, name := range []string{"diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"} {
		if !slices.Contains(dropped, name) {
			t.Errorf("10.0 drops %s from a server's defaults; the knowledge base says %v", name, dropped)
		}
	}
}

func TestFactsCoverEveryCategoryWithReasons(t *testing.T) {
	facts := sshpolicy.Facts()
	if len(facts) != 372 {
		t.Errorf("%d facts, want the 372 of the source", len(facts))
	}
	i := slices.IndexFunc(facts, func(f sshpolicy.Fact) bool { return f.Name == "diffie-hellman-group1-sha1" })
	if i < 0 || !slices.Contains(facts[i].Broken, "logjam") || facts[i].Dropped["openssh"] != "6.6" || !facts[i].OpenSSH {
		t.Errorf("group1 is %+v", facts[max(i, 0)])
	}
}
