package sshpolicy

import (
	"errors"
	"fmt"
	"slices"
)

// Category is one of the four kinds of algorithm that an SSH connection needs.
// All four must have a common member, or there is no connection (RFC 4253
// section 7.1; seed 000 names three, the host key is the fourth).
type Category string

// The four categories, in the order in which they are judged and printed.
const (
	KEX     Category = "kex"
	HostKey Category = "host_key"
	Cipher  Category = "cipher"
	MAC     Category = "mac"
)

// Categories returns the four categories in order.
func Categories() []Category { return []Category{KEX, HostKey, Cipher, MAC} }

// Policy is what we allow, in order of preference. A connection that would use
// anything else is refused, never downgraded (seed 000: "connection is
// blocked").
type Policy struct {
	Name string `json:"name"`
	// Why says where the policy comes from and what it is for; printed with it.
	Why      string   `json:"why,omitempty"`
	KEX      []string `json:"kex"`
	HostKeys []string `json:"host_key"`
	Ciphers  []string `json:"cipher"`
	MACs     []string `json:"mac"`
}

// List returns the policy's names of one category, nil for an unknown category.
func (p Policy) List(c Category) []string {
	switch c {
	case KEX:
		return p.KEX
	case HostKey:
		return p.HostKeys
	case Cipher:
		return p.Ciphers
	case MAC:
		return p.MACs
	}
	return nil
}

// DefaultPolicy is used where none is named.
const DefaultPolicy = "openssh-9"

// Builtin returns the built-in policy of that name, or *UnknownPolicyError.
func Builtin(name string) (Policy, error) {
	var names []string
	for _, p := range Builtins() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Policy{}, &UnknownPolicyError{Name: name, Known: names, DidYouMean: closest(name, names)}
}

// UnknownPolicyError says that no policy has this name.
type UnknownPolicyError struct {
	Name       string
	Known      []string
	DidYouMean string // "" when nothing is near
}

func (e *UnknownPolicyError) Error() string {
	if e.DidYouMean != "" {
		return fmt.Sprintf("no policy %q; did you mean %q?", e.Name, e.DidYouMean)
	}
	return fmt.Sprintf("no policy %q; known: %s", e.Name, join(e.Known))
}

// Why an algorithm in a policy is refused.
const (
	WrongUnknown   = "unknown"   // no SSH software that we know has it
	WrongTransport = "transport" // real, but the transport cannot do it
	WrongDuplicate = "duplicate" // named twice
	WrongEmpty     = "empty"     // the category has no name at all
)

// AlgorithmError is one mistake in a policy.
type AlgorithmError struct {
	Policy     string
	Category   Category
	Name       string // "" when Wrong is WrongEmpty
	Index      int    // place in the category's list, -1 when Wrong is WrongEmpty
	Wrong      string // one of the Wrong constants
	Transport  Transport
	DidYouMean string // "" when nothing is near
	Cause      error  // further reason, or nil
}

