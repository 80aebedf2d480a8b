package archive_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"allclear/internal/lab"
	"allclear/internal/subsystem/backup/archive"
	"allclear/internal/subsystem/backup/extract"
	"allclear/internal/subsystem/backup/source"
	"allclear/internal/subsystem/backup/source/sourcetest"
)

// owner is who can open archives and whom manifests trust.
type owner struct {
	id  *age.X25519Identity
	key ed25519.PrivateKey
}

func newOwner(t testing.TB) owner {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return owner{id, key}
}

func (o owner) trusted() ed25519.PublicKey { return o.key.Public().(ed25519.PublicKey) }

// pack archives what fill writes and answers the file and its manifest as they lie at the target.
func (o owner) pack(t testing.TB, fill func(w *archive.Writer) error) (file, manifest []byte) {
	t.Helper()
	var out bytes.Buffer
	w, err := archive.NewWriter(&out, o.id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fill(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 2, 3, 4, 5, time.FixedZone("", 3600))
	name, err := archive.Name("conf", at)
	if err != nil {
		t.Fatal(err)
	}
	m := &archive.Manifest{Archive: name, Job: "conf", Host: "h", Time: at, Program: "allclear test", Profile: archive.Full, Paths: []string{"/<a>&b"}}
	w.Seal(m)
	manifest, err = archive.Sign(m, o.key)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), manifest
}

