package keyring_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/envelope"
	"allclear/internal/subsystem/keyserver/keyring"
)

func TestEachServerIsAskedUntilOneGivesTheKey(t *testing.T) {
	for name, harm := range map[string]func(*fakeServer){
		"down":    func(s *fakeServer) { s.down = true },
		"missing": func(s *fakeServer) { s.lag = true },
		"wrong":   func(s *fakeServer) { s.wrong = true },
		"refused": func(s *fakeServer) { s.denies = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := withKey(t)
			harm(r.primary)
			got, info, err := r.keeper.Open(t.Context(), "backup/etc")
			if err != nil || string(got) != "one" || info.From != "ks2" || info.Cached {
				t.Errorf("Open = %q from %q, cached %v, %v; want it from ks2", got, info.From, info.Cached, err)
			}
		})
	}
}

func TestAKeyOutlivesItsServersForTheGraceTimeOnly(t *testing.T) {
	r := withKey(t)
	r.allOpen(t)
	ref := *r.status(t).Current
	until, ok := r.source.Held(ref)
	if !ok || !until.Equal(r.now.Add(time.Hour)) {
		t.Errorf("held until %v, %v; want an hour from now", until, ok)
	}
	r.primary.down, r.clone.down = true, true
	r.now = r.now.Add(time.Hour - time.Second)
	got, info, err := r.keeper.Open(t.Context(), "backup/etc")
	if err != nil || string(got) != "one" || !info.Cached || info.From != "" {
		t.Errorf("within the grace time: %q, %+v, %v; want it from memory", got, info, err)
	}
	if err := r.keeper.Protect(t.Context(), "backup/new", []byte("x")); !errors.Is(err, errDown) && err == nil {
		t.Error("new work was begun on a key from memory")
	}
	r.now = r.now.Add(time.Second)
	if _, _, err := r.keeper.Open(t.Context(), "backup/etc"); !errors.Is(err, errDown) {
		t.Errorf("after the grace time: %v, want that the servers are down", err)
	}
	r.now = r.now.Add(-time.Minute) // a clock set back brings nothing back
	if _, _, err := r.keeper.Open(t.Context(), "backup/etc"); err == nil {
		t.Error("a key that was wiped opened something")
	}
	r.primary.down = false
	r.allOpen(t)
}

func TestAKeyTakenAwayIsNotUsedFromMemory(t *testing.T) {
	for name, harm := range map[string]func(*fakeServer){
		"missing": func(s *fakeServer) { s.lag = true },
		"refused": func(s *fakeServer) { s.denies = true },
		"wrong":   func(s *fakeServer) { s.wrong = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := withKey(t)
			r.allOpen(t)
			harm(r.primary)
			r.clone.down = true // it may still have the key
			if _, info, err := r.keeper.Open(t.Context(), "backup/etc"); err != nil || !info.Cached {
				t.Errorf("with one server down: %+v, %v; want it from memory", info, err)
			}
			r.clone.down = false
			harm(r.clone)
			if _, _, err := r.keeper.Open(t.Context(), "backup/etc"); err == nil {
				t.Error("every server answered no, and it opened")
			}
			r.primary.down, r.clone.down = true, true
			if _, _, err := r.keeper.Open(t.Context(), "backup/etc"); err == nil {
				t.Error("what was taken away came back from memory")
			}
		})
	}
}

func TestWithoutGraceNothingIsKept(t *testing.T) {
	r := withKey(t)
	source := keyring.NewSource(r, 0, time.Now)
	ref := *r.status(t).Current
	key, err := source.Key(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	key.Secret.Destroy()
	r.primary.down, r.clone.down = true, true
	if _, err := source.Key(t.Context(), ref); err == nil {
		t.Error("a key came from memory")
	}
}

func TestRunWipesWhatIsOver(t *testing.T) {
	r := withKey(t)
	ref := *r.status(t).Current
	synctest.Test(t, func(t *testing.T) {
		source := keyring.NewSource(r, time.Hour, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); source.Run(ctx) }()
		get := func() {
			key, err := source.Key(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			key.Secret.Destroy()
		}
		held := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := source.HeldForTest(); n != want {
				t.Errorf("%d keys in memory, want %d", n, want)
			}
		}
		get()
		time.Sleep(59 * time.Minute)
		held(1)
		time.Sleep(time.Minute)
		held(0)
		get()
		held(1)
		stop()
		<-done
		held(0)
	})
}

func TestTheMatrixSaysWhatSurvives(t *testing.T) {
	kmip := func(uid string) envelope.SlotRef {
		return envelope.SlotRef{Kind: envelope.KindKMIP, Group: "main", UID: uid}
	}
	local, recovery := envelope.SlotRef{Kind: envelope.KindLocal}, envelope.SlotRef{Kind: envelope.KindRecovery}
	things := []envelope.Info{
		{ID: "a/both", Slots: []envelope.SlotRef{kmip("1")}},
		{ID: "a/sole", Slots: []envelope.SlotRef{kmip("2"), recovery}, Recovery: true},
		{ID: "a/none", Slots: []envelope.SlotRef{kmip("3")}},
		{ID: "a/here", Slots: []envelope.SlotRef{kmip("2"), local}},
	}
	holds := map[string]string{"ks1": "1", "ks2": "12"}
	got := keyring.Survive(things, []string{"ks2", "ks1"}, func(srv string, ref envelope.SlotRef) bool {
		for _, uid := range holds[srv] {
			if string(uid) == ref.UID {
				return true
			}
		}
		return false
	})
	want := []keyring.Survival{
		{ID: "a/both", Openers: []string{"ks1", "ks2"}},
		{ID: "a/sole", Openers: []string{"ks2"}, Sole: "ks2", Recovery: true},
		{ID: "a/none"},
		{ID: "a/here", Openers: []string{"ks2"}, Local: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("matrix (-want +got):\n%s", diff)
	}
	for i, opens := range []string{"yes", "no", "no", "yes"} {
		if got[i].Opens("ks2") != (opens == "yes") {
			t.Errorf("%s without ks2: want %s", got[i].ID, opens)
		}
	}
	if !got[1].Opens("ks1") || !got[1].Opens("") || got[2].Opens("") {
		t.Error("a server that does not matter matters")
	}
}
