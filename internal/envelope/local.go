package envelope

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"allclear/internal/atomicfile"
)

// LocalKey keeps keys in files of this host, local-CHECK.key in a folder, mode 0600. It protects against who gets hold
// of a disk's backup without these files, and against nobody on this host: that is why things that only it opens are
// reported ([Info.Local]).
type LocalKey struct {
	root *os.Root
	now  func() time.Time
	mu   sync.Mutex // lets one caller make a key
}

// NewLocalKey answers the local keys of a folder that [OpenFolder] opened. A key is made when something is first
// protected, never to replace one that a slot names: that one is then missing, and said to be.
func NewLocalKey(root *os.Root, now func() time.Time) *LocalKey {
	return &LocalKey{root: root, now: now}
}

// localFile is a key file that was read.
type localFile struct {
	key     *Secret
	created time.Time
}

// Key answers the key of a slot.
func (l *LocalKey) Key(_ context.Context, ref SlotRef) (Key, error) {
	f, err := l.read(ref.UID)
	if err != nil {
		return Key{}, err
	}
	return Key{Secret: f.key}, nil
}

// Current answers the newest key, and makes one if there is none.
func (l *LocalKey) Current(_ context.Context, _ string) (SlotRef, *Secret, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	uids, err := l.uids()
	if err != nil {
		return SlotRef{}, nil, err
	}
	var newest localFile
	for _, uid := range uids {
		f, err := l.read(uid)
		if err != nil {
			newest.key.Destroy()
			return SlotRef{}, nil, err
		}
		if newest.key != nil && !f.created.After(newest.created) {
			f.key.Destroy()
			continue
		}
		newest.key.Destroy()
		newest = f
	}
	if newest.key == nil {
		if newest, err = l.create(); err != nil {
			return SlotRef{}, nil, err
		}
	}
	check := CheckOf(newest.key.Bytes())
	return SlotRef{Kind: KindLocal, UID: string(check), Name: "local", Gen: 1, Check: check, Created: newest.created}, newest.key, nil
}

const (
	localPrefix, localSuffix = "local-", ".key"
	localHead                = "allclear local key 1"
	maxLocal                 = 256 // bytes of a key file
)

func localName(uid string) string { return localPrefix + uid + localSuffix }

func (l *LocalKey) uids() ([]string, error) {
	entries, err := fs.ReadDir(l.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("look for local keys: %w", err)
	}
	var out []string
	for _, e := range entries {
		uid, ok := strings.CutPrefix(e.Name(), localPrefix)
		if uid, cut := strings.CutSuffix(uid, localSuffix); ok && cut {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out, nil
}

// create makes a key file of three lines: what it is, when it was made, the key in base64.
func (l *LocalKey) create() (localFile, error) {
	key := make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return localFile{}, err
	}
	made := l.now().UTC().Truncate(time.Second)
	uid := string(CheckOf(key))
	text := fmt.Appendf(nil, "%s\n%s\n%s\n", localHead, made.Format(time.RFC3339), base64.StdEncoding.EncodeToString(key))
	defer clear(text)
	s, err := NewSecret(key)
	if err != nil {
		return localFile{}, err
	}
	if err := atomicfile.Write(l.root, localName(uid), 0o600, text); err != nil {
		s.Destroy()
		return localFile{}, fmt.Errorf("make a local key: %w", err)
	}
	return localFile{s, made}, nil
}

func (l *LocalKey) read(uid string) (localFile, error) {
	name := localName(uid)
	wrap := func(err error) error { return fmt.Errorf("read the local key file %s: %w", name, err) }
	info, err := l.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return localFile{}, wrap(ErrNoKey)
	}
	if err != nil {
		return localFile{}, wrap(err)
	}
	if !info.Mode().IsRegular() {
		return localFile{}, wrap(fmt.Errorf("it is no regular file (%v)", info.Mode()))
	}
	if err := private(name, info); err != nil {
		return localFile{}, wrap(err)
	}
	f, err := l.root.Open(name)
	if err != nil {
		return localFile{}, wrap(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLocal+1))
	defer clear(b)
	if err != nil {
		return localFile{}, wrap(err)
	}
	out, err := parseLocal(b)
	if err != nil {
		return localFile{}, wrap(err)
	}
	if got := CheckOf(out.key.Bytes()); string(got) != uid {
		out.key.Destroy()
		return localFile{}, wrap(fmt.Errorf("it holds the key %s", got))
	}
	return out, nil
}

func parseLocal(b []byte) (localFile, error) {
	lines := strings.Split(string(b), "\n")
	if len(b) > maxLocal || len(lines) != 4 || lines[0] != localHead || lines[3] != "" {
		return localFile{}, errors.New("it is not what was written there")
	}
	made, err := time.Parse(time.RFC3339, lines[1])
	if err != nil || made.UTC().Format(time.RFC3339) != lines[1] {
		return localFile{}, errors.New("its second line is no time in UTC")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(key) != KeySize {
		clear(key)
		return localFile{}, fmt.Errorf("its third line is no key of %d bytes", KeySize)
	}
	s, err := NewSecret(key)
	if err != nil {
		return localFile{}, err
	}
	return localFile{s, made.UTC()}, nil
}
