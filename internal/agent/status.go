package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// statusFaults is how many active faults a status shows.
const statusFaults = 100

// Verdicts of a status.
const (
	AllClear    = "all-clear"
	Faulty      = "faults"
	NotYetKnown = "not-yet-known"
)

func drill(resource string) bool { return strings.HasPrefix(resource, fault.DrillPrefix) }

// Status answers whether all is well. It is, only when every check has a
// conclusive look not older than three intervals and no real fault is active.
func (a *Agent) Status() wire.Status { return a.status(statusFaults) }

// status shows the n gravest faults.
func (a *Agent) status(n int) wire.Status {
	now := time.Now()
	epoch, seq := a.opts.Recorder.Head()
	st := wire.Status{
		Node: a.opts.Node, Version: a.opts.Version.Version, Epoch: epoch, Seq: seq,
		Summary: a.summary(), Faults: []wire.Fault{}, Proved: []wire.Proof{},
		NotMonitored: []wire.Gap{}, Stale: []wire.Gap{}, NotYet: []wire.Gap{},
		StartedAt: a.started.UTC(), At: now.UTC(),
	}
	checks := slices.DeleteFunc(a.sched.Status(), func(s check.Status) bool { return drill(s.Check.Resource) })
	for i := range checks {
		a.account(&st, &checks[i], now)
	}
	st.Faults = a.worst(n)
	st.Subsystems = a.protects(checks)
	st.Verdict, st.Sentence = judge(&st)
	return st
}

func (a *Agent) summary() wire.Summary {
	s := a.opts.Recorder.Summary()
	w := wire.Summary{
		Active: s.Active, Severity: map[string]int{}, Acked: s.Acked, Shelved: s.Shelved, Masked: s.Masked,
		Stale: s.Stale, Flapping: s.Flapping, Drills: s.Drills,
	}
	for sev := fault.Warning; sev <= fault.Critical; sev++ {
		w.Severity[sev.String()] = s.BySeverity[sev]
	}
	return w
}

// account adds what one check contributes: proofs, or gaps.
func (a *Agent) account(st *wire.Status, s *check.Status, now time.Time) {
	st.Summary.Checks++
	id, resource := s.Check.ID(), s.Check.Resource
	switch {
	case s.Known(now):
		st.Summary.Conclusive++
	case s.Last.At.IsZero():
		st.NotYet = append(st.NotYet, wire.Gap{Check: id, Resource: resource, Why: "not looked at since the agent started"})
	case s.Last.Conclusive.IsZero():
		st.NotYet = append(st.NotYet, wire.Gap{Check: id, Resource: resource, Why: blocked(s)})
	default:
		st.Stale = append(st.Stale, wire.Gap{
			Check: id, Resource: resource,
			Why: fmt.Sprintf("last known at %s; %s", clockTime(s.Last.Conclusive), blocked(s)),
		})
	}
	for _, j := range s.Last.Judgements {
		if j.Verdict == fault.NotApplicable {
			st.NotMonitored = append(st.NotMonitored, wire.Gap{Check: id, Code: j.Key.Code, Resource: j.Key.Resource, Why: j.Why})
		}
	}
	for _, text := range s.Last.Proved {
		st.Proved = append(st.Proved, wire.Proof{Check: id, Resource: resource, Text: text, At: s.Last.At.UTC()})
	}
}

func blocked(s *check.Status) string {
	if s.Last.Failure != "" {
		return s.Last.Failure
	}
	for _, j := range s.Last.Judgements {
		if j.Verdict == fault.Unknown && j.Why != "" {
			return j.Why
		}
	}
	return "the last look could judge nothing"
}

// worst returns the n gravest active faults, drills apart, causes before what
// they mask.
func (a *Agent) worst(n int) []wire.Fault {
	faults := []wire.Fault{}
	if n == 0 {
		return faults
	}
	rows := a.Rows(Query{})
	slices.SortStableFunc(rows, func(x, y wire.FaultRow) int {
		return cmp.Or(cmp.Compare(len(x.MaskedBy), len(y.MaskedBy)), -cmp.Compare(x.Severity, y.Severity), x.Raised.Compare(y.Raised))
	})
	for _, r := range rows {
		if len(faults) == n {
			break
		}
		if v, ok := a.opts.Recorder.View(r.Key); ok && v.Active && !r.Key.Drill() {
			faults = append(faults, a.wire(&v))
		}
	}
	return faults
}

