package keyserver

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"allclear/kmip"
)

// Profile is what a server of a kind must be, as a table: a new kind is a row.
type Profile struct {
	Name  string
	Title string // for people
	// Products are the makes that belong to the kind; none: any.
	Products []Product
	// MinKMIP is the oldest version of the protocol; a group may demand a newer.
	MinKMIP kmip.Version
}

// Product is a make of server, known by what it tells of itself.
type Product struct {
	Name string
	// Pattern finds it in the Vendor Identification or the Server Information.
	Pattern *regexp.Regexp
	// MinLevel is the oldest code level that is supported; nil: any, known or not.
	MinLevel Level
}

// profiles are the kinds of servers; nothing changes them.
//
// isklm is seed 002, event 086007: ISKLM only, 2.6.0.0 or later, KMIP 1.3 or
// later; the product was renamed from SKLM to GKLM at 4.0.
var profiles = []Profile{
	{
		Name: "isklm", Title: "IBM Security (or Guardium) Key Lifecycle Manager 2.6.0.0 or later", MinKMIP: kmip.V1_3,
		Products: []Product{
			{"IBM GKLM", regexp.MustCompile(`(?i)\bGKLM\b|Guardium Key Lifecycle Manager`), Level{2, 6, 0, 0}},
			{"IBM SKLM", regexp.MustCompile(`(?i)\bI?SKLM\b|Security Key Lifecycle Manager`), Level{2, 6, 0, 0}},
		},
	},
	{
		Name: "ciphertrust", Title: "Thales CipherTrust Manager", MinKMIP: kmip.V1_0,
		Products: []Product{{"Thales CipherTrust", regexp.MustCompile(`(?i)ciphertrust|\bthales\b|keysecure`), nil}},
	},
	{
		Name: "pykmip", Title: "PyKMIP", MinKMIP: kmip.V1_0,
		Products: []Product{{"PyKMIP", regexp.MustCompile(`(?i)pykmip`), nil}},
	},
	{Name: "generic", Title: "any KMIP server", MinKMIP: kmip.V1_0},
}

// Profiles are the kinds of servers.
func Profiles() []Profile { return slices.Clone(profiles) }

// genericProfile is the profile of servers that name none.
const genericProfile = "generic"

// profileOf answers the profile of that name.
func profileOf(name string) (Profile, error) {
	all := profiles
	i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == cmp.Or(name, genericProfile) })
	if i < 0 {
		names := make([]string, len(all))
		for i, p := range all {
			names[i] = p.Name
		}
		return Profile{}, fmt.Errorf("profile %q is none of %s", name, strings.Join(names, ", "))
	}
	return all[i], nil
}

// Level is a code level: numbers, the first the most significant. Levels are
// compared as numbers: 2.10 is later than 2.6, and 3 is 3.0.0.0.
type Level []int

var levelForm = regexp.MustCompile(`\b[vV]?(\d{1,9}(?:\.\d{1,9}){1,5})\b`)

// ParseLevel finds the first code level in a text, such as "IBM SKLM 4.1.1.0"; nil
// if there is none. A single number is no level.
func ParseLevel(text string) Level {
	m := levelForm.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	var l Level
	for part := range strings.SplitSeq(m[1], ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		l = append(l, n)
	}
	return l
}

// Compare answers -1, 0 or 1 as l is before, at or after o.
func (l Level) Compare(o Level) int {
	for i := range max(len(l), len(o)) {
		var a, b int
		if i < len(l) {
			a = l[i]
		}
		if i < len(o) {
			b = o[i]
		}
		if a != b {
			return cmp.Compare(a, b)
		}
	}
	return 0
}

func (l Level) String() string {
	parts := make([]string, len(l))
	for i, n := range l {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}

// identity is what a server tells of itself.
type identity struct {
	vendor  string // Vendor Identification
	texts   []string
	product string
	level   Level
	role    string // master, clone, multi-master, stand-alone
}

var roleForm = regexp.MustCompile(`(?i)\bServerType\s*[=:]\s*"?(master|clone|multi-master)\b`)

// The roles that a server may tell; standAlone is told by saying nothing.
const (
	roleMaster      = "master"
	roleClone       = "clone"
	roleMultiMaster = "multi-master"
	roleStandAlone  = "stand-alone"
)

// identify reads what a server told: which product it is by the profile, its code
// level, and its role among others ("ServerType=clone"), wherever it is told.
func identify(p Profile, vendor string, texts []string) identity {
	id := identity{vendor: vendor, texts: texts, role: roleStandAlone}
	all := append([]string{vendor}, texts...)
	for _, t := range all {
		if m := roleForm.FindStringSubmatch(t); m != nil {
			id.role = strings.ToLower(m[1])
			break
		}
	}
	products := p.Products
	if len(products) == 0 {
		for _, other := range profiles {
			products = append(products, other.Products...)
		}
	}
	for _, t := range all {
		for _, product := range products {
			at := product.Pattern.FindStringIndex(t)
			if at == nil || id.product != "" {
				continue
			}
			id.product = product.Name
			id.level = ParseLevel(t[at[1]:]) // behind the name: years and host names stand before it
			if id.level == nil {
				id.level = ParseLevel(t)
			}
		}
	}
	if id.level == nil {
		for _, t := range all {
			if id.level = ParseLevel(t); id.level != nil {
				break
			}
		}
	}
	return id
}

// unsupported says why a server is none of the profile: the qualifier of the
// fault, and what was read and wanted. The qualifier is "" when it is one.
func (p Profile) unsupported(id identity) (qualifier string, err error) {
	if len(p.Products) == 0 {
		return "", nil
	}
	i := slices.IndexFunc(p.Products, func(q Product) bool { return q.Name == id.product })
	if i < 0 {
		return "type", fmt.Errorf("the server calls itself %q, wanted is %s", id.vendor, p.Title)
	}
	least := p.Products[i].MinLevel
	switch {
	case least == nil:
		return "", nil
	case id.level == nil:
		return "software", fmt.Errorf("%q tells no code level, wanted is %s or later", id.vendor, least)
	case id.level.Compare(least) < 0:
		return "software", fmt.Errorf("%s is at level %s, wanted is %s or later", id.product, id.level, least)
	}
	return "", nil
}

// needed are the operations without which a server is of no use here.
func needed(primary bool) []kmip.Operation {
	ops := []kmip.Operation{kmip.OperationLocate, kmip.OperationGet, kmip.OperationGetAttributes}
	if primary {
		ops = append(ops, kmip.OperationCreate, kmip.OperationActivate, kmip.OperationRevoke, kmip.OperationDestroy)
	}
	return ops
}
