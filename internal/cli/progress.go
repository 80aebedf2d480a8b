package cli

import (
	"fmt"
	"strings"
	"time"

	"allclear/internal/wire"
)

// progress shows how far long work is: a bar that is drawn over itself on a
// terminal; elsewhere plain lines, one for each new stage and one now and then
// while it lasts.
type progress struct {
	to    *printer
	quiet bool // for programs
	stage string
	drawn time.Time // when the bar was drawn last; zero: it is not there
	said  time.Time // when the last line was written
}

const (
	barWidth = 24                     // of the bar itself, in columns
	redraw   = 100 * time.Millisecond // a restore tells of every file
	again    = 10 * time.Second       // between two lines of one stage
)

func (c *commands) bar() *progress {
	return &progress{to: c.talk, quiet: c.flags.output != outputText}
}

// tell takes a step of an action.
func (p *progress) tell(s wire.Progress) {
	switch {
	case p.quiet:
	case p.to.terminal && s.Stage == p.stage && p.to.now().Sub(p.drawn) < redraw:
	case p.to.terminal:
		full := int(min(max(s.Percent, 0), 100) * barWidth / 100)
		p.to.write(fmt.Sprintf("\r\x1b[2K%-9s %s%s %3.0f%%  %s", safe(s.Stage), strings.Repeat("█", full), strings.Repeat("░", barWidth-full), s.Percent, clip(safe(s.Text))))
		p.drawn = p.to.now()
	case s.Stage != p.stage:
		p.to.line("%s", safe(s.Stage))
		p.said = p.to.now()
	case s.Text != "" && p.to.now().Sub(p.said) >= again:
		p.to.line("%s: %.0f%%, %s", safe(s.Stage), s.Percent, safe(s.Text))
		p.said = p.to.now()
	}
	p.stage = s.Stage
}

// end leaves the terminal on a line of its own.
func (p *progress) end() {
	if !p.drawn.IsZero() {
		p.to.write("\r\x1b[2K")
		p.drawn = time.Time{}
	}
}

// clip keeps a line from being wrapped: what is drawn over itself must be one.
func clip(s string) string {
	const most = 36
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// size shows a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for v >= unit && i < 5 {
		v, i = v/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[i])
}
