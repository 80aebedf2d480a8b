package backup

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// Intervals of the looks. Those at a record are cheap and often; they judge the
// job, which works at its own times.
const (
	recordEvery = time.Minute
	keyEvery    = time.Hour
	proofEvery  = 6 * time.Hour // at most: the work itself comes when it is due
)

func jobCheckID(job string) string       { return "backup.job@" + job }
func copyCheckID(job string) string      { return "backup.copy@" + job }
func drillCheckID(job string) string     { return "backup.drill@" + job }
func keyCheckID(job string) string       { return "backup.key@" + job }
func keysCheckID() string                { return "backup.keys@" + keysResource }
func targetCheckID(target string) string { return "backup.target@" + target }

// jobCheck judges a job by the record of its runs: what a run has found is
// proved by a later run alone.
func (b *Backup) jobCheck(j Job, t Target) check.Check {
	var causes []fault.Key
	for _, code := range sshCodes() {
		causes = append(causes, fault.Key{Code: code, Resource: t.Name})
	}
	for _, code := range targetCauses() {
		causes = append(causes, fault.Key{Code: code, Resource: t.Name})
	}
	for _, code := range []fault.Code{CodeTransfer, CodeLocal, CodeVerify, CodeKeyUnavailable} {
		causes = append(causes, fault.Key{Code: code, Resource: j.Name})
	}
	return check.Check{
		Name: "backup.job", Resource: j.Name, Every: recordEvery, Causes: causes,
		Codes:   []fault.Code{CodeJobFailed, CodeTransfer, CodeLocal, CodeOverdue, CodeRetention},
		Version: fmt.Sprint(j.Target, j.Kind, j.Schedule, j.Disabled, j.Overdue, j.Keep),
		Run:     func(_ context.Context, r *check.Report) { b.judgeJob(r, &j, &t) },
	}
}

