package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxValues bounds what a file may grow to through aliases.
const maxValues = 500_000

// key is one key of a mapping: the single source of decoding, suggestions and the schema.
type key struct {
	name     string
	doc      string // one sentence for the schema
	required bool
	value    value
}

// value decodes one YAML node into the place that it was made for.
type value interface {
	decode(d *decoder, n *yaml.Node, path string)
	schema() *schema
}

// group is a struct that is written as a mapping with a closed set of keys.
type group interface {
	keys() []key
}

// checker is a group whose keys depend on each other. check runs after all keys were decoded.
type checker interface {
	check(d *decoder, path string)
}

// decoder walks the tree of one file.
type decoder struct {
	doc    *document
	wrong  *Mistakes
	dir    string // directory of the file, absolute
	values int    // nodes seen, each time anew through aliases
}

func (d *decoder) mistake(n *yaml.Node, path, message, hint string) {
	d.wrong.at(position{n.Line, n.Column}, path, message, hint)
}

// mapping decodes n into g. It answers false when n is no mapping at all.
func (d *decoder) mapping(n *yaml.Node, path string, g group) bool {
	n = d.follow(n)
	if n.Kind != yaml.MappingNode {
		d.unexpected(n, path, "keys with values")
		return false
	}
	keys := g.keys()
	first := make(map[string]*yaml.Node, len(keys))
	for i := 0; i+1 < len(n.Content) && d.count(n, path); i += 2 {
		d.pair(n.Content[i], n.Content[i+1], path, keys, first)
	}
	for _, k := range keys {
		if k.required && first[k.name] == nil {
			d.mistake(n, join(path, k.name), "this key is missing", k.doc)
		}
	}
	if c, ok := g.(checker); ok {
		c.check(d, path)
	}
	return true
}

// pair decodes one key and its value. first holds the keys that the mapping has had.
func (d *decoder) pair(kn, vn *yaml.Node, path string, keys []key, first map[string]*yaml.Node) {
	if kn.Kind != yaml.ScalarNode {
		d.mistake(kn, path, "a key is a plain word", "")
		return
	}
	name, p := kn.Value, join(path, printable(kn.Value))
	if was := first[name]; was != nil {
		d.mistake(kn, p, "this key is written twice", fmt.Sprintf("it stands in line %d already; keep one", was.Line))
		return
	}
	first[name] = kn
	for _, k := range keys {
		if k.name == name {
			d.doc.at[p] = position{vn.Line, vn.Column}
			if d.marked(vn, p) {
				k.value.decode(d, vn, p)
			}
			return
		}
	}
	d.mistake(kn, p, "there is no such key here", d.instead(kn, keys))
}

// instead says what an unknown key was most likely meant to be.
func (d *decoder) instead(kn *yaml.Node, keys []key) string {
	if kn.ShortTag() == "!!merge" {
		return "merge keys are not read: write the keys out, or use an alias for the whole value"
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	if near := nearest(kn.Value, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the keys here are " + strings.Join(names, ", ")
}

// follow answers the node that n stands for. An alias of an alias does not exist in YAML.
func (d *decoder) follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// count refuses to go on in a file that aliases have blown up.
func (d *decoder) count(n *yaml.Node, path string) bool {
	d.values++
	if d.values == maxValues {
		d.mistake(n, path, fmt.Sprintf("with its aliases the file has more than %d values; the rest is not read", maxValues), "")
	}
	return d.values < maxValues
}

// marked refuses a value with a tag such as !!binary or !include.
func (d *decoder) marked(n *yaml.Node, path string) bool {
	if n.Style&yaml.TaggedStyle == 0 {
		return true
	}
	d.mistake(n, path, fmt.Sprintf("tags such as %s are not read", printable(n.Tag)), "write the plain value")
	return false
}

// scalar answers the text of n, or says what is wanted instead of what is there.
func (d *decoder) scalar(n *yaml.Node, path, want string) (string, bool) {
	n = d.follow(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.unexpected(n, path, want)
		return "", false
	}
	return n.Value, true
}

func (d *decoder) unexpected(n *yaml.Node, path, want string) {
	got := "a single value"
	switch {
	case empty(n):
		d.mistake(n, path, "there is no value", "wanted is "+want)
		return
	case n.Kind == yaml.MappingNode:
		got = "keys with values"
	case n.Kind == yaml.SequenceNode:
		got = "a list"
	}
	d.mistake(n, path, "wanted is "+want+", this is "+got, "")
}

// empty reports whether a key stands there with nothing behind it, as when all that it held is commented out.
func empty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// printable makes a word of the file fit for one line of a terminal.
func printable(s string) string {
	const most = 64
	short := []rune(s)
	if len(short) > most {
		short = append(short[:most], '…')
	}
	if strings.ContainsFunc(string(short), func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strings.Trim(strconv.Quote(string(short)), `"`)
	}
	return string(short)
}
