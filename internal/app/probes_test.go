package app_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestProbes runs probes and preflight against the servers of the stories: real
// sshd, dropbear and OpenSSL, and those of the lab where the real thing cannot
// misbehave.
func TestProbes(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/probe",
		Setup:         setUpStory,
		Condition:     condition,
		UpdateScripts: os.Getenv("UPDATE") != "",
		Cmds: commands(
			map[string]command{"agent": cmdAgent, "only": cmdOnly, "fill": cmdFill},
			sshCommands, tlsCommands,
		),
	})
}
