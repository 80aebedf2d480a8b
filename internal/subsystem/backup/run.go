package backup

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"allclear/internal/wire"
)

// The states of a run.
const (
	stateRunning     = "running"
	stateSuccess     = "success"
	stateFailed      = "failed"
	stateInterrupted = "interrupted"
)

// The states of a stage, as an appliance's state machine names them.
const (
	stagePending  = "pending"
	stageProgress = "in-progress"
	stageSuccess  = "success"
	stageFail     = "fail"
	stageSkip     = "skip"
)

// The stages of a run, in order.
const (
	stageBegin    = "begin"
	stageSource   = "source"
	stageTransfer = "transfer"
	stageVerify   = "verify"
	stageDone     = "done"
)

// stages are the stages with the share of the whole run that each is shown as.
func stages() []struct {
	name  string
	share float64
} {
	return []struct {
		name  string
		share float64
	}{{stageBegin, 2}, {stageSource, 13}, {stageTransfer, 65}, {stageVerify, 15}, {stageDone, 5}}
}

// The triggers of a run.
const (
	bySchedule = "schedule"
	byCatchUp  = "catch-up"
	byOperator = "operator"
)

// run is a run under way. Its record is stored whenever a stage changes. It is
// safe for concurrent use.
type run struct {
	h       *history
	done    chan struct{} // closed when it has ended and its faults stand
	mu      sync.Mutex    // guards the fields below
	rec     wire.BackupRun
	changed chan struct{} // closed at each change, then another
}

func newRun(h *history, j *Job, trigger string, now time.Time) *run {
	r := &run{h: h, done: make(chan struct{}), changed: make(chan struct{})}
	r.rec = wire.BackupRun{
		ID: newID(now), Job: j.Name, Kind: string(j.Kind), Target: j.Target, Trigger: trigger,
		State: stateRunning, Started: now.UTC(), Tries: j.tries(), Stages: freshStages(),
	}
	return r
}

func freshStages() []wire.BackupStage {
	all := make([]wire.BackupStage, 0, len(stages()))
	for i, s := range stages() {
		all = append(all, wire.BackupStage{Name: s.name, Order: i + 1, State: stagePending})
	}
	return all
}

// record is the run as it stands.
func (r *run) record() wire.BackupRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copied()
}

// copied is the record with lists of its own. The caller holds the lock.
func (r *run) copied() wire.BackupRun {
	c := r.rec
	c.Stages, c.Skipped, c.Notes = slices.Clone(c.Stages), slices.Clone(c.Skipped), slices.Clone(c.Notes)
	end := time.Now()
	if c.Ended != nil {
		end = *c.Ended
	}
	c.DurationMS = end.Sub(c.Started).Milliseconds()
	c.Percent = percentOf(c.Stages)
	return c
}

// percentOf is how much of a run its stages make.
func percentOf(all []wire.BackupStage) (percent float64) {
	for i, s := range stages() {
		if i >= len(all) {
			break
		}
		switch all[i].State {
		case stageSuccess, stageSkip:
			percent += s.share
		case stageProgress, stageFail:
			percent += s.share * all[i].Percent / 100
		}
	}
	return percent
}

// change alters the record and wakes who follows it. A change that is stored
// survives the process.
func (r *run) change(stored bool, f func(*wire.BackupRun)) {
	r.mu.Lock()
	f(&r.rec)
	c := r.copied()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	if stored {
		r.h.put(c)
	}
}

// watch is closed at the next change.
func (r *run) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// try begins a try: its stages start anew.
func (r *run) try(n int) {
	r.change(true, func(b *wire.BackupRun) {
		b.Try, b.Retry, b.Stages = n, nil, freshStages()
		b.Files, b.Bytes, b.FilesNew, b.FilesDiff, b.BytesSent, b.BytesRead, b.Rate = 0, 0, 0, 0, 0, 0, 0
		b.Skipped, b.SkippedCount, b.Copy, b.Notes, b.Result = nil, 0, "", nil, wire.BackupResult{}
	})
}

func stageOf(b *wire.BackupRun, name string) *wire.BackupStage {
	i := slices.IndexFunc(b.Stages, func(s wire.BackupStage) bool { return s.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("backup: no stage %q", name))
	}
	return &b.Stages[i]
}

// enter begins a stage.
func (r *run) enter(name string) {
	now := time.Now().UTC()
	r.change(true, func(b *wire.BackupRun) {
		s := stageOf(b, name)
		s.State, s.Try, s.Percent, s.Started, s.Ended = stageProgress, b.Try, 0, &now, nil
	})
}

// leave ends a stage well.
func (r *run) leave(name, text string) {
	now := time.Now().UTC()
	r.change(true, func(b *wire.BackupRun) {
		s := stageOf(b, name)
		s.State, s.Percent, s.Ended, s.Text = stageSuccess, 100, &now, text
	})
}

// progress says how far a stage has come.
func (r *run) progress(name string, percent float64, f func(*wire.BackupRun)) {
	r.change(false, func(b *wire.BackupRun) {
		s := stageOf(b, name)
		s.Percent = min(100, max(s.Percent, percent))
		if f != nil {
			f(b)
		}
	})
}

func (r *run) note(text string) {
	r.change(false, func(b *wire.BackupRun) {
		if !slices.Contains(b.Notes, text) {
			b.Notes = append(b.Notes, text)
		}
	})
}

// failTry ends the stage under way, and with it the try.
func (r *run) failTry(c cause) {
	now := time.Now().UTC()
	r.change(true, func(b *wire.BackupRun) { failStages(b, c.result(), now) })
}

func failStages(b *wire.BackupRun, result wire.BackupResult, now time.Time) {
	for i := range b.Stages {
		switch s := &b.Stages[i]; s.State {
		case stageProgress:
			s.State, s.Ended, s.Text, result.Stage = stageFail, &now, result.Text, s.Name
		case stagePending:
			s.State = stageSkip
		}
	}
	if result.Stage == "" {
		result.Stage = stageBegin // before anything was begun
	}
	b.Result = result
}

// finish ends the run.
func (r *run) finish(state string, result *wire.BackupResult) {
	now := time.Now().UTC()
	n, since := r.h.streak(r.record().Job)
	r.change(true, func(b *wire.BackupRun) {
		b.State, b.Ended = state, &now
		if result != nil {
			b.Result = *result
		}
		b.DurationMS = now.Sub(b.Started).Milliseconds()
		if state != stateSuccess {
			n++
		}
		if n <= 1 {
			since = b.Started
		}
		b.UCS = ucsLine(b, r.h.node, n, since)
	})
}

// interrupt records that the process ended before the run did.
func interrupt(b *wire.BackupRun, node string, now time.Time) {
	now = now.UTC()
	failStages(b, wire.BackupResult{
		Class: classInterrupted, Code: CodeJobFailed, Qualifier: "interrupted",
		Text: "the agent or the machine stopped before the run ended",
	}, now)
	b.State, b.Ended, b.Retry = stateInterrupted, &now, nil
	b.DurationMS = now.Sub(b.Started).Milliseconds()
	b.UCS = ucsLine(b, node, 1, b.Started)
}
