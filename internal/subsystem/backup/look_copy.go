package backup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Bounds of the looks that read copies.
const (
	verifyTime = 6 * time.Hour
	badAgain   = 15 * time.Minute // a verification that found damage is repeated so soon
	readMargin = 1.25             // more than its share is read, so that a missed day is made good
)

// asked claims that somebody wants a look and not the record of one.
func asked(t fault.Trigger) bool {
	return t != fault.TriggerTimer && t != fault.TriggerStartup && t != fault.TriggerCause
}

// copyCheck looks at all that the job's copies need, and reads a part of it,
// when that is due or somebody asks; else it judges by the newest such look.
func (b *Backup) copyCheck(j Job, t Target) check.Check {
	every := min(proofEvery, j.Proof.structure()/4)
	return check.Check{
		Name: "backup.copy", Resource: j.Name, Every: every, Fast: min(every, badAgain), Timeout: verifyTime,
		Codes: []fault.Code{CodeVerify}, Version: fmt.Sprint(j.Target, j.Kind, t.Address, t.Path, t.Version),
		Run: func(ctx context.Context, r *check.Report) {
			if asked(r.Trigger()) || b.verifyDue(&j, time.Now()) {
				if err := b.verifyNow(ctx, &j, &t, verifying{asked: r.Trigger() == fault.TriggerOperator}); err != nil {
					r.Unknown(CodeVerify, err.Error())
					return
				}
			}
			b.judgeCopies(r, &j, &t)
		},
	}
}

func (b *Backup) verifyDue(j *Job, now time.Time) bool {
	p := b.history.proof(j.Name)
	switch {
	case p.Verified.IsZero():
		return false // nothing to look at
	case p.Look == nil:
		return p.Suspect || elapsed(p.Verified, j.Proof.structure(), now)
	case !p.Look.OK:
		return elapsed(p.Look.At, badAgain, now)
	}
	return p.Suspect || elapsed(p.Look.At, j.Proof.structure(), now)
}

// verifying is how a verification is wanted.
type verifying struct {
	asked bool // by an operator
	full  bool // read every byte
	wait  bool // for a run of the job to end
	tell  func(wire.Progress)
}

// errBusy says that a job's copies are worked on.
var errBusy = errors.New("a run, a verification or a drill of the job is under way; it judges what it finds")

// verifyNow verifies the job's copies and records what was found. An error says
// that it could not look.
func (b *Backup) verifyNow(ctx context.Context, j *Job, t *Target, how verifying) error {
	release, err := b.turnFor(ctx, j.Name, how.wait)
	if err != nil {
		return err
	}
	defer release()
	began := time.Now()
	o, err := b.open(ctx, j, t, how.asked, false)
	if v, ok := errors.AsType[*verifyError](err); ok {
		b.history.prove(j.Name, func(p *proof) { p.Look = badLook(j.Name, v) })
		return nil
	}
	if err != nil {
		return err
	}
	percent := 100.0
	if !how.full {
		percent = b.share(j, began)
	}
	tell := how.tell
	if tell == nil {
		tell = func(wire.Progress) {}
	}
	found, err := o.verify(ctx, percent, tell)
	if err = errors.Join(err, o.close()); err != nil && found.At.IsZero() {
		return err
	}
	found.Job, found.DurationMS = j.Name, time.Since(began).Milliseconds()
	b.history.prove(j.Name, func(p *proof) {
		p.Look, p.Suspect = &found, false
		if found.OK {
			p.Structure = found.At
		}
		p.ReadPercent, p.ReadOldest = found.ReadPercent, found.Oldest
	})
	return nil
}

// share is how many percent of everything to read now, so that all is read once
// within the job's full read time.
func (b *Backup) share(j *Job, now time.Time) float64 {
	since := j.Proof.structure()
	if p := b.history.proof(j.Name); p.Look != nil {
		since = now.Sub(p.Look.At)
	}
	return min(100, max(0.1, 100*readMargin*since.Seconds()/j.Proof.fullRead().Seconds()))
}

func (b *Backup) turnFor(ctx context.Context, job string, wait bool) (release func(), err error) {
	if wait {
		return b.take(ctx, job)
	}
	release, ok := b.takeNow(job)
	if !ok {
		return nil, errBusy
	}
	return release, nil
}

func (b *Backup) judgeCopies(r *check.Report, j *Job, t *Target) {
	p := b.history.proof(j.Name)
	switch {
	case p.Look != nil && !p.Look.OK:
		b.presentDamage(r, j, t, p.Look)
	case p.Look != nil:
		r.Absent(CodeVerify)
		r.Proved("%d copies complete on %s; %.0f%% of the data read back within %s", p.Look.Copies, p.Look.At.Format(time.RFC3339), p.ReadPercent, j.Proof.fullRead())
	case p.Verified.IsZero():
		r.NotApplicable(CodeVerify, "there is no copy yet")
	default:
		r.Absent(CodeVerify)
		r.Proved("the copy of %s was read back by its run", p.Verified.Format(time.RFC3339))
	}
}

