package fault

import (
	"fmt"
	"strings"
)

// Code names one kind of fault, such as "ssh/host-key-changed". It is a
// kebab-case path, an RFC 8632 alarm-type-id, and is never reused.
type Code string

// Key identifies a fault on a node: what is wrong, and with what. Severity,
// text and sense are state, never identity. A hub adds the node.
type Key struct {
	Code     Code   `json:"code"`
	Resource string `json:"resource"`
}

// String returns CODE@RESOURCE, the form the command line accepts.
func (k Key) String() string { return string(k.Code) + "@" + k.Resource }

// ParseKey reads the CODE@RESOURCE form. The first "@" divides: codes hold none.
func ParseKey(s string) (Key, error) {
	code, resource, ok := strings.Cut(s, "@")
	if !ok || code == "" {
		return Key{}, fmt.Errorf("%q is not of the form CODE@RESOURCE", s)
	}
	return Key{Code(code), resource}, nil
}

// DrillPrefix begins the resource of every fault that a drill makes, so that a
// drill shares no key, mask, count or shelf with a real fault.
const DrillPrefix = "drill/"

// Drill claims that the fault belongs to a drill.
func (k Key) Drill() bool { return strings.HasPrefix(k.Resource, DrillPrefix) }

// Covers claims that a check on resource owner also owns resource: its own and
// all below it, divided by "/". The empty owner covers only itself.
func Covers(owner, resource string) bool {
	if owner == resource {
		return true
	}
	return owner != "" && len(resource) > len(owner) && resource[len(owner)] == '/' && strings.HasPrefix(resource, owner)
}

// Verdict is what one look says of one code on one resource.
type Verdict uint8

const (
	// Unknown is the zero verdict: not looked, or the look could not tell. It
	// changes nothing.
	Unknown Verdict = iota
	// Absent says that the look proved the fault is not there.
	Absent
	// Present says that the look found the fault.
	Present
	// NotApplicable says that policy or circumstances exclude the fault; it is
	// shown as "not monitored", never as "well".
	NotApplicable
)

var verdictNames = [...]string{"unknown", "absent", "present", "not-applicable"}

func (v Verdict) String() string { return name(verdictNames[:], int(v)) }

// Conclusive claims that the verdict is knowledge: Present or Absent.
func (v Verdict) Conclusive() bool { return v == Present || v == Absent }

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's name.
func (v *Verdict) UnmarshalText(b []byte) error {
	i, err := indexOf(verdictNames[:], string(b), "verdict")
	*v = Verdict(i)
	return err
}

// Severity is an ITU-T X.733 perceived severity. The zero value, "none", is not
// a severity: it stands for "not given". Cleared is a state, not a severity.
type Severity uint8

// The severities, in rising order.
const (
	None Severity = iota
	Warning
	Minor
	Major
	Critical
)

var severityNames = [...]string{"none", "warning", "minor", "major", "critical"}

func (s Severity) String() string { return name(severityNames[:], int(s)) }

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name.
func (s *Severity) UnmarshalText(b []byte) error {
	i, err := indexOf(severityNames[:], string(b), "severity")
	*s = Severity(i)
	return err
}

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%d", i)
}

func indexOf(names []string, s, what string) (int, error) {
	for i, n := range names {
		if n == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q", what, s)
}
