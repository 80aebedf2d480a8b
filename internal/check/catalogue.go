package check

import "allclear/internal/fault"

// The codes of the checks' own health.
const (
	CodeFailed     fault.Code = "system/check-failed"
	CodeNotRunning fault.Code = "system/check-not-running"
)

// Faults returns the catalogue entries of this package. Their resource is the
// id of the check.
func Faults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeFailed, Title: "A check itself failed", Severity: fault.Minor,
			Impact: "What this check watches was not judged; its faults keep the state of the last good look.",
			Cause:  "The check panicked, ran over its time, or broke its own rules. This is a defect of allclear or a resource that hangs.",
			Raise:  "a look panicked, timed out, or judged a code that is not its own",
			Clear:  "a look of the same check ends in order",
			Remedy: []fault.Remedy{
				{Text: "Look again: a passing overload clears by itself.", Impact: "one more look at the resource", Command: "allclear verify {resource}"},
				{Text: "If it stays, collect a support bundle and report it with the evidence shown here.", Impact: "reads only; holds no secrets", Command: "allclear support"},
			},
			Facts: []string{"failure"}, Readings: []string{"timeout_ms", "stack"},
			Applies: "every check",
		},
		{
			Code: CodeNotRunning, Title: "A check is not running", Severity: fault.Major,
			Impact: "Nobody looks at this resource: it may be broken without being noticed.",
			Cause:  "Looks did not end in time, could judge nothing, or were not started, for three intervals.",
			Raise:  "no look of the check returned in time and judged a code, for three times its interval",
			Clear:  "a look returns in time and judges at least one code",
			Remedy: []fault.Remedy{
				{Text: "See what the last look said and what blocked it.", Impact: "none, reads only", Command: "allclear check list"},
				{Text: "Look now.", Impact: "one look at the resource", Command: "allclear verify {resource}"},
				{Text: "If looks hang, restart the agent and report it.", Impact: "protection jobs pause for a second; no fault is lost"},
			},
			Facts: []string{"reason"}, Readings: []string{"last_ran", "interval"},
			Applies: "every check",
		},
	}
}
