package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAllMistakesOfMeaningComeAtOnceWithTheirPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := `remedies: [system/disk-low, system/clock-stepped, no/such]
policies:
  - {name: modern, base: openssh-9, reason: r, until: 2030-01-01}
  - {name: mine, base: opensh-9, reason: r, until: 2030-01-01}
  - {name: own, base: openssh-9, kex: [curve25519-sha256, curve25519-sha265], reason: r, until: 2030-01-01}
  - {name: half, kex: [curve25519-sha256], reason: r, until: 2030-01-01}
watch:
  ssh:
    - {name: a, address: "h", policy: ucsm}
    - {name: b, address: "h", policy: own, host_keys: ["ssh-ed25519 SHA256:short"]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err := CheckConfig(file)
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, want := range []string{
		":1:29: remedies[1]: system/clock-stepped has no automatic remedy",
		":1:51: remedies[2]: no fault has the code \"no/such\"",
		":3:12: policies[0].name: a built-in policy is called \"modern\" already",
		":4:24: policies[1].base: no policy is called \"opensh-9\"",
		":5:59: policies[2].kex[1]:", `did you mean "curve25519-sha256"?`,
		"policies[3].host_key:", "policies[3].cipher:", "policies[3].mac:",
		":9:39: watch.ssh[0].policy: no policy is called \"ucsm\"",
		"watch.ssh[1].host_keys[0]:",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the mistakes", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	if n := strings.Count(err.Error(), file); n != 10 {
		t.Errorf("%d mistakes, want 10:\n%v", n, err)
	}
}

func TestABuiltInBaseBringsNoMistakesOfItsOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "policies: [{name: own, base: openssh-9, mac: [hmac-sha2-256], reason: r, until: 2030-01-01}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckConfig(file); err != nil {
		t.Error(err)
	}
}
