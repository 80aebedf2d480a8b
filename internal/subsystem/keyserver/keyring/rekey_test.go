package keyring_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
)

func TestTheFirstKeyProtectsAndANewOneReplacesIt(t *testing.T) {
	r := newRig(t)
	if err := r.keeper.Protect(t.Context(), "backup/etc", []byte("one")); !errors.Is(err, keyring.ErrNoCurrent) {
		t.Errorf("Protect before there is a key = %v, want ErrNoCurrent", err)
	}
	r = withKey(t)
	first := r.status(t).Current
	if first == nil || first.Gen != 1 || !strings.HasPrefix(first.Name, "allclear-node1-repo-1-") {
		t.Fatalf("current key is %+v", first)
	}
	r.rekey(t)
	st := r.status(t)
	if st.Current.Gen != 2 || st.Renewal != nil || len(st.Orphans) != 0 {
		t.Errorf("after a renewal: %+v", st)
	}
	if got := r.keysThere(t); !slices.Equal(got, []string{st.Current.UID}) {
		t.Errorf("keys on the servers %q, want the new one %s alone", got, st.Current.UID)
	}
	r.allOpen(t)
	in, err := r.keeper.Describe("backup/etc")
	if err != nil || len(in.Slots) != 1 || !in.Slots[0].Same(*st.Current) {
		t.Errorf("slots %v, %v; want the new one alone", in.Slots, err)
	}
}

func TestThingsMoveFromTheLocalKeyToTheFirstKey(t *testing.T) {
	r := newRig(t)
	r.underLocalFirst = true
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	for id, secret := range things() {
		if err := r.keeper.Protect(t.Context(), id, []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	r.underLocalFirst = false
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Cancel(t.Context()); err == nil || !strings.Contains(err.Error(), "no key before") {
		t.Errorf("Cancel of the first key after its commit = %v", err)
	}
	r.now = r.now.Add(2 * time.Hour)
	if err := r.rekeyer.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.allOpen(t)
	if in, err := r.keeper.Describe("secret/db"); err != nil || in.Local {
		t.Errorf("still local: %+v, %v", in, err)
	}
}

func TestACancelOfTheFirstKeyLeavesTheLocalOne(t *testing.T) {
	r := newRig(t)
	r.underLocalFirst = true
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	for id, secret := range things() {
		if err := r.keeper.Protect(t.Context(), id, []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	r.fail = stopAt(string(keyring.PhaseVerified))
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if in, err := r.keeper.Describe("secret/db"); err != nil || len(in.Slots) != 2 {
		t.Fatalf("slots %v, %v; want two", in.Slots, err)
	}
	if err := r.rekeyer.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.allOpen(t)
	if in, err := r.keeper.Describe("secret/db"); err != nil || !in.Local || len(in.Slots) != 1 || len(r.keysThere(t)) != 0 {
		t.Errorf("after the cancel: %+v, %v, keys %q", in, err, r.keysThere(t))
	}
}

var errStop = errors.New("stopped here")

// stopAt fails one step, always.
func stopAt(at string) func(string) error {
	return func(step string) error {
		if step == at {
			return errStop
		}
		return nil
	}
}

func TestPrepareWaitsForTheClones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.replication = 10 * time.Second
		if err := r.build(); err != nil {
			t.Fatal(err)
		}
		r.clone.lag = true
		asked := 0
		r.clone.around = func(string) error {
			if asked++; asked == 7 {
				r.clone.lag = false
			}
			return nil
		}
		if err := r.rekeyer.Prepare(t.Context()); err != nil {
			t.Errorf("Prepare = %v after %d questions", err, asked)
		}
	})
}

func TestAKeyThatIsNotOnEveryServerIsNotPrepared(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(*rig)
		is   func(error) bool
	}{
		"lag":        {func(r *rig) { r.clone.lag = true }, func(err error) bool { _, ok := errors.AsType[*keyring.LagError](err); return ok }},
		"down":       {func(r *rig) { r.clone.down = true }, func(err error) bool { return errors.Is(err, errDown) }},
		"other key":  {func(r *rig) { r.clone.wrong = true }, func(err error) bool { _, ok := errors.AsType[*envelope.WrongKeyError](err); return ok }},
		"refused":    {func(r *rig) { r.clone.denies = true }, func(err error) bool { return errors.Is(err, keyring.ErrRefused) }},
		"no primary": {func(r *rig) { r.noPrimary = true }, func(err error) bool { return errors.Is(err, keyring.ErrNoPrimary) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := withKey(t)
			before := r.status(t).Current
			primary, clone := *r.primary, *r.clone
			c.harm(r)
			err := r.rekeyer.Prepare(t.Context())
			if !c.is(err) {
				t.Errorf("Prepare = %v", err)
			}
			st := r.status(t)
			if st.Renewal == nil || st.Renewal.Failure == nil || !strings.Contains(err.Error(), st.Renewal.Failure.Error) {
				t.Errorf("the failure is not recorded: %+v", st.Renewal)
			}
			if err := r.rekeyer.Commit(t.Context()); err == nil {
				t.Error("it was committed all the same")
			}
			*r.primary, *r.clone, r.noPrimary = primary, clone, false
			if st := r.status(t); !st.Current.Same(*before) {
				t.Errorf("current key is %s", st.Current)
			}
			r.rekey(t) // and the same renewal goes on when the cause is gone
			r.allOpen(t)
		})
	}
}

