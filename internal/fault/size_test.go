package fault_test

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"allclear/internal/fault"
)

const many = 100_000

// crowd returns a set of n active faults, each with an address, an error and a
// family as facts and an elapsed time as reading.
func crowd(tb testing.TB, n int) (*node, []fault.Look) {
	nd := newNode(tb)
	nd.set = fault.NewSet(nd.cat, fault.Limits{SenseBytes: 4096, TextBytes: 1024})
	looks := make([]fault.Look, n)
	for i := range looks {
		looks[i] = glance(nd, i, "3")
		if _, err := nd.set.Look(&looks[i], nd.now()); err != nil {
			tb.Fatal(err)
		}
		nd.set.Commit()
	}
	return nd, looks
}

// glance is a look that finds the i-th fault.
func glance(n *node, i int, elapsed string) fault.Look {
	o := fault.Observation{
		Key: key(codePlain, "target-"+strconv.Itoa(i)), Verdict: fault.Present, Text: "connection refused",
		Sense: fault.NewSense(map[string]string{
			"address": fmt.Sprintf("10.0.%d.%d:22", i>>8&255, i&255), "errno": "ECONNREFUSED", "family": "v4", "elapsed": elapsed,
		}),
	}
	return fault.Look{
		Check: "ssh", Trigger: fault.TriggerTimer, Started: n.next(), Ended: n.next(), At: n.clock, Every: every,
		Observations: []fault.Observation{o},
	}
}

// TestFaultsAreSmall bounds what an active fault keeps resident in the set: 700
// bytes when raised, 1 KB with the readings of a newer look.
func TestFaultsAreSmall(t *testing.T) {
	const n = 20_000
	resident := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := resident()
	nd, _ := crowd(t, n)
	raised := (resident() - before) / n
	for i := range n {
		l := glance(nd, i, strconv.Itoa(i))
		if _, err := nd.set.Look(&l, nd.now()); err != nil {
			t.Fatal(err)
		}
		nd.set.Commit()
	}
	read := (resident() - before) / n
	t.Logf("an active fault keeps %d B, with other readings %d B", raised, read)
	if raised > 750 || read > 1000 {
		t.Errorf("an active fault keeps %d B, want at most 750; with other readings %d B, want at most 1000", raised, read)
	}
	runtime.KeepAlive(nd)
}

// BenchmarkLook judges one of 100 000 active faults: as it was, with another
// reading, and raised and cleared in turn.
func BenchmarkLook(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(i int, o *fault.Observation)
	}{
		{"unchanged", func(int, *fault.Observation) {}},
		{"reading", func(i int, o *fault.Observation) {
			o.Sense = fault.Sense{{"address", "10.0.0.1:22"}, {"elapsed", "x"}, {"errno", "ECONNREFUSED"}, {"family", "v4"}}
		}},
		{"raise-and-clear", func(i int, o *fault.Observation) {
			o.Verdict = []fault.Verdict{fault.Absent, fault.Present}[i/many%2]
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			nd, looks := crowd(b, many)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i%many == 0 {
					nd.pass(time.Hour)
				}
				l := &looks[i%many]
				l.Started, l.Ended, l.At = nd.next(), nd.next(), nd.clock
				c.change(i, &l.Observations[0])
				if _, err := nd.set.Look(l, nd.now()); err != nil {
					b.Fatal(err)
				}
				nd.set.Commit()
				i++
			}
		})
	}
}
