// Package host looks at what the protection jobs need of their host: free disk
// space for the state directory, a steady clock, and memory. The prerequisites
// of endpoint protection (kernel, SELinux, users) join it with that subsystem.
//
// It owns system/disk-low, system/clock-stepped and system/memory-low. It
// repairs nothing by itself; its one action, prune, gives disk space back.
package host

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// The codes of this package.
const (
	CodeDiskLow      fault.Code = "system/disk-low"
	CodeClockStepped fault.Code = "system/clock-stepped"
	CodeMemoryLow    fault.Code = "system/memory-low"
)

// The resources of the checks.
const (
	diskResource   = "state-dir"
	clockResource  = "clock"
	memoryResource = "memory"
)

// Options are the thresholds.
type Options struct {
	StateDir               string
	DiskEvery              time.Duration
	DiskWarning, DiskMajor uint64 // free bytes below which the severity holds
	ClockEvery, ClockStep  time.Duration
	MemoryEvery            time.Duration
	MemoryNeed             uint64 // bytes of MemAvailable
	Pruner                 Pruner // gives disk space back; nil: the action does not exist
}

// Pruner removes old history and gives its space back.
type Pruner interface {
	Prune(ctx context.Context) error
}

// Host is the subsystem. It is safe for concurrent use.
type Host struct {
	space  func(dir string) (Space, error)
	memory func() (available, total uint64, err error)
	clock  func() fault.Clock

	mu   sync.Mutex // guards the fields below
	opts Options
	last fault.Clock               // the clock at the newest look
	low  map[string]fault.Severity // what the newest look said of a directory
}

// New returns a host subsystem that looks at the real host.
func New(opts Options, clock func() fault.Clock) *Host {
	return &Host{opts: opts, space: spaceOf, memory: memoryInfo, clock: clock, low: map[string]fault.Severity{}}
}

// Configure replaces the thresholds.
func (h *Host) Configure(opts Options) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opts = opts
}

func (h *Host) options() Options {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opts
}

// Name implements subsystem.Subsystem.
func (h *Host) Name() string { return "host" }

// Run implements subsystem.Subsystem; the checks do all the work.
func (h *Host) Run(ctx context.Context, _ check.Sink) error {
	<-ctx.Done()
	return nil
}

// Describe implements subsystem.Describer.
func (h *Host) Describe() (string, bool) {
	return "free space of the state directory, clock, memory", true
}

// Checks implements subsystem.Subsystem.
func (h *Host) Checks() []check.Check {
	o := h.options()
	return []check.Check{
		h.diskCheck(diskResource, o.StateDir),
		{
			Name: "host.clock", Resource: clockResource, Codes: []fault.Code{CodeClockStepped},
			Every: o.ClockEvery, Version: o.ClockStep.String(),
			Run: func(_ context.Context, r *check.Report) { h.lookAtClock(r) },
		},
		{
			Name: "host.memory", Resource: memoryResource, Codes: []fault.Code{CodeMemoryLow},
			Every: o.MemoryEvery, Version: utoa(o.MemoryNeed),
			Run: func(_ context.Context, r *check.Report) { h.lookAtMemory(r) },
		},
	}
}

func (h *Host) diskCheck(resource, dir string) check.Check {
	o := h.options()
	return check.Check{
		Name: "host.disk", Resource: resource, Codes: []fault.Code{CodeDiskLow}, Every: o.DiskEvery,
		Version: fmt.Sprint(o.DiskWarning, o.DiskMajor),
		Run:     func(_ context.Context, r *check.Report) { h.lookAtDisk(r, dir) },
	}
}

// Actions implements subsystem.Actor.
func (h *Host) Actions() []subsystem.Action {
	o := h.options()
	if o.Pruner == nil {
		return nil
	}
	return []subsystem.Action{{
		Name: "prune", Role: subsystem.Admin,
		Verifies: []fault.Key{{Code: CodeDiskLow, Resource: diskResource}},
		Do: func(ctx context.Context, _ json.RawMessage, progress func(wire.Progress)) (any, error) {
			progress(wire.Progress{Stage: "prune", Text: "removing history that is over its time"})
			return struct{}{}, o.Pruner.Prune(ctx)
		},
	}}
}
