package api

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allclear/internal/wire"
)

func TestTheAuditLogOnlyGrowsAndSurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAudit(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"ack", "shelve"} {
		if err := a.Append(wire.AuditEntry{At: time.Unix(1, 0), Who: "anna\nmallory", What: what, Result: "done"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "\n") != 2 {
		t.Fatalf("two entries are %q, %v", b, err)
	}
	if err := os.WriteFile(path, append(b, `{"who":"cut of`...), 0o600); err != nil { // as a power cut leaves it
		t.Fatal(err)
	}
	if a, err = OpenAudit(dir); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Append(wire.AuditEntry{What: "fix"}); err != nil {
		t.Fatal(err)
	}
	entries, damaged, err := a.Recent(10)
	if err != nil || damaged != 1 || len(entries) != 3 || entries[0].What != "fix" || entries[2].Who != "anna\nmallory" {
		t.Errorf("after the cut: %+v, %d damaged, %v", entries, damaged, err)
	}
	a.size = auditSize + 1
	if err := a.Append(wire.AuditEntry{What: "ack"}); err != nil {
		t.Fatal(err)
	}
	if entries, _, err = a.Recent(2); err != nil || len(entries) != 2 || entries[0].What != "ack" || entries[1].What != "fix" {
		t.Errorf("over the turn of the file: %+v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the log: %v, %v", info, err)
	}
}

func TestChangesOverTheSocketAreInTheAuditLog(t *testing.T) {
	f := start(t)
	log, err := OpenAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f.server.opts.Audit = log
	f.do("POST", "/v1/faults/999/ack", `{"reason":"x"}`)
	f.do("POST", "/v1/verify", "{}")
	entries, _, err := log.Recent(10)
	if err != nil || len(entries) != 2 {
		t.Fatalf("entries %+v, %v", entries, err)
	}
	if e := entries[1]; e.What != "ack" || e.Target != "999" || e.Result != "no-such-fault" || !strings.HasPrefix(e.From, "uid ") {
		t.Errorf("a refused ack: %+v", e)
	}
	if e := entries[0]; e.What != "verify" || e.Result != "done" || e.Role != "admin" {
		t.Errorf("a verify: %+v", e)
	}
}

func TestALinkNeverGivesMoreThanItsCallerHas(t *testing.T) {
	f := start(t)
	if resp, text := f.do("POST", "/v1/page/login", ""); resp.StatusCode != http.StatusNotFound || !strings.Contains(text, "no-page") {
		t.Errorf("without a page: %d %s", resp.StatusCode, text)
	}
	p := &fakePage{}
	f.server.opts.Page = p
	f.do("POST", "/v1/page/login", `{"role":"viewer"}`)
	f.do("POST", "/v1/page/login", "")
	if len(p.roles) != 2 || p.roles[0] != Viewer || p.roles[1] != Admin {
		t.Errorf("links minted for %v", p.roles)
	}
	if resp, text := f.do("POST", "/v1/page/login", `{"role":"god"}`); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown role: %d %s", resp.StatusCode, text)
	}
}

type fakePage struct {
	http.Handler
	roles []Role
}

func (p *fakePage) Login(_ string, role Role) (wire.PageLogin, error) {
	p.roles = append(p.roles, role)
	return wire.PageLogin{URL: "http://localhost/login?token=x", Role: string(role)}, nil
}

func TestHostsAndTheMetricsToken(t *testing.T) {
	s := &Server{opts: Options{Hosts: []string{"watch.example"}, MetricsToken: func() (string, error) { return "s3cret", nil }}}
	for host, want := range map[string]bool{
		"127.0.0.1:9191": true, "[::1]:9191": true, "localhost": true, "LOCALHOST:1": true, "watch.example:443": true,
		"evil.example": false, "127.0.0.1.evil.example": false, "10.0.0.1": false, "": false,
	} {
		if got := s.known(host); got != want {
			t.Errorf("host %q is known: %v, want %v", host, got, want)
		}
	}
	for auth, want := range map[string]bool{"": false, "Bearer s3cret": true, "Bearer s3cre": false, "s3cret": false} {
		r, err := http.NewRequest("GET", "/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", auth)
		if got := s.mayScrape(r); got != want {
			t.Errorf("authorization %q may scrape: %v, want %v", auth, got, want)
		}
	}
}

func TestTheDoorHoldsABoundedNumberOfConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConns(inner, 2)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	defer second.Close()
	select {
	case <-accepted:
		t.Error("a third connection was taken while two are open")
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := <-accepted
	_ = first.Close() // a second close gives no second place
	if len(l.places) != 2 {
		t.Errorf("%d places are taken, want 2", len(l.places))
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-accepted; open {
		t.Error("accepted after the close")
	}
}
