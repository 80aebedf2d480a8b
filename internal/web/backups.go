package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/wire"
)

const backupName = "backup" // the subsystem

// backupsBody is all jobs and targets.
type backupsBody struct {
	Missing bool // the agent has no backups at all
	Jobs    []jobRow
	Targets []targetRow
	Figures backupFigures
}

// backupFigures are the four numbers over all jobs.
type backupFigures struct {
	Current   int // jobs with a verified copy that is young enough
	Oldest    time.Time
	LeastRead float64
	ReadFew   string    // the job of which least was read
	Drilled   time.Time // the oldest of the newest drills that passed
	Undrilled int       // jobs whose copies no drill has proved
}

// jobRow is a job as the pages show it.
type jobRow struct {
	wire.BackupJob
	DOM        string
	Icon, Word string
	Stages     []stageCell
	Line       string // what there is to say of the run that is shown
	Run        *wire.BackupRun
	Plan       string
	Current    bool
	Chart      template.HTML
	Runs       string // the chart in words
	Proofs     []proofRow
	Tasks      []taskRow
}

// stageCell is a stage of a run.
type stageCell struct {
	DOM, Icon, Name, Word, Text string
}

// proofRow is one thing that was proved, or was not.
type proofRow struct{ Icon, Head, Text string }

// taskRow is something long that somebody asked for.
type taskRow struct {
	DOM, Icon, Text string
}

// shownRuns is how many runs the chart of a job shows.
const shownRuns = 30

func (w *Web) backups(rw http.ResponseWriter, r *http.Request, s *session) error {
	p := w.page(r, s, "backups", "Backups")
	var b backupsBody
	jobs, err := view[wire.List[wire.BackupJob]](r.Context(), w, s.Role, backupName, "jobs", nil)
	if b.Missing = errors.Is(err, ErrNoWork); err != nil && !b.Missing {
		return err
	}
	for _, j := range jobs.Items {
		runs, err := w.runs(r.Context(), s, j.Name, "", shownRuns)
		if err != nil {
			return err
		}
		b.Jobs = append(b.Jobs, w.jobRow(j, runs.Items, p.Now))
	}
	if !b.Missing {
		targets, err := view[wire.List[wire.BackupTarget]](r.Context(), w, s.Role, backupName, "targets", nil)
		if err != nil {
			return err
		}
		for _, t := range targets.Items {
			b.Targets = append(b.Targets, targetRowOf(t))
		}
	}
	b.Figures = figuresOf(b.Jobs)
	p.Body = b
	w.render(rw, http.StatusOK, "backups", p)
	return nil
}

// runs are the newest runs of a job before one of them.
func (w *Web) runs(ctx context.Context, s *session, job, before string, n int) (wire.List[wire.BackupRun], error) {
	q := url.Values{"job": {job}, "limit": {strconv.Itoa(n)}}
	if before != "" {
		q.Set("before", before)
	}
	return view[wire.List[wire.BackupRun]](ctx, w, s.Role, backupName, "runs", q)
}

func figuresOf(jobs []jobRow) backupFigures {
	f := backupFigures{LeastRead: 100}
	for _, j := range jobs {
		if j.Current {
			f.Current++
		}
		if v := j.Proof.Verified; v != nil && (f.Oldest.IsZero() || v.Before(f.Oldest)) {
			f.Oldest = *v
		}
		if j.Proof.ReadPercent < f.LeastRead || f.ReadFew == "" {
			f.LeastRead, f.ReadFew = j.Proof.ReadPercent, j.Name
		}
		if d := j.Proof.DrillPassed; d == nil {
			f.Undrilled++
		} else if f.Drilled.IsZero() || d.Before(f.Drilled) {
			f.Drilled = *d
		}
	}
	return f
}

// jobRow puts a job together. The runs are newest first.
func (w *Web) jobRow(j wire.BackupJob, runs []wire.BackupRun, now time.Time) jobRow {
	row := liveRow(j, now)
	row.Chart, row.Runs = runChart(j.Name, runs, now)
	row.Proofs = proofsOf(&j, now)
	row.Tasks = taskRows(w.tasks.of(j.Name), backupTasks(), row.DOM, now)
	return row
}

