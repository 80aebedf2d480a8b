package envelope_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/envelope"
)

// keys is a keeper of keys like a group of key servers, with switches.
type keys struct {
	mu      sync.Mutex
	down    bool
	current envelope.SlotRef
	bytes   map[string][]byte // by UID
}

func newKeys(t testing.TB) *keys {
	k := &keys{bytes: map[string][]byte{}}
	k.current = k.make(t, 1)
	return k
}

// make makes a key of the given generation.
func (k *keys) make(t testing.TB, gen int) envelope.SlotRef {
	t.Helper()
	b := make([]byte, envelope.KeySize)
	rand.Read(b)
	uid := "uid-" + string(envelope.CheckOf(b))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bytes[uid] = b
	return envelope.SlotRef{
		Kind: envelope.KindKMIP, Group: "main", UID: uid, Name: "allclear/repo", Gen: gen, Check: envelope.CheckOf(b),
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func (k *keys) secret(uid string) (*envelope.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return nil, errors.New("all key servers are down")
	}
	b, ok := k.bytes[uid]
	if !ok {
		return nil, envelope.ErrNoKey
	}
	return envelope.NewSecret(bytes.Clone(b))
}

func (k *keys) Key(_ context.Context, ref envelope.SlotRef) (envelope.Key, error) {
	s, err := k.secret(ref.UID)
	return envelope.Key{Secret: s, From: "ks1"}, err
}

func (k *keys) Current(context.Context, string) (envelope.SlotRef, *envelope.Secret, error) {
	s, err := k.secret(k.current.UID)
	return k.current, s, err
}

func (k *keys) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// world is a keeper with both kinds of keys at hand.
type world struct {
	*envelope.Keeper
	dir   string
	root  *os.Root
	keys  *keys
	local *envelope.LocalKey
	now   time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{dir: newDir(t), keys: newKeys(t), now: time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)}
	w.root = openFolder(t, w.dir)
	w.local = envelope.NewLocalKey(w.root, w.clock)
	w.Keeper = w.keeper(t, w.keys, nil)
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) keeper(t testing.TB, wrap envelope.Wrapper, fail func(string) error) *envelope.Keeper {
	t.Helper()
	k, err := envelope.NewKeeper(envelope.Options{
		Folder: w.root, Wrap: wrap, Now: w.clock, Failpoint: fail,
		Sources: map[envelope.Kind]envelope.KeySource{envelope.KindKMIP: w.keys, envelope.KindLocal: w.local},
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) protect(t testing.TB, id, secret string) {
	t.Helper()
	if err := w.Protect(t.Context(), id, []byte(secret)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) opens(t testing.TB, id, want string) envelope.Info {
	t.Helper()
	got, info, err := w.Open(t.Context(), id)
	if err != nil || string(got) != want {
		t.Fatalf("Open(%s) = %q, %v; want %q", id, got, err, want)
	}
	return info
}

func (w *world) key(t testing.TB, ref envelope.SlotRef) *envelope.Secret {
	t.Helper()
	s, err := w.keys.secret(ref.UID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	return s
}

func TestWhatIsProtectedOpens(t *testing.T) {
	w := newWorld(t)
	secret := []byte("AGE-SECRET-KEY-1QQQ")
	if err := w.Protect(t.Context(), "backup/etc", secret); err != nil {
		t.Fatal(err)
	}
	if string(secret) != "AGE-SECRET-KEY-1QQQ" {
		t.Error("the caller's slice was touched")
	}
	got := w.opens(t, "backup/etc", "AGE-SECRET-KEY-1QQQ")
	want := envelope.Info{
		ID: "backup/etc", Slot: w.keys.current, Slots: []envelope.SlotRef{w.keys.current}, From: "ks1", Copies: 2, Gen: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
	if err := w.Protect(t.Context(), "backup/etc", []byte("other")); !errors.Is(err, envelope.ErrExists) {
		t.Errorf("a second Protect = %v, want ErrExists", err)
	}
	w.opens(t, "backup/etc", "AGE-SECRET-KEY-1QQQ")
	if _, _, err := w.Open(t.Context(), "backup/other"); !errors.Is(err, envelope.ErrNotFound) {
		t.Errorf("Open of nothing = %v, want ErrNotFound", err)
	}
	if err := w.Remove("backup/etc"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Describe("backup/etc"); !errors.Is(err, envelope.ErrNotFound) {
		t.Errorf("after Remove: %v, want ErrNotFound", err)
	}
}

func TestNoFileHoldsTheSecretOrIsReadableByOthers(t *testing.T) {
	w := newWorld(t)
	w.Keeper = w.keeper(t, w.local, nil)
	const secret = "a-secret-that-would-be-noticed"
	w.protect(t, "backup/etc", secret)
	identity, _, err := w.CreateRecovery(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil || len(entries) != 5 {
		t.Fatalf("%d files, %v; want 2 of the thing, 2 of the recovery key, 1 local key", len(entries), err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(w.dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(identity)) {
			t.Errorf("%s holds a secret", e.Name())
		}
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), info.Mode())
		}
	}
}

func TestIDsAreNamesAndNothingElse(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{
		"", "x", "/x", "x/", "../x", "a/../b", "a/b/c", "a/.b", "a/-b", "a/b\n", "a/ä", "a~b", "A/" + strings.Repeat("x", 65), "backup/a b",
	} {
		if err := w.Protect(t.Context(), id, []byte("s")); err == nil {
			t.Errorf("Protect(%q) went through", id)
		}
		if _, _, err := w.Open(t.Context(), id); err == nil || errors.Is(err, envelope.ErrNotFound) {
			t.Errorf("Open(%q) = %v, want a refusal", id, err)
		}
	}
	w.protect(t, "secret/A.b_c-9", "s")
	got, err := w.IDs()
	if diff := cmp.Diff([]string{"secret/A.b_c-9"}, got); diff != "" || err != nil {
		t.Errorf("IDs: %v\n%s", err, diff)
	}
	for _, n := range []int{0, 16<<10 + 1} {
		if err := w.Protect(t.Context(), "secret/size", make([]byte, n)); err == nil {
			t.Errorf("a secret of %d bytes was protected", n)
		}
	}
}

func TestEachSlotThatDoesNotOpenSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "s")
	second := w.keys.make(t, 2)
	if err := w.AddSlot(t.Context(), "backup/etc", second, w.key(t, second)); err != nil {
		t.Fatal(err)
	}
	if info := w.opens(t, "backup/etc", "s"); !info.Slot.Same(second) {
		t.Errorf("%s opened, want the latest generation", info.Slot)
	}
	w.keys.set(func() { delete(w.keys.bytes, second.UID) })
	if info := w.opens(t, "backup/etc", "s"); !info.Slot.Same(w.keys.current) {
		t.Errorf("%s opened, want the other", info.Slot)
	}
	w.keys.set(func() { w.keys.bytes[w.keys.current.UID] = make([]byte, 32) })
	_, _, err := w.Open(t.Context(), "backup/etc")
	failed, ok := errors.AsType[*envelope.OpenError](err)
	if !ok || len(failed.Tried) != 2 {
		t.Fatalf("Open = %v, want an OpenError with two causes", err)
	}
	if !errors.Is(failed.Tried[0], envelope.ErrNoKey) {
		t.Errorf("first cause = %v, want ErrNoKey", failed.Tried[0])
	}
	if wrong, ok := errors.AsType[*envelope.WrongKeyError](failed.Tried[1]); !ok || wrong.Got != envelope.CheckOf(make([]byte, 32)) {
		t.Errorf("second cause = %v, want a WrongKeyError", failed.Tried[1])
	}
}

func TestADownServerProtectsNothing(t *testing.T) {
	w := newWorld(t)
	w.keys.set(func() { w.keys.down = true })
	if err := w.Protect(t.Context(), "backup/etc", []byte("s")); err == nil {
		t.Fatal("something was protected by a key that nobody has")
	}
	if got, err := w.IDs(); err != nil || len(got) != 0 {
		t.Errorf("IDs = %q, %v", got, err)
	}
}

func TestAHeaderChangedWithoutTheKeyDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "s")
	second := w.keys.make(t, 2)
	if err := w.AddSlot(t.Context(), "backup/etc", second, w.key(t, second)); err != nil {
		t.Fatal(err)
	}
	w.protect(t, "backup/www", "other")
	read := func(id string) string {
		b, err := envelope.NewRecord(w.root, strings.Replace(id, "/", "~", 1), "envelope").Read()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good, other := read("backup/etc"), read("backup/www")
	first, _, _ := strings.Cut(good, "},{\"kind\"") // the slot of generation 1 alone
	_, guard, _ := strings.Cut(good, "\n")
	for name, c := range map[string]struct {
		content string
		want    string
	}{
		"another thing":       {other, `it holds "backup/www"`},
		"renamed":             {strings.Replace(other, "backup/www", "backup/etc", 1), "unwrap"},
		"a slot taken away":   {first + "}]}\n" + guard, "changed by somebody"},
		"an older number":     {strings.Replace(good, `"gen":2,"created"`, `"gen":1,"created"`, 1), "changed by somebody"},
		"white space":         {strings.Replace(good, `,"gen"`, `, "gen"`, 1), "not in the form"},
		"a key twice":         {strings.Replace(good, `{"id"`, `{"gen":2,"id"`, 1), "not in the form"},
		"an unknown key":      {strings.Replace(good, `{"id"`, `{"x":2,"id"`, 1), "unknown field"},
		"a foreign algorithm": {strings.Replace(good, "AES-256-GCM", "ROT13", 1), "ROT13"},
		"no MAC":              {good[:len(good)-65], "no MAC"},
		"a MAC in capitals":   {good[:len(good)-64] + strings.Repeat("A", 64), "64 hexadecimal"},
		"a wrong MAC":         {good[:len(good)-64] + strings.Repeat("a", 64), "changed by somebody"},
		"a slot twice":        {strings.Replace(good, `"slots":[`, `"slots":[`+slotOf(good)+",", 1), "two slots"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.content == good {
				t.Fatal("the case changes nothing")
			}
			if err := envelope.NewRecord(w.root, "backup~etc", "envelope").Write([]byte(c.content)); err != nil {
				t.Fatal(err)
			}
			_, _, err := w.Open(t.Context(), "backup/etc")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open = %v, want one that tells of %q", err, c.want)
			}
		})
	}
}

