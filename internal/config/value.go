package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// maxText bounds every single text of the file, in bytes.
const maxText = 4096

// text is a single value whose meaning parse knows: it answers what is wrong with it, or stores it.
type text struct {
	want  string // "a time span such as 5m"
	parse func(s string) error
	shape schema
}

func (t text) decode(d *decoder, n *yaml.Node, path string) {
	s, ok := d.scalar(n, path, t.want)
	switch {
	case !ok:
		return
	case len(s) > maxText:
		d.mistake(n, path, fmt.Sprintf("this is longer than %d bytes", maxText), "")
		return
	case strings.ContainsFunc(s, isControl):
		d.mistake(n, path, "this holds a line break or another control character", "wanted is "+t.want)
		return
	}
	if err := t.parse(s); err != nil {
		d.mistake(n, path, err.Error(), "wanted is "+t.want)
	}
}

func (t text) schema() *schema { return &t.shape }

// anyText takes every text that check, if any, finds nothing wrong with.
func anyText(p *string, want string, check func(string) error) value {
	return text{want: want, shape: schema{Type: "string", Default: orNil(*p)}, parse: func(s string) error {
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		*p = s
		return nil
	}}
}

// word takes one of a closed list of words.
func word(p *string, words ...string) value {
	want := "one of " + strings.Join(words, ", ")
	return text{want: want, shape: schema{Type: "string", Enum: words, Default: orNil(*p)}, parse: func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is not known here", printable(s))
		}
		*p = s
		return nil
	}}
}

// level takes a log level by its name.
func level(p *slog.Level) value {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	name := strings.ToLower(p.String())
	w := word(&name, "debug", "info", "warn", "error").(text)
	known := w.parse
	w.parse = func(s string) error {
		if err := known(s); err != nil {
			return err
		}
		*p = levels[name]
		return nil
	}
	return w
}

// integer takes a whole number within bounds.
func integer(p *int, low, high int) value {
	want := fmt.Sprintf("a whole number from %d to %d", low, high)
	shape := schema{Type: "integer", Minimum: &low, Maximum: &high, Default: orNil(*p)}
	return text{want: want, shape: shape, parse: func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", printable(s))
		}
		if n < low || n > high {
			return fmt.Errorf("%d is out of bounds", n)
		}
		*p = n
		return nil
	}}
}

// span takes a duration within bounds.
func span(p *time.Duration, low, high time.Duration) value {
	want := fmt.Sprintf("a time span from %s to %s, such as 90s, 5m, 26h or 30d", FormatDuration(low), FormatDuration(high))
	shape := schema{Type: "string", Pattern: durationPattern, Description: "From " + FormatDuration(low) + " to " + FormatDuration(high) + "."}
	if *p != 0 {
		shape.Default = FormatDuration(*p)
	}
	return text{want: want, shape: shape, parse: func(s string) error {
		v, err := ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a time span", printable(s))
		}
		if v < low || v > high {
			return fmt.Errorf("%s is out of bounds", FormatDuration(v))
		}
		*p = v
		return nil
	}}
}

// size takes a number of bytes within bounds.
func size(p *int64, low, high int64) value {
	want := fmt.Sprintf("a size from %s to %s, such as 512MiB or 2GiB", FormatSize(low), FormatSize(high))
	shape := schema{Type: "string", Pattern: sizePattern, Default: FormatSize(*p), Description: "From " + FormatSize(low) + " to " + FormatSize(high) + "."}
	return text{want: want, shape: shape, parse: func(s string) error {
		v, err := ParseSize(s)
		if err != nil {
			return fmt.Errorf("%q is not a size", printable(s))
		}
		if v < low || v > high {
			return fmt.Errorf("%s is out of bounds", FormatSize(v))
		}
		*p = v
		return nil
	}}
}

// yes takes true or false.
type yes struct{ to *bool }

func (v yes) decode(d *decoder, n *yaml.Node, path string) {
	text{want: "true or false", parse: func(s string) error {
		if s != "true" && s != "false" {
			return fmt.Errorf("%q is neither true nor false", printable(s))
		}
		*v.to = s == "true"
		return nil
	}}.decode(d, n, path)
}

func (v yes) schema() *schema { return &schema{Type: "boolean", Default: *v.to} }

// date takes a day and stores the moment, in UTC, when it is over.
func date(p *time.Time) value {
	shape := schema{Type: "string", Format: "date"}
	return text{want: "a day such as 2027-01-31", shape: shape, parse: func(s string) error {
		v, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return fmt.Errorf("%q is not a day", printable(s))
		}
		*p = v.AddDate(0, 0, 1)
		return nil
	}}
}

// filePath takes a path and stores it absolute.
type filePath struct{ to *string }

