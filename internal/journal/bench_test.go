package journal_test

import (
	"syscall"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// BenchmarkObserve raises b.N faults in looks of a hundred. The command
// bench/journal measures the same from outside, with many callers.
func BenchmarkObserve(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	before := processorTime(b)
	for i := 0; i < b.N; i += 100 {
		raiseHundred(b, s, i, min(100, b.N-i))
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkPage lists ten thousand faults, a hundred at a time.
func BenchmarkPage(b *testing.B) {
	s := benchStore(b)
	for i := 0; i < 10_000; i += 100 {
		raiseHundred(b, s, i, 100)
	}
	b.ReportAllocs()
	for b.Loop() {
		after := uint64(0)
		for more := true; more; {
			var page []journal.View
			page, more = s.Page(after, 100, nil)
			after = page[len(page)-1].ID
		}
	}
}

// processorTime is what the process has used: other than the time on the wall
// it means something on a busy machine.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchStore(b *testing.B) *journal.Store {
	s, err := journal.Open(b.Context(), journal.Options{
		Dir: b.TempDir(), Node: "n1", Catalogue: catalogue(b), Limits: fault.Limits{Active: 1 << 30, SenseBytes: 4096, TextBytes: 1024},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func raiseHundred(b *testing.B, s *journal.Store, first, n int) {
	l := fault.Look{Check: "watch", Started: s.NextOrder(), Ended: s.NextOrder(), At: s.Now(), Every: time.Minute}
	for i := range n {
		l.Observations = append(l.Observations, fault.Observation{
			Key: key(plain, "target-"+itoa(first+i)), Verdict: fault.Present, Text: "dial target: connection refused",
			Sense: fault.Sense{{Key: "fact", Value: "kex"}, {Key: "reading", Value: itoa(i)}},
		})
	}
	if _, err := s.Observe(b.Context(), l); err != nil {
		b.Fatal(err)
	}
}
