package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The folder of -oasis is read by the tests of kmip and kmiptest.
var _ = flag.String("oasis", "", "folder of other OASIS KMIP 1.x cases")

const root = "../.."

// prepare makes a folder with the tables, each changed by the pairs of old and new text.
func prepare(t *testing.T, change ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"testdata", "ttlv"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kmip-tables-1.4.json", "kmip-tables-2.1.json"} {
		b, err := os.ReadFile(filepath.Join(root, "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(change...).Replace(string(b))
		if err := os.WriteFile(filepath.Join(dir, "testdata", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	dir := prepare(t)
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"enums_gen.go", "ttlv/tags_gen.go", "ttlv/names_gen.go"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the tables say: make generate", name)
		}
	}
}

func TestTablesThatContradictThemselvesAreRefused(t *testing.T) {
	for name, change := range map[string][]string{
		"a tag with two names":      {`"value":"420001","id":"ActivationDate","name":"Activation Date","type":"DateTime"`, `"value":"420002","id":"Other"`},
		"a number that is none":     {`"420001"`, `"42000G"`},
		"an enumeration of no tag":  {`"enum":"State"`, `"enum":""`},
		"a value with two numbers":  {`"00000001","name":"Pre-Active"`, `"00000001","name":"A","id":"Active"},{"value":"00000009","name":"Pre-Active"`},
		"a value that is no number": {`"00000001","name":"Pre-Active"`, `"x","name":"Pre-Active"`},
	} {
		t.Run(name, func(t *testing.T) {
			before := prepare(t)
			dir := prepare(t, change...)
			a, _ := os.ReadFile(filepath.Join(before, "testdata", "kmip-tables-1.4.json"))
			b, _ := os.ReadFile(filepath.Join(dir, "testdata", "kmip-tables-1.4.json"))
			if bytes.Equal(a, b) {
				t.Fatal("the table was not changed")
			}
			if err := run(dir); err == nil {
				t.Error("was written")
			}
		})
	}
}