// slotOf cuts the first slot out of a header.
func slotOf(header string) string {
	_, rest, _ := strings.Cut(header, `"slots":[`)
	s, _, _ := strings.Cut(rest, "}")
	return s + "}"
}

func TestDroppingASlotNeedsAnotherThatOpens(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "s")
	first, second := w.keys.current, w.keys.make(t, 2)
	all := func(envelope.SlotRef) bool { return true }
	if err := w.DropSlots("backup/etc", second, w.key(t, second), all); err == nil {
		t.Error("the last slot was dropped on the word of a key that has none")
	}
	if err := w.AddSlot(t.Context(), "backup/etc", second, w.key(t, second)); err != nil {
		t.Fatal(err)
	}
	if err := w.AddSlot(t.Context(), "backup/etc", second, w.key(t, second)); err != nil {
		t.Errorf("asking again = %v", err)
	}
	if err := w.VerifySlot("backup/etc", second, w.key(t, second)); err != nil {
		t.Error(err)
	}
	if err := w.VerifySlot("backup/etc", second, w.key(t, first)); err == nil {
		t.Error("a slot opened with another key")
	}
	if err := w.DropSlots("backup/etc", second, w.key(t, first), all); err == nil {
		t.Error("slots were dropped on the word of a wrong key")
	}
	if _, _, err := w.CreateRecovery(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.DropSlots("backup/etc", second, w.key(t, second), all); err != nil {
		t.Fatal(err)
	}
	w.keys.set(func() { delete(w.keys.bytes, first.UID) })
	if info := w.opens(t, "backup/etc", "s"); len(info.Slots) != 2 || !info.Recovery {
		t.Errorf("slots %v, want the second and the recovery slot", info.Slots)
	}
}

