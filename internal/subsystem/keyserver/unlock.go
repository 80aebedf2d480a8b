package keyserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/keyserver/fscrypt"
	"allclear/internal/subsystem/keyserver/luks"
	"allclear/internal/wire"
)

// The kinds of things whose secret opens something of this host.
const (
	folderKind = "fscrypt/"
	volumeKind = "luks/"

	// Behind the name of a volume: the key that a rotation gives to it, and the one
	// whose slots are to go.
	nextVolume, formerVolume = ".next", ".former"
)

// volumeTimeout bounds each run of cryptsetup: a slot of a person's passphrase
// may take seconds to try.
const volumeTimeout = 2 * time.Minute

// unlocking are the actions on encrypted folders and volumes. They need the
// rights of root, as the kernel does.
func (k *KeyServers) unlocking() []subsystem.Action {
	return []subsystem.Action{
		{Name: "folder-encrypt", Role: subsystem.Admin, Do: action(k.doFolderEncrypt)},
		{Name: "folder-unlock", Role: subsystem.Admin, Do: action(k.doFolderUnlock)},
		{Name: "folder-lock", Role: subsystem.Admin, Do: action(k.doFolderLock)},
		{Name: "volume-rekey", Role: subsystem.Admin, Do: action(k.doVolumeRekey)},
	}
}

// doFolderEncrypt has the kernel encrypt what will be made in an empty folder,
// under a new key that is kept sealed, or one that was made before for the same
// name.
func (k *KeyServers) doFolderEncrypt(ctx context.Context, in wire.KeyFolderRequest, _ func(wire.Progress)) (wire.KeyFolder, error) {
	if err := absolute(in.Dir); err != nil {
		return wire.KeyFolder{}, err
	}
	id := folderKind + in.Name
	if err := envelope.CheckID(id); err != nil {
		return wire.KeyFolder{}, err
	}
	key, err := k.secretOf(ctx, id)
	if err != nil {
		return wire.KeyFolder{}, err
	}
	defer clear(key)
	if _, err := fscrypt.Encrypt(in.Dir, key); err != nil {
		return wire.KeyFolder{}, err
	}
	return folderState(in.Dir, in.Name)
}

// secretOf opens a thing, and makes it with a random secret when it is not
// there. It is kept before anybody uses it.
func (k *KeyServers) secretOf(ctx context.Context, id string) ([]byte, error) {
	secret, _, err := k.keeper.Open(ctx, id)
	if !errors.Is(err, envelope.ErrNotFound) {
		return secret, err
	}
	secret = make([]byte, fscrypt.MaxKey)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	return secret, k.keeper.Protect(ctx, id, secret)
}

// doFolderUnlock finds the folder's key among those that are kept, and gives it
// to the kernel.
func (k *KeyServers) doFolderUnlock(ctx context.Context, in wire.KeyFolderRequest, _ func(wire.Progress)) (wire.KeyFolder, error) {
	if err := absolute(in.Dir); err != nil {
		return wire.KeyFolder{}, err
	}
	want, state, err := fscrypt.Status(in.Dir)
	if err != nil {
		return wire.KeyFolder{}, err
	}
	if state == fscrypt.Present {
		return wire.KeyFolder{Dir: in.Dir, Key: want.String(), State: string(state)}, nil
	}
	ids, err := k.keeper.IDs()
	if err != nil {
		return wire.KeyFolder{}, err
	}
	var failed []error
	for _, id := range ids {
		name, ours := strings.CutPrefix(id, folderKind)
		if !ours || in.Name != "" && in.Name != name {
			continue
		}
		key, _, err := k.keeper.Open(ctx, id)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		got, err := fscrypt.Identify(key)
		if err == nil && got == want {
			err = fscrypt.Unlock(in.Dir, key)
			clear(key)
			if err != nil {
				return wire.KeyFolder{}, err
			}
			return folderState(in.Dir, name)
		}
		clear(key)
	}
	none := fmt.Errorf("unlock %s: no key that is kept here is its key %s", in.Dir, want)
	return wire.KeyFolder{}, errors.Join(append([]error{none}, failed...)...)
}

func (k *KeyServers) doFolderLock(_ context.Context, in wire.KeyFolderRequest, _ func(wire.Progress)) (wire.KeyFolder, error) {
	if err := absolute(in.Dir); err != nil {
		return wire.KeyFolder{}, err
	}
	if err := fscrypt.Lock(in.Dir); err != nil {
		return wire.KeyFolder{}, err
	}
	return folderState(in.Dir, "")
}

