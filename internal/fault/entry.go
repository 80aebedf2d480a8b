package fault

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Remedy is one step that mends a fault.
type Remedy struct {
	// Text says what to do, in one or two sentences.
	Text string `json:"text"`
	// Impact says what the step does to a running system (R0-24).
	Impact string `json:"impact"`
	// Command, if any, is an allclear command line or a shell command to run.
	// "{resource}" and "{KEY}" stand for the fault's resource and sense values.
	Command string `json:"command,omitempty"`
	// Action, if any, names an action of the agent that does the step.
	Action string `json:"action,omitempty"`
}

// Hold is how long a condition must be seen before it counts. Both times are
// met by looks, never by a timer; zero means the first look decides.
type Hold struct {
	Raise, Clear time.Duration
	// Always keeps Clear in force after an operator's fix too.
	Always bool
}

// Escalation raises the shown severity of a fault that stays active.
type Escalation struct {
	After time.Duration
	To    Severity
}

// Variant is a qualifier of a code (RFC 8632 alarm-type-qualifier) with what
// differs from the code's own texts. Empty fields mean "as the code".
type Variant struct {
	Name   string // the value of the sense key "qualifier"
	Title  string
	Cause  string
	Remedy []Remedy
}

// Auto is a remedy that the agent may take by itself when the operator has
// opted in. It counts as successful only when the owner check clears the fault.
type Auto struct {
	Action  string
	Budget  int           // at most so many starts
	Per     time.Duration // within this time
	Backoff time.Duration // between starts; doubles with each
}

// Entry is what the catalogue says of a code.
type Entry struct {
	Code   Code
	Legacy []string // names the vendor documents give it, such as "F999723"
	Title  string   // what is wrong, in plain words
	Impact string   // what does not work while it is
	Cause  string   // why it usually happens
	// Severity is what a Present says unless the look says otherwise.
	Severity Severity
	// Severities explains severities other than Severity, in words; may be empty.
	Severities string
	Raise      string // the condition that raises, in words
	Clear      string // the condition that clears, in words
	Remedy     []Remedy
	Variants   []Variant
	// Facts are sense keys whose change is an event; Readings are those whose
	// change is not (times, durations, counters, percentages).
	Facts, Readings []string
	// CausedBy bounds the codes a check may name as Causes of this one.
	CausedBy []Code
	Hold     Hold
	Escalate []Escalation
	// ByOperator lets an operator's fix clear the fault: only for states that no
	// look can prove mended (RFC 8632 will-clear = false).
	ByOperator bool
	Auto       *Auto
	// Applies says where the code can be judged at all, in words.
	Applies string
	// Never, if set, says why no look raises this code: the row is documentation.
	Never string
}

// Variant returns the variant of that name, or the zero Variant.
func (e *Entry) Variant(name string) Variant {
	for _, v := range e.Variants {
		if v.Name == name {
			return v
		}
	}
	return Variant{}
}

// commonFacts and commonReadings are the sense keys that every code may use.
var (
	commonFacts    = []string{"qualifier", "step", "errno", "alert", "addr_family", "policy_version", "blocked_by"}
	commonReadings = []string{"attempt", "checked_at", "duration_ms", "evidence", "trigger"}
)

// IsFact claims that a change of the sense key is an event.
func (e *Entry) IsFact(key string) bool {
	return slices.Contains(e.Facts, key) || slices.Contains(commonFacts, key)
}

// Declares claims that the entry knows the sense key.
func (e *Entry) Declares(key string) bool {
	return e.IsFact(key) || slices.Contains(e.Readings, key) || slices.Contains(commonReadings, key)
}

// Catalogue is a checked set of entries. It never changes once made.
type Catalogue struct {
	entries map[Code]*Entry
	aliases map[string]Code
}

var codeForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)+$`)

// NewCatalogue checks the entries and joins them. It reports every defect.
func NewCatalogue(entries ...Entry) (*Catalogue, error) {
	c := &Catalogue{entries: make(map[Code]*Entry, len(entries)), aliases: map[string]Code{}}
	var errs []error
	for _, e := range entries {
		if _, dup := c.entries[e.Code]; dup {
			errs = append(errs, fmt.Errorf("%s is declared twice", e.Code))
			continue
		}
		for _, problem := range e.problems() {
			errs = append(errs, fmt.Errorf("%s: %s", e.Code, problem))
		}
		c.entries[e.Code] = &e
	}
	for _, e := range c.All() {
		for _, by := range e.CausedBy {
			if c.entries[by] == nil {
				errs = append(errs, fmt.Errorf("%s: caused by unknown code %s", e.Code, by))
			}
		}
		for _, l := range e.Legacy {
			c.aliases[normal(l)] = e.Code // an alias may name several codes: see Lookup
		}
	}
	if loop := c.loop(); loop != nil {
		errs = append(errs, fmt.Errorf("codes cause each other: %v", loop))
	}
	return c, errors.Join(errs...)
}

func (e *Entry) problems() (p []string) {
	texts := []struct{ field, text string }{
		{"title", e.Title}, {"impact", e.Impact}, {"cause", e.Cause}, {"raise", e.Raise}, {"clear", e.Clear},
	}
	if e.Never != "" {
		texts = texts[:3]
	}
	for _, f := range texts {
		if strings.TrimSpace(f.text) == "" {
			p = append(p, "empty "+f.field)
		}
	}
	if !codeForm.MatchString(string(e.Code)) {
		p = append(p, "code is not a kebab-case path")
	}
	if e.Severity == None || e.Severity > Critical {
		p = append(p, "no severity")
	}
	if len(e.Remedy) == 0 && e.Never == "" {
		p = append(p, "no remedy")
	}
	if e.Hold.Raise < 0 || e.Hold.Clear < 0 {
		p = append(p, "negative hold")
	}
	if a := e.Auto; a != nil && (a.Action == "" || a.Budget < 1 || a.Budget > maxBudget || a.Per <= 0 || a.Backoff < 0) {
		p = append(p, fmt.Sprintf("automatic remedy needs an action, a budget of 1 to %d and its time", maxBudget))
	}
	p = append(p, e.escalationProblems()...)
	steps := slices.Clone(e.Remedy)
	for i, v := range e.Variants {
		if v.Name == "" {
			p = append(p, "variant without a name")
		}
		if slices.ContainsFunc(e.Variants[:i], func(o Variant) bool { return o.Name == v.Name }) {
			p = append(p, fmt.Sprintf("two variants are called %q", v.Name))
		}
		steps = append(steps, v.Remedy...)
	}
	for i, s := range steps {
		if s.Text == "" || s.Impact == "" {
			p = append(p, fmt.Sprintf("remedy step %d lacks text or impact", i+1))
		}
	}
	for _, key := range slices.Concat(e.Facts, e.Readings) {
		if slices.Contains(e.Facts, key) && slices.Contains(e.Readings, key) {
			p = append(p, "sense key "+key+" is both a fact and a reading")
		}
		if slices.Contains(commonFacts, key) || slices.Contains(commonReadings, key) {
			p = append(p, "sense key "+key+" is common to all codes")
		}
	}
	return p
}

func (e *Entry) escalationProblems() (p []string) {
	floor := Escalation{}
	for i, s := range e.Escalate {
		if s.After <= floor.After || s.To <= floor.To || s.To > Critical {
			p = append(p, fmt.Sprintf("escalation %d does not come later and higher than the one before", i+1))
		}
		floor = s
	}
	return p
}

// loop returns codes that cause each other, or nil.
func (c *Catalogue) loop() []Code {
	const visiting, done = 1, 2
	mark := map[Code]int{}
	var path []Code
	var visit func(Code) bool
	visit = func(code Code) bool {
		if mark[code] == done || c.entries[code] == nil {
			return false
		}
		path = append(path, code)
		if mark[code] == visiting {
			return true
		}
		mark[code] = visiting
		for _, by := range c.entries[code].CausedBy {
			if visit(by) {
				return true
			}
		}
		mark[code] = done
		path = path[:len(path)-1]
		return false
	}
	for _, e := range c.All() {
		if visit(e.Code) {
			return path
		}
	}
	return nil
}

// Get returns the entry of code. It must not be changed.
func (c *Catalogue) Get(code Code) (*Entry, bool) {
	e, ok := c.entries[code]
	return e, ok
}

// All returns the entries in the order of their codes.
func (c *Catalogue) All() []*Entry {
	codes := slices.Sorted(maps.Keys(c.entries))
	all := make([]*Entry, len(codes))
	for i, code := range codes {
		all[i] = c.entries[code]
	}
	return all
}

// Lookup finds entries by code or by a name from a vendor document ("F999723",
// "1785", "fault 11"). Several codes may share one such name.
func (c *Catalogue) Lookup(s string) []*Entry {
	if e, ok := c.entries[Code(s)]; ok {
		return []*Entry{e}
	}
	var found []*Entry
	if _, ok := c.aliases[normal(s)]; !ok {
		return nil
	}
	for _, e := range c.All() {
		if slices.ContainsFunc(e.Legacy, func(l string) bool { return normal(l) == normal(s) }) {
			found = append(found, e)
		}
	}
	return found
}

// normal makes "Fault 11", "fault-11" and "FAULT11" one.
func normal(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '_' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}
