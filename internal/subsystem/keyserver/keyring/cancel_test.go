package keyring_test

import (
	"context"
	"errors"
	"testing"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
)

func TestAFirstKeyWithNothingToRetireIsDoneAtOnce(t *testing.T) {
	for name, local := range map[string]bool{"nothing sealed before": false, "sealed by a local key before": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if r.underLocalFirst = local; local {
				if err := errors.Join(r.build(), r.keeper.Protect(t.Context(), "backup/etc", []byte("one"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context()), r.rekeyer.EndFirst()); err != nil {
				t.Fatal(err)
			}
			if st := r.status(t); (st.Renewal != nil) != local || st.Current == nil {
				t.Errorf("status %+v; renewal wanted: %v", st, local)
			}
		})
	}
}

func TestACancelAfterTheCommitNeedsTheOldKey(t *testing.T) {
	r := withKey(t)
	old := *r.status(t).Current
	if err := errors.Join(r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := r.primary.Destroy(t.Context(), old.UID); err != nil { // somebody else was too quick
		t.Fatal(err)
	}
	if err := r.rekeyer.Cancel(t.Context()); !errors.Is(err, envelope.ErrNoKey) {
		t.Errorf("Cancel = %v, want that the old key is gone", err)
	}
	if st := r.status(t); st.Current.Gen != 2 || st.Renewal.Phase != keyring.PhaseCommitted {
		t.Errorf("after the refusal: %+v", st)
	}
	r.allOpen(t)
}

func TestAHalfDoneCancelCanOnlyBeFinished(t *testing.T) {
	r := withKey(t)
	r.fail = stopAt(string(keyring.PhaseVerified))
	if err := errors.Join(r.build(), r.rekeyer.Prepare(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Commit(t.Context()); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	r.fail = stopAt("secret~db.0") // one thing has lost its new slot, the other has not
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	if err := r.rekeyer.Cancel(t.Context()); !errors.Is(err, errStop) {
		t.Fatalf("Cancel = %v", err)
	}
	for name, err := range map[string]error{"Prepare": r.rekeyer.Prepare(t.Context()), "Commit": r.rekeyer.Commit(t.Context())} {
		if !errors.Is(err, keyring.ErrCancelling) {
			t.Errorf("%s = %v, want ErrCancelling", name, err)
		}
	}
	r.survives(t, "half cancelled")
	r.fail = nil
	if err := errors.Join(r.build(), r.rekeyer.Cancel(t.Context())); err != nil {
		t.Error(err)
	}
	r.allOpen(t)
	if got := r.keysThere(t); len(got) != 1 {
		t.Errorf("keys %q, want one", got)
	}
}

func TestWhatIsProtectedDuringACancelIsNotLeftBehind(t *testing.T) {
	r := withKey(t)
	armed, done := false, false
	r.fail = func(step string) error {
		if armed && !done && step == "key-repo.1" { // the first copy to be written: everything has its old slot again, and the new key is still current
			done = true
			return r.keeper.Protect(context.Background(), "secret/late", []byte("late"))
		}
		return nil
	}
	if err := errors.Join(r.build(), r.rekeyer.Prepare(t.Context()), r.rekeyer.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	armed = true
	if err := r.rekeyer.Cancel(t.Context()); err != nil || !done {
		t.Fatalf("Cancel = %v, protected meanwhile: %v", err, done)
	}
	if got, _, err := r.keeper.Open(t.Context(), "secret/late"); err != nil || string(got) != "late" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if got := r.keysThere(t); len(got) != 1 {
		t.Errorf("keys %q, want one", got)
	}
}
