package sshpolicy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Pin is one host key that we trust: a fingerprint, with or without its type,
// or a whole key.
type Pin struct {
	Type   string // "ssh-ed25519", "ssh-rsa", ...; "" for a bare fingerprint
	SHA256 string // "SHA256:..." as ssh-keygen -l prints it
}

// String is the pin as it may stand in a configuration file.
func (p Pin) String() string {
	if p.Type == "" {
		return p.SHA256
	}
	return p.Type + " " + p.SHA256
}

// ParsePin reads "SHA256:...", "ssh-ed25519 SHA256:...", a public key
// ("ssh-ed25519 AAAA... comment") or a known_hosts line.
func ParsePin(s string) (Pin, error) {
	s = strings.TrimSpace(s)
	fields := strings.Fields(s)
	switch {
	case len(fields) == 1:
		return fingerprintPin("", fields[0])
	case len(fields) == 2 && strings.HasPrefix(fields[1], "SHA256:"):
		if !isKeyType(fields[0]) {
			return Pin{}, fmt.Errorf("host key pin %q: no host key type %q%s", printable(s, 120), fields[0], didYouMean(fields[0], keyTypes()))
		}
		return fingerprintPin(fields[0], fields[1])
	case len(fields) == 0:
		return Pin{}, fmt.Errorf("host key pin is empty; want SHA256:..., TYPE SHA256:... or a known_hosts line")
	}
	if strings.HasPrefix(s, "@") {
		return Pin{}, fmt.Errorf("host key pin %q: a %s line is no pin", printable(s, 120), fields[0])
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s))
	if err != nil {
		_, _, key, _, _, err = ssh.ParseKnownHosts([]byte(s))
	}
	if err != nil {
		return Pin{}, fmt.Errorf("host key pin %q: want SHA256:..., TYPE SHA256:... or a known_hosts line", printable(s, 120))
	}
	return PinOf(key), nil
}

func fingerprintPin(keyType, fp string) (Pin, error) {
	encoded, ok := strings.CutPrefix(fp, "SHA256:")
	sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if !ok || err != nil || len(sum) != 32 {
		return Pin{}, fmt.Errorf("host key pin %q: want SHA256: and 43 characters of base64, as ssh-keygen -l prints it", printable(fp, 120))
	}
	return Pin{Type: keyType, SHA256: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum)}, nil
}

// PinOf is the pin of a key.
func PinOf(key ssh.PublicKey) Pin {
	key = plainKey(key)
	return Pin{Type: key.Type(), SHA256: ssh.FingerprintSHA256(key)}
}

// plainKey is the key inside a certificate, or the key itself.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// PinState is what became of the server's key.
type PinState string

// The states. PinNotChecked is the zero value on purpose: not having compared
// is not the same as having matched.
const (
	PinNotChecked PinState = ""
	PinMatched    PinState = "matched"
	PinUnknown    PinState = "unknown" // nothing is pinned
	PinChanged    PinState = "changed" // something is pinned, and it is not this
	// PinFirstSeen: nothing is pinned and the first key is to be trusted; the
	// caller remembers it.
	PinFirstSeen PinState = "first-seen"
)

// judgeKey compares a key with the pins.
func judgeKey(key ssh.PublicKey, pins []Pin) PinState {
	if len(pins) == 0 {
		return PinUnknown
	}
	have := PinOf(key)
	for _, p := range pins {
		if p.SHA256 == have.SHA256 && (p.Type == "" || p.Type == have.Type) {
			return PinMatched
		}
	}
	return PinChanged
}

// askFirst sorts host key algorithms so that those which make the server show a
// pinned key come first; the library asks for ECDSA, RSA and then Ed25519 and
// would report a change where there is none.
func askFirst(algorithms []string, types []string) []string {
	rank := func(algorithm string) int {
		if i := slices.Index(types, keyTypeOf(algorithm)); i >= 0 {
			return i
		}
		return len(types)
	}
	sorted := slices.Clone(algorithms)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}

// pinnedTypes are the key types to ask for first: those of the pins, then what
// an earlier look learned about bare fingerprints.
func pinnedTypes(pins []Pin, hints []string) []string {
	var types []string
	for _, p := range pins {
		if p.Type != "" && !slices.Contains(types, p.Type) {
			types = append(types, p.Type)
		}
	}
	for _, h := range hints {
		if !slices.Contains(types, h) {
			types = append(types, h)
		}
	}
	return types
}

// keyTypeOf is the type of the key that signs with an algorithm: RSA has three
// algorithms for one type (RFC 8332 section 2); certificates keep their own.
func keyTypeOf(algorithm string) string {
	switch algorithm {
	case "rsa-sha2-256", "rsa-sha2-512":
		return "ssh-rsa"
	}
	return algorithm
}

func keyTypes() []string {
	var types []string
	for name := range knowledge().algorithms[HostKey] {
		if t := keyTypeOf(name); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

func isKeyType(t string) bool { return slices.Contains(keyTypes(), t) }

func didYouMean(name string, candidates []string) string {
	if c := closest(name, candidates); c != "" {
		return fmt.Sprintf("; did you mean %q?", c)
	}
	return ""
}

// ServerKey is a host key that the server has proved to hold.
type ServerKey struct {
	Type        string `json:"type"`
	Algorithm   string `json:"algorithm"`   // the signature algorithm that was negotiated
	Fingerprint string `json:"fingerprint"` // "SHA256:..."
	Bits        int    `json:"bits"`
	Certificate bool   `json:"certificate,omitempty"` // it came inside a certificate; the authority was not checked
	// Line is the known_hosts line to trust it by.
	Line string   `json:"known_hosts"`
	Pin  PinState `json:"pin"`
	// Key is the key itself, for a Store.
	Key ssh.PublicKey `json:"-"`
}

func serverKey(key ssh.PublicKey, algorithm, addr string) *ServerKey {
	_, cert := key.(*ssh.Certificate)
	key = plainKey(key)
	return &ServerKey{
		Type: key.Type(), Algorithm: algorithm, Fingerprint: ssh.FingerprintSHA256(key),
		Bits: keyBits(key), Certificate: cert, Line: knownHostsLine(addr, key, ""), Key: key,
	}
}

// keyBits is the size of a key as ssh-keygen -l prints it, 0 when unknown.
func keyBits(key ssh.PublicKey) int {
	c, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return 0
	}
	switch k := c.CryptoPublicKey().(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 8 * len(k)
	}
	return 0
}
