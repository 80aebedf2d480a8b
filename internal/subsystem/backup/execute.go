package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/backup/repository"
	"allclear/internal/wire"
)

// Pauses before another try.
const (
	maxBackoff    = 15 * time.Minute
	penaltyPause  = 2 * time.Minute // when the server limits our connections
	reportingTime = 30 * time.Second
)

// execute makes the run from its first try to the faults that it leaves. It
// returns when the record is stored and judged.
func (b *Backup) execute(ctx context.Context, r *run, j *Job, t *Target) {
	err := b.surviving(j, func() error { return b.admitted(ctx, r, j, t) })
	b.conclude(ctx, r, j, err)
	// The look must be recorded although the agent may be about to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportingTime)
	defer cancel()
	_ = b.surviving(j, func() error { // the record stands, and the next look judges it anew
		b.tellRun(ctx, r, j, t, err)
		return nil
	})
}

func (b *Backup) admitted(ctx context.Context, r *run, j *Job, t *Target) error {
	release, err := b.admit(ctx, r, j)
	if err != nil {
		return err
	}
	defer release()
	return b.tries(ctx, r, j, t)
}

// runNow makes one run outside of the loop, for a drill.
func (b *Backup) runNow(ctx context.Context, j *Job, t *Target) wire.BackupRun {
	r := newRun(b.history, j, byOperator, time.Now())
	b.history.put(r.record())
	b.execute(ctx, r, j, t)
	return r.record()
}

// admit waits for a slot and for the job's copies.
func (b *Backup) admit(ctx context.Context, r *run, j *Job) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	done, err := b.take(ctx, j.Name)
	if err != nil {
		<-b.slots
		return nil, err
	}
	return func() { done(); <-b.slots }, nil
}

// tries makes the run's tries until one succeeds, none would, or all are spent.
func (b *Backup) tries(ctx context.Context, r *run, j *Job, t *Target) error {
	asked := r.record().Trigger == byOperator
	for n := 1; ; n++ {
		r.try(n)
		err := b.surviving(j, func() error { return b.tryOnce(ctx, r, j, t, asked) })
		if err == nil {
			return nil
		}
		b.history.prove(j.Name, func(p *proof) { p.Untidy = true })
		if ctx.Err() != nil {
			return err
		}
		c := classify(err)
		r.failTry(c)
		if !c.again || n >= j.tries() {
			return err
		}
		if c.class == classSpace && !b.makeRoom(ctx, j, t, asked) && n > 1 {
			return err // retention was tried and there is nothing to remove
		}
		pause := min(j.backoff(n, asked), maxBackoff)
		if sshpolicy.RateLimited(err) {
			pause = max(pause, penaltyPause)
		}
		if err := b.pause(ctx, r, pause); err != nil {
			return err
		}
	}
}

func (b *Backup) pause(ctx context.Context, r *run, d time.Duration) error {
	at := time.Now().Add(d).UTC()
	r.change(true, func(rec *wire.BackupRun) { rec.Retry = &at })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// makeRoom removes what the keep rules do not keep; it claims that something
// went.
func (b *Backup) makeRoom(ctx context.Context, j *Job, t *Target, asked bool) bool {
	if j.Keep.IsZero() {
		return false
	}
	o, err := b.open(ctx, j, t, asked, false)
	if err != nil {
		return false // the next try says why
	}
	defer func() { _ = o.close() }() // nothing is written on it any more
	kept, err := o.retain(ctx, "")
	return err == nil && kept.Removed > 0
}

// errPanic is a defect of this program that a run has met. It ends the try, and
// nothing else.
var errPanic = errors.New("the program failed within the run; its log has the place")

// surviving is do with a panic, here or in a goroutine of package repository,
// made an error whose place is in the log.
func (b *Backup) surviving(j *Job, do func() error) error {
	err := guarded(do)
	if errors.Is(err, errPanic) {
		return err // it is in the log
	}
	if p, ok := errors.AsType[*repository.PanicError](err); ok {
		b.log.Error("backup run panicked", slog.String("job", j.Name), slog.Any("panic", p.Value), slog.String("stack", string(p.Stack)))
		err = fmt.Errorf("%w: %w", errPanic, err)
	}
	return err
}

// guarded is do with a panic made an error, as package repository does it for
// its goroutines.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, &repository.PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	return do()
}

// tryOnce is one try: the five stages.
func (b *Backup) tryOnce(ctx context.Context, r *run, j *Job, t *Target, asked bool) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.timeout(), errRunTime)
	defer cancel()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errRunTime) {
			err = fmt.Errorf("%w of %s: %w", errRunTime, j.timeout(), err)
		}
	}()
	r.enter(stageBegin)
	o, err := b.open(ctx, j, t, asked, true)
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, o.close())
		}
	}()
	began(r, o)
	done, err := o.save(ctx, r)
	if err != nil {
		return err
	}
	r.change(true, func(rec *wire.BackupRun) { rec.Copy = done.copy })
	r.enter(stageDone)
	b.retire(ctx, r, o, done.copy)
	b.tidy(ctx, r, o)
	b.measure(ctx, o)
	closed = true
	if err := o.close(); err != nil {
		r.note(fmt.Sprintf("the copy is verified; closing the connection failed: %v", err))
	}
	started := r.record().Started
	b.history.prove(j.Name, func(p *proof) { p.Verified, p.Copy, p.Size = started, done.copy, done.size })
	r.leave(stageDone, "")
	return nil
}