func TestAThingMovesFromTheLocalKeyToAKeyServer(t *testing.T) {
	w := newWorld(t)
	w.Keeper = w.keeper(t, w.local, nil)
	w.protect(t, "backup/etc", "s")
	if info := w.opens(t, "backup/etc", "s"); !info.Local || info.Slot.Kind != envelope.KindLocal {
		t.Errorf("info = %+v, want local", info)
	}
	w.Keeper = w.keeper(t, w.keys, nil)
	ref := w.keys.current
	if err := w.AddSlot(t.Context(), "backup/etc", ref, w.key(t, ref)); err != nil {
		t.Fatal(err)
	}
	if err := w.DropSlots("backup/etc", ref, w.key(t, ref), func(r envelope.SlotRef) bool { return r.Kind == envelope.KindLocal }); err != nil {
		t.Fatal(err)
	}
	if info := w.opens(t, "backup/etc", "s"); info.Local || len(info.Slots) != 1 {
		t.Errorf("info = %+v, want one slot of a key server", info)
	}
}

func TestConcurrentUseLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.protect(t, "backup/etc", "s")
	var refs []envelope.SlotRef
	for gen := range 8 {
		refs = append(refs, w.keys.make(t, gen+2))
	}
	var wg sync.WaitGroup
	for _, ref := range refs {
		wg.Go(func() {
			if err := w.AddSlot(t.Context(), "backup/etc", ref, w.key(t, ref)); err != nil {
				t.Error(err)
			}
			if err := w.Protect(t.Context(), "secret/one", []byte("x")); err != nil && !errors.Is(err, envelope.ErrExists) {
				t.Error(err)
			}
			got, _, err := w.Open(t.Context(), "backup/etc")
			if err != nil || string(got) != "s" {
				t.Errorf("Open = %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if info := w.opens(t, "backup/etc", "s"); len(info.Slots) != 9 || info.Gen != 9 {
		t.Errorf("%d slots at generation %d, want 9 and 9", len(info.Slots), info.Gen)
	}
}

func FuzzDecode(f *testing.F) {
	w := newWorld(f)
	if err := w.Protect(f.Context(), "backup/etc", []byte("s")); err != nil {
		f.Fatal(err)
	}
	if _, _, err := w.CreateRecovery(f.Context()); err != nil {
		f.Fatal(err)
	}
	good, err := envelope.NewRecord(w.root, "backup~etc", "envelope").Read()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := envelope.DecodeForTest("backup/etc", content); err == nil && bytes.Count(content, []byte("\n")) != 1 {
			t.Error("what was accepted has not two lines")
		}
		file := append([]byte("allclear envelope 1 1\n"), content...)
		_ = envelope.ParseForTest(file)
		_ = envelope.ParseForTest(content)
	})
}
