package web

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"

	"allclear/internal/wire"
)

// jobBody is everything about one job.
type jobBody struct {
	Job     jobRow
	Runs    []runRow
	Older   string // the link to older runs
	Later   bool   // these are not the newest
	Faults  []faultRow
	Rates   template.HTML
	Skipped []wire.BackupSkipped
}

// runRow is a run in the history.
type runRow struct {
	wire.BackupRun
	Icon, Word, How string
}

// historyRuns is how many runs one page of the history shows.
const historyRuns = 50

func (w *Web) backupJob(rw http.ResponseWriter, r *http.Request, s *session) error {
	job, err := w.jobOf(r, s)
	if err != nil {
		return err
	}
	p := w.page(r, s, "backups", "Backup "+visible(job.Name))
	before := r.URL.Query().Get("before")
	runs, err := w.runs(r.Context(), s, job.Name, before, historyRuns)
	if err != nil {
		return err
	}
	newest := runs.Items
	if before != "" {
		list, err := w.runs(r.Context(), s, job.Name, "", shownRuns)
		if err != nil {
			return err
		}
		newest = list.Items
	}
	b := jobBody{Job: w.jobRow(job, newest[:min(len(newest), shownRuns)], p.Now), Later: before != ""}
	b.Rates = rateChart(newest[:min(len(newest), shownRuns)], p.Now)
	for _, run := range runs.Items {
		b.Runs = append(b.Runs, runRowOf(run))
	}
	if runs.Next != "" {
		b.Older = "/backups/" + url.PathEscape(job.Name) + "?" + url.Values{"before": {runs.Next}}.Encode() + "#hi"
	}
	if b.Job.Run != nil {
		b.Skipped = b.Job.Run.Skipped
	}
	rows := slices.DeleteFunc(w.faultsOf(backupName, ""), func(f wire.FaultRow) bool {
		return f.Key.Resource != job.Name && f.Key.Resource != job.Target
	})
	b.Faults = w.listed(inOrder(rows), shownFaults)
	p.Body = b
	w.render(rw, http.StatusOK, "backupjob", p)
	return nil
}

// jobOf is the job that the path names.
func (w *Web) jobOf(r *http.Request, s *session) (wire.BackupJob, error) {
	name := r.PathValue("job")
	jobs, err := view[wire.List[wire.BackupJob]](r.Context(), w, s.Role, backupName, "jobs", nil)
	if err != nil && !errors.Is(err, ErrNoWork) {
		return wire.BackupJob{}, err
	}
	for _, j := range jobs.Items {
		if j.Name == name {
			return j, nil
		}
	}
	return wire.BackupJob{}, &refusal{http.StatusNotFound, wire.Error{Code: "no-such-job", Message: "No backup job has this name.", Hint: "The page of backups lists all jobs."}}
}

func runRowOf(run wire.BackupRun) runRow {
	row := runRow{BackupRun: run, Icon: "critical", Word: "Failed", How: run.Result.Text}
	switch {
	case run.State == "running":
		row.Icon, row.Word = "run", "Running"
	case run.State == "success" && run.SkippedCount > 0:
		row.Icon, row.Word, row.How = "minor", "Verified", count(run.SkippedCount, "file")+" left out"
	case run.State == "success":
		row.Icon, row.Word, row.How = "ok", "Verified", brief(run.Copy)
	case run.State == "interrupted":
		row.Icon, row.Word = "major", "Interrupted"
	}
	return row
}
