package web

import (
	"fmt"
	"html/template"
	"math"
	"time"

	"allclear/internal/wire"
)

const runHigh = 32 // px of the chart of runs

// runChart draws one bar a run, oldest first: its height is what was sent, by
// the logarithm; a failed run is a bar of full height. The words say the same.
func runChart(job string, runs []wire.BackupRun, now time.Time) (chart template.HTML, words string) {
	if len(runs) == 0 {
		return "", "No run yet"
	}
	words = runWords(runs)
	var d drawing
	d.put(`<svg class="chart" height="%d" role="img" aria-label="%s">`, runHigh, text(job+": "+words))
	d.put(`<title>%s</title>`, text(words))
	low, high := math.MaxFloat64, 0.0
	for i := range runs {
		v := math.Log1p(float64(max(0, runs[i].BytesSent)))
		low, high = min(low, v), max(high, v)
	}
	step := 100 / float64(max(12, len(runs)))
	for i := range runs {
		run := &runs[len(runs)-1-i]
		tall := 10.0
		if high > low {
			tall = 6 + 18*(math.Log1p(float64(max(0, run.BytesSent)))-low)/(high-low)
		}
		shape, state := "fill", runShape(run)
		if run.State == "failed" || run.State == "interrupted" {
			tall = runHigh
		} else if run.State == "running" {
			shape = "hollow"
		}
		d.put(`<rect class="%s" data-s="%s" x="%.2f%%" y="%.0f" width="%.2f%%" height="%.0f" rx="1"><title>%s</title></rect>`,
			shape, state, float64(i)*step, runHigh-tall, step*0.62, tall, text(runTitle(run, now)))
	}
	d.put(`</svg>`)
	return d.html(), words
}

func runShape(run *wire.BackupRun) string {
	switch {
	case run.State == "failed":
		return "critical"
	case run.State == "interrupted":
		return "major"
	case run.State == "running":
		return "ok"
	case run.SkippedCount > 0:
		return "minor"
	}
	return "well"
}

func runTitle(run *wire.BackupRun, now time.Time) string {
	words := clock(now, run.Started) + ": " + run.State
	if run.BytesSent > 0 {
		words += ", " + size(run.BytesSent) + " sent"
	}
	return words
}

// runWords counts the runs by how they ended.
func runWords(runs []wire.BackupRun) string {
	n := map[string]int{}
	for i := range runs {
		n[runs[i].State]++
	}
	words := fmt.Sprintf("last %s: ", count(len(runs), "run"))
	if len(runs) == 1 {
		words = "one run: "
	}
	if n["success"] == len(runs) {
		if len(runs) == 1 {
			return "One run: verified"
		}
		return sentence(words + "all verified")
	}
	parts := []string{}
	for _, s := range []struct{ state, word string }{{"success", "verified"}, {"failed", "failed"}, {"interrupted", "interrupted"}, {"running", "under way"}} {
		if n[s.state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s.state], s.word))
		}
	}
	return sentence(words + joined(", ", parts...))
}

// rateChart draws the rate of each run that sent something, as one line.
func rateChart(runs []wire.BackupRun, now time.Time) template.HTML {
	var known []*wire.BackupRun
	top := 0.0
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Rate > 0 {
			known = append(known, &runs[i])
			top = max(top, runs[i].Rate)
		}
	}
	if len(known) < 2 {
		return ""
	}
	last := known[len(known)-1]
	var d drawing
	words := fmt.Sprintf("Rate of the last %d runs that sent something: at most %s/s, the newest %s/s", len(known), size(int64(top)), size(int64(last.Rate)))
	d.put(`<svg class="chart" height="44" role="img" aria-label="%s"><title>%s</title><line class="grid" x1="0" x2="100%%" y1="40" y2="40"/>`, text(words), text(words))
	at := func(i int) (x, y float64) {
		return 1 + 98*float64(i)/float64(len(known)-1), 40 - 34*known[i].Rate/top
	}
	for i := range known {
		x, y := at(i)
		if i > 0 {
			px, py := at(i - 1)
			d.put(`<line class="rate" x1="%.2f%%" y1="%.1f" x2="%.2f%%" y2="%.1f"/>`, px, py, x, y)
		}
		d.put(`<circle class="fill" data-s="well" cx="%.2f%%" cy="%.1f" r="2.5"><title>%s: %s/s</title></circle>`, x, y, text(clock(now, known[i].Started)), size(int64(known[i].Rate)))
	}
	d.put(`</svg>`)
	return d.html()
}
