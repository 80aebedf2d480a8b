package envelope_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/lab"
)

// create makes a recovery key.
func (w *world) create(t *testing.T) string {
	t.Helper()
	identity, r, err := w.CreateRecovery(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Validated.IsZero() {
		t.Errorf("a new recovery key is said to be validated at %v", r.Validated)
	}
	return identity
}

// recovers claims that the identity alone opens a thing.
func (w *world) recovers(t *testing.T, identity, id, want string) {
	t.Helper()
	got, err := envelope.OpenWithRecovery(w.root, id, identity)
	if err != nil || string(got) != want {
		t.Errorf("OpenWithRecovery(%s) = %q, %v; want %q", id, got, err, want)
	}
}

func TestTheRecoveryKeyOpensWhatWasThereAndWhatCameLater(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/before", "one")
	if _, err := w.Recovery(); !errors.Is(err, envelope.ErrNoRecovery) {
		t.Errorf("Recovery = %v, want ErrNoRecovery", err)
	}
	identity := w.create(t)
	w.protect(t, "backup/after", "two")
	w.keys.set(func() { clear(w.keys.bytes) }) // everything else is lost
	w.recovers(t, identity, "backup/before", "one")
	w.recovers(t, strings.ToLower(" "+identity+"\n"), "backup/after", "two") // as people type
	if _, _, err := w.Open(t.Context(), "backup/before"); err == nil {
		t.Error("the recovery slot was opened without the identity")
	}
}

func TestOnlyValidationProvesARecoveryKey(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	identity := w.create(t)
	if in := w.opens(t, "backup/etc", "one"); !in.Recovery || !in.Proven.IsZero() {
		t.Errorf("before: recovery %v, proven %v; want true and never", in.Recovery, in.Proven)
	}
	w.now = w.now.Add(time.Hour)
	r, err := w.ValidateRecovery(t.Context(), identity)
	if err != nil || r.Things != 1 || !r.Validated.Equal(w.now.Truncate(time.Second)) {
		t.Errorf("ValidateRecovery = %+v, %v", r, err)
	}
	if in := w.opens(t, "backup/etc", "one"); !in.Proven.Equal(r.Validated) {
		t.Errorf("after: proven %v, want %v", in.Proven, r.Validated)
	}
}

func TestValidationFailsOnAnyThingThatDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	w.protect(t, "backup/www", "two")
	identity := w.create(t)
	other := newWorld(t)
	wrong := other.create(t)
	if _, err := w.ValidateRecovery(t.Context(), wrong); !errors.Is(err, envelope.ErrOtherRecovery) {
		t.Errorf("another identity: %v, want ErrOtherRecovery", err)
	}
	for _, bad := range []string{"", "AGE-SECRET-KEY-1", identity[:73], "x" + identity} {
		_, err := w.ValidateRecovery(t.Context(), bad)
		if err == nil {
			t.Errorf("%q was validated", bad)
		} else if len(bad) > 40 && strings.Contains(err.Error(), bad[20:40]) {
			t.Error("the error holds the identity")
		}
	}
	for _, n := range []string{"backup~www.0", "backup~www.1"} {
		if err := os.WriteFile(filepath.Join(w.dir, n), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.ValidateRecovery(t.Context(), identity); err == nil || !strings.Contains(err.Error(), "backup~www") {
		t.Errorf("with a damaged thing: %v, want an error that names it", err)
	}
	if r, err := w.Recovery(); err != nil || !r.Validated.IsZero() {
		t.Errorf("a failed validation was recorded: %+v, %v", r, err)
	}
}

func TestTheFormerRecoveryKeyStaysUntilTheNewOneIsProven(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	first := w.create(t)
	if _, err := w.ValidateRecovery(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	lost := w.create(t) // printed and lost
	third := w.create(t)
	w.protect(t, "backup/www", "two")
	w.recovers(t, first, "backup/etc", "one")
	w.recovers(t, first, "backup/www", "two")
	w.recovers(t, third, "backup/etc", "one")
	if _, err := envelope.OpenWithRecovery(w.root, "backup/etc", lost); err == nil {
		t.Error("a key that was never proven and is replaced still opens")
	}
	if in := w.opens(t, "backup/etc", "one"); len(in.Slots) != 3 || !in.Proven.IsZero() {
		t.Errorf("%d slots, proven %v; want 3 and never", len(in.Slots), in.Proven)
	}
	if _, err := w.ValidateRecovery(t.Context(), first); !errors.Is(err, envelope.ErrOtherRecovery) {
		t.Errorf("the former key validates as the present one: %v", err)
	}
	if _, err := w.ValidateRecovery(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"backup/etc", "backup/www"} {
		if _, err := envelope.OpenWithRecovery(w.root, id, first); !errors.Is(err, envelope.ErrOtherRecovery) {
			t.Errorf("the former key still opens %s: %v", id, err)
		}
	}
	w.recovers(t, third, "backup/www", "two")
}

func TestCreateChangesNothingWhileAThingDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	w.keys.set(func() { w.keys.down = true })
	if identity, _, err := w.CreateRecovery(t.Context()); err == nil || identity != "" {
		t.Errorf("CreateRecovery = %d characters, %v", len(identity), err)
	}
	if _, err := w.Recovery(); !errors.Is(err, envelope.ErrNoRecovery) {
		t.Errorf("Recovery = %v, want ErrNoRecovery", err)
	}
}

func TestCreateThatFailsHalfwayGivesNoIdentityAndCanBeRepeated(t *testing.T) {
	w := newWorld(t)
	ids := []string{"backup/a", "backup/b", "backup/c"}
	for _, id := range ids {
		w.protect(t, id, id)
	}
	former := w.create(t)
	if _, err := w.ValidateRecovery(t.Context(), former); err != nil {
		t.Fatal(err)
	}
	for stop := 1; ; stop++ {
		steps := 0
		w.Keeper = w.keeper(t, w.keys, func(string) error {
			if steps++; steps == stop {
				return errors.New("no space left on device")
			}
			return nil
		})
		identity, _, err := w.CreateRecovery(t.Context())
		w.Keeper = w.keeper(t, w.keys, nil)
		for _, id := range ids { // whatever happened, the proven key still opens everything
			w.recovers(t, former, id, id)
		}
		if err == nil {
			if stop < 9 {
				t.Errorf("only %d steps failed", stop-1)
			}
			w.recovers(t, identity, "backup/c", "backup/c")
			return
		}
		if identity != "" {
			t.Fatalf("step %d: an identity came with the error %v", stop, err)
		}
	}
}

func TestRepairGivesMissingRecoverySlots(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	early := []string{"backup~etc.0", "backup~etc.1"}
	for _, n := range early {
		copyFile(t, filepath.Join(w.dir, n), filepath.Join(w.dir, n+".early"))
	}
	identity := w.create(t)
	for _, n := range early { // as if the slot had never been added
		copyFile(t, filepath.Join(w.dir, n+".early"), filepath.Join(w.dir, n))
	}
	if in := w.opens(t, "backup/etc", "one"); in.Recovery {
		t.Fatal("the slot is there")
	}
	if err := w.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.recovers(t, identity, "backup/etc", "one")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecoverBringsThingsBackUnderANewKey(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	w.protect(t, "backup/www", "two")
	identity := w.create(t)
	w.keys.set(func() { clear(w.keys.bytes) })
	w.keys.current = w.keys.make(t, 1)
	w.protect(t, "backup/new", "three")
	got, err := w.Recover(t.Context(), identity)
	if err != nil || !slices.Equal(got, []string{"backup/etc", "backup/www"}) {
		t.Errorf("Recover = %q, %v", got, err)
	}
	w.opens(t, "backup/etc", "one")
	w.opens(t, "backup/www", "two")
}

// TestTheSlotOpensWithPlainAge has the age program of another maker open a recovery slot: it is an age file that holds
// the data key behind the thing's name.
func TestTheSlotOpensWithPlainAge(t *testing.T) {
	lab.Need(t, "age")
	w := newWorld(t)
	w.protect(t, "backup/etc", "one")
	identity := w.create(t)
	key := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(key, []byte(identity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	slot, err := envelope.RecoverySlotForTest(w.root, "backup/etc")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lab.Program("age"), "-d", "-i", key)
	cmd.Stdin = strings.NewReader(string(slot))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	if !strings.Contains(string(out), "backup/etc") || len(out) < 42 {
		t.Errorf("age found %d bytes, want the name and the data key", len(out))
	}
}
