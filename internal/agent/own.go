package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// The codes that the agent itself owns. Their resource is the part of the
// agent that they concern.
const (
	CodeStoreFailing   fault.Code = "system/store-failing"
	CodeStateReset     fault.Code = "system/state-reset"
	CodeEventlogFull   fault.Code = "system/eventlog-full"
	CodeLimitReached   fault.Code = "system/limit-reached"
	CodeConfigRejected fault.Code = "system/config-rejected"
)

const (
	storeResource  = "journal"
	configResource = "config"
	storeCheckID   = "agent.journal@" + storeResource
	configCheckID  = "agent.config@" + configResource
)

// ownChecks look at the agent's own parts.
func (a *Agent) ownChecks() []check.Check {
	return []check.Check{
		{
			Name: "agent.journal", Resource: storeResource, Every: 30 * time.Second, Fast: 5 * time.Second,
			Codes: []fault.Code{CodeStoreFailing, CodeStateReset, CodeEventlogFull, CodeLimitReached},
			Run:   a.lookAtJournal,
		},
		{
			Name: "agent.config", Resource: configResource, Every: time.Minute,
			Codes: []fault.Code{CodeConfigRejected}, Run: a.lookAtConfig,
		},
		a.overridesCheck(),
	}
}

func (a *Agent) lookAtJournal(_ context.Context, r *check.Report) {
	h := a.opts.Recorder.Health()
	_, seq := a.opts.Recorder.Head()
	if h.Failing.IsZero() && h.Held == 0 {
		r.Absent(CodeStoreFailing)
		r.Proved("event %d is on disk, nothing is held in memory", seq)
	} else {
		r.Present(CodeStoreFailing, errors.New(h.Error), map[string]string{
			"held": strconv.Itoa(h.Held), "since": h.Failing.UTC().Format(time.RFC3339), "error": h.Error,
		})
	}
	a.lookAtReset(r, h)
	a.lookAtHistory(r, h)
	a.lookAtLimits(r)
}

// lookAtHistory raises in the last tenth below the limit: what is over the limit
// is pruned to nine tenths of it, so that there the oldest go before their time.
// It clears a tenth lower.
func (a *Agent) lookAtHistory(r *check.Report, h StoreHealth) {
	limit := h.MaxCleared * 9 / 10
	if v, known := a.opts.Recorder.View(fault.Key{Code: CodeEventlogFull, Resource: storeResource}); known && v.Active {
		limit = h.MaxCleared * 8 / 10
	}
	if h.MaxCleared == 0 || h.Cleared < limit {
		r.Absent(CodeEventlogFull)
		return
	}
	r.Present(CodeEventlogFull, fmt.Errorf("%d cleared faults are kept, the limit is %d", h.Cleared, h.MaxCleared), map[string]string{
		"limit": strconv.Itoa(h.MaxCleared), "cleared": strconv.Itoa(h.Cleared),
	})
}

// lookAtReset finds the fault until an operator has settled it: no look can
// prove that lost history does not matter.
func (a *Agent) lookAtReset(r *check.Report, h StoreHealth) {
	v, known := a.opts.Recorder.View(fault.Key{Code: CodeStateReset, Resource: storeResource})
	settled := known && !v.Active && v.Cleared.After(h.SetAsideAt)
	switch {
	case known && v.Active:
		r.Present(CodeStateReset, errors.New(v.Text), v.Sense.Map())
	case h.SetAside != "" && !settled:
		r.Present(CodeStateReset, fmt.Errorf("the database was damaged and set aside as %s", h.SetAside), map[string]string{
			"set_aside": h.SetAside, "salvaged": strconv.Itoa(h.Salvaged),
		})
	default:
		r.Absent(CodeStateReset)
	}
}

// lookAtLimits raises while something was refused or cut, and clears when
// nothing is and the count is below nine tenths of the limit.
func (a *Agent) lookAtLimits(r *check.Report) {
	s := a.opts.Recorder.Strain()
	var hit []string
	if len(s.Refused) > 0 {
		hit = append(hit, "active faults")
	}
	if len(s.Cut) > 0 {
		hit = append(hit, "size of the evidence")
	}
	switch {
	case len(hit) > 0:
		first := ""
		if len(s.Refused) > 0 {
			first = s.Refused[0].String()
		} else {
			first = s.Cut[0].String()
		}
		r.Present(CodeLimitReached, fmt.Errorf("limit on %s reached", strings.Join(hit, " and ")), map[string]string{
			"limit": strings.Join(hit, ", "), "first": first, "refused": strconv.Itoa(len(s.Refused)),
			"cut": strconv.Itoa(len(s.Cut)), "active": strconv.Itoa(s.Active), "max_active": strconv.Itoa(s.MaxActive),
		})
	case s.MaxActive == 0 || s.Active < s.MaxActive*9/10:
		r.Absent(CodeLimitReached)
	}
}

// configState remembers a refused reload until a good one.
type configState struct {
	mu    sync.Mutex // guards the fields below
	file  string
	err   error
	later []string
}

// ConfigLoaded records how a reload of the configuration file ended, and looks
// at it at once: nil says that the new one is in force, but for the settings
// named by later, which only a restart takes over.
func (a *Agent) ConfigLoaded(file string, err error, later ...string) {
	a.config.mu.Lock()
	a.config.file, a.config.err, a.config.later = file, err, later
	a.config.mu.Unlock()
	a.sched.Ask(configCheckID, fault.TriggerChanged)
}

func (a *Agent) lookAtConfig(_ context.Context, r *check.Report) {
	a.config.mu.Lock()
	file, err, later := a.config.file, a.config.err, strings.Join(a.config.later, ", ")
	a.config.mu.Unlock()
	switch {
	case err == nil && later != "":
		r.PresentAt(fault.Warning, CodeConfigRejected, fmt.Errorf("in force but for %s, until a restart", later), map[string]string{
			"qualifier": "restart", "file": file, "settings": later,
		})
		return
	case err == nil:
		r.Absent(CodeConfigRejected)
		r.Proved("the configuration in force is the one last loaded")
		return
	}
	first, rest, _ := strings.Cut(err.Error(), "\n")
	more := 0
	if rest != "" {
		more = 1 + strings.Count(strings.TrimSpace(rest), "\n")
	}
	r.Present(CodeConfigRejected, errors.New(first), map[string]string{"file": file, "mistake": first, "more": strconv.Itoa(more)})
}
