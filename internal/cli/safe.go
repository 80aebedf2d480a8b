package cli

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safe makes one line of printable text from anything: a banner or a
// certificate may hold bytes that move the cursor, set the window's title or
// turn the reading direction. Control and format characters, line and
// paragraph separators, private use and broken UTF-8 become visible escapes.
func safe(s string) string {
	if !strings.ContainsFunc(s, hostile) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case hostile(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hostile(r):
			fmt.Fprintf(&b, `\u{%04x}`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// hostile claims that a terminal may do something else with r than show it.
func hostile(r rune) bool {
	return unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029'
}

// safeLines is safe for text whose line ends are its own, such as a list of
// mistakes.
func safeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = safe(lines[i])
	}
	return strings.Join(lines, "\n")
}

// safeJSON escapes in encoded JSON what encoding/json leaves as it is: C1
// controls (some terminals obey U+009B), DEL, and format characters. They can
// only stand inside strings, where \uXXXX means the same.
func safeJSON(b []byte) []byte {
	bad := func(r rune) bool { return r != '\n' && r != '\t' && hostile(r) }
	if bytes.IndexFunc(b, bad) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		switch {
		case !bad(r):
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := surrogates(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// surrogates is the UTF-16 pair of r > 0xffff.
func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
