package web

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// drawing is an SVG that is being written. Positions across are percentages, so
// that it is fluid and its text never scales; all text is escaped here.
type drawing struct{ b strings.Builder }

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func (d *drawing) html() template.HTML { return template.HTML(d.b.String()) }

func text(s string) string { return html.EscapeString(visible(s)) }

// slots is how many bars a day has in a spark: one each half hour.
const slots = 48

// spark draws the worst that was active in each half hour. Where nobody looked
// it is hatched; before the journal begins it is empty.
func spark(label string, c chapter, all []stretch, gaps []gap) template.HTML {
	var d drawing
	d.put(`<svg class="spark" role="img" aria-label="%s">`, text(label))
	step := c.To.Sub(c.From) / slots
	for i := range slots {
		from := c.From.Add(time.Duration(i) * step)
		to := from.Add(step)
		x := float64(i) * 100 / slots
		worst, known := fault.None, !c.Begins.IsZero() && c.Begins.Before(to)
		for _, s := range all {
			if s.From.Before(to) && s.To.After(from) {
				worst = max(worst, s.Severity)
			}
		}
		blind := false
		for _, g := range gaps {
			blind = blind || !g.From.After(from) && !g.To.Before(to)
		}
		switch {
		case worst > fault.None:
			d.put(`<rect class="fill" data-s="%s" x="%.2f%%" y="0" width="1.42%%" height="20" rx="1"/>`, worst, x)
		case blind:
			d.put(`<rect x="%.2f%%" y="4" width="1.42%%" height="12" fill="url(#hatch)"/>`, x)
		case known:
			d.put(`<rect class="fill" data-s="well" x="%.2f%%" y="8" width="1.42%%" height="8" rx="1"/>`, x)
		}
	}
	d.put(`</svg>`)
	return d.html()
}

// The scale of ages: the logarithm of 10 s at the right edge, of a week at the
// left one.
const (
	ageLeft  = 7 * 24 * time.Hour
	ageRight = 10 * time.Second
	laneHigh = 30 // px
)

func ageX(age time.Duration) float64 {
	age = min(max(age, ageRight), ageLeft)
	return 100 * math.Log(float64(ageLeft)/float64(age)) / math.Log(float64(ageLeft)/float64(ageRight))
}

// proofs draws the newest conclusive look of each check by its age, one lane a
// subsystem.
func proofs(lanes []lane, now time.Time) template.HTML {
	var d drawing
	high := laneHigh*len(lanes) + 10
	d.put(`<svg class="chart" height="%d" role="img" aria-labelledby="proofs-h proofs-d"><desc id="proofs-d">Each mark is the last conclusive look of one check. The table below says the same.</desc>`, high+24)
	for _, g := range []struct {
		age  time.Duration
		name string
		odd  string
	}{
		{10 * time.Second, "10 s", ""},
		{time.Minute, "1 min", " odd"},
		{10 * time.Minute, "10 min", ""},
		{time.Hour, "1 h", " odd"},
		{6 * time.Hour, "6 h", " odd"},
		{24 * time.Hour, "1 d", ""},
		{ageLeft, "7 d", ""},
	} {
		x := ageX(g.age)
		d.put(`<line class="grid" x1="%.1f%%" x2="%.1f%%" y1="4" y2="%d"/><text class="dim%s" x="%.1f%%" y="%d" text-anchor="middle">%s</text>`, x, x, high, g.odd, x, high+18, g.name)
	}
	for i, l := range lanes {
		y := laneHigh*i + 18
		for _, c := range l.Checks {
			if c.LastConclusive != nil {
				d.mark(c, ageX(now.Sub(*c.LastConclusive)), y)
			}
		}
	}
	d.put(`</svg>`)
	return d.html()
}

func (d *drawing) mark(c wire.Check, x float64, y int) {
	title := text(c.ID + ": " + c.State)
	switch c.State {
	case "faulty":
		d.put(`<svg class="i" data-s="major" x="%.1f%%" y="%d" width="16" height="16" overflow="visible"><title>%s</title><use href="#i-major" x="-8" width="16" height="16"/></svg>`, x, y-8, title)
	case "stale", "failing", "not-yet":
		d.put(`<circle class="hollow" data-s="stale" cx="%.1f%%" cy="%d" r="5.5" stroke-dasharray="2.6 1.7"><title>%s</title></circle>`, x, y, title)
	case "not-monitored":
		d.put(`<circle class="hollow" data-s="na" cx="%.1f%%" cy="%d" r="4"><title>%s</title></circle>`, x, y, title)
	default:
		d.put(`<circle class="fill" data-s="ok" cx="%.1f%%" cy="%d" r="4"><title>%s</title></circle>`, x, y, title)
	}
}

// swim is one lane of the timeline.
type swim struct {
	Resource, Code string
	ID             uint64
	Spans          []stretch
}

const (
	swimHigh = 46 // px
	swimTop  = 20
)

