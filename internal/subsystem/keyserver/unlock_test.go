package keyserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"allclear/internal/envelope"
	"allclear/internal/lab"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
)

// alone is a node without key servers: a local key seals what it keeps.
func alone(t *testing.T) *keyserver.KeyServers {
	t.Helper()
	dir := t.TempDir()
	keys := must(envelope.OpenFolder(filepath.Join(dir, "keys")))(t)
	k := must(keyserver.New(keyserver.Options{Dir: filepath.Join(dir, "keyserver"), Keys: keys, Node: "web1"}))(t)
	t.Cleanup(func() {
		if err := errors.Join(k.Close(), keys.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// do carries out an action as the API does.
func do[Out any](t *testing.T, k *keyserver.KeyServers, name string, in any) (out Out, err error) {
	t.Helper()
	raw := must(json.Marshal(in))(t)
	for _, a := range k.Actions() {
		if a.Name == name {
			v, err := a.Do(context.Background(), raw, nil)
			if err != nil {
				return out, err
			}
			return v.(Out), nil
		}
	}
	t.Fatalf("no action %s", name)
	return out, nil
}

func program(t *testing.T, stdin []byte, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(lab.Program(name), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func TestAFolderIsLockedAndUnlockedWithAKeyThatIsKeptSealed(t *testing.T) {
	lab.Need(t, "loop", "mkfs.ext4", "mount", "umount")
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, nil, "mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "encrypt", image)
	place := t.TempDir()
	program(t, nil, "mount", "-o", "loop", image, place)
	t.Cleanup(func() { program(t, nil, "umount", "-l", place) })
	dir := filepath.Join(place, "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}

	k := alone(t)
	if _, err := do[wire.KeyFolder](t, k, "folder-unlock", wire.KeyFolderRequest{Dir: dir}); err == nil {
		t.Error("a folder that is not encrypted was unlocked")
	}
	made, err := do[wire.KeyFolder](t, k, "folder-encrypt", wire.KeyFolderRequest{Dir: dir, Name: "private"})
	if err != nil || made.State != "present" || len(made.Key) != 32 {
		t.Fatalf("encrypt: %+v, %v", made, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("dear you"), 0o600); err != nil {
		t.Fatal(err)
	}
	if locked, err := do[wire.KeyFolder](t, k, "folder-lock", wire.KeyFolderRequest{Dir: dir}); err != nil || locked.State != "absent" {
		t.Fatalf("lock: %+v, %v", locked, err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "letter")); err == nil {
		t.Fatal("a locked folder can be read")
	}
	if _, err := do[wire.KeyFolder](t, alone(t), "folder-unlock", wire.KeyFolderRequest{Dir: dir}); err == nil || !strings.Contains(err.Error(), made.Key) {
		t.Errorf("another node has unlocked it: %v", err)
	}
	open, err := do[wire.KeyFolder](t, k, "folder-unlock", wire.KeyFolderRequest{Dir: dir})
	if err != nil || open.State != "present" || open.Name != "private" {
		t.Fatalf("unlock: %+v, %v", open, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "letter")); err != nil || string(b) != "dear you" {
		t.Errorf("read back %q, %v", b, err)
	}
}

func TestAVolumeGetsAKeyThatIsKeptSealedAndThenAnother(t *testing.T) {
	lab.Need(t, "cryptsetup", "root")
	image, first := filepath.Join(t.TempDir(), "volume.img"), []byte("a passphrase of a person")
	if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, first, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
		"--luks2-metadata-size", "16k", "--luks2-keyslots-size", "1m", "--key-file", "-", "--keyfile-size", strconv.Itoa(len(first)), image)
	opens := func(key []byte) bool {
		cmd := exec.Command(lab.Program("cryptsetup"), "open", "--test-passphrase", "--key-file", "-", "--keyfile-size", strconv.Itoa(len(key)), image)
		cmd.Stdin = bytes.NewReader(key)
		return cmd.Run() == nil
	}

	k := alone(t)
	if _, err := do[wire.KeyVolume](t, k, "volume-rekey", wire.KeyVolumeRequest{Device: image, Name: "data"}); err == nil || !opens(first) {
		t.Fatalf("without a key that opens it: %v", err)
	}
	if _, err := do[wire.KeyVolume](t, k, "volume-rekey", wire.KeyVolumeRequest{Device: image, Name: "data", Key: []byte("wrong")}); err == nil || !opens(first) {
		t.Fatalf("with a wrong key: %v", err)
	}
	var keys [][]byte
	for i, given := range [][]byte{first, nil} {
		v, err := do[wire.KeyVolume](t, k, "volume-rekey", wire.KeyVolumeRequest{Device: image, Name: "data", Key: given})
		if err != nil || len(v.Slots) != 1 {
			t.Fatalf("rekey %d: %+v, %v", i, v, err)
		}
		key := must(k.VolumeKey(t.Context(), "data"))(t)
		if !opens(key) {
			t.Fatalf("rekey %d: the key that is kept does not open the volume", i)
		}
		keys = append(keys, key)
	}
	if opens(first) || opens(keys[0]) || bytes.Equal(keys[0], keys[1]) {
		t.Error("a former key still opens the volume")
	}
	for _, id := range must(k.Keeper().IDs())(t) {
		if id != "luks/data" {
			t.Errorf("%s is left over", id)
		}
	}
}
