package host

import (
	"fmt"
	"strconv"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// Space is the free space of a file system.
type Space struct {
	Free, Total           uint64 // bytes; Free is what the agent may use
	FreeInodes, AllInodes uint64 // 0 of 0 where the file system has no such limit
}

// lookAtDisk judges the free space. A fault clears only a tenth above its
// threshold, so that it does not come and go at the edge.
func (h *Host) lookAtDisk(r *check.Report, dir string) {
	o := h.options()
	s, err := h.space(dir)
	if err != nil {
		r.Unknown(CodeDiskLow, err.Error()) // could not look
		return
	}
	sense := map[string]string{
		"path": dir, "free_bytes": utoa(s.Free), "total_bytes": utoa(s.Total),
		"warning_bytes": utoa(o.DiskWarning), "major_bytes": utoa(o.DiskMajor),
	}
	if s.AllInodes > 0 && s.FreeInodes == 0 {
		sense["qualifier"] = "inodes"
		r.PresentAt(fault.Major, CodeDiskLow, fmt.Errorf("no inode is free below %s", dir), sense)
		return
	}
	h.mu.Lock()
	before := h.low[dir]
	severity := lowness(s.Free, before, o)
	h.low[dir] = severity
	h.mu.Unlock()
	if severity == fault.None {
		r.Absent(CodeDiskLow)
		r.Proved("%s free for the state directory", size(s.Free))
		return
	}
	limit := o.DiskWarning
	if severity == fault.Major {
		limit = o.DiskMajor
	}
	r.PresentAt(severity, CodeDiskLow, fmt.Errorf("%s free below %s, threshold %s", size(s.Free), dir, size(limit)), sense)
}

// lowness is the severity of so much free space: a severity that held before
// ends only a tenth above its threshold.
func lowness(free uint64, before fault.Severity, o Options) fault.Severity {
	below := func(limit uint64, severity fault.Severity) bool {
		if before >= severity {
			limit += limit / 10
		}
		return free < limit
	}
	switch {
	case below(o.DiskMajor, fault.Major):
		return fault.Major
	case below(o.DiskWarning, fault.Warning):
		return fault.Warning
	}
	return fault.None
}

// lookAtClock compares how far the wall clock and the boot-time clock moved
// since the look before.
func (h *Host) lookAtClock(r *check.Report) {
	o, now := h.options(), h.clock()
	h.mu.Lock()
	last := h.last
	h.last = now
	h.mu.Unlock()
	if last.BootID != now.BootID {
		r.Absent(CodeClockStepped)
		r.Proved("the clock is read; steps are seen from now on")
		return
	}
	step := now.Wall.Sub(last.Wall) - (now.Boot - last.Boot)
	if step.Abs() > o.ClockStep {
		direction := "forwards"
		if step < 0 {
			direction = "backwards"
		}
		r.Present(CodeClockStepped, fmt.Errorf("the clock jumped %s %s", step.Abs().Round(time.Millisecond), direction), map[string]string{
			"qualifier": direction, "step": step.Round(time.Millisecond).String(), "limit": o.ClockStep.String(),
			"wall": now.Wall.UTC().Format(time.RFC3339),
		})
		return
	}
	r.Absent(CodeClockStepped)
	r.Proved("no step of the clock since %s", last.Wall.UTC().Format("15:04:05"))
}

func (h *Host) lookAtMemory(r *check.Report) {
	o := h.options()
	available, total, err := h.memory()
	if err != nil {
		r.Unknown(CodeMemoryLow, err.Error()) // could not look
		return
	}
	if available < o.MemoryNeed {
		r.Present(CodeMemoryLow, fmt.Errorf("%s available, %s needed", size(available), size(o.MemoryNeed)), map[string]string{
			"need_bytes": utoa(o.MemoryNeed), "available_bytes": utoa(available), "total_bytes": utoa(total),
		})
		return
	}
	r.Absent(CodeMemoryLow)
	r.Proved("%s of memory available", size(available))
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// size writes bytes for people.
func size(n uint64) string {
	const unit = 1024
	value, names := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for value >= unit && i < len(names)-1 {
		value /= unit
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, names[i])
}
