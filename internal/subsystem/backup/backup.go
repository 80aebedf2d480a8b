package backup

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/wire"
)

// Backup is the subsystem. It is safe for concurrent use.
type Backup struct {
	log      *slog.Logger
	history  *history
	requests chan request    // to the loop of Run; unbuffered
	wake     chan struct{}   // capacity 1: the plan changed
	slots    chan struct{}   // one for each run that may go at once
	locks    repository.Held // of this process, in every repository

	mu        sync.Mutex // guards the fields below
	opts      Options
	sink      check.Sink           // nil before Run
	active    map[string]*run      // by job
	busy      map[string]*turn     // by job
	contacts  map[string]contact   // by target
	postponed map[string]time.Time // looks at targets, by target
	keys      map[string]keyState
}

// turn lets one at a time work on a job's copies.
type turn struct{ c chan struct{} } // capacity 1: full while taken

// New opens the records in o.Dir. Runs that were cut off by the end of an
// earlier process are recorded as interrupted.
func New(o Options) (*Backup, error) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h, err := openHistory(o.Dir, o.Node, time.Now(), log)
	if err != nil {
		return nil, err
	}
	b := &Backup{
		log: log, history: h, requests: make(chan request), wake: make(chan struct{}, 1),
		slots:  make(chan struct{}, o.parallel()),
		active: map[string]*run{}, busy: map[string]*turn{}, contacts: map[string]contact{}, postponed: map[string]time.Time{}, keys: map[string]keyState{},
	}
	b.Configure(o)
	return b, nil
}

// Close releases the folder of the records. Run has ended before.
func (b *Backup) Close() error { return b.history.root.Close() }

// Configure replaces jobs and targets. Runs under way end under the options
// they began with; Dir, Parallel and Log stay as they were.
func (b *Backup) Configure(o Options) {
	for _, j := range o.Jobs {
		if b.history.proof(j.Name).Since.IsZero() {
			b.history.prove(j.Name, func(p *proof) { p.Since = time.Now().UTC() })
		}
	}
	b.mu.Lock()
	if o.Guards == nil {
		o.Guards = cmp.Or(b.opts.Guards, sshpolicy.NewGuards())
	}
	b.opts = o
	maps.DeleteFunc(b.postponed, func(name string, _ time.Time) bool { _, kept := o.target(name); return !kept })
	maps.DeleteFunc(b.contacts, func(name string, _ contact) bool { _, kept := o.target(name); return !kept })
	maps.DeleteFunc(b.keys, func(name string, _ keyState) bool { _, kept := o.job(name); return !kept })
	b.mu.Unlock()
	b.poke()
}

func (b *Backup) poke() {
	select {
	case b.wake <- struct{}{}:
	default: // it was told already
	}
}

func (b *Backup) options() Options {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opts
}

// find returns a job and its target.
func (b *Backup) find(name string) (Job, Target, error) {
	o := b.options()
	j, ok := o.job(name)
	if !ok {
		return j, Target{}, fmt.Errorf("no backup job %q; there are: %s", name, listed(jobNames(o.Jobs)))
	}
	t, ok := o.target(j.Target)
	if !ok {
		return j, t, fmt.Errorf("job %s goes to target %q, which is not configured", name, j.Target)
	}
	return j, t, nil
}

func jobNames(jobs []Job) []string {
	names := make([]string, len(jobs))
	for i, j := range jobs {
		names[i] = j.Name
	}
	return names
}

// Name implements subsystem.Subsystem.
func (b *Backup) Name() string { return "backup" }

// Faults implements subsystem.Subsystem.
func (b *Backup) Faults() []fault.Entry { return Faults() }

// Checks implements subsystem.Subsystem.
func (b *Backup) Checks() []check.Check {
	o := b.options()
	var all []check.Check
	for _, j := range o.Jobs {
		t, ok := o.target(j.Target)
		if !ok {
			continue
		}
		all = append(all, b.jobCheck(j, t), b.copyCheck(j, t), b.drillCheck(j, t), b.keyCheck(j))
	}
	for _, t := range o.Targets {
		all = append(all, b.targetCheck(t), b.settingsCheck(t))
	}
	if len(o.Jobs) > 0 {
		all = append(all, b.keysCheck())
	}
	return all
}

// Describe implements subsystem.Describer.
func (b *Backup) Describe() (string, bool) {
	o := b.options()
	if len(o.Jobs) == 0 {
		return "no backup job is configured", false
	}
	proved := 0
	for _, j := range o.Jobs {
		p := b.history.proof(j.Name)
		if limit := j.overdueAfter(time.Now()); !p.Verified.IsZero() && (limit == 0 || !elapsed(p.Verified, limit, time.Now())) {
			proved++
		}
	}
	jobs := "1 backup job"
	if n := len(o.Jobs); n > 1 {
		jobs = fmt.Sprintf("%d backup jobs", n)
	}
	return fmt.Sprintf("%s, %d with a verified copy in time", jobs, proved), true
}

// request asks the loop of Run to start a job.
type request struct {
	job     string
	trigger string
	answer  chan<- started // capacity 1
}

// started is the run that a request got.
type started struct {
	run    *run
	joined bool // it was under way already
	err    error
}

