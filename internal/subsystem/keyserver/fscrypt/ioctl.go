package fscrypt

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addKeyHead is how long the structure is in front of the key's bytes.
const addKeyHead = int(unsafe.Sizeof(unix.FscryptAddKeyArg{}))

func ioctl(d *os.File, request uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), uintptr(request), uintptr(arg))
	runtime.KeepAlive(d)
	switch errno {
	case 0:
		return nil
	case unix.ENOTTY, unix.EOPNOTSUPP:
		return fmt.Errorf("%w (%w)", ErrUnsupported, errno)
	}
	return errno
}

// addKey gives the kernel a master key for the file system of d.
func addKey(d *os.File, key []byte) (KeyID, error) {
	if len(key) < MinKey || len(key) > MaxKey {
		return KeyID{}, fmt.Errorf("master key has %d bytes, need %d to %d", len(key), MinKey, MaxKey)
	}
	// One block: the structure with the key behind it, as the kernel wants it. It is wiped on the way out.
	var arg struct {
		unix.FscryptAddKeyArg
		raw [MaxKey]byte
	}
	defer clear(arg.raw[:])
	if off := int(unsafe.Offsetof(arg.raw)); off != addKeyHead {
		return KeyID{}, fmt.Errorf("the key lies at offset %d, the kernel looks at %d", off, addKeyHead)
	}
	arg.Key_spec.Type = unix.FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER
	arg.Raw_size = uint32(len(key))
	copy(arg.raw[:], key)
	if err := ioctl(d, unix.FS_IOC_ADD_ENCRYPTION_KEY, unsafe.Pointer(&arg)); err != nil {
		return KeyID{}, fmt.Errorf("add an encryption key: %w", err)
	}
	return KeyID(arg.Key_spec.U[:len(KeyID{})]), nil
}

// setPolicy puts a directory under a key.
func setPolicy(d *os.File, id KeyID) error {
	p := unix.FscryptPolicyV2{
		Version:                   unix.FSCRYPT_POLICY_V2,
		Contents_encryption_mode:  unix.FSCRYPT_MODE_AES_256_XTS,
		Filenames_encryption_mode: unix.FSCRYPT_MODE_AES_256_CTS,
		Flags:                     unix.FSCRYPT_POLICY_FLAGS_PAD_32,
		Master_key_identifier:     id,
	}
	if err := ioctl(d, unix.FS_IOC_SET_ENCRYPTION_POLICY, unsafe.Pointer(&p)); err != nil {
		return fmt.Errorf("set an encryption policy: %w", err)
	}
	return nil
}

// policy answers the key of a directory.
func policy(d *os.File) (KeyID, error) {
	arg := unix.FscryptGetPolicyExArg{Size: uint64(unsafe.Sizeof(unix.FscryptPolicyV2{}))}
	err := ioctl(d, unix.FS_IOC_GET_ENCRYPTION_POLICY_EX, unsafe.Pointer(&arg))
	if errors.Is(err, unix.ENODATA) {
		return KeyID{}, ErrNotEncrypted
	}
	if err != nil {
		return KeyID{}, fmt.Errorf("get the encryption policy: %w", err)
	}
	switch arg.Policy[0] {
	case unix.FSCRYPT_POLICY_V2:
		return KeyID(arg.Policy[8:24]), nil
	case unix.FSCRYPT_POLICY_V1:
		return KeyID{}, ErrVersion1
	}
	return KeyID{}, fmt.Errorf("the directory has an encryption policy of version %d", arg.Policy[0])
}

func specOf(id KeyID) unix.FscryptKeySpecifier {
	s := unix.FscryptKeySpecifier{Type: unix.FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER}
	copy(s.U[:], id[:])
	return s
}

// removeKey takes a key away from the kernel, for this user.
func removeKey(d *os.File, id KeyID) error {
	arg := unix.FscryptRemoveKeyArg{Key_spec: specOf(id)}
	err := ioctl(d, unix.FS_IOC_REMOVE_ENCRYPTION_KEY, unsafe.Pointer(&arg))
	if errors.Is(err, unix.ENOKEY) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove an encryption key: %w", err)
	}
	if arg.Removal_status_flags&unix.FSCRYPT_KEY_REMOVAL_STATUS_FLAG_OTHER_USERS != 0 {
		return errors.New("another user added the key too: it stays until that one removes it")
	}
	if arg.Removal_status_flags&unix.FSCRYPT_KEY_REMOVAL_STATUS_FLAG_FILES_BUSY != 0 {
		return ErrBusy
	}
	return nil
}

// keyStatus asks whether the kernel has a key.
func keyStatus(d *os.File, id KeyID) (State, error) {
	arg := unix.FscryptGetKeyStatusArg{Key_spec: specOf(id)}
	if err := ioctl(d, unix.FS_IOC_GET_ENCRYPTION_KEY_STATUS, unsafe.Pointer(&arg)); err != nil {
		return "", fmt.Errorf("get the status of an encryption key: %w", err)
	}
	switch arg.Status {
	case unix.FSCRYPT_KEY_STATUS_ABSENT:
		return Absent, nil
	case unix.FSCRYPT_KEY_STATUS_PRESENT:
		return Present, nil
	case unix.FSCRYPT_KEY_STATUS_INCOMPLETELY_REMOVED:
		return Busy, nil
	}
	return "", fmt.Errorf("the kernel tells status %d of an encryption key", arg.Status)
}