// jobSense is the evidence that every fault of a job carries.
func jobSense(j *Job, t *Target) map[string]string {
	return map[string]string{"job": j.Name, "kind": string(j.Kind), "target": t.Name, "address": t.Address}
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// put sets what is known.
func put(sense map[string]string, key, value string) {
	if value != "" {
		sense[key] = value
	}
}

func (b *Backup) judgeJob(r *check.Report, j *Job, t *Target) {
	last, ok := b.history.last(j.Name)
	switch {
	case !ok:
		for _, code := range []fault.Code{CodeJobFailed, CodeTransfer, CodeLocal} {
			r.Unknown(code, "the job has not run yet")
		}
	case last.State == stateSuccess:
		r.Absent(CodeJobFailed, CodeTransfer)
		b.judgeSkips(r, j, t, &last)
		r.Proved("run of %s saved %d files, %d bytes, and read the copy back", last.Started.Format(time.RFC3339), last.Files, last.Bytes)
	default:
		b.judgeFailed(r, j, t, &last)
	}
	b.judgeOverdue(r, j, t, time.Now())
	b.judgeRetention(r, j, t)
}

// judgeSkips judges a run that succeeded: single files may be missing in it.
func (b *Backup) judgeSkips(r *check.Report, j *Job, t *Target, last *wire.BackupRun) {
	if last.SkippedCount == 0 {
		r.Absent(CodeLocal)
		return
	}
	sense := jobSense(j, t)
	sense["qualifier"], sense["run"], sense["files_skipped"] = "skipped", last.ID, strconv.Itoa(last.SkippedCount)
	first := wire.BackupSkipped{Why: "not readable"}
	if len(last.Skipped) > 0 {
		first = last.Skipped[0]
	}
	put(sense, "path", first.Path)
	put(sense, "errno", first.Why)
	r.PresentAt(fault.Minor, CodeLocal, fmt.Errorf("%d files are not in the copy, the first is %s: %s", last.SkippedCount, first.Path, first.Why), sense)
}

func (b *Backup) judgeFailed(r *check.Report, j *Job, t *Target, last *wire.BackupRun) {
	n, since := b.history.streak(j.Name)
	sense := jobSense(j, t)
	sense["qualifier"], sense["stage"], sense["type"] = cmp.Or(last.Result.Stage, stageBegin), cmp.Or(last.Result.Stage, stageBegin), last.Trigger
	switch {
	case last.State == stateInterrupted:
		sense["qualifier"] = "interrupted"
	case last.Result.Code == CodeJobFailed && last.Result.Qualifier == scpOnly:
		sense["qualifier"] = scpOnly // it has no cause of another code
	}
	put(sense, "child_code", string(last.Result.Code))
	put(sense, "class", last.Result.Class)
	put(sense, "remote", last.Result.Remote)
	sense["run"], sense["try"] = last.ID, fmt.Sprintf("%d of %d", last.Try, last.Tries)
	sense["percent"], sense["bytes"] = strconv.FormatFloat(last.Percent, 'f', 0, 64), strconv.FormatInt(last.BytesSent, 10)
	sense["failures"], sense["since"] = strconv.Itoa(n), since.Format(time.RFC3339)
	err := fmt.Errorf("run of %s failed in stage %s: %s", last.Started.Format(time.RFC3339), sense["stage"], last.Result.Text)
	r.Present(CodeJobFailed, err, sense)
	b.judgeChild(r, j, t, last)
}

// judgeChild judges the causes that belong to the job itself.
func (b *Backup) judgeChild(r *check.Report, j *Job, t *Target, last *wire.BackupRun) {
	sense := jobSense(j, t)
	sense["run"] = last.ID
	put(sense, "qualifier", last.Result.Qualifier)
	err := fmt.Errorf("%s", last.Result.Text)
	switch last.Result.Code {
	case CodeTransfer:
		sense["host"], sense["try"] = hostOf(t.Address), strconv.Itoa(last.Try)
		sense["offset"], sense["rate"] = strconv.FormatInt(last.BytesSent, 10), strconv.FormatFloat(last.Rate, 'f', 0, 64)
		put(sense, "remote", last.Result.Remote)
		r.Present(CodeTransfer, err, sense)
	case CodeLocal:
		put(sense, "path", last.Result.Path)
		put(sense, "reason", last.Result.Qualifier)
		r.Present(CodeLocal, err, sense)
	}
	for _, code := range []fault.Code{CodeTransfer, CodeLocal} {
		if code != last.Result.Code {
			r.Unknown(code, "the newest run failed for another reason")
		}
	}
}

func (b *Backup) judgeOverdue(r *check.Report, j *Job, t *Target, now time.Time) {
	limit := j.overdueAfter(now)
	if limit == 0 {
		r.NotApplicable(CodeOverdue, "the job has neither a schedule nor a limit (overdue:)")
		return
	}
	p := b.history.proof(j.Name)
	from, severity, qualifier, reason := p.Verified, fault.Major, "not-run", "no run has succeeded since"
	last, ran := b.history.last(j.Name)
	switch {
	case j.Disabled != "":
		qualifier, reason = "disabled", "the job is disabled: "+j.Disabled
	case ran && last.State != stateSuccess:
		qualifier, reason = "failing", "the runs fail: "+string(last.Result.Code)
	case !ran:
		qualifier, reason = "never", "the job has never run"
	}
	if from.IsZero() {
		from, severity = p.Since, fault.Minor
	}
	if from.IsZero() || !elapsed(from, limit, now) {
		r.Absent(CodeOverdue)
		return
	}
	sense := jobSense(j, t)
	sense["qualifier"], sense["reason"], sense["limit"] = qualifier, reason, limit.String()
	sense["last_good"], sense["age"] = "never", now.Sub(from).Round(time.Minute).String()
	err := fmt.Errorf("no verified copy yet, %s after the job was configured; the limit is %s", sense["age"], limit)
	if !p.Verified.IsZero() {
		sense["last_good"] = p.Verified.Format(time.RFC3339)
		err = fmt.Errorf("the newest verified copy is of %s, %s ago; the limit is %s", sense["last_good"], sense["age"], limit)
	}
	if from.After(now) {
		sense["age"] = "unknown"
		err = fmt.Errorf("the newest verified copy is dated %s, which is yet to come: the clock was set back, and how old the copy is cannot be known; the limit is %s", from.Format(time.RFC3339), limit)
	}
	r.PresentAt(severity, CodeOverdue, err, sense)
}

func (b *Backup) judgeRetention(r *check.Report, j *Job, t *Target) {
	kept := b.history.proof(j.Name).Retention
	switch {
	case j.Keep.IsZero():
		r.NotApplicable(CodeRetention, "the job keeps every copy")
	case kept == nil:
		r.Unknown(CodeRetention, "no run has removed copies yet")
	case kept.Why == "":
		r.Absent(CodeRetention)
	default:
		sense := jobSense(j, t)
		put(sense, "path", kept.Path)
		sense["copies"], sense["expired"] = strconv.Itoa(kept.Copies), strconv.Itoa(kept.Expired)
		r.Present(CodeRetention, fmt.Errorf("%s", kept.Why), sense)
	}
}
