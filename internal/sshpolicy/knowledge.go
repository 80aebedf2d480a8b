package sshpolicy

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// The knowledge base: which algorithm exists, since when, with which known
// weakness, and what each OpenSSH release offers by default. data/README.md
// names the sources.

//go:embed data/openssh-defaults.json data/ssh-algorithms.json
var dataFiles embed.FS

// algorithmFacts is one entry of data/ssh-algorithms.json.
type algorithmFacts struct {
	Since              map[string]string `json:"since"`                // software -> first version
	ServerDefaultUntil map[string]string `json:"server_default_until"` // software -> last version with it in the default list
	Weak               []string          `json:"weak"`
	Broken             []string          `json:"broken"`
}

// release is what one OpenSSH release offers by default.
type release struct {
	Version string   `json:"version"`
	KEX     []string `json:"kex"`
	HostKey []string `json:"host_key"`
	Cipher  []string `json:"cipher"`
	MAC     []string `json:"mac"`
}

func (r release) list(c Category) []string {
	return Policy{KEX: r.KEX, HostKeys: r.HostKey, Ciphers: r.Cipher, MACs: r.MAC}.List(c)
}

type knowledgeBase struct {
	algorithms map[Category]map[string]algorithmFacts
	releases   []release // ascending
	library    map[Category][]string
}

// knowledge parses the embedded files at first use: a start that needs no
// policy does not pay for them.
var knowledge = sync.OnceValue(func() knowledgeBase {
	var k knowledgeBase
	var a struct {
		Algorithms map[Category]map[string]algorithmFacts `json:"algorithms"`
	}
	mustParse("data/ssh-algorithms.json", &a)
	k.algorithms = a.Algorithms
	var d struct {
		Versions []release `json:"versions"`
	}
	mustParse("data/openssh-defaults.json", &d)
	for i := 1; i < len(d.Versions); i++ {
		d.Versions[i].inherit(d.Versions[i-1])
	}
	k.releases = d.Versions
	k.library = libraryAlgorithms()
	return k
})

// inherit fills the lists that did not change since the release before.
func (r *release) inherit(before release) {
	for now, old := range map[*[]string][]string{&r.KEX: before.KEX, &r.HostKey: before.HostKey, &r.Cipher: before.Cipher, &r.MAC: before.MAC} {
		if *now == nil {
			*now = old
		}
	}
}

// mustParse panics on an embedded file that does not parse: the program is wrong.
func mustParse(file string, into any) {
	data, err := dataFiles.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		panic(fmt.Sprintf("sshpolicy: embedded %s: %v", file, err))
	}
}

// libraryAlgorithms is what x/crypto/ssh can do in this process, insecure ones
// included; they are used only where a policy names them. Its own lists are
// longer than what it can do in FIPS 140 mode, so its habit of dropping what it
// has no code for is the judge. (SetDefaults is never called on a configuration
// that is used: it fills empty lists with defaults.)
func libraryAlgorithms() map[Category][]string {
	good, bad := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	c := ssh.Config{
		KeyExchanges: slices.Concat(good.KeyExchanges, bad.KeyExchanges, []string{"curve25519-sha256@libssh.org", kexGroup18}),
		Ciphers:      slices.Concat(good.Ciphers, bad.Ciphers),
		MACs:         slices.Concat(good.MACs, bad.MACs),
	}
	c.SetDefaults()
	return map[Category][]string{
		KEX:     c.KeyExchanges,
		HostKey: slices.Concat(good.HostKeys, bad.HostKeys),
		Cipher:  c.Ciphers,
		MAC:     c.MACs,
	}
}

func facts(c Category, name string) algorithmFacts { return knowledge().algorithms[c][name] }

// known reports whether any SSH software that we know of has the algorithm.
func known(c Category, name string) bool {
	k := knowledge()
	_, ok := k.algorithms[c][name]
	return ok || slices.Contains(k.library[c], name) || OpenSSH.Can(c, name)
}

// Transport is what carries a real session.
type Transport string

// The transports. OpenSSH means the host's ssh program, opt-in per target.
const (
	Go      Transport = "go"
	OpenSSH Transport = "openssh"
)

// Can reports whether the transport implements the algorithm.
func (t Transport) Can(c Category, name string) bool {
	switch t {
	case Go:
		return slices.Contains(knowledge().library[c], name)
	case OpenSSH:
		if facts(c, name).Since["openssh"] != "" {
			return true
		}
		return slices.ContainsFunc(knowledge().releases, func(r release) bool { return slices.Contains(r.list(c), name) })
	}
	return false
}

// suggestions are the names worth proposing for a misspelt one.
func suggestions(c Category, t Transport) []string {
	var names []string
	for name := range knowledge().algorithms[c] {
		if t.Can(c, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// closest returns the candidate with the smallest edit distance to name, or ""
// when none is within a third of its length.
func closest(name string, candidates []string) string {
	best, found := len(name)/3+1, ""
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c), best); d < best {
			best, found = d, c
		}
	}
	return found
}

// editDistance is the Levenshtein distance, or limit when it is at least that.
func editDistance(a, b string, limit int) int {
	if len(a) > 128 || len(b) > 128 || max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}

// compareVersions orders dotted versions by their numbers; a part that is no
// number counts as 0.
func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if c := cmp.Compare(part(x, i), part(y, i)); c != 0 {
			return c
		}
	}
	return 0
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}

func join(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
