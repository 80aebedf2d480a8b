package backup

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// asks is a sink that notes the looks that are asked for.
type asks []string

func (a *asks) Ask(id string, _ fault.Trigger) { *a = append(*a, id) }

func (a *asks) Report(context.Context, string, fault.Trigger, func(*check.Report)) error { return nil }

func TestALookThatWasPutOffIsAskedForInTime(t *testing.T) {
	asked := asks{}
	b := &Backup{wake: make(chan struct{}, 1), postponed: map[string]time.Time{}, contacts: map[string]contact{}, sink: &asked}
	now := time.Now()
	target := &Target{Name: "nas1"}
	until := b.restsUntil(target, fault.TriggerStartup)
	if rest := until.Sub(now); rest < targetGap || rest > 2*targetGap {
		t.Errorf("at the start the look is put off for %s", rest)
	}
	if at := b.restsUntil(target, fault.TriggerOperator); !at.IsZero() {
		t.Errorf("an operator's look is put off until %s", at)
	}
	b.postpone("nas1", now.Add(time.Second))
	if wait := b.lookDue(now); wait != time.Second || len(asked) > 0 {
		t.Errorf("waits %s, asked for %v", wait, asked)
	}
	if wait := b.lookDue(now.Add(time.Second)); wait != planAgain || !slices.Equal(asked, asks{"backup.target@nas1"}) {
		t.Errorf("waits %s, asked for %v", wait, asked)
	}
	if b.lookDue(now.Add(time.Minute)); len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}

func TestKeysThatAKilledSessionLeftAreRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, sshpolicy.DirPrefix+"123")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "id"), []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := openHistory(dir, "node1", time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer h.root.Close()
	if _, err := os.Stat(left); err == nil {
		t.Error("the private key stays")
	}
}
