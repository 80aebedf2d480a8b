package api

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"allclear/internal/subsystem"
)

func TestRouteTableIsAsAgreed(t *testing.T) {
	var b bytes.Buffer
	if err := PrintRoutes(&b, Routes([]subsystem.Subsystem{&demo{}})); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "routes.golden")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the route table changed; read the difference, then UPDATE=1\ngot:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestEveryChangeNeedsMoreThanAViewerAndIsAudited(t *testing.T) {
	for _, r := range Routes([]subsystem.Subsystem{&demo{}}) {
		if r.Method == "GET" {
			continue
		}
		// A link gives a viewer no more than the socket already does.
		if r.Role == "" || r.Role == subsystem.Viewer && r.Path != "/v1/page/login" {
			t.Errorf("%s %s changes something and is open to %q", r.Method, r.Path, r.Role)
		}
		if !r.Change {
			t.Errorf("%s %s changes something and is not audited", r.Method, r.Path)
		}
	}
}

func TestTheTCPDoorShowsOnlyMetricsAndHealth(t *testing.T) {
	for _, r := range Routes([]subsystem.Subsystem{&demo{}}) {
		if open := r.Door == Both; open != (r.Path == "/metrics" || r.Path == "/healthz") {
			t.Errorf("%s %s: door %s", r.Method, r.Path, r.Door)
		}
	}
}

func TestReservedNamesAreTheFirstWordsOfTheTable(t *testing.T) {
	got := strings.Join(reserved(), " ")
	if want := "checks drill events faults page preflight status support verify"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
