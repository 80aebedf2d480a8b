package check

import (
	"fmt"
	"slices"
	"strings"

	"allclear/internal/fault"
)

// Report collects what one look says. It is not safe for concurrent use.
type Report struct {
	look     *look
	resource string
}

// look is the collection that a Report and its subs share.
type look struct {
	check    *Check
	entries  Entries
	order    []fault.Key
	judged   map[fault.Key]fault.Observation
	why      map[fault.Key]string // of NotApplicable
	proved   []string
	complete bool
	misuse   string // the first rule broken by the check
	trigger  fault.Trigger
}

// Entries knows the catalogue.
type Entries interface {
	Get(fault.Code) (*fault.Entry, bool)
}

func newReport(c *Check, entries Entries, t fault.Trigger) *Report {
	return &Report{
		resource: c.Resource,
		look: &look{
			check: c, entries: entries, trigger: t,
			judged: map[fault.Key]fault.Observation{}, why: map[fault.Key]string{},
		},
	}
}

// Trigger is why the look happens.
func (r *Report) Trigger() fault.Trigger { return r.look.trigger }

// Present says that the fault is there, with the entry's severity. err is what
// showed it and may be nil; sense holds only keys that the entry declares.
func (r *Report) Present(code fault.Code, err error, sense map[string]string) {
	r.PresentAt(fault.None, code, err, sense)
}

// PresentAt is Present with a severity of the look's own.
func (r *Report) PresentAt(s fault.Severity, code fault.Code, err error, sense map[string]string) {
	o := fault.Observation{Verdict: fault.Present, Severity: s, Sense: fault.NewSense(sense)}
	if err != nil {
		o.Text = err.Error()
	}
	r.judge(code, o)
}

// Advise gives the steps that mend the fault just judged Present, where the look
// knows better than the catalogue: an exact line, a name, an address.
func (r *Report) Advise(code fault.Code, steps ...fault.Remedy) {
	k := fault.Key{Code: code, Resource: r.resource}
	if o, ok := r.look.judged[k]; ok && o.Verdict == fault.Present {
		o.Remedy = steps
		r.look.judged[k] = o
	}
}

// Absent says that the look proved the faults not there.
func (r *Report) Absent(codes ...fault.Code) {
	for _, code := range codes {
		r.judge(code, fault.Observation{Verdict: fault.Absent})
	}
}

// Unknown says why the look could not judge the code: something known held it
// back. It changes nothing, as not judging does.
func (r *Report) Unknown(code fault.Code, why string) {
	r.judge(code, fault.Observation{Text: why})
}

// NotApplicable says that the fault cannot be here, and why.
func (r *Report) NotApplicable(code fault.Code, why string) {
	r.judge(code, fault.Observation{Verdict: fault.NotApplicable, Text: why})
	r.look.why[fault.Key{Code: code, Resource: r.resource}] = why
}

// Proved adds a sentence on what the look has proved, for people: "group16
// handshake done, host key matches the pin".
func (r *Report) Proved(format string, args ...any) {
	r.look.proved = append(r.look.proved, fmt.Sprintf(format, args...))
}

// At returns the report on a sub-resource, RESOURCE/SUB.
func (r *Report) At(sub string) *Report {
	resource := sub
	if r.resource != "" {
		resource = r.resource + "/" + sub
	}
	return &Report{look: r.look, resource: resource}
}

// Complete says that the look has named every sub-resource there is: faults of
// others are retired.
func (r *Report) Complete() { r.look.complete = true }

func (r *Report) judge(code fault.Code, o fault.Observation) {
	l := r.look
	o.Key = fault.Key{Code: code, Resource: r.resource}
	if !l.check.Owns(o.Key) {
		l.broke("judged %s, which is not its own", o.Key)
		return
	}
	if e, ok := l.entries.Get(code); ok {
		for _, p := range o.Sense {
			if !e.Declares(p.Key) {
				l.broke("sense key %q is not declared by %s", p.Key, code)
				return
			}
		}
	}
	if _, again := l.judged[o.Key]; !again {
		l.order = append(l.order, o.Key)
	}
	l.judged[o.Key] = o
}

func (l *look) broke(format string, args ...any) {
	if l.misuse == "" {
		l.misuse = fmt.Sprintf(format, args...)
	}
}

// observations returns what was judged, then the check's own codes that were
// not, as Unknown, with the faults that blocked them.
func (l *look) observations() []fault.Observation {
	obs := make([]fault.Observation, 0, len(l.order)+len(l.check.Codes))
	var present []string
	for _, k := range l.order {
		o := l.judged[k]
		obs = append(obs, o)
		if o.Verdict == fault.Present {
			present = append(present, string(k.Code))
		}
	}
	for _, code := range l.check.Codes {
		k := fault.Key{Code: code, Resource: l.check.Resource}
		if _, ok := l.judged[k]; ok || l.named(code) {
			continue
		}
		o := fault.Observation{Key: k}
		if len(present) > 0 {
			o.Text = "blocked by " + strings.Join(present, ", ")
		}
		obs = append(obs, o)
	}
	return obs
}

// named claims that the code was judged on some sub-resource.
func (l *look) named(code fault.Code) bool {
	return slices.ContainsFunc(l.order, func(k fault.Key) bool { return k.Code == code })
}

// unknown is the look of a check that failed: it says nothing.
func (l *look) unknown(why string) []fault.Observation {
	obs := make([]fault.Observation, 0, len(l.check.Codes))
	for _, code := range l.check.Codes {
		obs = append(obs, fault.Observation{Key: fault.Key{Code: code, Resource: l.check.Resource}, Text: why})
	}
	return obs
}