// timeline draws the lanes of a chapter.
func timelineSVG(c chapter, lanes []swim, gaps []gap) template.HTML {
	var d drawing
	high := swimTop + swimHigh*len(lanes) + 8
	d.put(`<svg class="chart" height="%d" role="img" aria-labelledby="tl-h tl-d"><desc id="tl-d">One lane a fault, from %s to %s. The same rows are in the table below.</desc>`,
		high, c.From.UTC().Format("2 Jan 15:04"), c.To.UTC().Format("2 Jan 15:04"))
	if c.Begins.After(c.From) {
		d.put(`<rect class="unknown" x="0" y="%d" width="%.2f%%" height="%d"><title>The journal begins at %s. What was before is not known.</title></rect>`,
			swimTop, c.x(c.Begins), high-swimTop, clock(c.To, c.Begins))
	}
	d.axis(c, high)
	for _, g := range gaps {
		x, w := c.x(g.From), max(0.3, c.x(g.To)-c.x(g.From))
		d.put(`<rect x="%.2f%%" y="%d" width="%.2f%%" height="%d" fill="url(#hatch)"><title>The agent was not running %s to %s. Nothing was looked at.</title></rect>`,
			x, swimTop, w, high-swimTop, clock(c.To, g.From), clock(c.To, g.To))
	}
	for i, l := range lanes {
		y := swimTop + swimHigh*i
		d.put(`<g><title>%s: %s</title><text class="lane" x="0" y="%d">%s</text><text class="dim lane-code" x="100%%" y="%d" text-anchor="end">%s</text><line class="grid" x1="0" x2="100%%" y1="%d" y2="%d"/>`,
			text(l.Resource), text(l.Code), y+19, text(short(l.Resource, 42)), y+19, text(short(l.Code, 42)), y+swimHigh-2, y+swimHigh-2)
		for _, s := range l.Spans {
			d.span(c, s, y+26)
		}
		d.put(`</g>`)
	}
	d.put(`</svg>`)
	return d.html()
}

// span draws one stretch: filled; in outline when masked; dashed when shelved.
func (d *drawing) span(c chapter, s stretch, y int) {
	x := c.x(s.From)
	w := max(0.35, c.x(s.To)-x)
	class, dash, top, high := "fill", "", y+2, 12
	if s.Masked || s.Shelved {
		class, top, high = "hollow", y+3, 10
	}
	if s.Shelved {
		dash = ` stroke-dasharray="4 3"`
	}
	if s.Stale {
		d.put(`<rect x="%.2f%%" y="%d" width="%.2f%%" height="12" fill="url(#hatch)"/>`, x, y+2, w)
		class = "hollow"
	}
	d.put(`<rect class="%s" data-s="%s" x="%.2f%%" y="%d" width="%.2f%%" height="%d" rx="2"%s/>`, class, s.Severity, x, top, w, high, dash)
	if s.Began {
		d.put(`<svg x="%.2f%%" y="%d" width="1" height="16" overflow="visible" class="i" data-s="%s"><circle class="dotbg" cx="0" cy="8" r="9"/><use href="#i-%s" x="-8" width="16" height="16"/></svg>`, x, y, s.Severity, s.Severity)
	}
	if s.Ended && s.End == fault.Verified {
		d.put(`<svg x="%.2f%%" y="%d" width="1" height="16" overflow="visible" class="i" data-s="ok"><circle class="dotbg" cx="4" cy="8" r="8"/><use href="#i-ok" x="-3" y="1" width="14" height="14"/></svg>`, x+w, y)
	}
}

// axis draws seven or so round times.
func (d *drawing) axis(c chapter, high int) {
	whole := c.To.Sub(c.From)
	step, form := 3*time.Hour, "15:04"
	switch {
	case whole <= time.Hour:
		step = 10 * time.Minute
	case whole > 8*24*time.Hour:
		step, form = 5*24*time.Hour, "2 Jan"
	case whole > 24*time.Hour:
		step, form = 24*time.Hour, "2 Jan"
	}
	odd := false
	for t := c.From.UTC().Truncate(step).Add(step); t.Before(c.To); t = t.Add(step) {
		x := c.x(t)
		class := "dim"
		if odd {
			class = "dim odd"
		}
		odd = !odd
		anchor := "middle"
		if x > 97 {
			anchor = "end"
		} else if x < 3 {
			anchor = "start"
		}
		d.put(`<line class="grid" x1="%.2f%%" x2="%.2f%%" y1="%d" y2="%d"/><text class="%s" x="%.2f%%" y="12" text-anchor="%s">%s</text>`, x, x, swimTop, high, class, x, anchor, t.Format(form))
	}
}

// x is where a moment lies, in percent.
func (c chapter) x(t time.Time) float64 {
	x := 100 * float64(t.Sub(c.From)) / float64(c.To.Sub(c.From))
	return min(max(x, 0), 100)
}

// short cuts in the middle: the end of a name often tells most.
func short(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n/2-1]) + "…" + string(r[len(r)-n/2:])
}
