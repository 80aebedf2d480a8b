package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Pair is one piece of evidence.
type Pair struct{ Key, Value string }

// Sense is the evidence of a fault: pairs sorted by key, each key once. As JSON
// it is an object. A Sense is never changed in place.
type Sense []Pair

// NewSense returns the sense that holds m.
func NewSense(m map[string]string) Sense {
	if len(m) == 0 {
		return nil
	}
	s := make(Sense, 0, len(m))
	for k, v := range m {
		s = append(s, Pair{k, v})
	}
	slices.SortFunc(s, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	return s
}

// Get returns the value of key, or "".
func (s Sense) Get(key string) string {
	i, ok := slices.BinarySearchFunc(s, key, func(p Pair, k string) int { return strings.Compare(p.Key, k) })
	if !ok {
		return ""
	}
	return s[i].Value
}

// Map returns a copy as a map, never nil.
func (s Sense) Map() map[string]string {
	m := make(map[string]string, len(s))
	for _, p := range s {
		m[p.Key] = p.Value
	}
	return m
}

// Size is the number of bytes of keys and values.
func (s Sense) Size() int {
	n := 0
	for _, p := range s {
		n += len(p.Key) + len(p.Value)
	}
	return n
}

// MarshalJSON writes an object with its keys in order.
func (s Sense) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(p.Key)
		if err != nil {
			return nil, fmt.Errorf("sense key %q: %w", p.Key, err)
		}
		v, err := json.Marshal(p.Value)
		if err != nil {
			return nil, fmt.Errorf("sense value of %q: %w", p.Key, err)
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads an object of strings.
func (s *Sense) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("sense: %w", err)
	}
	*s = NewSense(m)
	return nil
}

// limit returns s with at most n bytes, the longest values cut first and marked
// with an ellipsis; cut claims that something was lost.
func (s Sense) limit(n int) (out Sense, cut bool) {
	if n <= 0 || s.Size() <= n {
		return s, false
	}
	out = slices.Clone(s)
	for out.Size() > n {
		longest := 0
		for i := range out {
			if len(out[i].Value) > len(out[longest].Value) {
				longest = i
			}
		}
		v := out[longest].Value
		if len(v) <= len(ellipsis) { // only keys are left to lose
			out = out[:len(out)-1]
			continue
		}
		keep := max(0, len(v)-(out.Size()-n)-len(ellipsis))
		keep = min(keep, len(v)-len(ellipsis)-1)
		out[longest].Value = clip(v, max(0, keep))
	}
	return out, true
}

const (
	ellipsis    = "…"
	replacement = "\uFFFD"
)

// valid returns s with whatever is not UTF-8 replaced.
func (s Sense) valid() Sense {
	if !slices.ContainsFunc(s, func(p Pair) bool { return !utf8.ValidString(p.Key) || !utf8.ValidString(p.Value) }) {
		return s
	}
	m := make(map[string]string, len(s))
	for _, p := range s {
		m[strings.ToValidUTF8(p.Key, replacement)] = strings.ToValidUTF8(p.Value, replacement)
	}
	return NewSense(m)
}

// clip keeps at most n bytes of s, ends on a whole rune, and marks the loss.
func clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(n, len(s))], "") + ellipsis
}