func (o owner) packTree(t testing.TB, dir string) (file, manifest []byte) {
	t.Helper()
	tree, err := source.New(source.Options{Roots: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	report := &source.Report{}
	file, manifest = o.pack(t, func(w *archive.Writer) error { return w.Tree(context.Background(), tree, report) })
	if report.Total() > 0 {
		t.Fatal(report.Skips())
	}
	return file, manifest
}

func (o owner) parse(t testing.TB, manifest []byte) *archive.Manifest {
	t.Helper()
	m, _, err := archive.ParseManifest(manifest, o.trusted())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// restore extracts an archive and answers where the tree that was at dir now is.
func (o owner) restore(t testing.TB, file, manifest []byte, dir string) string {
	t.Helper()
	r, err := archive.Open(bytes.NewReader(file), o.parse(t, manifest), o.id.String())
	if err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	t.Cleanup(func() { // a folder that was restored without the right to write cannot be emptied
		_ = filepath.WalkDir(dest, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(name, 0o700)
			}
			return err
		})
	})
	report, err := extract.To(t.Context(), dest, r.Entries(t.Context()), extract.Options{Privileged: os.Geteuid() == 0})
	if err != nil || len(report.First) > 0 || !report.Complete {
		t.Fatalf("%v, %+v", err, report)
	}
	return dest + dir
}

func TestATreeComesBackAsItWas(t *testing.T) {
	dir, o := t.TempDir(), newOwner(t)
	sourcetest.Plant(t, dir)
	want := sourcetest.Describe(t, dir)
	file, manifest := o.packTree(t, dir)
	if d := cmp.Diff(want, sourcetest.Describe(t, o.restore(t, file, manifest, dir))); d != "" {
		t.Error(d)
	}
	m := o.parse(t, manifest)
	c, err := archive.Verify(t.Context(), bytes.NewReader(file), m, "AGE-SECRET-KEY-1"+o.id.String()[16:]+"\n")
	if err != nil || c != m.Contents || int64(len(want)) > m.Hashes.Entries {
		t.Errorf("verify: %+v, %v, manifest %+v", c, err, m.Contents)
	}
	if sum := sha256.Sum256(file); m.SHA256 != hex.EncodeToString(sum[:]) || m.Size != int64(len(file)) {
		t.Errorf("manifest says %d bytes, %s", m.Size, m.SHA256)
	}
	if bytes.Contains(manifest, []byte("hidden")) {
		t.Error("the manifest names a file")
	}
}

// TestDebianRestoresAnArchiveWithoutUs is the promise of the file's name.
func TestDebianRestoresAnArchiveWithoutUs(t *testing.T) {
	lab.Need(t, "root", "age", "zstd", "tar")
	dir, o := t.TempDir(), newOwner(t)
	sourcetest.Plant(t, dir)
	file, _ := o.packTree(t, dir)
	work := t.TempDir()
	if err := errors.Join(os.WriteFile(work+"/a", file, 0o600), os.WriteFile(work+"/id", []byte(o.id.String()+"\n"), 0o600), os.Mkdir(work+"/out", 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, locale := range []string{"C", "C.UTF-8"} {
		out := work + "/out-" + locale
		script := `mkdir "$1" && age -d -i id a | zstd -d | tar x -p --numeric-owner --warning=no-timestamp --xattrs --xattrs-include='*' -C "$1"`
		cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail; "+script, "x", out)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "LC_ALL="+locale)
		if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
			t.Fatalf("%s: %v\n%s", locale, err, said)
		}
		got, want := sourcetest.Describe(t, out+dir), sourcetest.Describe(t, dir)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", locale, d)
		}
	}
}

func TestTimesFarAway(t *testing.T) {
	lab.Need(t, "root", "mount")
	dir, o := t.TempDir(), newOwner(t)
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil { // which keeps any time
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.Mkdir(dir+"/from", 0o700), os.Mkdir(dir+"/to", 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, year := range []int{1000, 1600, 1676, 2263, 3000, 9000} {
		at := time.Date(year, 1, 2, 3, 4, 5, 678901234, time.UTC)
		path := dir + "/from/" + strconv.Itoa(year)
		ts := []unix.Timespec{{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}, {Sec: at.Unix(), Nsec: int64(at.Nanosecond())}}
		if err := errors.Join(os.WriteFile(path, nil, 0o600), unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, 0)); err != nil {
			t.Fatal(err)
		}
	}
	want := sourcetest.Describe(t, dir+"/from")
	if !strings.Contains(want["1000"], "1000-01-02T03:04:05.678901234Z") {
		t.Fatalf("the file system keeps %q", want["1000"])
	}
	file, manifest := o.packTree(t, dir+"/from")
	r, err := archive.Open(bytes.NewReader(file), o.parse(t, manifest), o.id.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := extract.To(t.Context(), dir+"/to", r.Entries(t.Context()), extract.Options{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, sourcetest.Describe(t, dir+"/to"+dir+"/from")); d != "" {
		t.Error(d)
	}
}

func TestAnyNameSurvives(t *testing.T) {
	o := newOwner(t)
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.Custom(func(rt *rapid.T) string {
			raw := rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(rt, "name")
			return strings.Map(func(r rune) rune { return r }, string(bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte{0}, []byte{1}), []byte{'/'}, []byte{2})))
		})
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range rapid.SliceOfN(name, 1, 5).Draw(rt, "names") {
			if n = n[:min(len(n), 255)]; n == "." || n == ".." {
				continue
			}
			if err := os.WriteFile(dir+"/"+n, []byte(n), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file, manifest := o.packTree(t, dir)
		if d := cmp.Diff(sourcetest.Describe(t, dir), sourcetest.Describe(t, o.restore(t, file, manifest, dir))); d != "" {
			rt.Error(d)
		}
	})
}

// corpus is a small archive with several files.
func corpus(t testing.TB, o owner) (file, manifest []byte) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		data := make([]byte, 50_000)
		_, _ = rand.Read(data) // does not compress
		if err := os.WriteFile(dir+"/"+name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o.packTree(t, dir)
}

func TestTruncatedIsNamedSo(t *testing.T) {
	o := newOwner(t)
	file, manifest := corpus(t, o)
	m := o.parse(t, manifest)
	for _, n := range []int{0, 1, 50, 200, 1000, 64<<10 + 300, len(file) / 2, len(file) - 1} {
		if n >= len(file) {
			t.Fatalf("archive has only %d bytes", len(file))
		}
		_, err := archive.Verify(t.Context(), bytes.NewReader(file[:n]), m, o.id.String())
		e, ok := errors.AsType[*archive.DamageError](err)
		if !ok || !errors.Is(err, archive.ErrTruncated) || !strings.Contains(err.Error(), "conf-20260301T010304Z.tar.zst.age is truncated: has "+strconv.Itoa(n)+" of "+strconv.Itoa(len(file))+" bytes") {
			t.Errorf("%d bytes: %v", n, err)
		} else if e.At != int64(n) {
			t.Errorf("%d bytes: at %d", n, e.At)
		}
		if _, err := archive.Verify(t.Context(), bytes.NewReader(file[:n]), nil, o.id.String()); !errors.Is(err, archive.ErrTruncated) && !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("%d bytes, no manifest: %v", n, err)
		}
	}
}

func TestTamperedIsNamedSo(t *testing.T) {
	o := newOwner(t)
	file, manifest := corpus(t, o)
	m := o.parse(t, manifest)
	for at := 0; at < len(file); at += 997 {
		bad := bytes.Clone(file)
		bad[at] ^= 0x20
		for _, m := range []*archive.Manifest{m, nil} {
			_, err := archive.Verify(t.Context(), bytes.NewReader(bad), m, o.id.String())
			if !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrWrongKey) || errors.Is(err, archive.ErrWrongKey) && at > 400 {
				t.Errorf("byte %d changed: %v", at, err)
			}
		}
	}
	for name, more := range map[string][]byte{"a byte": {0}, "a piece": make([]byte, 70_000), "itself": file} {
		bad := append(bytes.Clone(file), more...)
		if _, err := archive.Verify(t.Context(), bytes.NewReader(bad), m, o.id.String()); !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrMismatch) {
			t.Errorf("with %s behind it: %v", name, err)
		}
	}
}