func (e *AlgorithmError) Error() string {
	text := fmt.Sprintf("policy %q, %s: ", e.Policy, e.Category)
	switch e.Wrong {
	case WrongEmpty:
		return text + "no algorithm is allowed; an empty list would mean the library's own defaults"
	case WrongDuplicate:
		return text + fmt.Sprintf("%q is named twice", e.Name)
	case WrongTransport:
		text += fmt.Sprintf("transport %q cannot do %q", e.Transport, e.Name)
	default:
		text += fmt.Sprintf("no such algorithm %q", e.Name)
	}
	if e.DidYouMean != "" {
		text += fmt.Sprintf("; did you mean %q?", e.DidYouMean)
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the further reason.
func (e *AlgorithmError) Unwrap() error { return e.Cause }

// Validate checks a policy that an operator wrote, for the transport that shall
// carry it: every name is real and the transport can do it, no list is empty.
// All mistakes are reported at once; AlgorithmErrors takes them apart.
//
// The library drops names that it does not know without a word and replaces an
// empty list by its defaults: a policy that is not validated can fail open.
func (p Policy) Validate(t Transport) error {
	var mistakes []error
	for _, c := range Categories() {
		names := p.List(c)
		if len(names) == 0 {
			mistakes = append(mistakes, &AlgorithmError{Policy: p.Name, Category: c, Index: -1, Wrong: WrongEmpty, Transport: t})
		}
		for i, name := range names {
			if m := p.mistake(c, i, name, t); m != nil {
				mistakes = append(mistakes, m)
			}
		}
	}
	return errors.Join(mistakes...)
}

func (p Policy) mistake(c Category, i int, name string, t Transport) *AlgorithmError {
	e := &AlgorithmError{Policy: p.Name, Category: c, Name: name, Index: i, Transport: t}
	switch {
	case slices.Contains(p.List(c)[:i], name):
		e.Wrong = WrongDuplicate
	case !known(c, name):
		e.Wrong = WrongUnknown
		e.DidYouMean = closest(name, suggestions(c, t))
	case !t.Can(c, name):
		e.Wrong = WrongTransport
		if name == kexGroup18 && t == Go {
			e.Cause = group18Error()
		}
	default:
		return nil
	}
	return e
}

// AlgorithmErrors takes an error of Validate apart, in the order of the policy.
func AlgorithmErrors(err error) []*AlgorithmError {
	var all []*AlgorithmError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, AlgorithmErrors(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*AlgorithmError](err); ok {
		all = append(all, e)
	}
	return all
}

// For returns the part of the policy that the transport can do, which is what a
// handshake offers. It refuses to return a policy with an empty list.
func (p Policy) For(t Transport) (Policy, error) {
	can := func(c Category) []string {
		return slices.DeleteFunc(slices.Clone(p.List(c)), func(name string) bool { return !t.Can(c, name) })
	}
	part := Policy{Name: p.Name, Why: p.Why, KEX: can(KEX), HostKeys: can(HostKey), Ciphers: can(Cipher), MACs: can(MAC)}
	for _, c := range Categories() {
		if len(part.List(c)) == 0 {
			return Policy{}, fmt.Errorf("policy %q, %s: transport %q can do none of %s", p.Name, c, t, join(p.List(c)))
		}
	}
	return part, nil
}

// AlgorithmInfo is one line of a printed policy: the name and what is known
// about it.
type AlgorithmInfo struct {
	Category Category          `json:"category"`
	Name     string            `json:"name"`
	Go       bool              `json:"go"`      // the built-in transport can do it
	OpenSSH  bool              `json:"openssh"` // OpenSSH, as transport, can do it
	Since    map[string]string `json:"since,omitempty"`
	Weak     []string          `json:"weak,omitempty"`
	Broken   []string          `json:"broken,omitempty"`
}

// Describe lists every algorithm of the policy with who can do it and what is
// known about it (seed 000: the requirements are published and printable).
func (p Policy) Describe() []AlgorithmInfo {
	var all []AlgorithmInfo
	for _, c := range Categories() {
		for _, name := range p.List(c) {
			f := facts(c, name)
			all = append(all, AlgorithmInfo{
				Category: c, Name: name, Go: Go.Can(c, name), OpenSSH: OpenSSH.Can(c, name),
				Since: f.Since, Weak: f.Weak, Broken: f.Broken,
			})
		}
	}
	return all
}

// Capability is one algorithm of a policy and whether a transport can do it.
type Capability struct {
	Category Category `json:"category"`
	Name     string   `json:"name"`
	Can      bool     `json:"can"`
	Why      string   `json:"why,omitempty"` // why not
}

// Support lists what a transport can carry of the policy, in its order. For
// OpenSSH it is what its current release can do: the program that is installed
// is asked when a session is made.
func (p Policy) Support(t Transport) []Capability {
	var all []Capability
	for _, c := range Categories() {
		for _, name := range p.List(c) {
			one := Capability{Category: c, Name: name, Can: t.Can(c, name)}
			if e := p.mistake(c, slices.Index(p.List(c), name), name, t); !one.Can && e != nil {
				one.Why = "no such algorithm is known"
				if e.Wrong == WrongTransport {
					one.Why = fmt.Sprintf("transport %q does not implement it", t)
				}
				if e.Cause != nil {
					one.Why = e.Cause.Error()
				}
			}
			all = append(all, one)
		}
	}
	return all
}
