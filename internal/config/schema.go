package config

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"strings"
)

// What ParseDuration and ParseSize read, for the schema.
const (
	durationPattern = "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
	sizePattern     = "^[0-9]+([KMGT]i)?B$"
)

// schema is the part of JSON Schema 2020-12 that describes the file.
type schema struct {
	Dialect     string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Default     any                `json:"default,omitempty"`
	OneOf       []*schema          `json:"oneOf,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Closed      *bool              `json:"additionalProperties,omitempty"` // false: no other keys
}

// groupSchema describes a mapping by the same table that decodes it.
func groupSchema(g group) *schema {
	closed := false
	s := &schema{Type: "object", Properties: map[string]*schema{}, Closed: &closed}
	for _, k := range g.keys() {
		p := k.value.schema()
		p.Description = strings.TrimSpace(sentence(k.doc) + " " + p.Description)
		s.Properties[k.name] = p
		if k.required {
			s.Required = append(s.Required, k.name)
		}
	}
	return s
}

// sentence makes one of a doc that is also used as a hint.
func sentence(doc string) string {
	doc = strings.ToUpper(doc[:1]) + doc[1:]
	if !strings.HasSuffix(doc, ".") {
		doc += "."
	}
	return doc
}

// Schema answers the JSON schema (2020-12) of the file, indented, for editors.
func Schema() []byte {
	s := groupSchema(Default())
	s.Dialect = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "allclear.yaml"
	s.Description = "Configuration of the allclear agent."
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic(err) // the schema is made of strings and numbers; see TestTheSchemaIsJSON
	}
	return b.Bytes()
}

//go:embed example.yaml
var example []byte

// Example answers a commented file that shows every key. It is free of mistakes as it stands; what is commented out
// needs files or servers of one's own.
func Example() []byte { return bytes.Clone(example) }
