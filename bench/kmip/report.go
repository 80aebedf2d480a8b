package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// report prints the table, ready for docs/benchmarks.md.
func report(w io.Writer, pairs []*pair, missing []string, load string, length time.Duration) {
	fmt.Fprintf(w, "Get of an AES-256 key, mutual TLS on loopback; %s, %s, %d processors, ovh/kmip-go %s; median of %d rounds of %s; load %s at the start\n",
		time.Now().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), version("github.com/ovh/kmip-go"), len(pairs[0].one), length, load)
	for _, name := range missing {
		fmt.Fprintf(w, "missing: %s\n", name)
	}
	fmt.Fprintf(w, "\n| server | client | p50 | p99 | op/s, 1 connection | allclear to it | op/s, %d connections | allclear to it | processor/op | allocations/op | bytes/op |\n", connections)
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, p := range pairs {
		base := p
		for _, q := range pairs {
			if q.server == p.server && q.client.name == ours {
				base = q
			}
		}
		rate := func(s sample) float64 { return s.rate }
		one, eight := median(p.one, rate), median(p.eight, rate)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %.0f | %.1f | %.0f | %.1f | %s | %.0f | %.0f |\n", p.server.name, p.client.name,
			short(median(p.one, func(s sample) time.Duration { return s.p50 })),
			short(median(p.one, func(s sample) time.Duration { return s.p99 })),
			one, median(base.one, rate)/one, eight, median(base.eight, rate)/eight,
			short(median(p.one, func(s sample) time.Duration { return s.cpu })),
			median(p.one, func(s sample) float64 { return s.allocs }), median(p.one, func(s sample) float64 { return s.bytes }))
	}
}

// short rounds to what means something.
func short(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}

// version is that of a module of this program.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(version unknown)"
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return "(version unknown)"
}

// pykmipVersion is the name and version of Debian's package.
func pykmipVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", "python3-pykmip").Output()
	if err != nil {
		return "PyKMIP"
	}
	v, _, _ := strings.Cut(string(out), "-")
	return "PyKMIP " + v
}

// loadAverage is that of the last minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
