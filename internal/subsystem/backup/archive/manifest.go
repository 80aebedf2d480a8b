package archive

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// FormatName is what our manifests call their format.
const FormatName = "allclear archive 1"

// maxManifest bounds the manifest file.
const maxManifest = 4 << 20

// Manifest says what an archive is. It stands beside the archive in the clear, so it names no file of it.
type Manifest struct {
	Format  string    `json:"format"`  // [FormatName]
	Archive string    `json:"archive"` // file name
	Job     string    `json:"job"`
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`    // when the backup began, UTC
	Program string    `json:"program"` // "allclear 1.2.3"
	Profile Profile   `json:"profile"`
	// Paths or Command is what was backed up, as configured.
	Paths   []string `json:"paths,omitempty"`
	Command []string `json:"command,omitempty"`
	// Size and SHA256 (hex) are of the archive file, as stat and sha256sum answer them.
	Size       int64            `json:"size"`
	SHA256     string           `json:"sha256"`
	Recipients []string         `json:"recipients"` // age1..., whose identities open it
	Contents   Contents         `json:"contents"`
	Skipped    map[string]int64 `json:"skipped,omitempty"` // source.Reason and how often
	Hashes     Hashes           `json:"hashes"`
	Transfer   *Transfer        `json:"transfer,omitempty"`
}

// Contents counts what is in an archive.
type Contents struct {
	Files   int64 `json:"files"` // names of files: a file with two names counts twice
	Folders int64 `json:"folders"`
	Others  int64 `json:"others"`
	Bytes   int64 `json:"bytes"` // of the files' content
}

// Transfer is how the archive went to its target.
type Transfer struct {
	Target   string `json:"target"`
	Protocol string `json:"protocol"` // sftp, scp
	Policy   string `json:"policy"`
	KEX      string `json:"kex"`
	HostKey  string `json:"host_key"`
	Cipher   string `json:"cipher"`
	MAC      string `json:"mac"`
}

// Profile is how much of the sources a job keeps.
type Profile string

// The profiles.
const (
	Full   Profile = "full"
	Config Profile = "config" // configuration only, see [ConfigOnly]
)

// signed is the manifest file: {"manifest":{...},"signature":{...}} and a newline.
//
// The signature is Ed25519 over the line "allclear archive 1", a newline, and the bytes of the value of "manifest" exactly
// as they stand in the file. Nothing is brought into another form before it is checked, so nothing can be lost on the way. As
// we write it, without white space and without escapes that JSON does not demand, "jq -cj .manifest" prints these bytes.
type signed struct {
	Manifest  json.RawMessage `json:"manifest"`
	Signature signature       `json:"signature"`
}

type signature struct {
	Algorithm string `json:"algorithm"` // "ed25519"
	Key       []byte `json:"key"`       // the signer's public key
	Value     []byte `json:"value"`
}

const signatureAlgorithm = "ed25519"

func signedBytes(manifest []byte) []byte {
	return slices.Concat([]byte(FormatName), []byte{'\n'}, manifest)
}

// Sign answers the manifest file.
func Sign(m *Manifest, key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.Archive, err)
	}
	c := *m
	c.Time = m.Time.UTC()
	raw, err := compact(&c)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.Archive, err)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("sign manifest: the key is no Ed25519 key")
	}
	data, err := compact(signed{Manifest: raw, Signature: signature{
		Algorithm: signatureAlgorithm, Key: public, Value: ed25519.Sign(key, signedBytes(raw)),
	}})
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// compact is JSON without the escapes for use within HTML.
func compact(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}

// What can be wrong with a manifest.
var (
	ErrManifest  = errors.New("is no manifest of an archive")
	ErrSignature = errors.New("has a signature that does not fit: it was changed or damaged")
	ErrUntrusted = errors.New("is signed by a key that is not trusted")
)

// ParseManifest reads a manifest file and checks its signature. With trusted keys the signer must be one of them;
// without, any signer will do, and the answer says only that the file is as its signer wrote it: compare the key.
// Errors wrap [ErrManifest], [ErrSignature] or [ErrUntrusted].
func ParseManifest(data []byte, trusted ...ed25519.PublicKey) (*Manifest, ed25519.PublicKey, error) {
	if len(data) > maxManifest {
		return nil, nil, fmt.Errorf("%w: has more than %d bytes", ErrManifest, maxManifest)
	}
	var s signed
	if err := strict(data, &s); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	key := ed25519.PublicKey(s.Signature.Key)
	canonical, err := compact(s)
	switch {
	case err != nil || !bytes.Equal(bytes.TrimSuffix(data, []byte{'\n'}), canonical): // one manifest has one form only
		return nil, nil, fmt.Errorf("%w: it is written in another way than ours", ErrManifest)
	case s.Signature.Algorithm != signatureAlgorithm || len(key) != ed25519.PublicKeySize:
		return nil, nil, fmt.Errorf("%w: signature by %q with a key of %d bytes", ErrManifest, s.Signature.Algorithm, len(key))
	case !ed25519.Verify(key, signedBytes(s.Manifest), s.Signature.Value):
		return nil, nil, ErrSignature
	case len(trusted) > 0 && !slices.ContainsFunc(trusted, func(k ed25519.PublicKey) bool { return k.Equal(key) }):
		return nil, nil, fmt.Errorf("%w: %s", ErrUntrusted, hex.EncodeToString(key))
	}
	m := &Manifest{}
	if err := json.Unmarshal(s.Manifest, m); err != nil { // later versions may add fields
		return nil, nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, key, nil
}

// strict decodes one value with known fields and nothing behind it.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows it")
	}
	return nil
}

// check refuses what no archive can be.
func (m *Manifest) check() error {
	if m.Format != FormatName {
		return fmt.Errorf("format %q, want %q", m.Format, FormatName)
	}
	if _, _, err := ParseName(m.Archive); err != nil {
		return err
	}
	if sum, err := hex.DecodeString(m.SHA256); err != nil || len(sum) != 32 || m.Size <= 0 {
		return fmt.Errorf("size %d, sha256 %q", m.Size, m.SHA256)
	}
	if len(m.Recipients) == 0 {
		return errors.New("no recipient")
	}
	return m.Hashes.check()
}
