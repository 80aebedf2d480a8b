package web

import (
	"context"

	"allclear/internal/api"
	"allclear/internal/wire"
)

// liveJobs are how many jobs change in place.
const liveJobs = 100

// backupPatches is what changes of jobs while runs go on. A view that cannot be
// had changes nothing: the page keeps what it shows.
func (w *Web) backupPatches(ctx context.Context, put func(id, text, state string)) {
	if w.o.Works == nil {
		return
	}
	jobs, err := view[wire.List[wire.BackupJob]](ctx, w, api.Viewer, backupName, "jobs", nil)
	if err != nil {
		return
	}
	now := w.o.Now()
	for _, j := range jobs.Items[:min(len(jobs.Items), liveJobs)] {
		row := liveRow(j, now)
		put(row.DOM+"-st", visible(row.Word), row.Icon)
		put(row.DOM+"-ln", row.Line, "")
		put(row.DOM+"-pl", visible(row.Plan), "")
		for _, s := range row.Stages {
			put(s.DOM, s.Text, s.Icon)
			put(s.DOM+"-w", ": "+s.Word, "")
		}
		for _, t := range taskRows(w.tasks.of(j.Name), backupTasks(), row.DOM, now) {
			put(t.DOM, t.Text, t.Icon)
		}
	}
}
