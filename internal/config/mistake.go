package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxMistakes bounds what is kept of a file that is wrong from end to end; the rest is counted.
const maxMistakes = 1000

// Mistake is one thing wrong with the file, in the words of its reader.
type Mistake struct {
	Path    string `json:"path"`           // "watch.ssh[0].policy"; "" is the file itself
	Line    int    `json:"line"`           // from 1; 0 when no line is to blame
	Column  int    `json:"column"`         // from 1, in characters; 0 with Line 0
	Message string `json:"message"`        // what is wrong
	Hint    string `json:"hint,omitempty"` // what to write instead, "" when the message says it all
}

// Mistakes is everything wrong with one file. Its zero value is not useful: [Load] and [Parse] make it. As an error it
// reads "file:line:column: path: message; hint", one mistake a line, in the order of the file.
type Mistakes struct {
	doc  *document
	list []Mistake
	more int // mistakes beyond maxMistakes
}

// Add records a mistake at path and finds its position like [Config.Pos].
func (m *Mistakes) Add(path, message, hint string) {
	m.at(m.doc.pos(path), path, message, hint)
}

func (m *Mistakes) at(p position, path, message, hint string) {
	if len(m.list) == maxMistakes {
		m.more++
		return
	}
	m.list = append(m.list, Mistake{Path: path, Line: p.line, Column: p.column, Message: message, Hint: hint})
}

// Has reports whether there is a mistake at path or below it: whoever checks the meaning of a value leaves alone one
// that could not be read.
func (m *Mistakes) Has(path string) bool {
	return slices.ContainsFunc(m.list, func(k Mistake) bool { return within(k.Path, path) })
}

// within reports whether path is parent or lies below it.
func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || parent == "" || rest[0] == '.' || rest[0] == '[')
}

// Items answers the mistakes in the order of the file.
func (m *Mistakes) Items() []Mistake {
	return slices.SortedStableFunc(slices.Values(m.list), func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// File is the name of the file.
func (m *Mistakes) File() string { return m.doc.name() }

// Err answers m, or nil when the file has no mistake.
func (m *Mistakes) Err() error {
	if len(m.list) == 0 {
		return nil
	}
	return m
}

// Error renders all mistakes.
func (m *Mistakes) Error() string {
	var b strings.Builder
	for i, k := range m.Items() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.File())
		if k.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", k.Line, k.Column)
		}
		b.WriteString(": ")
		if k.Path != "" {
			b.WriteString(k.Path + ": ")
		}
		b.WriteString(k.Message)
		if k.Hint != "" {
			b.WriteString("; " + k.Hint)
		}
	}
	if m.more > 0 {
		b.WriteString("\n" + m.File() + ": and " + strconv.Itoa(m.more) + " more mistakes")
	}
	return b.String()
}

// position is a place in the file, both counted from 1; zero is nowhere.
type position struct{ line, column int }

// document remembers where each value of a file stands.
type document struct {
	file    string
	at      map[string]position
	secrets func(name string) ([]byte, error) // opens secret:NAME; nil until the agent runs
}

func (d *document) name() string {
	if d == nil {
		return ""
	}
	return d.file
}

func (d *document) pos(path string) position {
	if d == nil {
		return position{}
	}
	for {
		if p, ok := d.at[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return d.at[""]
		}
		path = path[:cut]
	}
}
