package app_test

import (
	"go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is the map of the house: which of our packages each may import in
// its shipped code. What one subsystem needs of another is an interface that it
// declares itself and that package app hands in.
var mayImport = map[string][]string{
	"internal/fault":      {},
	"internal/wire":       {"fault"},
	"internal/check":      {"fault"},
	"internal/journal":    {"fault"},
	"internal/subsystem":  {"fault", "check", "wire", "lab"},
	"internal/sshpolicy":  {},
	"internal/netdiag":    {},
	"internal/atomicfile": {},
	"internal/config":     {},
	"internal/lab":        {"sshpolicy", "kmip/kmiptest"},
	// The agent makes the labs in which drills happen.
	"internal/agent":      {"fault", "check", "subsystem", "wire", "lab"},
	"internal/notify":     {"fault", "check", "journal", "wire"},
	"internal/api":        {"fault", "check", "journal", "agent", "subsystem", "wire"},
	"internal/api/client": {"wire", "fault"},
	"internal/web":        {"wire", "fault", "api"},
	"internal/cli":        {"api/client", "app", "config", "wire", "fault"},

	// The protocol of key servers, public, with a real server for tests and drills.
	"kmip/ttlv":           {},
	"kmip":                {"kmip/ttlv"},
	"kmip/kmiptest":       {"kmip", "kmip/ttlv"},
	"kmip/internal/gen":   {},
	"kmip/internal/oasis": {"kmip", "kmip/ttlv"},

	// What is kept sealed, whoever keeps it: backup's keys, the configuration's secrets.
	"internal/envelope": {"atomicfile"},

	"internal/subsystem/backup": {
		"fault", "check", "subsystem", "wire", "atomicfile", "lab", "sshpolicy", "envelope", "subsystem/backup/archive",
		"subsystem/backup/extract", "subsystem/backup/repository", "subsystem/backup/source", "subsystem/backup/stream",
	},
	"internal/subsystem/backup/source":  {},
	"internal/subsystem/backup/extract": {"subsystem/backup/source"},
	// Odd trees, for the tests of the packages above and below it.
	"internal/subsystem/backup/source/sourcetest": {"subsystem/backup/source"},
	"internal/subsystem/backup/archive":           {"subsystem/backup/source", "subsystem/backup/extract"},
	"internal/subsystem/backup/repository":        {"subsystem/backup/source"},
	"internal/subsystem/backup/stream":            {"subsystem/backup/source", "subsystem/backup/extract", "wire"},

	"internal/subsystem/keyserver": {
		"fault", "check", "subsystem", "wire", "atomicfile", "lab", "netdiag", "envelope", "kmip", "kmip/kmiptest", "subsystem/keyserver/keyring",
		"subsystem/keyserver/fscrypt", "subsystem/keyserver/luks",
	},
	"internal/subsystem/keyserver/keyring": {"envelope", "kmip"},
	"internal/subsystem/keyserver/fscrypt": {"envelope"},
	"internal/subsystem/keyserver/luks":    {"envelope"},

	"internal/subsystem/watch": {"fault", "check", "subsystem", "wire", "atomicfile", "lab", "sshpolicy", "netdiag"},
	"internal/subsystem/host":  {"fault", "check", "subsystem", "wire", "atomicfile", "lab"},

	// The composition root may import everything but the command line.
	"internal/app": {
		"fault", "wire", "check", "journal", "subsystem", "sshpolicy", "netdiag", "atomicfile", "config", "lab",
		"agent", "api", "web", "notify", "envelope", "subsystem/watch", "subsystem/host", "subsystem/backup", "subsystem/keyserver", "subsystem/keyserver/luks",
		"subsystem/backup/extract", "subsystem/backup/source", "subsystem/backup/stream", "kmip", "kmip/kmiptest",
	},
	"cmd/allclear": {"cli"},
	// The demonstration of "make run" is no part of the product.
	"cmd/firstrun": {"atomicfile", "lab"},
	// It writes docs/ from what the program itself works by.
	"cmd/docgen": {"agent", "app", "config", "fault", "sshpolicy"},
}

// outside are folders whose programs are no part of the shipped binary.
var outside = []string{"bench", "tools", "docs", "scripts", "testdata", ".ci", ".git"}

func TestImportMapIsKept(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(outside, d.Name()) {
			return filepath.SkipDir
		}
		pkg, err := build.ImportDir(path, 0)
		if err != nil {
			return nil // no Go files here
		}
		seen[rel] = true
		allowed, known := mayImport[rel]
		if !known {
			t.Errorf("%s is not on the map", rel)
		}
		for _, imp := range pkg.Imports {
			ours, ok := strings.CutPrefix(imp, "allclear/")
			if ok && !slices.Contains(allowed, strings.TrimPrefix(ours, "internal/")) {
				t.Errorf("%s must not import %s", rel, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for rel := range mayImport {
		if !seen[rel] {
			t.Errorf("%s is on the map but not in the house", rel)
		}
	}
}
