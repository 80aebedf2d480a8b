package repository_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"allclear/internal/subsystem/backup/repository"
)

// The ways in which bytes go wrong.
var harms = map[string]func([]byte) []byte{
	"cut short":    func(b []byte) []byte { return b[:len(b)-1] },
	"cut to half":  func(b []byte) []byte { return b[:len(b)/2] },
	"emptied":      func([]byte) []byte { return nil },
	"one bit":      func(b []byte) []byte { b[len(b)/3] ^= 4; return b },
	"last bit":     func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	"first bytes":  func(b []byte) []byte { clear(b[:min(16, len(b))]); return b },
	"made longer":  func(b []byte) []byte { return append(b, 0) },
	"other's text": func([]byte) []byte { return []byte("<html>not found</html>") },
}

// sealedWorld is a repository in memory with two snapshots, each of whose folders is one file.
func sealedWorld(t *testing.T) (*memStore, *repository.Repository) {
	t.Helper()
	mem := newMemStore()
	r := create(t, mem, options())
	root := t.TempDir()
	write(t, root, map[string]string{"a": noise(1, 2<<20), "sub/b": noise(2, 100), "sub/c": "text"})
	backup(t, r, root)
	write(t, root, map[string]string{"a": noise(3, 2<<20)})
	backup(t, r, root)
	return mem, r
}

func TestDamageIsNamed(t *testing.T) { synctest.Test(t, testDamage) }

func testDamage(t *testing.T) {
	whole, _ := sealedWorld(t)
	for _, dir := range []string{"data/", "index/", "snapshots/"} {
		for _, name := range whole.names(dir) {
			for what, harm := range harms {
				mem := whole.clone()
				mem.change(t, name, harm)
				r, err := repository.Open(t.Context(), mem, password, options())
				if err != nil {
					t.Fatal(err)
				}
				got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData})
				if err != nil {
					t.Fatal(err)
				}
				named := slices.ContainsFunc(got.Problems, func(p repository.Problem) bool { return p.Where == name })
				if !named {
					t.Errorf("%s, %s: not among the problems %v", name, what, got.Problems)
				}
				neverWrong(t, r, whole, name+", "+what)
			}
		}
	}
}