// began puts what the connection agreed on into the record.
func began(r *run, o *opened) {
	protocol, notes := string(o.session.files.Protocol()), o.session.files.Notes()
	r.change(false, func(rec *wire.BackupRun) {
		rec.Protocol, rec.Server = protocol, o.session.result.Banner
		rec.SSH = algorithms(o.target.Policy.Name, o.session.ssh.Negotiated())
		rec.Notes = append(rec.Notes, notes...)
		if o.session.result.Code == sshpolicy.CodeCryptoError {
			rec.Notes = append(rec.Notes, fmt.Sprintf("a key exchange that both sides allow failed, %s was used instead: %s", rec.SSH.KEX, o.session.result.Error))
		}
	})
	r.leave(stageBegin, fmt.Sprintf("connected to %s by %s", o.target.Name, protocol))
}

// retire removes old copies. That it fails does not fail the run: the new copy
// stands; it has a fault of its own.
func (b *Backup) retire(ctx context.Context, r *run, o *opened, made string) {
	if o.job.Keep.IsZero() {
		b.history.prove(o.job.Name, func(p *proof) { p.Retention = nil })
		return
	}
	kept, err := o.retain(ctx, made)
	kept.At = time.Now().UTC()
	if err != nil {
		c := classify(err)
		kept.Why, kept.Path = err.Error(), c.path
		r.note("old copies not removed: " + err.Error())
	}
	b.history.prove(o.job.Name, func(p *proof) { p.Retention = &kept })
	r.change(false, func(rec *wire.BackupRun) { rec.Removed = kept.Removed })
}

// tidy removes what tries that were cut off have left at the target. It costs a
// listing of all folders, so it is done only after such a try.
func (b *Backup) tidy(ctx context.Context, r *run, o *opened) {
	if !b.history.proof(o.job.Name).Untidy {
		return
	}
	clean, err := o.tidy(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported): // an account that cannot remove
	case err != nil:
		r.note("what transfers that were cut off have left is not removed: " + err.Error())
		return
	case !clean:
		return
	}
	b.history.prove(o.job.Name, func(p *proof) { p.Untidy = false })
}

func (b *Backup) measure(ctx context.Context, o *opened) {
	if free, total, err := o.session.files.Space(ctx); err == nil {
		b.measured(o.target.Name, free, total)
	}
}

// conclude ends the record.
func (b *Backup) conclude(ctx context.Context, r *run, j *Job, err error) {
	switch {
	case err == nil:
		result := wire.BackupResult{Class: classOK}
		if n := r.record().SkippedCount; n > 0 {
			result = wire.BackupResult{Class: classSkips, Code: CodeLocal, Qualifier: "skipped", Text: fmt.Sprintf("%d files could not be read; all others are saved", n)}
		}
		r.finish(stateSuccess, &result)
	case ctx.Err() != nil:
		r.change(false, func(rec *wire.BackupRun) { interrupt(rec, b.history.node, time.Now()) })
		b.history.put(r.record())
	default:
		if r.record().Result.Class == "" { // not within a try
			r.failTry(classify(err))
		}
		b.log.Warn("backup run failed", slog.String("job", j.Name), slog.Any("error", err))
		r.finish(stateFailed, nil)
	}
}

// tellRun judges what the run has shown, each check its own part: the job, the
// target, the copies, the key.
func (b *Backup) tellRun(ctx context.Context, r *run, j *Job, t *Target, err error) {
	trigger := fault.TriggerTimer
	if r.record().Trigger == byOperator {
		trigger = fault.TriggerOperator
	}
	var c cause
	if err != nil {
		c = classify(err)
	}
	if err == nil || c.code == CodeNoSpace || c.code == CodeAccessDenied || c.code == CodeNoSFTP {
		b.report(ctx, targetCheckID(t.Name), trigger, func(rep *check.Report) { b.judgeTarget(rep, t, err) })
	}
	if v, ok := errors.AsType[*verifyError](err); ok {
		b.history.prove(j.Name, func(p *proof) { p.Look = badLook(j.Name, v) })
	}
	if err == nil || c.code == CodeVerify {
		b.report(ctx, copyCheckID(j.Name), trigger, func(rep *check.Report) { b.judgeCopies(rep, j, t) })
	}
	if err == nil || c.code == CodeKeyUnavailable {
		b.report(ctx, keyCheckID(j.Name), trigger, func(rep *check.Report) { b.judgeKey(rep, j) })
	}
	if err == nil {
		b.report(ctx, keysCheckID(), trigger, b.judgeKeys)
	}
	// Last, so that the causes stand before the symptom.
	b.report(ctx, jobCheckID(j.Name), trigger, func(rep *check.Report) { b.judgeJob(rep, j, t) })
	if err == nil && b.drillDue(j, time.Now()) {
		b.ask(drillCheckID(j.Name)) // the first copy is drilled at once
	}
}

func badLook(job string, v *verifyError) *lookRecord {
	return &lookRecord{
		BackupVerify: wire.BackupVerify{Job: job, At: time.Now().UTC(), Problems: []string{v.Error()}},
		Kind:         v.kind, Path: v.path, Expected: v.expected, Actual: v.actual,
	}
}
