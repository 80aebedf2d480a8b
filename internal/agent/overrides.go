package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// CodeOverrideActive says that a workaround outlived its end.
const CodeOverrideActive fault.Code = "system/override-active"

const overridesResource = "overrides"

// Override is a weaker setting that somebody wanted for a reason, until a day.
type Override struct {
	Name   string // below the resource "overrides", such as "policy/old-nas"
	Reason string
	Until  time.Time // the first moment at which it should be gone
}

// lastDay is the last day, in UTC, on which the override may stand.
func (o Override) lastDay() string { return o.Until.UTC().Add(-time.Nanosecond).Format(time.DateOnly) }

// overrides are those in force.
type overrides struct {
	mu  sync.Mutex // guards the field below
	all []Override
}

// Overrides replaces the overrides in force.
func (a *Agent) Overrides(all []Override) {
	a.overrides.mu.Lock()
	defer a.overrides.mu.Unlock()
	a.overrides.all = all
}

func (a *Agent) overridesCheck() check.Check {
	return check.Check{
		Name: "agent.overrides", Resource: overridesResource, Every: time.Hour,
		Codes: []fault.Code{CodeOverrideActive}, Run: func(_ context.Context, r *check.Report) { a.lookAtOverrides(r, time.Now()) },
	}
}

// lookAtOverrides finds every override that is still there after its end. One
// that was removed is retired, because the look is complete.
func (a *Agent) lookAtOverrides(r *check.Report, now time.Time) {
	a.overrides.mu.Lock()
	all := a.overrides.all
	a.overrides.mu.Unlock()
	r.Absent(CodeOverrideActive)
	for _, o := range all {
		sub := r.At(o.Name)
		if now.Before(o.Until) {
			sub.Absent(CodeOverrideActive)
			r.Proved("%s is weaker for a reason until %s: %s", o.Name, o.lastDay(), o.Reason)
			continue
		}
		sub.Present(CodeOverrideActive, fmt.Errorf("its last day was %s", o.lastDay()), map[string]string{
			"reason": o.Reason, "until": o.lastDay(),
		})
	}
	r.Complete()
}

func overridesFaults() []fault.Entry {
	return []fault.Entry{{
		Code: CodeOverrideActive, Title: "A workaround is in force past its end", Severity: fault.Warning,
		Impact: "Security is weaker than it should be, and nobody decided that it should stay so.",
		Cause:  "A weaker setting was wanted until {until} ({reason}) and was not removed.",
		Raise:  "an own policy with reason and until is in the configuration after that day",
		Clear:  "it has been removed, or given a new end",
		Remedy: []fault.Remedy{
			{Text: "Remove the setting from the configuration, or give it a new end with a reason, and reload.", Impact: "what needs the weaker setting is then refused: preflight names it", Command: "systemctl reload allclear"},
			{Text: "See before that what would break without it.", Impact: "a few connections to watched servers", Command: "allclear preflight --policy openssh-9"},
			{Text: "Look again.", Impact: "none", Command: "allclear verify overrides"},
		},
		Facts: []string{"reason", "until"}, Applies: "own policies with reason and until",
	}}
}
