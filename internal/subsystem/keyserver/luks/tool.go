package luks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds, in bytes. The JSON of a LUKS2 header has at most 4 MiB.
const (
	minKey    = 16
	maxKey    = 4096
	maxOutput = 4 << 20
)

// ErrNoSlot says that no slot of the volume opens with a key.
var ErrNoSlot = errors.New("no slot of the volume opens with this key")

// Tool runs cryptsetup. Keys go through pipes, never through arguments, files or the environment.
type Tool struct {
	program string
	timeout time.Duration
}

// NewTool looks for cryptsetup where distributions keep it. timeout bounds each run: a slot of a person's passphrase
// may take seconds to try.
func NewTool(timeout time.Duration) (*Tool, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"} {
		p := filepath.Join(dir, "cryptsetup")
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return &Tool{p, timeout}, nil
		}
	}
	return nil, errors.New("the program cryptsetup is not installed")
}

// Volume is what the header of a volume tells.
type Volume struct {
	Slots  []int // in use, sorted
	Tokens []Token
}

// Token is a note in the header that tells which protected thing opens which slots. It holds no secret.
type Token struct {
	ID    int
	Slots []int
	Thing string // the id of the protected thing
}

// tokenType marks our tokens; "luks2-" is reserved for cryptsetup itself.
const tokenType = "allclear"

// Read reads the header of a LUKS2 volume: a device or an image file.
func (t *Tool) Read(ctx context.Context, device string) (Volume, error) {
	out, err := t.run(ctx, device, nil, nil, "luksDump", "--dump-json-metadata")
	if err != nil {
		return Volume{}, fmt.Errorf("read the header of %s: %w", device, err)
	}
	v, err := parseHeader(out)
	if err != nil {
		return Volume{}, fmt.Errorf("read the header of %s: %w", device, err)
	}
	return v, nil
}