// liveRow is what changes of a job while a run goes on.
func liveRow(j wire.BackupJob, now time.Time) jobRow {
	row := jobRow{BackupJob: j, DOM: "b" + digestID(j.Name), Run: cmp.Or(j.Running, j.Last), Current: current(&j, now)}
	row.Icon, row.Word = jobState(&row, now)
	row.Stages = stagesOf(row.DOM, row.Run, now)
	if row.Run != nil {
		row.Line = runLine(row.Run, now)
	}
	row.Plan = planOf(&j, now)
	return row
}

// current claims that the newest verified copy is not overdue.
func current(j *wire.BackupJob, now time.Time) bool {
	limit, err := time.ParseDuration(j.OverdueAfter)
	return j.Proof.Verified != nil && (err != nil || limit == 0 || now.Sub(*j.Proof.Verified) <= limit)
}

func jobState(j *jobRow, now time.Time) (icon, word string) {
	last := j.Last
	switch {
	case j.Running != nil && j.Running.Retry != nil:
		return "run", "Waits to try again at " + clock(now, *j.Running.Retry)
	case j.Running != nil && j.Running.Try == 0:
		return "run", "Waits for other runs"
	case j.Running != nil:
		return "run", "Running"
	case last == nil:
		return "stale", "Never ran"
	case last.State == "success" && !j.Current:
		return "major", "Overdue"
	case last.State == "success" && last.SkippedCount > 0:
		return "minor", "Verified, with files left out"
	case last.State == "success":
		return "ok", "Verified " + clock(now, deref(last.Ended))
	case last.State == "interrupted":
		return "major", "Interrupted"
	case last.Result.Stage != "":
		return "critical", "Failed at " + last.Result.Stage
	}
	return "critical", "Failed"
}

// planOf says when the job runs next.
func planOf(j *wire.BackupJob, now time.Time) string {
	switch {
	case j.Disabled != "":
		return "Its schedule is not followed: " + j.Disabled
	case j.Next != nil:
		return "Next run " + clock(now, *j.Next)
	case j.Schedule == "":
		return "Runs on demand only"
	}
	return "Nothing is planned"
}

// stagesOf are the stages of a run; before the first run they are all empty.
func stagesOf(dom string, run *wire.BackupRun, now time.Time) []stageCell {
	stages := []wire.BackupStage{{Name: "begin"}, {Name: "source"}, {Name: "transfer"}, {Name: "verify"}, {Name: "done"}}
	if run != nil && len(run.Stages) > 0 {
		stages = run.Stages
	}
	all := make([]stageCell, len(stages))
	for i, s := range stages {
		c := stageCell{DOM: fmt.Sprintf("%s-%d", dom, i+1), Name: capital(s.Name), Icon: "wait", Word: "not reached"}
		switch s.State {
		case "in-progress":
			c.Icon, c.Word = "run", "in progress"
			c.Text = fmt.Sprintf("since %s, %.0f %%", clock(now, deref(s.Started)), s.Percent)
		case "success":
			c.Icon, c.Word, c.Text = "ok", "success", clock(now, deref(s.Ended))
		case "fail":
			c.Icon, c.Word, c.Text = "critical", "failed", clock(now, deref(s.Ended))
			s.Text = run.Result.Class // the whole is said below
		case "skip":
			c.Icon, c.Word = "na", "left out"
		}
		if run != nil {
			c.Text = joined(", ", c.Text, amount(s, run))
		}
		all[i] = c
	}
	return all
}

// amount is what a stage has dealt with.
func amount(s wire.BackupStage, run *wire.BackupRun) string {
	if s.State != "success" && s.State != "in-progress" {
		return visible(s.Text)
	}
	switch s.Name {
	case "source":
		if run.Bytes > 0 {
			return size(run.Bytes)
		}
	case "transfer":
		if run.BytesSent > 0 {
			return size(run.BytesSent) + " sent"
		}
	case "verify":
		if run.BytesRead > 0 {
			return size(run.BytesRead) + " read back"
		}
	}
	return ""
}