func TestALostAnswerToCreateIsNeverAskedAgain(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		r := withKey(t)
		creates := 0
		r.primary.around = func(step string) error {
			if strings.HasPrefix(step, "before create") {
				creates++
			}
			if step == when+" create on ks1" {
				return errDown
			}
			return nil
		}
		if err := r.rekeyer.Prepare(t.Context()); !errors.Is(err, errDown) {
			t.Fatalf("Prepare = %v", err)
		}
		err := r.rekeyer.Prepare(t.Context())
		if creates != 1 {
			t.Errorf("Create was sent %d times", creates)
		}
		if when == "after" {
			if err != nil {
				t.Errorf("the key that was made is not adopted: %v", err)
			}
			continue
		}
		if !errors.Is(err, keyring.ErrCreateLost) {
			t.Errorf("Prepare = %v, want ErrCreateLost", err)
		}
		r.primary.around = nil
		if err := r.rekeyer.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		st := r.status(t)
		if len(st.Orphans) != 1 || st.Orphans[0].UID != "" {
			t.Fatalf("orphans %+v, want the name", st.Orphans)
		}
		late := filepath.Join(r.primary.dir, st.Orphans[0].KeyName+"~late") // the request arrives after all
		if err := os.WriteFile(late, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.rekeyer.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.status(t); len(st.Orphans) != 0 || len(r.keysThere(t)) != 1 {
			t.Errorf("orphans %+v, keys %q", st.Orphans, r.keysThere(t))
		}
	}
}

func TestARefusedCreateMayBeSentAgain(t *testing.T) {
	r := newRig(t)
	r.primary.denies = true
	if err := r.rekeyer.Prepare(t.Context()); !errors.Is(err, keyring.ErrNotMade) {
		t.Fatalf("Prepare = %v", err)
	}
	r.primary.denies = false
	if err := r.rekeyer.Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	if got := r.keysThere(t); len(got) != 1 {
		t.Errorf("keys %q, want one", got)
	}
}