func folderState(dir, name string) (wire.KeyFolder, error) {
	id, state, err := fscrypt.Status(dir)
	return wire.KeyFolder{Dir: dir, Name: name, Key: id.String(), State: string(state)}, err
}

func absolute(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	return nil
}

// doVolumeRekey gives a LUKS2 volume a new random key that is kept sealed, in
// place of the one that the request brings or that is kept already. At every
// moment the secret of the volume's thing opens it: the new key is sealed before
// cryptsetup hears of it, becomes the thing's secret while both keys open the
// volume, and only then the old one is dropped. Cut off anywhere, it is repeated.
func (k *KeyServers) doVolumeRekey(ctx context.Context, in wire.KeyVolumeRequest, tell func(wire.Progress)) (wire.KeyVolume, error) {
	defer clear(in.Key)
	id := volumeKind + in.Name
	if err := errors.Join(absolute(in.Device), envelope.CheckID(id+nextVolume)); err != nil {
		return wire.KeyVolume{}, err
	}
	tool, err := luks.NewTool(volumeTimeout)
	if err != nil {
		return wire.KeyVolume{}, err
	}
	if err := k.dropFormer(ctx, tool, in.Device, id); err != nil { // of a rotation that was cut off
		return wire.KeyVolume{}, err
	}
	old, err := k.presentKey(ctx, id, in.Key)
	if err != nil {
		return wire.KeyVolume{}, err
	}
	defer clear(old)
	fresh, err := k.secretOf(ctx, id+nextVolume)
	if err != nil {
		return wire.KeyVolume{}, err
	}
	defer clear(fresh)
	tell(wire.Progress{Stage: "add", Text: "a slot for the new key"})
	if err := tool.Join(ctx, in.Device, old, fresh, id); err != nil {
		return wire.KeyVolume{}, err
	}
	tell(wire.Progress{Stage: "keep", Percent: 50})
	if err := errors.Join(k.put(ctx, id+formerVolume, old), k.put(ctx, id, fresh)); err != nil {
		return wire.KeyVolume{}, err
	}
	if err := k.keeper.Remove(id + nextVolume); err != nil {
		return wire.KeyVolume{}, err
	}
	tell(wire.Progress{Stage: "drop", Percent: 80, Text: "the slots of the old key"})
	if err := k.dropFormer(ctx, tool, in.Device, id); err != nil {
		return wire.KeyVolume{}, err
	}
	v, err := tool.Read(ctx, in.Device)
	return wire.KeyVolume{Device: in.Device, Name: in.Name, Slots: v.Slots}, err
}

// presentKey is the key that opens the volume now: the given one, else the one
// that is kept.
func (k *KeyServers) presentKey(ctx context.Context, id string, given []byte) ([]byte, error) {
	if len(given) > 0 {
		return given, nil
	}
	old, _, err := k.keeper.Open(ctx, id)
	if errors.Is(err, envelope.ErrNotFound) {
		return nil, fmt.Errorf("no key is kept as %s yet: give the one that opens the volume now", id)
	}
	return old, err
}

// dropFormer drops the slots of the key before, while the present one is kept.
func (k *KeyServers) dropFormer(ctx context.Context, tool *luks.Tool, device, id string) error {
	former, _, err := k.keeper.Open(ctx, id+formerVolume)
	if errors.Is(err, envelope.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer clear(former)
	present, err := k.VolumeKey(ctx, strings.TrimPrefix(id, volumeKind))
	if err != nil {
		return err
	}
	defer clear(present)
	if string(present) != string(former) { // else it was cut off before the new one took its place
		if err := tool.Drop(ctx, device, present, former); err != nil {
			return err
		}
	}
	return k.keeper.Remove(id + formerVolume)
}

// put makes secret that of a thing, whether it is there or not.
func (k *KeyServers) put(ctx context.Context, id string, secret []byte) error {
	err := k.keeper.Protect(ctx, id, secret)
	if errors.Is(err, envelope.ErrExists) {
		return k.keeper.Replace(ctx, id, secret)
	}
	return err
}

// VolumeKey answers the key of a volume, for the socket that crypttab(5) names.
func (k *KeyServers) VolumeKey(ctx context.Context, volume string) ([]byte, error) {
	key, _, err := k.keeper.Open(ctx, volumeKind+volume)
	if errors.Is(err, envelope.ErrNotFound) { // cut off while the new key took its place
		key, _, err = k.keeper.Open(ctx, volumeKind+volume+nextVolume)
	}
	return key, err
}
