package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader walks JSON text without reflection: trees and indexes hold hundreds of thousands of values. It accepts
// what encoding/json accepts, with exact key names, and skips unknown keys.
type jsonReader struct {
	b     []byte
	i     int
	depth int
	buf   []byte // of the last text with escapes
}

const maxJSONDepth = 200

var errJSONEnd = errors.New("the JSON text ends too early")

func (p *jsonReader) fail(what string) error {
	return fmt.Errorf("JSON text, byte %d: %s", p.i, what)
}

func (p *jsonReader) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\n' || p.b[p.i] == '\t' || p.b[p.i] == '\r') {
		p.i++
	}
}

// peek answers the next byte that is no white space, 0 at the end.
func (p *jsonReader) peek() byte {
	p.space()
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *jsonReader) expect(c byte) error {
	if p.peek() != c {
		if p.i >= len(p.b) {
			return errJSONEnd
		}
		return p.fail("expected " + strconv.QuoteRune(rune(c)))
	}
	p.i++
	return nil
}

// end tells that nothing but white space is left.
func (p *jsonReader) end() error {
	if p.peek(); p.i < len(p.b) {
		return p.fail("more text after the value")
	}
	return nil
}

// null takes the word if it is next.
func (p *jsonReader) null() bool {
	if p.peek() == 'n' && len(p.b)-p.i >= 4 && string(p.b[p.i:p.i+4]) == "null" {
		p.i += 4
		return true
	}
	return false
}

// object calls member for each key, which is valid until member reads on; member reads or skips the value. null is an
// object without keys.
func (p *jsonReader) object(member func(key []byte) error) error {
	if p.null() {
		return nil
	}
	return p.group('{', '}', func() error {
		key, err := p.text()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		return member(key)
	})
}

// array calls element at each element; null is an empty array.
func (p *jsonReader) array(element func() error) error {
	if p.null() {
		return nil
	}
	return p.group('[', ']', element)
}

func (p *jsonReader) group(open, closed byte, one func() error) error {
	if err := p.expect(open); err != nil {
		return err
	}
	if p.depth++; p.depth > maxJSONDepth {
		return p.fail("nested too deeply")
	}
	if p.peek() == closed {
		p.i++
		p.depth--
		return nil
	}
	for {
		if err := one(); err != nil {
			return err
		}
		switch p.peek() {
		case ',':
			p.i++
		case closed:
			p.i++
			p.depth--
			return nil
		case 0:
			return errJSONEnd
		default:
			return p.fail("expected ',' or " + strconv.QuoteRune(rune(closed)))
		}
	}
}

// text reads a string. The answer is valid until the next call.
func (p *jsonReader) text() ([]byte, error) {
	if err := p.expect('"'); err != nil {
		return nil, err
	}
	start := p.i
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return p.b[start : p.i-1], nil
		case c == '\\' || c >= utf8.RuneSelf:
			return p.slowText(start)
		case c < ' ':
			return nil, p.fail("control character in a string")
		}
		p.i++
	}
	return nil, errJSONEnd
}

// slowText goes on where text met an escape or a byte beyond ASCII.
func (p *jsonReader) slowText(start int) ([]byte, error) {
	p.buf = append(p.buf[:0], p.b[start:p.i]...)
	for p.i < len(p.b) {
		c := p.b[p.i]
		switch {
		case c == '"':
			p.i++
			return p.buf, nil
		case c < ' ':
			return nil, p.fail("control character in a string")
		case c == '\\':
			if err := p.escape(); err != nil {
				return nil, err
			}
		case c < utf8.RuneSelf:
			p.buf = append(p.buf, c)
			p.i++
		default:
			r, n := utf8.DecodeRune(p.b[p.i:]) // an invalid byte becomes U+FFFD
			p.buf = utf8.AppendRune(p.buf, r)
			p.i += n
		}
	}
	return nil, errJSONEnd
}

func (p *jsonReader) escape() error {
	if p.i+1 >= len(p.b) {
		return errJSONEnd
	}
	p.i++
	c := p.b[p.i]
	p.i++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, err := p.hex4()
		if err != nil {
			return err
		}
		if utf16.IsSurrogate(r) {
			r = p.surrogate(r)
		}
		p.buf = utf8.AppendRune(p.buf, r)
		return nil
	default:
		p.i--
		return p.fail("unknown escape")
	}
	p.buf = append(p.buf, c)
	return nil
}

func (p *jsonReader) hex4() (rune, error) {
	if len(p.b)-p.i < 4 {
		return 0, errJSONEnd
	}
	var r rune
	for _, c := range p.b[p.i : p.i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, p.fail("bad \\u escape")
		}
		r = r<<4 | rune(c)
	}
	p.i += 4
	return r, nil
}

// surrogate joins r with the half that follows, or answers U+FFFD and leaves what follows alone.
func (p *jsonReader) surrogate(r rune) rune {
	if len(p.b)-p.i < 6 || p.b[p.i] != '\\' || p.b[p.i+1] != 'u' {
		return utf8.RuneError
	}
	at := p.i
	p.i += 2
	low, err := p.hex4()
	if joined := utf16.DecodeRune(r, low); err == nil && joined != utf8.RuneError {
		return joined
	}
	p.i = at
	return utf8.RuneError
}

// number reads an unsigned integer of at most the given bits. null is 0.
func (p *jsonReader) number(bits int) (uint64, error) {
	if p.null() {
		return 0, nil
	}
	p.space()
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	if digits := p.b[start:p.i]; len(digits) == 0 || len(digits) > 1 && digits[0] == '0' {
		return 0, p.fail("expected a whole number")
	}
	n, err := strconv.ParseUint(string(p.b[start:p.i]), 10, bits)
	if err != nil {
		return 0, p.fail("number out of range")
	}
	if p.i < len(p.b) && (p.b[p.i] == '.' || p.b[p.i] == 'e' || p.b[p.i] == 'E') {
		return 0, p.fail("expected a whole number")
	}
	return n, nil
}

// id reads an ID.
func (p *jsonReader) id() (ID, error) {
	t, err := p.text()
	if err != nil {
		return ID{}, err
	}
	return ParseID(string(t))
}

// skip passes over any value.
func (p *jsonReader) skip() error {
	switch c := p.peek(); c {
	case '{':
		return p.object(func([]byte) error { return p.skip() })
	case '[':
		return p.array(p.skip)
	case '"':
		_, err := p.text()
		return err
	case 0:
		return errJSONEnd
	default:
		start := p.i
		for p.i < len(p.b) && p.b[p.i] != ',' && p.b[p.i] != '}' && p.b[p.i] != ']' && p.b[p.i] > ' ' {
			p.i++
		}
		return p.literal(p.b[start:p.i])
	}
}

// literal tells whether b is a number or one of the three words.
func (p *jsonReader) literal(b []byte) error {
	if len(b) == 0 || len(b) > 400 || !json.Valid(b) {
		return p.fail("expected a value")
	}
	return nil
}