func (b *Backup) presentDamage(r *check.Report, j *Job, t *Target, look *lookRecord) {
	sense := jobSense(j, t)
	put(sense, "qualifier", look.Kind)
	put(sense, "path", look.Path)
	put(sense, "expected", look.Expected)
	put(sense, "actual", look.Actual)
	sense["key_id"], sense["verified"], sense["problems"] = j.keyID(), look.At.Format(time.RFC3339), strconv.Itoa(len(look.Problems))
	text := "the copies are damaged"
	if len(look.Problems) > 0 {
		text = look.Problems[0]
	}
	if n := len(look.Problems); n > 1 {
		text = fmt.Sprintf("%s (and %d more)", text, n-1)
	}
	r.Present(CodeVerify, errors.New(text), sense)
}

// drillCheck restores random files when that is due or somebody asks; else it
// judges by the newest drill.
func (b *Backup) drillCheck(j Job, t Target) check.Check {
	every := min(proofEvery, j.Proof.drill()/4)
	return check.Check{
		Name: "backup.drill", Resource: j.Name, Every: every, Timeout: verifyTime, Codes: []fault.Code{CodeRestoreDrill},
		Version: fmt.Sprint(j.Target, j.Kind, t.Address, t.Path, t.Version),
		Run: func(ctx context.Context, r *check.Report) {
			if asked(r.Trigger()) || b.drillDue(&j, time.Now()) {
				err := b.drillNow(ctx, &j, &t, verifying{asked: r.Trigger() == fault.TriggerOperator})
				if err != nil && !b.drillOverdue(&j, time.Now()) {
					r.Unknown(CodeRestoreDrill, err.Error())
					return
				}
			}
			b.judgeDrill(r, &j, &t, time.Now())
		},
	}
}

func (b *Backup) drillDue(j *Job, now time.Time) bool {
	p := b.history.proof(j.Name)
	switch {
	case p.Verified.IsZero():
		return false
	case p.Drill == nil:
		return true
	case !p.Drill.Passed:
		return elapsed(p.Drill.At, badAgain, now)
	}
	return elapsed(p.Drill.At, j.Proof.drill(), now)
}

// drillNow drills a restore and records what was found. An error says that it
// could not be tried.
func (b *Backup) drillNow(ctx context.Context, j *Job, t *Target, how verifying) error {
	release, err := b.turnFor(ctx, j.Name, how.wait)
	if err != nil {
		return err
	}
	defer release()
	began := time.Now().UTC()
	tell := how.tell
	if tell == nil {
		tell = func(wire.Progress) {}
	}
	var found wire.BackupDrill
	o, err := b.open(ctx, j, t, how.asked, false)
	if v, ok := errors.AsType[*verifyError](err); ok {
		found, err = wire.BackupDrill{First: v.path, Why: v.Error()}, nil
	} else if err == nil {
		found, err = o.drill(ctx, tell)
		err = errors.Join(err, o.close())
	}
	if err != nil {
		return err
	}
	found.ID, found.Job, found.At, found.DurationMS = newID(began), j.Name, began, time.Since(began).Milliseconds()
	b.history.prove(j.Name, func(p *proof) {
		p.Drill = &drillRecord{found}
		if found.Passed {
			p.DrillOK = began
		}
	})
	return nil
}

// drillOverdue claims that no drill has passed for too long. Before the first
// one the time since the first verified copy counts.
func (b *Backup) drillOverdue(j *Job, now time.Time) bool {
	p := b.history.proof(j.Name)
	from := p.DrillOK
	if from.IsZero() {
		from = p.Since
	}
	return !from.IsZero() && elapsed(from, j.Proof.drillOverdue(), now)
}

func (b *Backup) judgeDrill(r *check.Report, j *Job, t *Target, now time.Time) {
	p := b.history.proof(j.Name)
	sense := jobSense(j, t)
	sense["last_good"] = "never"
	if !p.DrillOK.IsZero() {
		sense["last_good"] = p.DrillOK.Format(time.RFC3339)
	}
	switch {
	case p.Drill != nil && !p.Drill.Passed:
		sense["qualifier"], sense["drill_id"] = "failed", p.Drill.ID
		put(sense, "path", p.Drill.First)
		put(sense, "copy", p.Drill.Copy)
		r.Present(CodeRestoreDrill, fmt.Errorf("%s", p.Drill.Why), sense)
	case b.drillOverdue(j, now):
		sense["qualifier"] = "overdue"
		r.Present(CodeRestoreDrill, fmt.Errorf("the last restore drill that passed: %s; one is wanted every %s", sense["last_good"], j.Proof.drillOverdue()), sense)
	case p.Drill != nil:
		r.Absent(CodeRestoreDrill)
		r.Proved("%d files, %d bytes restored as they were saved, on %s", p.Drill.Files, p.Drill.Bytes, p.Drill.At.Format(time.RFC3339))
	default:
		r.NotApplicable(CodeRestoreDrill, "there is no copy to restore from yet")
	}
}
