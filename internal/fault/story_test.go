package fault_test

import (
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"

	"pgregory.net/rapid"
)

// tell runs a story: words "subject.verb" or verbs of the whole node.
//
//	S.present[:severity][,key=value...]  S.absent  S.unknown  S.na     a look now
//	begin              takes the readings with which late.* and past.* begin
//	S.late-VERDICT     a look that began at "begin" and ends now
//	S.past-VERDICT     a look that began and ended at "begin", told now
//	S.foreign-VERDICT  a look of a check that does not own the fault
//	S.ack S.unack S.fix S.shelve=1h S.unshelve S.retire S.start S.end
//	S.adopt[=notice]   S.complete: the check names nothing below its resource
//	+1h: time passes   wall+1h, wall-1h: only the wall clock moves   tick
//	restart[=off] reboot[=off]
func (n *node) tell(story string) string {
	n.t.Helper()
	var events []fault.Event
	for word := range strings.FieldsSeq(story) {
		events = append(events, n.word(word)...)
	}
	return render(events)
}

func duration(t rapid.TB, s string) time.Duration {
	t.Helper()
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (n *node) word(w string) []fault.Event {
	n.t.Helper()
	if subj, verb, ok := strings.Cut(w, "."); ok {
		s, known := subjects()[subj]
		if !known {
			n.t.Fatalf("no subject %q", subj)
		}
		return n.verb(s, verb)
	}
	verb, arg, _ := strings.Cut(w, "=")
	switch {
	case verb == "tick":
		return n.tick()
	case verb == "begin":
		n.savedOrder, n.savedAt = n.next(), n.clock
		n.next() // the end of a look that began here
	case verb == "restart", verb == "reboot":
		return n.restart(duration(n.t, arg), verb == "reboot")
	case strings.HasPrefix(w, "+"):
		n.pass(duration(n.t, w[1:]))
	case strings.HasPrefix(w, "wall"):
		n.clock.Wall = n.clock.Wall.Add(duration(n.t, w[len("wall"):]))
	default:
		n.t.Fatalf("no word %q", w)
	}
	return nil
}

func (n *node) verb(s subject, verb string) []fault.Event {
	n.t.Helper()
	verb, arg, _ := strings.Cut(verb, "=")
	op := fault.Operator{By: "ann", Reason: "because", Timeout: timeout}
	switch verb {
	case "ack", "unack", "fix", "unshelve":
		op.Op = fault.Op(verb)
		return n.apply(s.key, op)
	case "shelve":
		op.Op, op.For = fault.OpShelve, duration(n.t, arg)
		return n.apply(s.key, op)
	case "retire":
		return n.apply(s.key, fault.Retire{})
	case "adopt":
		return n.apply(s.key, fault.Adoption{Check: s.check, Every: every, Causes: s.causes, Notice: uint64(len(arg))})
	case "start":
		return n.apply(s.key, fault.RemedyStart{Action: "restart"})
	case "end":
		return n.apply(s.key, fault.RemedyEnd{Action: "restart", Result: "done"})
	case "complete":
		l := n.begin(s)
		l.Complete = true
		return n.look(l)
	case "late-complete":
		l := n.begin(s)
		l.Complete, l.Started = true, n.savedOrder
		return n.look(l)
	}
	if arg != "" {
		verb += "=" + arg
	}
	return n.look(n.spoken(s, verb))
}

// begin returns a look of the subject's check that starts and ends now.
func (n *node) begin(s subject) *fault.Look {
	l := &fault.Look{
		Check: s.check, Trigger: fault.TriggerTimer, At: n.clock, Every: every, Timeout: timeout,
		Causes: s.causes, Resource: s.key.Resource, Codes: []fault.Code{s.key.Code},
	}
	l.Started = n.next()
	l.Ended = n.next()
	return l
}

// spoken returns the look that a verb stands for.
func (n *node) spoken(s subject, verb string) *fault.Look {
	n.t.Helper()
	l := n.begin(s)
	when, rest, ok := strings.Cut(verb, "-")
	if ok {
		verb = rest
	}
	switch {
	case !ok:
	case when == "late":
		l.Started, l.At = n.savedOrder, n.savedAt
	case when == "past":
		l.Started, l.Ended, l.At = n.savedOrder, n.savedOrder+1, n.savedAt
	case when == "foreign":
		l.Check = "somebody else"
	default:
		n.t.Fatalf("no look %q", when)
	}
	parts := strings.Split(verb, ",")
	o := fault.Observation{Key: s.key}
	name, severity, _ := strings.Cut(parts[0], ":")
	verdicts := map[string]fault.Verdict{
		"present": fault.Present, "absent": fault.Absent, "unknown": fault.Unknown, "na": fault.NotApplicable,
	}
	v, known := verdicts[name]
	if !known {
		n.t.Fatalf("no verdict %q", name)
	}
	o.Verdict = v
	if severity != "" {
		if err := o.Severity.UnmarshalText([]byte(severity)); err != nil {
			n.t.Fatal(err)
		}
	}
	sense := map[string]string{}
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(p, "=")
		sense[k] = v
	}
	o.Sense = fault.NewSense(sense)
	l.Observations = []fault.Observation{o}
	return l
}

// story is one line of a table: what happens, the events it makes, and what
// holds of the first subject then.
type story struct{ name, happens, events, state string }

func tellAll(t *testing.T, stories []story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			n := newNode(t)
			if got := n.tell(s.happens); got != s.events {
				t.Errorf("%s\n got events  %s\nwant         %s", s.happens, got, s.events)
			}
			subj, _, _ := strings.Cut(s.happens, ".")
			if i := strings.LastIndexByte(subj, ' '); i >= 0 {
				subj = subj[i+1:]
			}
			if got := n.state(subjects()[subj].key); got != s.state {
				t.Errorf("%s\n got state   %s\nwant         %s", s.happens, got, s.state)
			}
			n.audit()
		})
	}
}
