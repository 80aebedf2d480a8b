// Package agent runs the subsystems: their loops, their checks and their
// actions. It knows none of them by name. It answers questions about what is
// believed and proved, and carries out what an operator asks, always looking
// again after acting.
//
// It stores nothing (package journal does, behind [Recorder]) and serves
// nobody (package api does).
package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// Recorder is the journal as the agent needs it.
type Recorder interface {
	check.Recorder
	Beliefs
	// Operate applies an operator's word; it returns the errors of
	// [fault.CheckOperator] as they are.
	Operate(ctx context.Context, k fault.Key, op fault.Operator) ([]fault.Event, error)
	// Apply applies any other input to one fault.
	Apply(ctx context.Context, k fault.Key, in fault.Input) ([]fault.Event, error)
	// Retire clears the faults that nobody owns any more.
	Retire(ctx context.Context, owners fault.Owners) ([]fault.Event, error)
	// Tick lets time pass; it is called once a second.
	Tick(ctx context.Context) ([]fault.Event, error)
}

// Beliefs is the reading side of the journal.
type Beliefs interface {
	View(k fault.Key) (fault.View, bool)
	Find(id uint64) (fault.Key, bool)
	Page(after uint64, n int, want func(*fault.Fault) bool) (views []fault.View, more bool)
	Summary() fault.Summary
	Strain() fault.Strain
	Durable(k fault.Key) bool
	Head() (epoch string, seq uint64)
	History(ctx context.Context, k fault.Key, n int, before uint64) ([]fault.Event, error)
	Follow(ctx context.Context, after uint64) iter.Seq2[fault.Event, error]
	Health() StoreHealth
	// Changed is signalled when Health has changed for better or worse.
	Changed() <-chan struct{}
}

// StoreHealth is how the journal is.
type StoreHealth struct {
	Held       int       // events that are not yet durable
	Failing    time.Time // since when it cannot store; zero if it can
	Error      string    // of the newest failure
	SetAside   string    // where a corrupt database was put; empty if none was
	SetAsideAt time.Time
	Salvaged   int // beliefs read out of it
	Cleared    int // cleared faults kept
	MaxCleared int
	Bytes      int64 // of the database and its log
}

// Options are what an Agent needs.
type Options struct {
	Node       string
	Version    wire.Version
	Recorder   Recorder
	Catalogue  *fault.Catalogue
	Subsystems []subsystem.Subsystem
	Log        *slog.Logger
	Parallel   int    // looks at once; zero is the scheduler's default
	LabDir     string // where drills make their labs; empty: the system's temporary directory
	// Auto names the codes whose automatic remedy the operator has opted in to.
	Auto map[fault.Code]bool
}

// Agent runs subsystems. Its methods are safe for concurrent use.
type Agent struct {
	opts      Options
	sched     *check.Scheduler
	started   time.Time
	config    configState
	overrides overrides
	retired   chan struct{} // capacity 1: checks changed, orphans may be left

	mu       sync.Mutex // guards the fields below
	lastTick time.Time
	stored   time.Time // of the last tick that the journal took without error

	newLab func(context.Context) (*lab.Lab, error)
}

// New returns an agent with its checks planned that does nothing yet. It fails
// if two checks are one, or one cannot be run.
func New(opts Options) (*Agent, error) {
	a := &Agent{opts: opts, started: time.Now(), retired: make(chan struct{}, 1)}
	a.sched = check.NewScheduler(check.Options{
		Recorder: opts.Recorder, Entries: opts.Catalogue, Log: opts.Log, Parallel: opts.Parallel,
	})
	a.newLab = func(ctx context.Context) (*lab.Lab, error) { return lab.New(ctx, opts.LabDir) }
	return a, a.plan()
}

// Run runs everything until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	a.retire(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.sched.Run(ctx) })
	g.Go(func() error { return a.ticks(ctx) })
	g.Go(func() error { return a.watchStore(ctx) })
	g.Go(func() error { return a.remedyLoop(ctx) })
	for _, s := range a.opts.Subsystems {
		g.Go(func() error {
			if err := s.Run(ctx, a.sched); err != nil && ctx.Err() == nil {
				return fmt.Errorf("subsystem %s: %w", s.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Refresh takes over the subsystems' present checks after a change of
// configuration. Faults whose check is gone are retired.
func (a *Agent) Refresh(ctx context.Context) error {
	if err := a.plan(); err != nil {
		return err
	}
	a.retire(ctx)
	return nil
}

func (a *Agent) plan() error {
	checks := a.ownChecks()
	for _, s := range a.opts.Subsystems {
		checks = append(checks, s.Checks()...)
	}
	if err := a.sched.Set(checks, a.unverified()); err != nil {
		return fmt.Errorf("plan the checks: %w", err)
	}
	return nil
}

// unverified returns the owners of faults that stand from an earlier process.
func (a *Agent) unverified() map[string]bool {
	owners := map[string]bool{}
	views, _ := a.opts.Recorder.Page(0, 1<<30, func(f *fault.Fault) bool { return f.Unverified() })
	for _, v := range views {
		owners[v.Check] = true
	}
	return owners
}

// retire clears what nobody owns; if the journal refuses, ticks tries again.
func (a *Agent) retire(ctx context.Context) {
	if _, err := a.opts.Recorder.Retire(ctx, a.sched); err != nil {
		a.opts.Log.LogAttrs(ctx, slog.LevelWarn, "orphaned faults not retired yet", slog.Any("error", err))
		select {
		case a.retired <- struct{}{}:
		default:
		}
	}
}

// ticks lets time pass in the journal.
func (a *Agent) ticks(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		_, err := a.opts.Recorder.Tick(ctx)
		if err != nil && ctx.Err() == nil {
			a.opts.Log.LogAttrs(ctx, slog.LevelDebug, "tick not stored", slog.Any("error", err))
		}
		a.mu.Lock()
		a.lastTick = time.Now()
		if err == nil {
			a.stored = a.lastTick
		}
		a.mu.Unlock()
		select {
		case <-a.retired:
			a.retire(ctx)
		default:
		}
	}
}

// watchStore looks at the journal as soon as its health changes.
func (a *Agent) watchStore(ctx context.Context) error {
	changed := a.opts.Recorder.Changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			changed = a.opts.Recorder.Changed() // before the look, so that none is missed
			a.sched.Ask(storeCheckID, fault.TriggerCause)
		}
	}
}

// Alive says when the agent's clock last ticked, which needs the journal's
// writer to answer: a watchdog or a health door trusts nothing less.
func (a *Agent) Alive() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lastTick
}

// Pulse says when the scheduler last planned and when the journal's writer last
// answered a tick without error.
func (a *Agent) Pulse() (scheduler, journal time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sched.Planned(), a.stored
}

// Started is when the agent was made.
func (a *Agent) Started() time.Time { return a.started }

// Subsystems returns the subsystems, for the doors that show them.
func (a *Agent) Subsystems() []subsystem.Subsystem { return a.opts.Subsystems }

// Recorder returns the reading side of the journal.
func (a *Agent) Recorder() Beliefs { return a.opts.Recorder }

// Catalogue returns what is known of the codes.
func (a *Agent) Catalogue() *fault.Catalogue { return a.opts.Catalogue }

// What the agent cannot find.
var (
	ErrNoFault         = errors.New("no such fault")
	ErrNothingSelected = errors.New("nothing matches")
	ErrNoAction        = errors.New("no such action")
)