// parseHeader reads the JSON area of a LUKS2 header (LUKS2 On-Disk Format Specification 1.1, section 3).
func parseHeader(text []byte) (Volume, error) {
	var h struct {
		Keyslots map[string]json.RawMessage `json:"keyslots"`
		Tokens   map[string]struct {
			Type     string   `json:"type"`
			Keyslots []string `json:"keyslots"`
			Thing    string   `json:"thing"`
		} `json:"tokens"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return Volume{}, fmt.Errorf("its JSON cannot be read: %w", err)
	}
	var v Volume
	for name := range h.Keyslots {
		n, err := slotNumber(name)
		if err != nil {
			return Volume{}, err
		}
		v.Slots = append(v.Slots, n)
	}
	slices.Sort(v.Slots)
	for name, tok := range h.Tokens {
		if tok.Type != tokenType {
			continue
		}
		id, err := slotNumber(name)
		if err != nil {
			return Volume{}, err
		}
		out := Token{ID: id, Thing: tok.Thing}
		for _, s := range tok.Keyslots {
			n, err := slotNumber(s)
			if err != nil {
				return Volume{}, err
			}
			out.Slots = append(out.Slots, n)
		}
		v.Tokens = append(v.Tokens, out)
	}
	slices.SortFunc(v.Tokens, func(a, b Token) int { return a.ID - b.ID })
	return v, nil
}

// slotNumber reads a number of a slot or token, 0 to 31.
func slotNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 31 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%.20q is no number of a slot or token", s)
	}
	return n, nil
}

// Test answers which slot opens with key, or [ErrNoSlot]. Nothing is mapped.
func (t *Tool) Test(ctx context.Context, device string, key []byte) (int, error) {
	v, err := t.Read(ctx, device)
	if err != nil {
		return 0, err
	}
	for _, n := range v.Slots {
		ok, err := t.opens(ctx, device, key, n)
		if err != nil {
			return 0, err
		}
		if ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: %w", device, ErrNoSlot)
}

// opens claims that one slot opens with key.
func (t *Tool) opens(ctx context.Context, device string, key []byte, slot int) (bool, error) {
	_, err := t.run(ctx, device, key, nil, "open", "--test-passphrase", "--key-slot", strconv.Itoa(slot))
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 2 { // cryptsetup(8): no permission, bad passphrase
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("try slot %d of %s: %w", slot, device, err)
	}
	return true, nil
}

// Add gives the volume a slot for fresh, by means of a key that it has, and proves that the slot opens. A slot that
// opens with fresh already is answered as it is, so that Add may be repeated. Keys are random: the slot's derivation
// is short.
func (t *Tool) Add(ctx context.Context, device string, have, fresh []byte) (int, error) {
	n, err := t.Test(ctx, device, fresh)
	if err == nil || !errors.Is(err, ErrNoSlot) {
		return n, err
	}
	_, err = t.run(
		ctx, device, have, fresh, "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
		"--new-keyfile-size", strconv.Itoa(len(fresh)),
	)
	if err != nil {
		return 0, fmt.Errorf("add a slot to %s: %w", device, err)
	}
	return t.Test(ctx, device, fresh)
}

// Drop removes every slot that opens with old, after it was proved that another one opens with keep. None to remove is
// no error.
func (t *Tool) Drop(ctx context.Context, device string, keep, old []byte) error {
	if bytes.Equal(keep, old) {
		return fmt.Errorf("drop a slot of %s: the key to keep is the one to drop", device)
	}
	if _, err := t.Test(ctx, device, keep); err != nil {
		return fmt.Errorf("drop a slot of %s: %w", device, err)
	}
	for {
		n, err := t.Test(ctx, device, old)
		if errors.Is(err, ErrNoSlot) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := t.run(ctx, device, keep, nil, "luksKillSlot", strconv.Itoa(n)); err != nil {
			return fmt.Errorf("drop slot %d of %s: %w", n, device, err)
		}
	}
}

// Rotate replaces old by fresh: it adds a slot for fresh, proves it, and only then removes those of old. Killed at any
// point the volume opens with one of them or both, and Rotate may be repeated. thing, unless "", is noted in a token.
func (t *Tool) Rotate(ctx context.Context, device string, old, fresh []byte, thing string) error {
	if err := t.Join(ctx, device, old, fresh, thing); err != nil {
		return err
	}
	return t.Drop(ctx, device, fresh, old)
}

// Join is the first half of [Tool.Rotate]: after it both keys open the volume.
func (t *Tool) Join(ctx context.Context, device string, old, fresh []byte, thing string) error {
	n, err := t.Add(ctx, device, old, fresh)
	if err != nil || thing == "" {
		return err
	}
	return t.note(ctx, device, n, thing)
}

// note leaves exactly one token for thing, of slot n.
func (t *Tool) note(ctx context.Context, device string, n int, thing string) error {
	v, err := t.Read(ctx, device)
	if err != nil {
		return err
	}
	have := false
	for _, tok := range v.Tokens {
		switch {
		case tok.Thing != thing:
		case !have && slices.Equal(tok.Slots, []int{n}):
			have = true
		default:
			if _, err := t.run(ctx, device, nil, nil, "token", "remove", "--token-id", strconv.Itoa(tok.ID)); err != nil {
				return fmt.Errorf("remove token %d of %s: %w", tok.ID, device, err)
			}
		}
	}
	if have {
		return nil
	}
	text, err := json.Marshal(map[string]any{"type": tokenType, "keyslots": []string{strconv.Itoa(n)}, "thing": thing})
	if err != nil {
		return err
	}
	if _, err := t.run(ctx, device, text, nil, "token", "import", "--json-file", "-"); err != nil {
		return fmt.Errorf("import a token into %s: %w", device, err)
	}
	return nil
}

// run runs cryptsetup on a device. input goes to its standard input, as the key unless the verb is token; extra through
// a pipe that it opens as the new key file.
func (t *Tool) run(ctx context.Context, device string, input, extra []byte, verb string, args ...string) ([]byte, error) {
	if !filepath.IsAbs(device) {
		return nil, fmt.Errorf("%q is no absolute path", device)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("cryptsetup took longer than %v", t.timeout))
	defer cancel()
	line := []string{verb, "--batch-mode"}
	if input != nil && verb != "token" {
		if err := keySizes(input, extra); err != nil {
			return nil, err
		}
		line = append(line, "--key-file", "-", "--keyfile-size", strconv.Itoa(len(input)))
	}
	var options, rest []string // a verb such as "token import" or a slot number stands around the device
	if verb == "token" || verb == "luksKillSlot" {
		options, rest = args[1:], args[:1]
	} else {
		options = args
	}
	line = append(line, options...)
	line = append(line, "--")
	if verb == "token" {
		line = append(line, rest[0], device)
	} else {
		line = append(append(line, device), rest...)
	}
	cmd := exec.CommandContext(ctx, t.program, line...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = bytes.NewReader(input)
	if extra != nil {
		p, err := filled(extra)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		cmd.ExtraFiles = []*os.File{p}
		cmd.Args = append(cmd.Args, "/dev/fd/3")
	}
	return output(ctx, cmd)
}

func keySizes(keys ...[]byte) error {
	for _, k := range keys {
		if k != nil && (len(k) < minKey || len(k) > maxKey) {
			return fmt.Errorf("a key has %d bytes, need %d to %d", len(k), minKey, maxKey)
		}
	}
	return nil
}

// filled answers the reading end of a pipe that holds b: at most 4 KiB, which every pipe takes at once.
func filled(b []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.Write(b)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// output runs a command and answers what it printed, or its words as an error.
func output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out, words bounded
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("cryptsetup: %s (%w)", strings.Join(strings.Fields(words.String()), " "), err)
	case out.over:
		return nil, fmt.Errorf("cryptsetup printed more than %d bytes", maxOutput)
	}
	return out.Bytes(), nil
}

// bounded keeps the first maxOutput bytes.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxOutput - b.Len()
	if len(p) > room {
		b.over = true
		b.Buffer.Write(p[:room])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