func TestTheOldKeyStaysThroughGraceAndUntilGreen(t *testing.T) {
	r := withKey(t)
	if err := errors.Join(r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Prepare(t.Context()); !errors.Is(err, keyring.ErrNotRetired) {
		t.Errorf("Prepare = %v, want ErrNotRetired", err)
	}
	for id := range things() {
		if in, err := r.keeper.Describe(id); err != nil || len(in.Slots) != 2 {
			t.Errorf("%s has slots %v, %v; want both", id, in.Slots, err)
		}
	}
	early, ok := errors.AsType[*keyring.EarlyError](r.rekeyer.Retire(t.Context()))
	if !ok || !early.Until.Equal(r.now.Add(time.Hour)) {
		t.Errorf("Retire = %v, want an EarlyError until an hour from now", early)
	}
	if st := r.status(t); st.Renewal.Failure != nil {
		t.Errorf("being early is recorded as a failure: %+v", st.Renewal.Failure)
	}
	r.now = r.now.Add(time.Hour)
	r.red = errors.New("ks2 was not looked at")
	if err := r.rekeyer.Retire(t.Context()); !errors.Is(err, r.red) {
		t.Errorf("Retire = %v, want what the validation says", err)
	}
	if got := r.keysThere(t); len(got) != 2 {
		t.Errorf("keys %q, want both", got)
	}
	r.red = nil
	if err := r.rekeyer.Retire(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelGoesBackFromEveryPhase(t *testing.T) {
	for _, phase := range []keyring.Phase{
		keyring.PhaseNamed, keyring.PhaseSent, keyring.PhaseCreated, keyring.PhaseProved, keyring.PhaseSlotted, keyring.PhaseVerified,
		keyring.PhaseCommitted,
	} {
		t.Run(string(phase), func(t *testing.T) {
			r := withKey(t)
			before := r.status(t).Current
			r.fail = stopAt(string(phase))
			if err := r.build(); err != nil {
				t.Fatal(err)
			}
			err := r.rekeyer.Prepare(t.Context())
			if err == nil {
				err = r.rekeyer.Commit(t.Context())
			}
			if (err == nil) != (phase == keyring.PhaseCommitted) {
				t.Fatal(err)
			}
			if st := r.status(t); st.Renewal.Phase != phase {
				t.Fatalf("phase %s", st.Renewal.Phase)
			}
			if phase == keyring.PhaseCommitted { // what was protected under the new key must come back too
				if err := r.keeper.Protect(t.Context(), "secret/late", []byte("late")); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.rekeyer.Cancel(t.Context()); err != nil {
				t.Fatal(err)
			}
			st := r.status(t)
			if !st.Current.Same(*before) || st.Renewal != nil || len(st.Orphans) != 0 {
				t.Errorf("after the cancel: %+v", st)
			}
			if got := r.keysThere(t); !slices.Equal(got, []string{before.UID}) {
				t.Errorf("keys %q, want the old one alone", got)
			}
			r.allOpen(t)
			r.survives(t, "after the cancel")
			if err := r.rekeyer.Cancel(t.Context()); !errors.Is(err, keyring.ErrNoRenewal) {
				t.Errorf("a second cancel = %v, want ErrNoRenewal", err)
			}
		})
	}
}

func TestCancelIsRefusedOnceOldSlotsGo(t *testing.T) {
	for _, phase := range []keyring.Phase{keyring.PhaseRetiring, keyring.PhaseDropped} {
		r := withKey(t)
		r.fail = stopAt(string(phase))
		if err := errors.Join(r.build(), r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(time.Hour)
		if err := r.rekeyer.Retire(t.Context()); !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		if err := r.rekeyer.Cancel(t.Context()); !errors.Is(err, keyring.ErrTooLate) {
			t.Errorf("%s: Cancel = %v, want ErrTooLate", phase, err)
		}
		r.survives(t, string(phase))
	}
}

func TestCancelWithThePrimaryGoneLeavesAnOrphanForLater(t *testing.T) {
	r := withKey(t)
	if err := r.rekeyer.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.primary.down = true
	if err := r.rekeyer.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := r.status(t); st.Renewal != nil || len(st.Orphans) != 1 {
		t.Fatalf("after the cancel: %+v", st)
	}
	if err := r.rekeyer.Sweep(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Sweep = %v, want that the primary is down", err)
	}
	r.primary.down = false
	if err := r.rekeyer.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if st := r.status(t); len(st.Orphans) != 0 || len(r.keysThere(t)) != 1 {
		t.Errorf("orphans %+v, keys %q", st.Orphans, r.keysThere(t))
	}
}

func TestTwoCommandsDoNotMeet(t *testing.T) {
	r := withKey(t)
	inside := false
	r.primary.around = func(string) error {
		if !inside {
			inside = true
			if err := r.rekeyer.Cancel(context.Background()); !errors.Is(err, keyring.ErrBusy) {
				t.Errorf("a command within another = %v, want ErrBusy", err)
			}
		}
		return nil
	}
	if err := r.rekeyer.Prepare(t.Context()); err != nil || !inside {
		t.Error(err)
	}
}

func TestADamagedRingRecordIsNotGuessed(t *testing.T) {
	r := withKey(t)
	for _, n := range []string{"key-repo.0", "key-repo.1"} {
		if err := os.WriteFile(filepath.Join(r.dir, "keys", n), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"prepare": r.rekeyer.Prepare(t.Context()),
		"protect": r.keeper.Protect(t.Context(), "secret/new", []byte("new")),
		"repair":  r.ring.Repair(),
	} {
		if _, ok := errors.AsType[*envelope.DamageError](err); !ok {
			t.Errorf("%s on a damaged record: %v", what, err)
		}
	}
	r.allOpen(t) // what is protected needs no ring
}

func TestWhatIsProtectedDuringARenewalIsNotLeftBehind(t *testing.T) {
	r := withKey(t)
	r.fail = stopAt(string(keyring.PhaseVerified))
	if err := errors.Join(r.build(), r.rekeyer.Prepare(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Commit(t.Context()); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if err := r.keeper.Protect(t.Context(), "secret/late", []byte("late")); err != nil { // under the old key
		t.Fatal(err)
	}
	r.fail = nil
	if err := errors.Join(r.build(), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(time.Hour)
	if err := r.rekeyer.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _, err := r.keeper.Open(t.Context(), "secret/late"); err != nil || string(got) != "late" {
		t.Errorf("Open = %q, %v", got, err)
	}
}

func TestTheOldKeyIsNotDestroyedWhileACopyMayNeedIt(t *testing.T) {
	r := withKey(t)
	old := r.status(t).Current.UID
	r.fail = stopAt(string(keyring.PhaseDropped))
	if err := errors.Join(r.build(), r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(time.Hour)
	if err := r.rekeyer.Retire(t.Context()); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "keys", "backup~etc.1"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.fail = nil
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Retire(t.Context()); err == nil || !strings.Contains(err.Error(), "backup/etc has only 1") {
		t.Errorf("Retire = %v", err)
	}
	if !slices.Contains(r.keysThere(t), old) {
		t.Error("the old key is gone")
	}
	if err := errors.Join(r.keeper.Repair(t.Context()), r.rekeyer.Retire(t.Context())); err != nil {
		t.Error(err)
	}
	if slices.Contains(r.keysThere(t), old) {
		t.Error("the old key is still there")
	}
}