// runLine is a run in a sentence or two.
func runLine(run *wire.BackupRun, now time.Time) string {
	var all []string
	if run.State == "running" {
		all = append(all, fmt.Sprintf("%.0f %% of the run begun %s", run.Percent, clock(now, run.Started)))
	}
	if run.Try > 1 || run.State == "failed" && run.Tries > 1 {
		all = append(all, fmt.Sprintf("try %d of %d", run.Try, run.Tries))
	}
	if run.Result.Text != "" {
		all = append(all, run.Result.Text)
	}
	if run.Result.Remote != "" && !strings.Contains(run.Result.Text, run.Result.Remote) {
		all = append(all, "the other side said: "+run.Result.Remote)
	}
	if run.BytesSent > 0 && run.Rate > 0 {
		all = append(all, size(int64(run.Rate))+"/s")
	}
	if run.SSH != nil {
		all = append(all, "SSH with "+run.SSH.KEX+" and "+run.SSH.CipherC2S)
	}
	if run.SkippedCount > 0 {
		all = append(all, count(run.SkippedCount, "file")+" could not be read")
	}
	if len(all) == 0 {
		return ""
	}
	return visible(sentence(strings.Join(all, "; "))) + "."
}

// taskKind is long work with what people call it.
type taskKind struct{ what, name string }

func backupTasks() []taskKind {
	return []taskKind{{backupName + "/verify", "Verification"}, {backupName + "/drill", "Restore drill"}}
}

// taskRows says how what somebody asked for goes, or went.
func taskRows(found map[string]task, kinds []taskKind, dom string, now time.Time) []taskRow {
	var rows []taskRow
	for i, k := range kinds {
		t, ok := found[k.what]
		if !ok {
			continue
		}
		row := taskRow{DOM: fmt.Sprintf("%s-t%d", dom, i), Icon: "run"}
		switch {
		case t.Going():
			row.Text = fmt.Sprintf("%s asked for by %s %s: %.0f %%%s", k.name, t.Who, clock(now, t.Begun), t.Progress.Percent, after(" ", visible(t.Progress.Text)))
		case t.Err != nil:
			row.Icon, row.Text = "critical", fmt.Sprintf("%s ended %s: %s", k.name, clock(now, t.Ended), visible(t.Err.Error()))
		default:
			row.Icon, row.Text = taskEnd(t.Result)
			row.Text = fmt.Sprintf("%s ended %s: %s", k.name, clock(now, t.Ended), row.Text)
		}
		rows = append(rows, row)
	}
	return rows
}

func taskEnd(result any) (icon, text string) {
	switch v := result.(type) {
	case wire.BackupVerify:
		text = fmt.Sprintf("%s, %s read back", copies(v.Copies), size(v.BytesRead))
		if v.OK {
			return "ok", text + ", all agreed"
		}
		return "critical", text + "; " + visible(strings.Join(v.Problems[:min(3, len(v.Problems))], "; "))
	case wire.BackupDrill:
		if v.Passed {
			return "ok", count(v.Files, "file") + " equal to what was saved"
		}
		return "critical", visible(joined(": ", v.First, v.Why))
	}
	return "ok", "done"
}

func copies(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return spaced(uint64(max(0, n))) + " copies"
}

// backupDo does what an operator asked for of a job.
func (w *Web) backupDo(rw http.ResponseWriter, r *http.Request, s *session) error {
	job, action := r.PathValue("job"), r.PathValue("do")
	ctx, cancel := asked(r)
	defer cancel()
	var err error
	switch {
	case action == "run":
		_, err = do[wire.BackupRun](ctx, w, r, s, backupName, action, job, wire.BackupRunRequest{Job: job})
	case action == "verify":
		_, err = w.start(r, s, backupName, action, job, wire.BackupJobRequest{Job: job, Full: r.PostFormValue("full") == "1"})
	case action == "drill" && api.Admin.Allows(s.Role):
		_, err = w.start(r, s, backupName, action, job, wire.BackupJobRequest{Job: job})
	case action == "drill":
		err = worked(ErrRole)
		w.note(r, s, backupName+"/"+action, job, "", result(err))
	default:
		err = noWork
	}
	if err != nil {
		return err
	}
	http.Redirect(rw, r, local(cmp.Or(r.PostFormValue("back"), "/backups/"+url.PathEscape(job))), http.StatusSeeOther)
	return nil
}
