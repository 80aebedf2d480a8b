package ttlv_test

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"testing"

	"allclear/kmip/ttlv"
)

// The folder of -oasis is read by the tests of kmip and kmiptest.
var _ = flag.String("oasis", "", "folder of other OASIS KMIP 1.x cases")

// tables is a kmip-tables file, read without the help of the generator.
type tables struct {
	Counts map[string]int
	Types  map[string]struct{ Value string }
	Tags   []struct {
		Value, ID, Name, Enum, Mask string
		Type                        any
	}
	Enums, Masks map[string][]struct{ Value, ID, Name string }
}

func readTables(t *testing.T, version string) (tt tables) {
	t.Helper()
	b, err := os.ReadFile("../testdata/kmip-tables-" + version + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &tt); err != nil {
		t.Fatal(err)
	}
	return tt
}

// constants are the constants of a generated file by their names.
func constants(t *testing.T, file string) map[string]uint64 {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				x, err := strconv.ParseUint(lit.Value, 0, 64)
				if err != nil {
					t.Fatal(err)
				}
				all[v.Names[0].Name] = x
			}
		}
		return true
	})
	return all
}

func number(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func typesOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, s := range v {
			list = append(list, s.(string))
		}
		return list
	}
	return nil
}

func TestEveryTagOfTheTablesIsThere(t *testing.T) {
	consts := constants(t, "tags_gen.go")
	for major, version := range map[int]string{1: "1.4", 2: "2.1"} {
		tt := readTables(t, version)
		if len(tt.Tags) != tt.Counts["tags"] || len(tt.Tags) == 0 {
			t.Fatalf("%d tags in the file, it says %d", len(tt.Tags), tt.Counts["tags"])
		}
		for _, row := range tt.Tags {
			tag := ttlv.Tag(number(t, row.Value))
			if tag.ID() != row.ID || tag.String() != row.Name || !tag.In(major) {
				t.Errorf("KMIP %s %s: got %s, %s, in the version: %t", version, row.ID, tag.ID(), tag, tag.In(major))
			}
			if consts["Tag"+row.ID] != uint64(tag) {
				t.Errorf("constant Tag%s is %#x", row.ID, consts["Tag"+row.ID])
			}
			byID, okID := ttlv.TagByID(row.ID)
			byName, okName := ttlv.TagByName(row.Name)
			if byID != tag || !okID || byName != tag || !okName {
				t.Errorf("%s is found as %v, %v", row.ID, byID, byName)
			}
			for _, name := range typesOf(row.Type) {
				if ty, ok := ttlv.TypeByName(name); !ok || !tag.Allows(ty) {
					t.Errorf("%s does not allow %s", row.ID, name)
				}
			}
			if row.Type != nil && tag.Allows(ttlv.TypeBigInteger) && len(typesOf(row.Type)) == 1 && row.Type != "BigInteger" {
				t.Errorf("%s allows more than %v", row.ID, row.Type)
			}
			if tag.Mask() != (row.Mask != "") {
				t.Errorf("%s: mask is %t", row.ID, tag.Mask())
			}
		}
		for name, row := range tt.Types {
			if ty, ok := ttlv.TypeByName(name); !ok || uint32(ty) != number(t, row.Value) || ty.String() != name {
				t.Errorf("type %s is %v", name, ty)
			}
		}
	}
}

func TestEveryValueOfTheTablesIsThere(t *testing.T) {
	consts := constants(t, "../enums_gen.go")
	for _, version := range []string{"1.4", "2.1"} {
		tt := readTables(t, version)
		values, bits := 0, 0
		for _, tag := range tt.Tags {
			names := ttlv.Tag(number(t, tag.Value))
			for _, row := range append(tt.Enums[tag.Enum], tt.Masks[tag.Mask]...) {
				n := number(t, row.Value)
				if got, ok := names.ValueByID(row.ID); !ok || got != n {
					t.Errorf("KMIP %s %s %s: found as %#x, %t", version, tag.ID, row.ID, got, ok)
				}
				// What two versions name differently has the older name.
				if id := names.ValueID(n); version == "1.4" && (id != row.ID || names.ValueName(n) != row.Name) {
					t.Errorf("KMIP %s %s %#x is %s, %s", version, tag.ID, n, id, names.ValueName(n))
				}
			}
		}
		for set, rows := range tt.Enums {
			values += len(rows)
			for _, row := range rows {
				if n, ok := consts[set+row.ID]; !ok || n != uint64(number(t, row.Value)) {
					t.Errorf("constant %s%s is %#x", set, row.ID, n)
				}
			}
		}
		for set, rows := range tt.Masks {
			bits += len(rows)
			for _, row := range rows {
				if n, ok := consts[set+row.ID]; !ok || n != uint64(number(t, row.Value)) {
					t.Errorf("constant %s%s is %#x", set, row.ID, n)
				}
			}
		}
		if values != tt.Counts["enumeration_values"] || bits != tt.Counts["mask_bits"] {
			t.Errorf("KMIP %s: %d values and %d bits, the file says %v", version, values, bits, tt.Counts)
		}
	}
}

func TestNamesOfWhatNoTableHas(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{ttlv.Tag(0x540001).String(), "0x540001"},
		{ttlv.Tag(0x540001).ID(), "0x540001"},
		{ttlv.Type(0x7F).String(), "type 0x7F"},
		{ttlv.TagState.ValueName(0x80000001), "0x80000001"},
		{ttlv.TagState.ValueID(99), "0x00000063"},
		{ttlv.TagUniqueBatchItemID.ValueName(1), "0x00000001"},
		{ttlv.TagCryptographicUsageMask.ValueID(0x8000000C), "Encrypt Decrypt 0x80000000"},
		{ttlv.TagCryptographicUsageMask.ValueName(0), "0x00000000"},
		{ttlv.TagAttributeReference.ValueID(uint32(ttlv.TagState)), "State"},
		{ttlv.TagResultStatus.ValueName(0), "Success"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	for _, id := range []string{"", "0x", "0x123456", "0x4200GG", "Nonsense"} {
		if tag, ok := ttlv.TagByID(id); ok {
			t.Errorf("%q is tag %s", id, tag)
		}
	}
	for _, id := range []string{"", "Nonsense", "Sign Nonsense", "0x1FFFFFFFF"} {
		if n, ok := ttlv.TagCryptographicUsageMask.ValueByID(id); ok {
			t.Errorf("%q is mask %#x", id, n)
		}
	}
}