func (f filePath) decode(d *decoder, n *yaml.Node, path string) {
	anyText(f.to, "the path of a file", func(s string) error {
		if s == "" {
			return ErrEmpty
		}
		return nil
	}).decode(d, n, path)
	if *f.to != "" {
		*f.to = absolute(*f.to, d.dir)
	}
}

func (f filePath) schema() *schema { return &schema{Type: "string", MinLength: 1} }

// source takes a reference and looks at once whether it leads anywhere.
type source struct {
	to     *reference
	access access
}

func (r source) decode(d *decoder, n *yaml.Node, path string) {
	want := "file:PATH, env:NAME or cred:NAME"
	if r.access == private {
		want = "file:PATH, env:NAME, cred:NAME or secret:NAME"
	}
	s, ok := d.scalar(n, path, want)
	if !ok {
		return
	}
	ref, err := parseReference(s, d.dir)
	if err != nil {
		hint := "wanted is " + want
		if r.access == private {
			hint += "; a secret itself is never written into this file"
		}
		d.mistake(n, path, err.Error(), hint)
		return
	}
	if ref.kind == "secret" {
		if r.access != private {
			d.mistake(n, path, "what is public is kept in no secret", "wanted is "+want)
			return
		}
		ref.doc = d.doc
		*r.to = ref
		return // the running agent opens it, when it is used
	}
	*r.to = ref
	if _, err := ref.read(r.access); err != nil {
		d.mistake(n, path, inWords(err), mending(err))
	}
}

func (r source) schema() *schema {
	if r.access == private {
		return &schema{Type: "string", Pattern: "^(file|env|cred|secret):.+"}
	}
	return &schema{Type: "string", Pattern: "^(file|env|cred):.+"}
}

// nested takes a mapping.
type nested struct{ group group }

func (v nested) decode(d *decoder, n *yaml.Node, path string) {
	if empty(n) {
		return // all that it held is commented out
	}
	d.mapping(n, path, v.group)
}

func (v nested) schema() *schema { return groupSchema(v.group) }

// pointer is a group that may be left out.
type pointer[T any] interface {
	*T
	group
}

// optional takes a mapping that is nil when it is not written.
type optional[T any, P pointer[T]] struct {
	to    **T
	start func() T // the defaults
}

func (v optional[T, P]) decode(d *decoder, n *yaml.Node, path string) {
	t := v.start()
	if d.mapping(n, path, P(&t)) {
		*v.to = &t
	}
}

func (v optional[T, P]) schema() *schema {
	t := v.start()
	return groupSchema(P(&t))
}

// items takes a list of mappings with a name that is unique in the list.
type items[T any, P pointer[T]] struct {
	to    *[]T
	start func() T // the defaults of an item
	name  func(*T) string
}

func (v items[T, P]) decode(d *decoder, n *yaml.Node, path string) {
	first := map[string]int{}
	d.list(n, path, func(i int, n *yaml.Node, p string) {
		t := v.start()
		d.mapping(n, p, P(&t))
		*v.to = append(*v.to, t)
		name := v.name(&t)
		if was, ok := first[name]; ok && name != "" {
			d.wrong.Add(p+".name", fmt.Sprintf("the name %q is taken", name),
				fmt.Sprintf("%s has it in line %d", index(path, was), d.doc.pos(index(path, was)+".name").line))
			return
		}
		first[name] = i
	})
}

func (v items[T, P]) schema() *schema {
	t := v.start()
	return &schema{Type: "array", Items: groupSchema(P(&t))}
}

// texts takes a list of values, each as element reads it.
type texts struct {
	to      *[]string
	element func(*string) value
}

func (v texts) decode(d *decoder, n *yaml.Node, path string) {
	if d.follow(n).Kind == yaml.SequenceNode {
		*v.to = []string{} // an empty list is not the same as none
	}
	d.list(n, path, func(_ int, n *yaml.Node, p string) {
		var s string
		v.element(&s).decode(d, n, p)
		*v.to = append(*v.to, s)
	})
}

func (v texts) schema() *schema {
	var s string
	return &schema{Type: "array", Items: v.element(&s).schema()}
}

// list calls each for every element of a list. Nothing written is an empty list.
func (d *decoder) list(n *yaml.Node, path string, each func(i int, n *yaml.Node, path string)) {
	n = d.follow(n)
	if empty(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.unexpected(n, path, "a list")
		return
	}
	for i, c := range n.Content {
		p := index(path, i)
		if !d.count(c, p) {
			return
		}
		d.doc.at[p] = position{c.Line, c.Column}
		if d.marked(c, p) {
			each(i, c, p)
		}
	}
}

// orNil keeps the zero value, which is no default to speak of, out of the schema.
func orNil[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}
