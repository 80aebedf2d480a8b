package agent

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// supportEvents is how many events a bundle holds.
const supportEvents = 500

// Support builds the support bundle out of typed fields only.
func (a *Agent) Support(ctx context.Context) wire.Support {
	st := a.Status()
	h := a.opts.Recorder.Health()
	s := wire.Support{
		At: time.Now().UTC(), Node: a.opts.Node, Version: a.opts.Version,
		Host: supportHost(), Process: a.supportProcess(),
		Journal: wire.SupportJournal{
			Epoch: st.Epoch, Seq: st.Seq, Held: h.Held, Failing: !h.Failing.IsZero(), SetAside: h.SetAside != "",
			Bytes: h.Bytes, Cleared: h.Cleared,
		},
		Status: wire.SupportStatus{Verdict: st.Verdict, Summary: st.Summary},
		Faults: []wire.SupportFault{}, Checks: []wire.SupportCheck{}, Events: []wire.SupportEvent{}, Watching: st.Subsystems,
	}
	views, _ := a.opts.Recorder.Page(0, 1000, Query{State: "all"}.want)
	for _, v := range views {
		s.Faults = append(s.Faults, wire.SupportFault{
			ID: v.ID, Code: v.Key.Code, Qualifier: v.Sense.Get("qualifier"), Resource: v.Key.Resource, Severity: v.Shown,
			State: v.Condition, RaisedAt: stamp(v.Raised), ClearedAt: stamp(v.Cleared), LastLook: stamp(v.LastLook),
			Count: v.Count, Stale: v.Stale, Unverified: v.Unverified, Flapping: v.Flapping, Masked: len(v.MaskedBy) > 0,
		})
	}
	for _, c := range a.Checks() {
		sc := wire.SupportCheck{ID: c.ID, State: c.State, Every: c.Every}
		if c.Last != nil {
			sc.LastAt, sc.DurationMS, sc.Failed = &c.Last.At, c.Last.DurationMS, c.Last.Failure != ""
		}
		s.Checks = append(s.Checks, sc)
	}
	s.Events = a.recent(ctx, st.Seq)
	return s
}

func (a *Agent) recent(ctx context.Context, seq uint64) []wire.SupportEvent {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := []wire.SupportEvent{}
	if seq == 0 {
		return events
	}
	after := uint64(0)
	if seq > supportEvents {
		after = seq - supportEvents
	}
	for ev, err := range a.opts.Recorder.Follow(ctx, after) {
		if err != nil {
			break
		}
		events = append(events, supportEvent(ev))
		if ev.Seq >= seq {
			break
		}
	}
	return events
}

func supportEvent(ev fault.Event) wire.SupportEvent {
	return wire.SupportEvent{Seq: ev.Seq, Kind: ev.Kind, Code: ev.Key.Code, Resource: ev.Key.Resource, At: ev.At.UTC()}
}

func supportHost() wire.SupportHost {
	h := wire.SupportHost{OS: osName(), CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		h.Memory = uint64(si.Totalram) * uint64(si.Unit)
	}
	return h
}

// osName reads PRETTY_NAME of os-release(5).
func osName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	in := bufio.NewScanner(bytes.NewReader(data))
	for in.Scan() {
		if v, ok := strings.CutPrefix(in.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return runtime.GOOS
}

func (a *Agent) supportProcess() wire.SupportProcess {
	p := wire.SupportProcess{StartedAt: a.started.UTC(), Goroutines: runtime.NumGoroutine(), Root: os.Geteuid() == 0}
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 1 {
			pages, _ := strconv.ParseUint(fields[1], 10, 64)
			p.RSS = pages * uint64(os.Getpagesize())
		}
	}
	return p
}
