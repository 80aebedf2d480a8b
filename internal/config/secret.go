package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hidden is all that a secret ever says.
const hidden = "[secret]"

// maxReference bounds the bytes read through a reference.
const maxReference = 1 << 20

// ErrEmpty says that a reference leads to nothing at all.
var ErrEmpty = errors.New("it is empty")

// reference says where a value is, never what it is: "file:PATH", "env:NAME", "cred:NAME" or "secret:NAME".
type reference struct {
	kind string    // "file", "env", "cred", "secret"; "" is not set
	name string    // as written, for people
	path string    // absolute path of a file; of a credential once its directory is known
	doc  *document // of a "secret", which the running agent opens
}

// OpenSecrets says how "secret:NAME" is opened: by the slots of the key servers, or of the local key. Until then such
// a reference leads nowhere. open is called at each use, by any goroutine.
func (c *Config) OpenSecrets(open func(name string) ([]byte, error)) {
	if c.doc != nil {
		c.doc.secrets = open
	}
}

// Secret is a reference to something that only the agent may know. The value itself is never held here: it is read at
// the moment of use, so that a rotated file counts at once, and whatever prints a Secret prints "[secret]".
// The zero value is not set.
type Secret struct{ ref reference }

// Set reports whether the file names one.
func (s Secret) Set() bool { return s.ref.kind != "" }

// Where answers the reference, such as "file:id". It is safe to show.
func (s Secret) Where() string { return s.ref.where() }

// Read answers the bytes now, at most 1 MiB. A file must be a regular one, owned by root or the agent's own user, not
// writable by group or others, and not readable by others. Nothing at all is [ErrEmpty].
func (s Secret) Read() ([]byte, error) { return s.ref.read(private) }

// Text is [Secret.Read] without one newline at its end, which editors and echo put there.
func (s Secret) Text() (string, error) {
	b, err := s.Read()
	text := strings.TrimSuffix(string(b), "\n")
	return strings.TrimSuffix(text, "\r"), err
}

// String says "[secret]"; so do the four methods after it, whatever the verb, the logger or the encoder.
func (s Secret) String() string { return hidden }

// GoString is String for %#v.
func (s Secret) GoString() string { return hidden }

// Format is String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue is String for package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON is String for package json.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// MarshalText is String for encoders of text, map keys among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// ParseSecret reads a reference to a secret: "file:PATH", relative to dir, "env:NAME" or "cred:NAME". One that the
// agent keeps itself ("secret:NAME") is refused: what needs this opens those. The error never repeats text.
func ParseSecret(text, dir string) (Secret, error) {
	r, err := parseReference(text, dir)
	if err == nil && r.kind == "secret" {
		err = errOwnSecret
	}
	if err != nil {
		return Secret{}, err
	}
	return Secret{r}, nil
}

// errOwnSecret: the credentials of a key server are not kept by it.
var errOwnSecret = errors.New("a secret that the key servers open cannot be what opens the key servers")

// ParseRef is [ParseSecret] for something public.
func ParseRef(text, dir string) (Ref, error) {
	s, err := ParseSecret(text, dir)
	return Ref(s), err
}

// Ref is the same kind of reference to something public: a certificate or a bundle of them. The zero value is not set.
type Ref struct{ ref reference }

// Set reports whether the file names one.
func (r Ref) Set() bool { return r.ref.kind != "" }

// Where answers the reference, such as "file:ca.pem".
func (r Ref) Where() string { return r.ref.where() }

// String is Where.
func (r Ref) String() string { return r.Where() }

// Read answers the bytes now, at most 1 MiB. A file must be a regular one, owned by root or the agent's own user and
// not writable by group or others; everybody may read it. Nothing at all is [ErrEmpty].
func (r Ref) Read() ([]byte, error) { return r.ref.read(public) }

func (r reference) where() string {
	if r.kind == "" {
		return ""
	}
	return r.kind + ":" + r.name
}

