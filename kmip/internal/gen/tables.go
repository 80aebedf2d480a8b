package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
)

// tables is one kmip-tables file, as far as names go.
type tables struct {
	Types map[string]struct{ Value string } `json:"types"`
	Tags  []struct {
		Value, ID, Name, Enum, Mask string
		Type                        texts
	} `json:"tags"`
	Enums map[string][]struct{ Value, ID, Name string } `json:"enums"`
	Masks map[string][]struct{ Value, ID, Name string } `json:"masks"`
}

// texts is a text or a list of texts.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func read(name string) (*tables, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var t tables
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &t, nil
}

// merged is what all versions together define; versions are bits, 1 for 1.4 and 2 for 2.1.
type merged struct {
	types []struct{ ID, Value string }
	tags  []*tag
	sets  []*set
}

type tag struct {
	value    uint64
	id, name string
	types    []string
	names    string // of the enumeration or mask that its values are of
	versions int
}

type set struct {
	id     string
	tag    string // a tag that refers to it
	mask   bool
	values []*value
}

type value struct {
	value    uint64
	id, name string
	versions int
}

func (m *merged) add(t *tables, version int) error {
	m.types = m.types[:0]
	for _, id := range slices.Sorted(maps.Keys(t.Types)) {
		m.types = append(m.types, struct{ ID, Value string }{id, t.Types[id].Value})
	}
	slices.SortFunc(m.types, func(a, b struct{ ID, Value string }) int { return cmp.Compare(a.Value, b.Value) })
	for _, row := range t.Tags {
		n, err := strconv.ParseUint(row.Value, 16, 24)
		if err != nil {
			return fmt.Errorf("tag %s: %w", row.ID, err)
		}
		i := slices.IndexFunc(m.tags, func(o *tag) bool { return o.value == n })
		if i < 0 {
			i = len(m.tags)
			m.tags = append(m.tags, &tag{value: n, id: row.ID, name: row.Name})
		}
		o := m.tags[i]
		if o.id != row.ID {
			return fmt.Errorf("tag %s is %s and %s", row.Value, o.id, row.ID)
		}
		o.versions |= version
		for _, ty := range row.Type {
			if !slices.Contains(o.types, ty) {
				o.types = append(o.types, ty)
			}
		}
		o.names = cmp.Or(o.names, row.Enum, row.Mask)
	}
	for mask, group := range []map[string][]struct{ Value, ID, Name string }{t.Enums, t.Masks} {
		for _, id := range slices.Sorted(maps.Keys(group)) {
			for _, row := range group[id] {
				if err := m.value(id, mask == 1, row.Value, row.ID, row.Name, version); err != nil {
					return err
				}
			}
			m.make(id, mask == 1)
		}
	}
	return nil
}

func (m *merged) make(id string, mask bool) *set {
	i := slices.IndexFunc(m.sets, func(s *set) bool { return s.id == id })
	if i < 0 {
		i = len(m.sets)
		m.sets = append(m.sets, &set{id: id, mask: mask})
	}
	return m.sets[i]
}

func (m *merged) value(setID string, mask bool, number, id, name string, version int) error {
	n, err := strconv.ParseUint(number, 16, 32)
	if err != nil {
		return fmt.Errorf("value %s of %s: %w", id, setID, err)
	}
	s := m.make(setID, mask)
	for _, v := range s.values {
		switch {
		case v.id == id && v.value == n:
			v.versions |= version
			return nil
		case v.id == id:
			return fmt.Errorf("%s %s is %#x and %#x", setID, id, v.value, n)
		}
	}
	s.values = append(s.values, &value{value: n, id: id, name: name, versions: version})
	return nil
}

// finish orders everything and finds a tag for each set.
func (m *merged) finish() error {
	slices.SortFunc(m.tags, func(a, b *tag) int { return cmp.Compare(a.value, b.value) })
	slices.SortFunc(m.sets, func(a, b *set) int { return cmp.Compare(a.id, b.id) })
	for _, s := range m.sets {
		slices.SortStableFunc(s.values, func(a, b *value) int { return cmp.Compare(a.value, b.value) })
		for _, t := range m.tags {
			if t.names == s.id && (s.tag == "" || t.id == s.id) {
				s.tag = t.id
			}
		}
		if s.tag == "" {
			return fmt.Errorf("no tag has values of %s", s.id)
		}
	}
	return nil
}

// set is the place of a set in the written table: 0 is none, -1 that the values are tags.
func (m *merged) set(id string) int {
	if id == "Tag" {
		return -1
	}
	return slices.IndexFunc(m.sets, func(s *set) bool { return id != "" && s.id == id }) + 1
}
