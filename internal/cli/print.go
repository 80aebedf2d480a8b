package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"

	"allclear/internal/fault"
)

// printer writes for people: colour only where the terminal takes it and
// NO_COLOR is not set. The first error of the writer is kept, the rest is
// dropped.
type printer struct {
	w        io.Writer
	now      func() time.Time
	terminal bool
	err      error
}

func newPrinter(w io.Writer, env []string, now func() time.Time) *printer {
	p := &printer{now: now}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	colours := &colorprofile.Writer{Forward: w, Profile: colorprofile.NoTTY} // drops every style
	if p.terminal && environ(env, "NO_COLOR") == "" {
		colours.Profile = colorprofile.Detect(w, env)
	}
	p.w = colours
	return p
}

func (p *printer) line(format string, args ...any) {
	p.write(fmt.Sprintf(format, args...) + "\n")
}

func (p *printer) write(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// json writes v indented; it is the same whether people or programs read.
func (p *printer) json(v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		p.err = err
		return
	}
	p.write(string(safeJSON(b.Bytes())))
}

// jsonLine writes v on one line, for streams.
func (p *printer) jsonLine(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		p.err = err
		return
	}
	p.write(string(safeJSON(b)) + "\n")
}

// kind is what a piece of text means; it has a style.
type kind int

const (
	stylePlain kind = iota
	styleGood
	styleBad
	styleWarn
	styleDim
	styleHead
)

func (p *printer) style(k kind, s string) string {
	st := lipgloss.NewStyle()
	switch k {
	case styleGood:
		st = st.Foreground(lipgloss.Green).Bold(true)
	case styleBad:
		st = st.Foreground(lipgloss.Red).Bold(true)
	case styleWarn:
		st = st.Foreground(lipgloss.Yellow)
	case styleDim:
		st = st.Faint(true)
	case styleHead:
		st = st.Bold(true)
	}
	return st.Render(s)
}

// severity shows a severity in its colour.
func (p *printer) severity(s fault.Severity) string {
	switch s {
	case fault.Critical, fault.Major:
		return p.style(styleBad, s.String())
	case fault.Minor, fault.Warning:
		return p.style(styleWarn, s.String())
	}
	return s.String()
}

// heading writes a title with an empty line before it.
func (p *printer) heading(format string, args ...any) {
	p.line("\n%s", p.style(styleHead, fmt.Sprintf(format, args...)))
}

// table writes aligned columns, two spaces in. Cells are made safe by the
// caller, who may have styled them.
func (p *printer) table(headers []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	t := table.New().Border(lipgloss.HiddenBorder()).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		StyleFunc(func(_, col int) lipgloss.Style {
			if col == len(rows[0])-1 {
				return lipgloss.NewStyle()
			}
			return lipgloss.NewStyle().PaddingRight(2)
		}).Wrap(false).Rows(rows...)
	if headers != nil {
		styled := make([]string, len(headers))
		for i, h := range headers {
			styled[i] = p.style(styleDim, h)
		}
		t = t.Headers(styled...)
	}
	for line := range strings.Lines(t.Render()) {
		p.line("  %s", strings.TrimRight(line, " \n"))
	}
}

// clock shows a time for people, in UTC: the time of day, with the date where
// it is not today's.
func (p *printer) clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	t = t.UTC()
	if y, m, d := p.now().UTC().Date(); t.Year() == y && t.Month() == m && t.Day() == d {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

func (p *printer) clockOf(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return p.clock(*t)
}

// ms shows milliseconds.
func ms(n int64) string {
	d := time.Duration(n) * time.Millisecond
	if d < 10*time.Second {
		return d.String()
	}
	return d.Round(time.Second).String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
