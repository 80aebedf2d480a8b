package luks_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver/luks"
)

func newKey() []byte {
	b := make([]byte, 64)
	rand.Read(b)
	return b
}

// memoryDir answers a folder in memory where the system has a place for that: cryptsetup waits for the disk at each step.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "luks-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// volume makes a LUKS2 image that opens with key.
func volume(t *testing.T, key []byte) (*luks.Tool, string) {
	t.Helper()
	lab.Need(t, "cryptsetup", "root")
	image := filepath.Join(memoryDir(t), "volume.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 4<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(
		lab.Program("cryptsetup"), "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
		"--luks2-metadata-size", "16k", "--luks2-keyslots-size", "1m",
		"--key-file", "-", "--keyfile-size", strconv.Itoa(len(key)), image,
	)
	cmd.Stdin = bytes.NewReader(key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cryptsetup luksFormat: %v\n%s", err, out)
	}
	tool, err := luks.NewTool(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return tool, image
}

func opens(t *testing.T, tool *luks.Tool, image string, key []byte, want bool) {
	t.Helper()
	_, err := tool.Test(t.Context(), image, key)
	if want && err != nil || !want && !errors.Is(err, luks.ErrNoSlot) {
		t.Errorf("Test = %v; should it open: %v", err, want)
	}
}

func TestRotationReplacesTheKeyAndNotesWhoseItIs(t *testing.T) {
	old, fresh := newKey(), newKey()
	tool, image := volume(t, old)
	for range 2 { // repeated, it changes nothing
		if err := tool.Rotate(t.Context(), image, old, fresh, "luks/data"); err != nil {
			t.Fatal(err)
		}
		v, err := tool.Read(t.Context(), image)
		want := luks.Volume{Slots: []int{1}, Tokens: []luks.Token{{ID: 0, Slots: []int{1}, Thing: "luks/data"}}}
		if diff := cmp.Diff(want, v); diff != "" || err != nil {
			t.Errorf("%v, header (-want +got):\n%s", err, diff)
		}
	}
	opens(t, tool, image, fresh, true)
	opens(t, tool, image, old, false)
	third := newKey()
	if err := tool.Rotate(t.Context(), image, fresh, third, "luks/data"); err != nil {
		t.Fatal(err)
	}
	v, err := tool.Read(t.Context(), image)
	if err != nil || len(v.Slots) != 1 || len(v.Tokens) != 1 || v.Tokens[0].Slots[0] != v.Slots[0] {
		t.Errorf("after a second rotation: %+v, %v", v, err)
	}
	opens(t, tool, image, third, true)
}

func TestAStrangersSlotStays(t *testing.T) {
	old, fresh, recovery := newKey(), newKey(), newKey()
	tool, image := volume(t, old)
	if _, err := tool.Add(t.Context(), image, old, recovery); err != nil {
		t.Fatal(err)
	}
	if err := tool.Rotate(t.Context(), image, old, fresh, ""); err != nil {
		t.Fatal(err)
	}
	opens(t, tool, image, recovery, true)
	opens(t, tool, image, fresh, true)
	opens(t, tool, image, old, false)
}

// TestARotationThatIsKilledAnywhereLeavesTheVolumeOpen runs a cryptsetup that dies instead of its nth run, which is also
// what a death right after the run before leaves.
func TestARotationThatIsKilledAnywhereLeavesTheVolumeOpen(t *testing.T) {
	old, fresh := newKey(), newKey()
	tool, image := volume(t, old)
	for n := 1; ; n++ {
		round := filepath.Join(memoryDir(t), "round.img")
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(round, b, 0o600); err != nil {
			t.Fatal(err)
		}
		dying := luks.ToolForTest(dyingCryptsetup(t, n))
		if err := dying.Rotate(t.Context(), round, old, fresh, "luks/data"); err == nil {
			if n < 8 {
				t.Errorf("a rotation has only %d runs", n-1)
			}
			return
		}
		_, byOld := tool.Test(t.Context(), round, old)
		_, byFresh := tool.Test(t.Context(), round, fresh)
		if byOld != nil && byFresh != nil {
			t.Errorf("dead at run %d: nothing opens it: %v, %v", n, byOld, byFresh)
		}
		if err := tool.Rotate(t.Context(), round, old, fresh, "luks/data"); err != nil {
			t.Errorf("dead at run %d: repeated: %v", n, err)
		}
		opens(t, tool, round, fresh, true)
		opens(t, tool, round, old, false)
	}
}

// dyingCryptsetup writes a program that runs the real one but for its nth run.
func dyingCryptsetup(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(
		"#!/bin/sh\necho >> %s/runs\n[ $(wc -l < %s/runs) = %d ] && kill -9 $$\nexec %s \"$@\"\n", dir, dir, n, lab.Program("cryptsetup"),
	)
	program := filepath.Join(dir, "cryptsetup")
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestNothingIsDroppedWithoutProof(t *testing.T) {
	old, other := newKey(), newKey()
	tool, image := volume(t, old)
	if err := tool.Drop(t.Context(), image, other, old); !errors.Is(err, luks.ErrNoSlot) {
		t.Errorf("Drop on the word of a strange key = %v, want ErrNoSlot", err)
	}
	if err := tool.Drop(t.Context(), image, old, old); err == nil {
		t.Error("the last key was dropped on its own word")
	}
	if _, err := tool.Add(t.Context(), image, other, newKey()); err == nil {
		t.Error("a slot was added on the word of a strange key")
	}
	opens(t, tool, image, old, true)
}

func TestBadInputIsSaidPlainly(t *testing.T) {
	key := newKey()
	tool, image := volume(t, key)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{plain, filepath.Join(t.TempDir(), "missing")} {
		if _, err := tool.Read(t.Context(), device); err == nil || !strings.Contains(err.Error(), "cryptsetup: ") {
			t.Errorf("Read(%s) = %v, want cryptsetup's words", device, err)
		}
	}
	if _, err := tool.Read(t.Context(), "--help"); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("an option as device = %v", err)
	}
	for _, n := range []int{0, 15, 4097} {
		if _, err := tool.Add(t.Context(), image, key, make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was added", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tool.Read(ctx, image); !errors.Is(err, context.Canceled) {
		t.Errorf("Read after a cancel = %v", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte(`{"keyslots":{"0":{}},"tokens":{"3":{"type":"allclear","keyslots":["0"],"thing":"luks/x"}}}`))
	f.Add([]byte(`{"keyslots":{"99":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := luks.ParseForTest(text)
		if err != nil {
			return
		}
		for _, n := range v.Slots {
			if n < 0 || n > 31 {
				t.Errorf("slot %d", n)
			}
		}
	})
}