// parseReference reads s; a relative file is looked for in dir. The text of the error never repeats s, because s may
// be a secret that somebody wrote where its reference belongs.
func parseReference(s, dir string) (reference, error) {
	kind, name, ok := strings.Cut(s, ":")
	if !ok || name == "" || !slices.Contains([]string{"file", "env", "cred", "secret"}, kind) {
		return reference{}, errors.New("this is no reference")
	}
	if strings.ContainsFunc(name, isControl) {
		return reference{}, errors.New("a reference holds no control characters")
	}
	r := reference{kind: kind, name: name}
	switch kind {
	case "file":
		r.path = absolute(name, dir)
	case "env":
		if strings.ContainsAny(name, "= ") {
			return reference{}, errors.New("the name of an environment variable holds no space and no =")
		}
	case "cred":
		if name != filepath.Base(name) || name == "." || name == ".." {
			return reference{}, errors.New("the name of a credential holds no slash")
		}
	case "secret":
		if err := CheckName(name); err != nil {
			return reference{}, errors.New("the name of a secret holds letters, digits, dots, dashes and underscores")
		}
	}
	return r, nil
}

// absolute resolves a path of the file against the directory of the file.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func (r reference) read(a access) ([]byte, error) {
	switch r.kind {
	case "env":
		v := os.Getenv(r.name)
		if v == "" {
			return nil, fmt.Errorf("read %s: the environment variable is not set: %w", r.where(), ErrEmpty)
		}
		return []byte(v), nil
	case "cred":
		dir := os.Getenv("CREDENTIALS_DIRECTORY") // systemd.exec(5), LoadCredential=
		if dir == "" {
			return nil, fmt.Errorf("read %s: the service manager has passed no credentials", r.where())
		}
		r.path = filepath.Join(dir, r.name)
	case "secret":
		if r.doc == nil || r.doc.secrets == nil {
			return nil, fmt.Errorf("read %s: only a running agent opens its secrets", r.where())
		}
		b, err := r.doc.secrets(r.name)
		if err == nil && len(b) == 0 {
			err = ErrEmpty
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", r.where(), err)
		}
		return b, nil
	case "file":
	default:
		return nil, errors.New("read a reference that is not set")
	}
	b, err := readChecked(r.path, maxReference, a)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.where(), err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("read %s: %w", r.where(), ErrEmpty)
	}
	return b, nil
}

// access says who else may touch a file.
type access uint8

const (
	public  access = iota // all may read, nobody else may write
	private               // nobody outside owner and group may read, nobody but the owner may write
)

// RightsError says that a file is open to users who could change, or should not know, what is in it.
type RightsError struct {
	File    string
	Problem string // "is writable by group or others (mode 0664)"
	Mend    string // the command that mends it
}

func (e *RightsError) Error() string { return e.File + " " + e.Problem }

// readChecked reads a regular file of at most limit bytes after it has looked at the rights of what it has opened.
func readChecked(name string, limit int64, a access) ([]byte, error) {
	// Non-blocking, or a pipe without a writer would hold up the start for ever.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if err := checkRights(name, info, a); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %s", name, FormatSize(limit))
	}
	return b, nil
}

func checkRights(name string, info fs.FileInfo, a access) error {
	mode := info.Mode().Perm()
	uid := os.Geteuid()
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != uid {
		return &RightsError{
			File: name, Mend: "chown root " + name,
			Problem: fmt.Sprintf("belongs to uid %d, and only root and the agent's own user (uid %d) are trusted", st.Uid, uid),
		}
	}
	if mode&0o022 != 0 {
		return &RightsError{
			File: name, Mend: "chmod go-w " + name,
			Problem: fmt.Sprintf("is writable by group or others (mode %04o)", mode),
		}
	}
	if a == private && mode&0o004 != 0 {
		return &RightsError{
			File: name, Mend: "chmod o-r " + name,
			Problem: fmt.Sprintf("is readable by everybody (mode %04o)", mode),
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) }
