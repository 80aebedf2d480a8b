package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/config"
)

func TestTheSchemaIsTheOneThatWasRead(t *testing.T) {
	golden := filepath.Join("testdata", "schema.golden.json")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(golden, config.Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(config.Schema())); diff != "" {
		t.Errorf("the schema changed; read the difference, then run with UPDATE=1 (-golden +got):\n%s", diff)
	}
}

type node struct {
	Description string           `json:"description"`
	Type        string           `json:"type"`
	Pattern     string           `json:"pattern"`
	Default     any              `json:"default"`
	Properties  map[string]*node `json:"properties"`
	Items       *node            `json:"items"`
	Closed      *bool            `json:"additionalProperties"`
}

func readSchema(t *testing.T) *node {
	t.Helper()
	var root node
	if err := json.Unmarshal(config.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return &root
}

// walk visits every key of the schema with its path, such as "watch.ssh.policy".
func (n *node) walk(path string, visit func(path string, n *node)) {
	for name, p := range n.Properties {
		visit(path+name, p)
		p.walk(path+name+".", visit)
	}
	if n.Items != nil {
		n.Items.walk(path, visit)
	}
}

func TestEveryKeyIsDescribedAndEveryMappingIsClosed(t *testing.T) {
	root := readSchema(t)
	keys := 0
	root.walk("", func(path string, n *node) {
		keys++
		if len(n.Description) < 10 || !strings.HasSuffix(n.Description, ".") {
			t.Errorf("%s is described by %q", path, n.Description)
		}
		if n.Properties != nil && (n.Closed == nil || *n.Closed) {
			t.Errorf("%s takes any key", path)
		}
		if _, err := regexp.Compile(n.Pattern); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if s, ok := n.Default.(string); ok && n.Pattern != "" && !regexp.MustCompile(n.Pattern).MatchString(s) {
			t.Errorf("the default %q of %s does not match %s", s, path, n.Pattern)
		}
	})
	if keys < 60 {
		t.Errorf("the schema has %d keys, want all of them", keys)
	}
}

func TestTheExampleShowsEveryKey(t *testing.T) {
	words := regexp.MustCompile(`[a-z_]+:`).FindAllString(string(config.Example()), -1)
	readSchema(t).walk("", func(path string, _ *node) {
		name := path[strings.LastIndexByte(path, '.')+1:]
		if !slices.Contains(words, name+":") {
			t.Errorf("the example does not show %s", path)
		}
	})
}