// protects says what each subsystem does right now.
func (a *Agent) protects(checks []check.Status) []wire.Protects {
	all := []wire.Protects{}
	for _, s := range a.opts.Subsystems {
		p := wire.Protects{Name: s.Name(), State: "working"}
		for i := range checks {
			if kind, _, _ := strings.Cut(checks[i].Check.Name, "."); kind == s.Name() {
				p.Checks++
			}
		}
		if d, ok := s.(subsystem.Describer); ok {
			var configured bool
			if p.Text, configured = d.Describe(); !configured {
				p.State = "not-configured"
			}
		}
		if views, _ := a.opts.Recorder.Page(0, 1, func(f *fault.Fault) bool {
			return f.Active && !f.Key.Drill() && strings.HasPrefix(f.Check, s.Name()+".")
		}); len(views) > 0 {
			p.State = "faulty"
		}
		all = append(all, p)
	}
	return all
}

func judge(st *wire.Status) (verdict, sentence string) {
	gaps := len(st.NotYet) + len(st.Stale)
	switch {
	case st.Summary.Active > 0:
		var parts []string
		for sev := fault.Critical; sev >= fault.Warning; sev-- {
			if n := st.Summary.Severity[sev.String()]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, sev))
			}
		}
		return Faulty, fmt.Sprintf("%s active: %s.", count(st.Summary.Active, "fault"), strings.Join(parts, ", "))
	case gaps > 0:
		return NotYetKnown, fmt.Sprintf("NOT YET KNOWN: %s of %d without a conclusive look.", count(gaps, "check"), st.Summary.Checks)
	}
	return AllClear, fmt.Sprintf("ALL CLEAR: %s, each with a conclusive look, and no fault.", count(st.Summary.Checks, "check"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Checks returns every check with its plan and newest look.
func (a *Agent) Checks() []wire.Check {
	all := []wire.Check{}
	now := time.Now()
	for _, s := range a.sched.Status() {
		c := wire.Check{
			ID: s.Check.ID(), Name: s.Check.Name, Resource: s.Check.Resource, Codes: s.Check.Codes,
			Every: s.Check.Every.String(), Timeout: s.Check.Timeout.String(), Next: s.Next.UTC(), Running: s.Running,
			State: checkState(&s, now), LastConclusive: stamp(s.Last.Conclusive),
		}
		if !s.Last.At.IsZero() {
			l := wireLook(c.ID, s.Last)
			c.Last = &l
		}
		all = append(all, c)
	}
	return all
}

func checkState(s *check.Status, now time.Time) string {
	monitored := false
	for _, j := range s.Last.Judgements {
		if j.Verdict == fault.Present {
			return "faulty"
		}
		monitored = monitored || j.Verdict != fault.NotApplicable
	}
	switch {
	case s.Last.At.IsZero():
		return "not-yet"
	case s.Last.Failure != "":
		return "failing"
	case s.Last.Conclusive.IsZero():
		return "not-yet"
	case !s.Known(now):
		return "stale"
	case !monitored:
		return "not-monitored"
	}
	return "proved"
}

func wireLook(id string, l check.Last) wire.Look {
	w := wire.Look{
		Check: id, At: l.At.UTC(), DurationMS: l.Duration.Milliseconds(), Trigger: l.Trigger,
		Verdicts: []wire.CheckedVerdict{}, Proved: []string{}, Failure: l.Failure,
	}
	for _, j := range l.Judgements {
		w.Verdicts = append(w.Verdicts, wire.CheckedVerdict{Code: j.Key.Code, Resource: j.Key.Resource, Verdict: j.Verdict, Why: j.Why})
	}
	w.Proved = append(w.Proved, l.Proved...)
	if l.RecordError != nil {
		w.Refused = l.RecordError.Error()
	}
	return w
}
