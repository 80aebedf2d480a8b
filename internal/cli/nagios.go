package cli

import (
	"fmt"
	"strings"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// The plugin contract (Monitoring Plugins Development Guidelines): one line,
// performance data after "|", and these codes.
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

var nagiosWords = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// nagiosText keeps text from ending the line or beginning performance data.
func nagiosText(s string) string { return strings.ReplaceAll(safe(s), "|", "/") }

// nagiosStatus is one line on the agent.
func nagiosStatus(st *wire.Status) (line string, code int) {
	switch st.Verdict {
	case allClear:
		code = nagiosOK
	case notYetKnown:
		code = nagiosUnknown
	default:
		code = nagiosWarning
		if st.Summary.Severity[fault.Critical.String()]+st.Summary.Severity[fault.Major.String()] > 0 {
			code = nagiosCritical
		}
	}
	perf := []string{fmt.Sprintf("faults=%d", st.Summary.Active)}
	for sev := fault.Critical; sev >= fault.Warning; sev-- {
		perf = append(perf, fmt.Sprintf("%s=%d", sev, st.Summary.Severity[sev.String()]))
	}
	perf = append(perf, fmt.Sprintf("checks=%d", st.Summary.Checks), fmt.Sprintf("conclusive=%d", st.Summary.Conclusive))
	text := st.Sentence
	if len(st.Faults) > 0 {
		f := st.Faults[0]
		text += fmt.Sprintf(" Worst: %s@%s: %s", f.Code, f.Resource, f.Title)
	}
	return fmt.Sprintf("ALLCLEAR %s - %s | %s", nagiosWords[code], nagiosText(text), strings.Join(perf, " ")), code
}

// probed is what nagiosProbe needs of one probe.
type probed struct {
	target, code, text string
	ok, inconclusive   bool
	durationMS         int64
}

// nagiosProbe is one line on all targets. A fault outranks a target that could
// not be looked at.
func nagiosProbe(what string, all []probed) (line string, code int) {
	bad, unsure, slowest := 0, 0, int64(0)
	first := ""
	for _, p := range all {
		slowest = max(slowest, p.durationMS)
		switch {
		case p.ok:
			continue
		case p.inconclusive:
			unsure++
			if bad > 0 {
				continue
			}
		default:
			bad++
		}
		if first == "" || bad == 1 && !p.inconclusive {
			first = fmt.Sprintf(" %s: %s", p.target, strings.TrimSpace(p.code+" "+p.text))
		}
	}
	switch {
	case bad > 0:
		code = nagiosCritical
	case unsure > 0:
		code = nagiosUnknown
	}
	text := fmt.Sprintf("%d of %d well.%s", len(all)-bad-unsure, len(all), first)
	return fmt.Sprintf("%s %s - %s | targets=%d failed=%d unknown=%d slowest=%dms", what, nagiosWords[code], nagiosText(text), len(all), bad, unsure, slowest), code
}
