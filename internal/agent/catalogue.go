package agent

import (
	"slices"

	"allclear/internal/fault"
)

// Faults returns the catalogue entries that the agent owns.
func Faults() []fault.Entry {
	return slices.Concat(overridesFaults(), storeFaults(), boundFaults(), configFaults())
}

// storeFaults are those of what the journal cannot keep.
func storeFaults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeStoreFailing, Title: "The journal cannot write", Severity: fault.Critical,
			Impact: "New faults are shown and told but would be lost by a crash; clearing, acknowledging and shelving are refused.",
			Cause:  "The file system of the state directory is full, read-only or failing.",
			Raise:  "a commit to the journal failed; what was raised is held in memory",
			Clear:  "all held events are on disk",
			Remedy: []fault.Remedy{
				{Text: "See how full the file system of the state directory is and what fills it.", Impact: "none, reads only", Command: "df -h; df -i"},
				{Text: "Free space there, or mend the disk; held events are then written in order.", Impact: "what you delete is gone"},
				{Text: "Look again.", Impact: "none", Command: "allclear verify journal"},
			},
			Facts: []string{"error"}, Readings: []string{"held", "since"}, Applies: "always",
		},
		{
			Code: CodeStateReset, Title: "The fault history was damaged and started anew", Severity: fault.Major, ByOperator: true,
			Impact: "History from before is not in this journal; faults read out of the damaged file stand unverified until looked at.",
			Cause:  "The database file was corrupt: a failing disk, a copy of a running database, or damage by another program.",
			Raise:  "the database failed its integrity check at start-up and was set aside",
			Clear:  "an operator marks it fixed, after having seen to the cause; no look can prove that lost history does not matter",
			Remedy: []fault.Remedy{
				{Text: "Check the disk and its log for errors.", Impact: "none, reads only", Command: "dmesg --level=err,warn"},
				{Text: "Keep the file that was set aside, if its history matters: {set_aside}", Impact: "none"},
				{Text: "Settle the fault.", Impact: "the fault clears with reason operator", Command: "allclear fault fix system/state-reset@journal --reason seen"},
			},
			Facts: []string{"set_aside", "salvaged"}, Applies: "always",
		},
	}
}

// boundFaults are those of what grows beyond its bounds.
func boundFaults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeEventlogFull, Title: "The fault history is at its size limit", Severity: fault.Minor,
			Impact: "The oldest cleared faults leave the history before their time; active faults are never dropped.",
			Cause:  "Faults come and go faster than the history was made for.",
			Raise:  "more cleared faults are kept than 90 % of the limit",
			Clear:  "fewer are kept than 80 % of the limit",
			Remedy: []fault.Remedy{
				{Text: "See which faults come back again and again.", Impact: "none, reads only", Command: "allclear fault list --cleared"},
				{Text: "Raise state.history_faults in the configuration.", Impact: "uses more disk: about 1 KiB a fault"},
			},
			Facts: []string{"limit"}, Readings: []string{"cleared"}, Applies: "always",
		},
		{
			Code: CodeLimitReached, Title: "A limit of the agent is reached", Severity: fault.Major,
			Impact: "Further faults are not raised, or their evidence is cut short.",
			Cause:  "Very many things fail at once, or a resource returns very long evidence.",
			Raise:  "a fault was refused, or sense or text was cut",
			Clear:  "nothing is refused or cut and fewer faults are active than 90 % of the limit",
			Remedy: []fault.Remedy{
				{Text: "Mend the common cause of the many faults first.", Impact: "none, reads only", Command: "allclear fault list"},
				{Text: "If so many are right, raise limits in the configuration.", Impact: "uses about 1 KiB of memory a fault"},
			},
			Facts: []string{"limit"}, Readings: []string{"first", "refused", "cut", "active", "max_active"}, Applies: "always",
		},
	}
}

func configFaults() []fault.Entry {
	return []fault.Entry{
		{
			Code: CodeConfigRejected, Title: "The new configuration was refused", Severity: fault.Major,
			Severities: "warning if it is in force but for settings that only a restart takes over",
			Impact:     "The agent goes on with what it had: what the new configuration adds is not in force.",
			Cause:      "The file has mistakes, or a file that it names cannot be read.",
			Raise:      "a reload found mistakes, or settings that only a restart takes over",
			Clear:      "the next reload is in force as a whole, or the agent was restarted",
			Remedy: []fault.Remedy{
				{Text: "Read all mistakes with their lines, and correct the file.", Impact: "none, reads only", Command: "allclear config check {file}"},
				{Text: "Load it again.", Impact: "changed items are looked at at once", Command: "systemctl reload allclear"},
			},
			Variants: []fault.Variant{{
				Name: "restart", Title: "A part of the new configuration waits for a restart",
				Cause: "These settings are read only when the agent starts: {settings}.",
				Remedy: []fault.Remedy{
					{Text: "Restart the agent, or take the change back and reload.", Impact: "looks pause for a second; no fault is lost", Command: "systemctl restart allclear"},
				},
			}},
			Facts: []string{"file", "mistake", "more", "settings"}, Applies: "always",
		},
	}
}
