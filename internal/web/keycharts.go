package web

import (
	"fmt"
	"html/template"
	"time"

	"allclear/internal/wire"
)

// stepSegments draws the steps of a validation, one box each: passed, failed,
// or a low line for one that was not tried.
func stepSegments(l *wire.KMIPProbe) template.HTML {
	if l == nil || len(l.Steps) == 0 {
		return ""
	}
	passed, failed := 0, 0
	for _, s := range l.Steps {
		if s.Outcome == "ok" || s.Outcome == "warning" {
			passed++
		} else if s.Outcome == "failed" && failed == 0 {
			failed = s.Number
		}
	}
	words := fmt.Sprintf("%d of %d steps passed", passed, len(l.Steps))
	if failed > 0 {
		words += fmt.Sprintf(", step %d failed", failed)
	}
	var d drawing
	d.put(`<svg class="seg" viewBox="0 0 %d 14" role="img" aria-label="%s">`, 11*len(l.Steps), words)
	for i, s := range l.Steps {
		x, title := 11*i, text(fmt.Sprintf("%d, %s: %s", s.Number, s.Name, s.Outcome))
		switch s.Outcome {
		case "ok":
			d.put(`<rect class="fill" data-s="well" x="%d" y="3" width="9" height="8" rx="1.5"><title>%s</title></rect>`, x, title)
		case "warning":
			d.put(`<rect class="fill" data-s="minor" x="%d" y="1" width="9" height="12" rx="1.5"><title>%s</title></rect>`, x, title)
		case "failed":
			d.put(`<rect class="fill" data-s="major" x="%d" y="0" width="9" height="14" rx="1.5"><title>%s</title></rect>`, x, title)
		default:
			d.put(`<rect class="fill" data-s="na" x="%d" y="10" width="9" height="1.5"><title>%s</title></rect>`, x, title)
		}
	}
	d.put(`</svg>`)
	return d.html()
}

// latency is how long a server took to answer.
func latency(p *wire.KeyServerPoint) float64 {
	if p.ExchangeMS > 0 {
		return p.ExchangeMS
	}
	return p.ConnectMS
}

const latencyHigh = 26 // px

// latencyChart draws how long each validation took to be answered, oldest
// first; one that found something wrong is a mark of full height.
func latencyChart(name string, points []wire.KeyServerPoint, now time.Time) (chart template.HTML, words string) {
	if len(points) == 0 {
		return "", "no validation yet"
	}
	top, ill := 0.0, 0
	for i := range points {
		top = max(top, latency(&points[i]))
		if !points[i].OK {
			ill++
		}
	}
	last := &points[len(points)-1]
	words = fmt.Sprintf("%s: the newest answers in %s, at most %s", count(len(points), "validation"), ms(latency(last)), ms(top))
	if ill > 0 {
		words += fmt.Sprintf("; %d found something wrong", ill)
	}
	var d drawing
	d.put(`<svg class="chart latency" height="%d" role="img" aria-label="%s"><title>%s</title>`, latencyHigh, text(name+", "+words), text(words))
	step := 100 / float64(max(24, len(points)))
	for i := range points {
		p := &points[i]
		tall, state := 3.0, "well"
		if top > 0 {
			tall += (latencyHigh - 6) * latency(p) / top
		}
		if !p.OK {
			tall, state = latencyHigh, "major"
		}
		d.put(`<rect class="fill" data-s="%s" x="%.2f%%" y="%.1f" width="%.2f%%" height="%.1f" rx="1"><title>%s: %s</title></rect>`,
			state, float64(i)*step, latencyHigh-tall, step*0.66, tall, clock(now, p.At), ms(latency(p)))
	}
	d.put(`</svg>`)
	return d.html(), words
}

// ms writes milliseconds with as many digits as say something.
func ms(v float64) string {
	switch {
	case v <= 0:
		return "no answer"
	case v < 1:
		return fmt.Sprintf("%.2f ms", v)
	case v < 10:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.0f ms", v)
}