// Run implements subsystem.Subsystem: it starts jobs by their schedules and on
// demand until ctx ends, and waits for the runs under way, which end with it.
func (b *Backup) Run(ctx context.Context, sink check.Sink) error {
	b.mu.Lock()
	b.sink = sink
	b.mu.Unlock()
	var runs sync.WaitGroup
	defer runs.Wait()
	for {
		timer := time.NewTimer(min(b.startDue(ctx, &runs), b.lookDue(time.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-b.wake:
			timer.Stop()
		case q := <-b.requests:
			timer.Stop()
			q.answer <- b.begin(ctx, &runs, q.job, q.trigger)
		}
	}
}

// planAgain is the longest that the loop sleeps: a machine that was suspended,
// or whose clock was set, is back in step after it.
const planAgain = time.Minute

// startDue starts the jobs whose time has come and answers how long to wait.
func (b *Backup) startDue(ctx context.Context, runs *sync.WaitGroup) time.Duration {
	now := time.Now()
	wait := planAgain
	for _, j := range b.options().Jobs {
		at, trigger := b.due(&j, now)
		switch {
		case at.IsZero() || b.running(j.Name) != nil:
		case at.After(now):
			wait = min(wait, at.Sub(now))
		default:
			if s := b.begin(ctx, runs, j.Name, trigger); s.err != nil {
				b.log.Warn("scheduled run not started", slog.String("job", j.Name), slog.Any("error", s.err))
			}
		}
	}
	return wait
}

// maxCutOff is how many runs in a row may be cut off and caught up at once: a
// run that ends its own machine must not do so for ever.
const maxCutOff = 3

// due is when a job starts next by itself, and why; the zero time if never.
func (b *Backup) due(j *Job, now time.Time) (time.Time, string) {
	if j.Schedule.IsZero() || j.Disabled != "" {
		return time.Time{}, ""
	}
	after := b.history.proof(j.Name).Since
	runs := b.history.of(j.Name)
	if len(runs) > 0 {
		after = runs[0].Started
		cut := slices.IndexFunc(runs, func(r wire.BackupRun) bool { return r.State != stateInterrupted })
		if cut < 0 {
			cut = len(runs)
		}
		if 0 < cut && cut < maxCutOff && runs[0].Trigger != byOperator {
			return j.Window.Fit(now), byCatchUp
		}
	}
	if after.Sub(now) > maxAhead {
		return j.Window.Fit(now), byCatchUp // the clock was set back: that start says nothing of the next
	}
	at := j.Window.Fit(j.Schedule.Next(after).Add(spread(b.options().Node, j.Name, j.Jitter)))
	if at.Before(now.Add(-planAgain)) {
		return j.Window.Fit(now), byCatchUp // the machine was off, or busy with the run before
	}
	return at, bySchedule
}

// running is the run of a job that is under way, or nil.
func (b *Backup) running(job string) *run {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active[job]
}

// begin starts a run of the job, or answers the one under way.
func (b *Backup) begin(ctx context.Context, runs *sync.WaitGroup, name, trigger string) started {
	j, t, err := b.find(name)
	if err != nil {
		return started{err: err}
	}
	if r := b.running(name); r != nil {
		return started{run: r, joined: true}
	}
	r := newRun(b.history, &j, trigger, time.Now())
	b.history.put(r.record())
	b.mu.Lock()
	b.active[name] = r
	b.mu.Unlock()
	runs.Go(func() {
		b.execute(ctx, r, &j, &t)
		b.mu.Lock()
		delete(b.active, name)
		b.mu.Unlock()
		close(r.done)
		b.poke()
	})
	return started{run: r}
}

// start asks the loop for a run of the job.
func (b *Backup) start(ctx context.Context, job, trigger string) (started, error) {
	answer := make(chan started, 1)
	select {
	case b.requests <- request{job, trigger, answer}:
	case <-ctx.Done():
		return started{}, context.Cause(ctx)
	}
	s := <-answer // the loop answers before it does anything else
	return s, s.err
}

// take waits for the turn to work on a job's copies.
func (b *Backup) take(ctx context.Context, job string) (release func(), err error) {
	t := b.turn(job)
	select {
	case t.c <- struct{}{}:
		return func() { <-t.c }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// takeNow is take for who does not wait.
func (b *Backup) takeNow(job string) (release func(), ok bool) {
	t := b.turn(job)
	select {
	case t.c <- struct{}{}:
		return func() { <-t.c }, true
	default:
		return nil, false
	}
}

func (b *Backup) turn(job string) *turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[job] == nil {
		b.busy[job] = &turn{make(chan struct{}, 1)}
	}
	return b.busy[job]
}

// report records what was noticed as a look of a check. Without a running agent
// there is nobody to tell; the check's next look reads the same record.
func (b *Backup) report(ctx context.Context, id string, t fault.Trigger, judge func(*check.Report)) {
	b.mu.Lock()
	sink := b.sink
	b.mu.Unlock()
	if sink == nil {
		return
	}
	if err := sink.Report(ctx, id, t, judge); err != nil {
		b.log.Warn("look not recorded, the next one repeats it", slog.String("check", id), slog.Any("error", err))
	}
}

// ask wants a look soon.
func (b *Backup) ask(id string) {
	b.mu.Lock()
	sink := b.sink
	b.mu.Unlock()
	if sink != nil {
		sink.Ask(id, fault.TriggerTimer)
	}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Sorted(slices.Values(names))
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
