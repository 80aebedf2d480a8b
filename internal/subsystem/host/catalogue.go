package host

import (
	"time"

	"allclear/internal/fault"
)

// Faults implements subsystem.Subsystem.
func (h *Host) Faults() []fault.Entry { return Faults() }

// clockQuiet is how long no step may be seen before the fault clears.
const clockQuiet = 10 * time.Minute

// Faults are the catalogue entries of this package.
func Faults() []fault.Entry {
	const none = "none, reads only"
	return []fault.Entry{
		{
			Code: CodeDiskLow, Severity: fault.Warning, Severities: "major below 512 MiB (configurable)",
			Title:  "Little disk space is left for the state directory",
			Impact: "When it is full, clears, acknowledgements and shelving are refused and new faults are held in memory only.",
			Cause:  "The file system of {path} fills up, with our data or that of others.",
			Raise:  "less is free than 2 GiB (configurable)", Clear: "a tenth more is free than the threshold",
			Remedy: []fault.Remedy{
				{Text: "See what fills the file system.", Impact: none, Command: "du -xh --max-depth=1 {path}"},
				{Text: "Free space, enlarge the file system, or let allclear remove history that is over its time.", Impact: "what you delete is gone", Action: "host/prune"},
				{Text: "Look again.", Impact: none, Command: "allclear verify state-dir"},
			},
			Variants: []fault.Variant{{Name: "inodes", Title: "No inode is left for the state directory", Cause: "Very many small files use up the file system of {path}."}},
			Facts:    []string{"path", "warning_bytes", "major_bytes"}, Readings: []string{"free_bytes", "total_bytes"},
			Auto:    &fault.Auto{Action: "host/prune", Budget: 2, Per: 24 * time.Hour, Backoff: time.Hour},
			Applies: "always; there is no drill: only a file system of its own could be filled, and mounting one changes the host",
		},
		{
			Code: CodeClockStepped, Severity: fault.Warning,
			Title:  "The clock jumped",
			Impact: "Times in logs and certificates' validity cannot be compared across the jump; deadlines of allclear are not affected.",
			Cause:  "Somebody set the clock, time synchronisation corrected a large error, or the machine was restored from a snapshot.",
			Raise:  "the wall clock moved more than 2 s (configurable) against the boot-time clock between two looks", Clear: "no look sees another",
			Remedy: []fault.Remedy{
				{Text: "See whether time synchronisation works.", Impact: none, Command: "timedatectl timesync-status"},
				{Text: "If it jumps again, find out who sets the clock; the fault clears by itself when it is quiet for 10 minutes.", Impact: none},
			},
			Facts: []string{"limit"}, Readings: []string{"wall"}, Hold: fault.Hold{Clear: clockQuiet},
			Variants: []fault.Variant{
				{Name: "forwards", Title: "The clock jumped forwards"},
				{Name: "backwards", Title: "The clock jumped backwards"},
			},
			Applies: "always; there is no drill: it would set the clock of the host",
		},
		{
			Code: CodeMemoryLow, Severity: fault.Minor,
			Title:  "Little memory is available",
			Impact: "The kernel may end allclear or what it protects.",
			Cause:  "Programs on this host use nearly all memory.",
			Raise:  "MemAvailable is below what the enabled parts need", Clear: "MemAvailable is enough",
			Remedy: []fault.Remedy{
				{Text: "See who uses the memory.", Impact: none, Command: "ps -eo pid,rss,args --sort=-rss"},
				{Text: "End what is not needed, or add memory.", Impact: "what you end stops working"},
				{Text: "Look again.", Impact: none, Command: "allclear verify memory"},
			},
			Facts: []string{"need_bytes"}, Readings: []string{"available_bytes", "total_bytes"},
			Applies: "always; there is no drill: it would use up the memory of the host",
		},
	}
}