// neverWrong fails the test when something is restored from a damaged repository that is not what was backed up.
func neverWrong(t *testing.T, r *repository.Repository, whole *memStore, when string) {
	t.Helper()
	good, err := repository.Open(t.Context(), whole, password, options())
	if err != nil {
		t.Fatal(err)
	}
	rd, err := r.Read(t.Context(), false)
	if err != nil {
		if _, is := errors.AsType[*repository.DamageError](err); !is {
			t.Errorf("%s: %v", when, err)
		}
		return
	}
	for _, s := range rd.Snapshots() {
		want := content(t, good, s)
		for it, err := range rd.Restore(t.Context(), s, repository.RestoreOptions{}) {
			if err == nil && it.Node.Type == "file" && it.HardLink == "" {
				var b []byte
				if b, err = io.ReadAll(it); err == nil && "="+string(b) != want[it.Path] {
					t.Errorf("%s: %s came back wrong", when, it.Path)
				}
			}
			if d, is := errors.AsType[*repository.DamageError](err); err != nil && (!is || d.What == "") {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
}

func TestDamageOfKeyAndConfigIsNamed(t *testing.T) {
	mem := newMemStore()
	create(t, mem, options())
	for what, harm := range harms {
		bad := mem.clone()
		bad.change(t, "config", harm)
		_, err := repository.Open(t.Context(), bad, password, options())
		if d, is := errors.AsType[*repository.DamageError](err); !is || d.What != "config" {
			t.Errorf("config, %s: %v", what, err)
		}
		bad = mem.clone()
		bad.change(t, mem.names("keys/")[0], harm)
		_, err = repository.Open(t.Context(), bad, password, options())
		if d, is := errors.AsType[*repository.DamageError](err); !is || d.What != "key" || !errors.Is(err, repository.ErrWrongPassword) {
			t.Errorf("key, %s: %v", what, err)
		}
	}
	if _, err := repository.Open(t.Context(), mem, []byte("wrong"), options()); !errors.Is(err, repository.ErrWrongPassword) {
		t.Errorf("a wrong password: %v", err)
	} else if _, is := errors.AsType[*repository.DamageError](err); is {
		t.Errorf("a wrong password is called damage: %v", err)
	}
	if _, err := repository.Open(t.Context(), newMemStore(), password, options()); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := repository.Init(t.Context(), mem, password, cheap, options()); !errors.Is(err, repository.ErrExists) {
		t.Errorf("a second init: %v", err)
	}
	half := mem.clone()
	if err := half.Remove(t.Context(), "config"); err != nil {
		t.Fatal(err)
	}
	if _, err := repository.Init(t.Context(), half, []byte("wrong"), cheap, options()); !errors.Is(err, repository.ErrExists) {
		t.Errorf("init over somebody else's key: %v", err)
	}
	// This is what an Init leaves that was cut off before its last step: the next one completes it.
	if _, err := repository.Init(t.Context(), half, password, cheap, options()); err != nil || len(half.names("keys/")) != 1 {
		t.Errorf("init over a key of ours: %v; keys %v", err, half.names("keys/"))
	}
	if _, err := repository.Open(t.Context(), half, password, options()); err != nil {
		t.Errorf("open what was completed: %v", err)
	}
	for _, dir := range []string{"snapshots/", "index/"} {
		rest, _ := sealedWorld(t)
		for _, name := range append(rest.names("snapshots/"), rest.names("index/")...) {
			if !strings.HasPrefix(name, dir) {
				must(t, rest.Remove(t.Context(), name))
			}
		}
		must(t, rest.Remove(t.Context(), "config"))
		if _, err := repository.Init(t.Context(), rest, password, cheap, options()); !errors.Is(err, repository.ErrExists) {
			t.Errorf("init over a repository that has lost its config, with %s left: %v", dir, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsLookedAtAgain(t *testing.T) { synctest.Test(t, testLookedAtAgain) }

// A part of the packs that leaves out the damaged one must not call the repository whole.
func testLookedAtAgain(t *testing.T) {
	mem := newMemStore()
	o := options()
	o.PackSize = 4 << 20
	r := create(t, mem, o)
	root := t.TempDir()
	write(t, root, map[string]string{"a": noise(1, 33<<20)})
	backup(t, r, root)
	healthy := mem.clone()
	packs := mem.names("data/")
	bad := packs[slices.IndexFunc(packs, func(name string) bool { return len(mem.files[name].data) > 1<<20 })] // not of trees
	mem.change(t, bad, func(b []byte) []byte { b[0] ^= 1; return b })                                          // in a blob: its header is as it was
	var cov repository.Coverage
	part := func() repository.CheckResult {
		got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Part: repository.Part{Bytes: 1}, Coverage: &cov})
		must(t, err)
		return got
	}
	for range packs {
		if part().Wrong > 0 {
			break
		}
	}
	stored, err := json.Marshal(&cov)
	must(t, err)
	for n := range 4 {
		cov = repository.Coverage{}
		must(t, json.Unmarshal(stored, &cov))
		if got := part(); got.Wrong != 1 {
			t.Errorf("check %d after the damage was found: %+v", n, got)
		}
	}
	mem.files[bad] = healthy.files[bad]
	if got := part(); got.Wrong != 0 || got.PacksRead != 1 || len(cov.Bad) != 0 {
		t.Errorf("after it was put right: %+v, bad %v", got, cov.Bad)
	}
}

func TestBackupMendsWhatIsMissing(t *testing.T) { synctest.Test(t, testMends) }

// A lost index file makes blobs unknown: the next backup of the same things stores them again, and the snapshots from
// before are whole once more. (The source is made up: the folders above a real one change while the tests run.)
func testMends(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	back := func() *repository.Snapshot {
		t.Helper()
		s, err := r.Backup(t.Context(), fake{steps: strings.Fields("a d/ b c .. e")}, repository.BackupOptions{Paths: []string{"/"}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := back()
	for _, name := range mem.names("index/") {
		if err := mem.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckStructure}); err != nil || got.Wrong == 0 {
		t.Errorf("the loss is not seen: %v", err)
	}
	if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err == nil {
		t.Error("pruned a repository whose index was lost")
	}
	if s := back(); s.Summary.DataBlobs != 4 || s.Summary.TreeBlobs != 2 {
		t.Errorf("stored again: %+v", s.Summary)
	}
	want := map[string]string{"/a": "=/a", "/d": "dir", "/d/b": "=/d/b", "/d/c": "=/d/c", "/e": "=/e"}
	if diff := cmp.Diff(want, content(t, r, *first)); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Prune(t.Context(), repository.PruneOptions{}); err != nil {
		t.Error(err)
	}
	checkAll(t, r)
}

func TestASecondCopyStandsIn(t *testing.T) { synctest.Test(t, testSecondCopy) }

func testSecondCopy(t *testing.T) {
	mem := newMemStore()
	r := create(t, mem, options())
	root := t.TempDir()
	write(t, root, map[string]string{"a": noise(1, 300<<10)})
	backup(t, r, root)
	first := mem.clone()
	for _, name := range mem.names("index/") {
		if err := mem.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	s := backup(t, r, root)
	for _, name := range first.names("index/") {
		mem.files[name] = first.files[name]
	}
	for _, name := range mem.names("data/") { // one copy of each blob
		if _, old := first.files[name]; old {
			mem.change(t, name, harms["one bit"])
		}
	}
	got, err := tryContent(t.Context(), r, *s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk(t, root), got); diff != "" {
		t.Error(diff)
	}
}

func TestPartialChecksCoverEverythingInTheEnd(t *testing.T) { synctest.Test(t, testCoverage) }

func testCoverage(t *testing.T) {
	mem := newMemStore()
	o := options()
	o.PackSize = 4 << 20
	r := create(t, mem, o)
	root := t.TempDir()
	write(t, root, map[string]string{"a": noise(1, 33<<20)})
	backup(t, r, root)
	packs := len(mem.names("data/"))

	read := 0
	for n := 1; n <= 3; n++ {
		got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Part: repository.Part{N: n, Of: 3}})
		if err != nil || got.Wrong > 0 {
			t.Fatal(err, got.Problems)
		}
		read += got.PacksRead
	}
	if read != packs {
		t.Errorf("three thirds read %d of %d packs", read, packs)
	}

	var cov repository.Coverage
	begin := time.Now()
	for day := 0; cov.Since(begin) < 1; day++ {
		if day > packs {
			t.Fatalf("after %d days %v of the packs were read", day, cov.Since(begin))
		}
		time.Sleep(24 * time.Hour)
		got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Part: repository.Part{Percent: 20}, Coverage: &cov})
		if err != nil || got.Wrong > 0 {
			t.Fatal(err, got.Problems)
		}
		if most := packs/5 + 1; got.PacksRead < 1 || got.PacksRead > most {
			t.Errorf("20 %% of %d packs were %d", packs, got.PacksRead)
		}
	}
	if age := time.Since(cov.Oldest()); age > 5*24*time.Hour {
		t.Errorf("20 %% a day, and the oldest reading is %s ago", age)
	}
	got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Part: repository.Part{Bytes: 5 << 20}})
	if err != nil || got.BytesRead < 5<<20 || got.BytesRead > 14<<20 {
		t.Errorf("of 5 MiB %d bytes were read: %v", got.BytesRead, err)
	}

	bad := mem.names("data/")[0]
	mem.change(t, bad, harms["one bit"])
	if got, err = r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Coverage: &cov}); err != nil || got.Wrong == 0 {
		t.Errorf("damage was not found: %v", err)
	}
	if cov.Since(time.Now().Add(-time.Minute)) != float64(packs-1)/float64(packs) {
		t.Error("a damaged pack counts as read well")
	}
	for _, p := range []repository.Part{{N: 1}, {N: 3, Of: 2}, {Percent: 101}, {Percent: -1}, {Bytes: -1}, {Percent: 1, Bytes: 1}, {N: 1, Of: 300}} {
		if _, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData, Part: p}); err == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func TestCheckSaysWhenTheStoreFails(t *testing.T) { synctest.Test(t, testCheckStore) }

func testCheckStore(t *testing.T) {
	mem, _ := sealedWorld(t)
	store := &unreadable{memStore: mem}
	r, err := repository.Open(t.Context(), store, password, options())
	if err != nil {
		t.Fatal(err)
	}
	store.begin = "data/"
	got, err := r.Check(t.Context(), repository.CheckOptions{Level: repository.CheckData})
	if !errors.Is(err, errFault) && !slices.ContainsFunc(got.Problems, func(p repository.Problem) bool { return errors.Is(p.Err, errFault) }) {
		t.Errorf("packs that cannot be read: %v %v", got.Problems, err)
	}
	if err == nil {
		t.Error("the check was done to its end although no pack can be read")
	}
}

// unreadable fails to open what begins so.
type unreadable struct {
	*memStore
	begin string
}

func (u *unreadable) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if u.begin != "" && strings.HasPrefix(name, u.begin) {
		return nil, errFault
	}
	return u.memStore.Open(ctx, name, offset, length)
}
