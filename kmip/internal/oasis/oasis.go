// Package oasis reads the test cases that OASIS publishes for KMIP 1.x: files of
// requests and expected responses in the XML encoding of KMIP messages. It turns XML into
// TTLV and back.
//
// It judges nothing: what a response means is told by whoever sends the requests. It is for
// tests only and no part of the product.
package oasis

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"allclear/kmip/ttlv"
)

// Case is one test case.
type Case struct {
	Name  string // of the file below its folder, without .xml
	Steps []Step
}

// Step is a request with the response that is expected.
type Step struct {
	Request  Message
	Response Message // IsZero when the file ends with a request
}

// Message is a message as the file has it.
type Message struct{ root element }

// IsZero tells whether there is no message.
func (m Message) IsZero() bool { return m.root.XMLName.Local == "" }

// element is an item in XML (KMIP Profiles 1.4 section 5.4.1).
type element struct {
	XMLName xml.Name
	Number  string    `xml:"tag,attr"` // of an element named TTLV
	Type    string    `xml:"type,attr"`
	Value   string    `xml:"value,attr"`
	Items   []element `xml:",any"`
}

// Folder reads all cases (*.xml) of a folder and of those in it, in the order of their names. The error
// names each file that holds no case that can be read; the others are answered all the same.
func Folder(dir string) ([]*Case, error) {
	var (
		cases      []*Case
		unreadable []error
	)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".xml") {
			return err
		}
		c, err := readFile(dir, path)
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("%s: %w", path, err))
			return nil
		}
		cases = append(cases, c)
		return nil
	})
	if err == nil && len(cases)+len(unreadable) == 0 {
		err = fmt.Errorf("no *.xml in %s", dir)
	}
	return cases, errors.Join(append(unreadable, err)...)
}

func readFile(dir, path string) (*Case, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return nil, err
	}
	return Read(strings.TrimSuffix(name, filepath.Ext(name)), bytes.NewReader(b))
}

// Read reads one case: a root element of any name with messages in it.
func Read(name string, r io.Reader) (*Case, error) {
	var root element
	if err := xml.NewDecoder(r).Decode(&root); err != nil {
		return nil, err
	}
	c := &Case{Name: name}
	for _, e := range root.Items {
		switch {
		case e.XMLName.Local == "RequestMessage":
			c.Steps = append(c.Steps, Step{Request: Message{e}})
		case e.XMLName.Local != "ResponseMessage":
			return nil, fmt.Errorf("element %s between the messages", e.XMLName.Local)
		case len(c.Steps) == 0 || !c.Steps[len(c.Steps)-1].Response.IsZero():
			return nil, errors.New("a response without a request")
		default:
			c.Steps[len(c.Steps)-1].Response = Message{e}
		}
	}
	if len(c.Steps) == 0 {
		return nil, errors.New("no messages")
	}
	return c, nil
}

// Vars are the values of the variables of a case, such as UNIQUE_IDENTIFIER_0, without the $.
// A text variable that is not set stands for itself.
type Vars struct {
	Now  time.Time // $NOW, and $NOW-60 a minute before
	Text map[string]string
}

var variable = regexp.MustCompile(`^\$([A-Z][A-Z0-9_]*)(?:\s*([+-])\s*([0-9]+))?$`)

// value is the value of an element with its variable replaced.
func (vs *Vars) value(s string, t ttlv.Type) string {
	m := variable.FindStringSubmatch(s)
	if m == nil {
		return s
	}
	if m[1] == "NOW" {
		seconds, _ := strconv.Atoi(m[2] + m[3]) // digits, or nothing: 0
		return vs.Now.Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339)
	}
	if v, ok := vs.Text[m[1]]; ok {
		return v
	}
	if t == ttlv.TypeByteString {
		return hex.EncodeToString([]byte(m[1]))
	}
	return s
}

// TTLV is the message encoded, with the variables replaced.
func (m Message) TTLV(vs *Vars) ([]byte, error) {
	var e ttlv.Encoder
	if err := m.root.encode(&e, vs, 0, 0); err != nil {
		return nil, err
	}
	if err := ttlv.Check(e.Bytes()); err != nil {
		return nil, err
	}
	return e.Bytes(), nil
}

func (x *element) tag() (ttlv.Tag, error) {
	name := x.XMLName.Local
	if name == "TTLV" {
		name = x.Number
	}
	tag, ok := ttlv.TagByID(name)
	if !ok {
		return 0, fmt.Errorf("no tag has the name %q", name)
	}
	return tag, nil
}

func (x *element) itemType() (ttlv.Type, error) {
	if x.Type == "" {
		return ttlv.TypeStructure, nil
	}
	t, ok := ttlv.TypeByName(x.Type)
	if !ok {
		return 0, fmt.Errorf("%s: no type has the name %q", x.XMLName.Local, x.Type)
	}
	return t, nil
}

// encode appends the element. names is the attribute whose value this may be.
func (x *element) encode(e *ttlv.Encoder, vs *Vars, names ttlv.Tag, depth int) error {
	tag, err := x.tag()
	if err != nil {
		return err
	}
	t, err := x.itemType()
	if err != nil {
		return err
	}
	if !tag.Allows(t) {
		return fmt.Errorf("%s is a %s, which the tables do not allow", x.XMLName.Local, t)
	}
	if t != ttlv.TypeStructure {
		v, err := parse(tag, names, t, vs.value(x.Value, t))
		if err != nil {
			return fmt.Errorf("%s: %w", x.XMLName.Local, err)
		}
		e.Value(tag, v)
		return nil
	}
	if depth >= ttlv.MaxDepth {
		return fmt.Errorf("%s: more than %d elements in one another", x.XMLName.Local, ttlv.MaxDepth)
	}
	m := e.Begin(tag)
	var attribute ttlv.Tag
	for i := range x.Items {
		it := &x.Items[i]
		if it.XMLName.Local == "AttributeName" {
			attribute, _ = ttlv.TagByName(unwrapped(it.Value))
		}
		if err := it.encode(e, vs, attribute, depth+1); err != nil {
			return fmt.Errorf("%s/%w", x.XMLName.Local, err)
		}
	}
	e.End(m)
	return nil
}

// unwrapped undoes the line breaks that the published cases have in names: their printed lines were joined with
// several spaces.
func unwrapped(s string) string { return strings.Join(strings.Fields(s), " ") }

// Capture sets the variables that the expected message has from an actual one. Items are matched by their tags
// in order; what has no match is passed over.
func (m Message) Capture(actual []byte, vs *Vars) error {
	if err := ttlv.Check(actual); err != nil {
		return err
	}
	if vs.Text == nil {
		vs.Text = map[string]string{}
	}
	return capture([]element{m.root}, actual, vs)
}

func capture(expected []element, actual []byte, vs *Vars) error {
	var d ttlv.Decoder
	d.Reset(actual)
	for i := range expected {
		x := &expected[i]
		tag, err := x.tag()
		if err != nil {
			return err
		}
		rest := d // to come back to when nothing has the tag
		found := false
		var v ttlv.Value
		for d.More() && !found {
			var t ttlv.Tag
			t, v = d.Any()
			found = t == tag
		}
		if !found {
			d = rest
			continue
		}
		if v.Type == ttlv.TypeStructure {
			if err := capture(x.Items, v.Body, vs); err != nil {
				return err
			}
			continue
		}
		if m := variable.FindStringSubmatch(x.Value); m != nil && m[1] != "NOW" {
			if _, set := vs.Text[m[1]]; !set {
				vs.Text[m[1]] = format(tag, 0, v)
			}
		}
	}
	return nil
}