func TestAnotherArchiveInItsPlaceIsFound(t *testing.T) {
	o := newOwner(t)
	file, manifest := corpus(t, o)
	other, _ := corpus(t, o)
	m := o.parse(t, manifest)
	_, err := archive.Verify(t.Context(), bytes.NewReader(other), m, o.id.String())
	if !errors.Is(err, archive.ErrMismatch) || !strings.Contains(err.Error(), "entries 1 to 1 have another hash") {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(m *archive.Manifest){
		"sha256":   func(m *archive.Manifest) { m.SHA256 = strings.Repeat("0", 64) },
		"size":     func(m *archive.Manifest) { m.Size-- },
		"contents": func(m *archive.Manifest) { m.Contents.Bytes++ },
		"hash":     func(m *archive.Manifest) { m.Hashes.List[len(m.Hashes.List)-1] ^= 1 },
		"fewer":    func(m *archive.Manifest) { m.Hashes.Entries--; m.Hashes.List = m.Hashes.List[32:] },
	} {
		m := o.parse(t, manifest)
		change(m)
		if _, err := archive.Verify(t.Context(), bytes.NewReader(file), m, o.id.String()); !errors.Is(err, archive.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheWrongKeyIsNamedSo(t *testing.T) {
	o := newOwner(t)
	file, manifest := corpus(t, o)
	m := o.parse(t, manifest)
	if _, err := archive.Open(bytes.NewReader(file), m, newOwner(t).id.String()); !errors.Is(err, archive.ErrWrongKey) {
		t.Errorf("another identity: %v", err)
	}
	secret := strings.ToLower(o.id.String()[:40])
	if _, err := archive.Open(bytes.NewReader(file), m, secret); !errors.Is(err, archive.ErrIdentity) || strings.Contains(err.Error(), secret[20:]) {
		t.Errorf("half an identity: %v", err)
	}
	if _, err := archive.NewWriter(io.Discard, o.id.String()); err == nil || strings.Contains(err.Error(), o.id.String()) {
		t.Errorf("an identity as recipient: %v", err)
	}
	if _, err := archive.Verify(t.Context(), bytes.NewReader(file), m, newOwner(t).id.String(), o.id.String()); err != nil {
		t.Errorf("the right one among others: %v", err)
	}
}

func TestManyEntriesKeepTheManifestSmall(t *testing.T) {
	o := newOwner(t)
	file, manifest := o.pack(t, func(w *archive.Writer) error {
		return entries(w, 40_000)
	})
	m := o.parse(t, manifest)
	if m.Hashes.Entries != 40_000 || m.Hashes.Each != 8 || len(m.Hashes.List) != 5000*32 {
		t.Errorf("%d entries, each %d, %d bytes", m.Hashes.Entries, m.Hashes.Each, len(m.Hashes.List))
	}
	if _, err := archive.Verify(t.Context(), bytes.NewReader(file), m, o.id.String()); err != nil {
		t.Error(err)
	}
	m.Hashes.List[32*100] ^= 1
	_, err := archive.Verify(t.Context(), bytes.NewReader(file), m, o.id.String())
	if !errors.Is(err, archive.ErrMismatch) || !strings.Contains(err.Error(), "entries 801 to 808") {
		t.Errorf("got %v", err)
	}
}

// entries writes n outputs of commands.
func entries(w *archive.Writer, n int) error {
	s := archive.NewSpool("", 10)
	if _, err := s.Write([]byte("x")); err != nil {
		return err
	}
	for i := range n {
		if err := w.Output(context.Background(), "out/"+strconv.Itoa(i), time.Unix(0, 0), s); err != nil {
			return err
		}
	}
	return nil
}

func TestTheManifestIsAsItsSignerWroteIt(t *testing.T) {
	o := newOwner(t)
	_, manifest := corpus(t, o)
	if _, key, err := archive.ParseManifest(manifest); err != nil || !key.Equal(o.trusted()) {
		t.Errorf("without a trusted key: %v", err)
	}
	if _, _, err := archive.ParseManifest(manifest, newOwner(t).trusted()); !errors.Is(err, archive.ErrUntrusted) {
		t.Errorf("another signer: %v", err)
	}
	for i := range manifest[:len(manifest)-1] {
		bad := bytes.Clone(manifest)
		bad[i] ^= 1
		if _, _, err := archive.ParseManifest(bad, o.trusted()); err == nil {
			t.Errorf("byte %d changed from %q to %q: accepted", i, manifest[i], bad[i])
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "null": "null", "twice": string(manifest) + string(manifest), "cut": string(manifest[:len(manifest)/2]),
		"huge": strings.Repeat(" ", 5<<20),
	} {
		if _, _, err := archive.ParseManifest([]byte(bad)); !errors.Is(err, archive.ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheSignatureCanBeCheckedWithoutUs runs the commands that the documentation names.
func TestTheSignatureCanBeCheckedWithoutUs(t *testing.T) {
	lab.Need(t, "openssl", "jq")
	o := newOwner(t)
	_, manifest := corpus(t, o)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/m.json", manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	script := `{ echo "allclear archive 1"; jq -cj .manifest m.json; } >signed
jq -r .signature.value m.json | base64 -d >sig
{ printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'; jq -r .signature.key m.json | base64 -d; } >key.der
openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in signed -sigfile sig`
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", script)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

func TestOutputOfACommandIsOneFile(t *testing.T) {
	o := newOwner(t)
	for _, size := range []int{0, 10, 1 << 20, 1<<20 + 1, 5 << 20} {
		want := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
		s := archive.NewSpool(t.TempDir(), 6<<20)
		defer s.Close()
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 300_001)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		for range 2 { // a second try
			file, manifest := o.pack(t, func(w *archive.Writer) error { return w.Output(t.Context(), "dump.sql", time.Unix(5, 7), s) })
			got := o.restore(t, file, manifest, "/dump.sql")
			data, err := os.ReadFile(got)
			if err != nil || !bytes.Equal(data, want) {
				t.Errorf("%d bytes: %d bytes came back, %v", size, len(data), err)
			}
			if info, err := os.Stat(got); err != nil || info.Mode() != 0o600 || !info.ModTime().Equal(time.Unix(5, 7)) {
				t.Errorf("%v, %v", info, err)
			}
		}
	}
}

func TestTheSpoolIsBoundedAndUnreadable(t *testing.T) {
	dir := t.TempDir()
	s := archive.NewSpool(dir, 3<<20)
	defer s.Close()
	secret := bytes.Repeat([]byte("SECRET"), 200_000)
	if _, err := s.Write(secret); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the folder shows %v, %v", left, err)
	}
	found := false
	for _, fd := range openFiles(t) {
		link, _ := os.Readlink(fd)
		if !strings.HasPrefix(link, dir) {
			continue
		}
		found = true
		if data, err := os.ReadFile(fd); err != nil || len(data) != len(secret) || bytes.Contains(data, []byte("SECRETSECRET")) {
			t.Errorf("the spool holds %d bytes, readable: %v, %v", len(data), bytes.Contains(data, []byte("SECRETSECRET")), err)
		}
	}
	if !found {
		t.Error("no spool file is open")
	}
	if _, err := s.Write(make([]byte, 2<<20)); !errors.Is(err, archive.ErrSpoolFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, err := archive.NewSpool("/no/such", 3<<20).Write(secret); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "keep output in /no/such") {
		t.Errorf("no folder: %v", err)
	}
}

func openFiles(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNames(t *testing.T) {
	at := time.Date(2026, 12, 31, 23, 59, 58, 0, time.UTC)
	name, err := archive.Name("my-job.x", at)
	if err != nil || name != "my-job.x-20261231T235958Z.tar.zst.age" || archive.ManifestName(name) != "my-job.x-20261231T235958Z.manifest.json" {
		t.Errorf("%q, %v", name, err)
	}
	if job, got, err := archive.ParseName(name); job != "my-job.x" || !got.Equal(at) || err != nil {
		t.Errorf("%q %v %v", job, got, err)
	}
	for _, bad := range []string{"", "x.tar.zst.age", "-20261231T235958Z.tar.zst.age", "../x-20261231T235958Z.tar.zst.age", "x-20261331T235958Z.tar.zst.age", "x-20261231T235958Z.tar"} {
		if _, _, err := archive.ParseName(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := archive.Name("a/b", at); err == nil {
		t.Error("a/b was accepted")
	}
}
