package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"allclear/internal/api"
)

// all raises the many faults by a look.
func (f *fixture) all(t testing.TB) {
	t.Helper()
	if _, err := f.agent.Verify(t.Context(), []string{"demo.many"}); err != nil {
		t.Fatal(err)
	}
	if got := len(f.agent.Rows(api.Query{})); got != f.demo.many {
		t.Fatalf("%d faults are active, want %d", got, f.demo.many)
	}
}

// median is the middle time until the first byte of a page.
func (f *fixture) median(t testing.TB, p *person, path string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 9 {
		begun := time.Now()
		resp, text := p.get(path)
		all = append(all, time.Since(begun))
		if resp.StatusCode != http.StatusOK || strings.Count(text, "data-fault") == 0 {
			t.Fatalf("%s: %s without rows", path, resp.Status)
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// The bounds of these tests are those of the README with room for a loaded
// machine; the benchmarks measure.
func TestListsAreFast(t *testing.T) {
	for _, c := range []struct {
		faults int
		path   string
		within time.Duration
	}{
		{200, "/faults?group=none", 20 * time.Millisecond}, {10_000, "/faults?group=none&page=42", 50 * time.Millisecond}, {10_000, "/faults", 50 * time.Millisecond},
	} {
		f := startWith(t, &demo{many: c.faults}, 20_000)
		f.all(t)
		got := f.median(t, f.someone(api.Operator), c.path)
		t.Logf("%d faults, %s: %s", c.faults, c.path, got)
		if got > 4*c.within {
			t.Errorf("%s of %d faults took %s, want %s", c.path, c.faults, got, c.within)
		}
	}
}

func TestAThousandViewersSlowNothing(t *testing.T) {
	f := start(t, &demo{things: 1})
	var people []*person
	for range 63 { // sixteen streams each
		people = append(people, f.someone(api.Viewer))
	}
	look := func() time.Duration {
		begun := time.Now()
		if _, err := f.agent.Verify(t.Context(), []string{"demo.thing"}); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	look()
	alone := look()
	const viewers = 1000
	var seen, ready sync.WaitGroup
	seq := fmt.Sprint(f.agent.Brief().Seq)
	for i := range viewers {
		ready.Add(1)
		seen.Go(func() {
			said := false
			for event := range people[i/16].stream(t, seq) {
				if !said {
					said = true
					ready.Done()
				}
				if strings.HasPrefix(event, "fault#") {
					return
				}
			}
			t.Error("a viewer heard nothing of the raise")
		})
	}
	ready.Wait()
	f.demo.broken.Store(true)
	begun := time.Now()
	with := look()
	seen.Wait()
	t.Logf("a look alone %s, with %d viewers %s; all had heard of the raise after %s", alone, viewers, with, time.Since(begun))
	if with > time.Second {
		t.Errorf("a look took %s with %d viewers", with, viewers)
	}
}

func BenchmarkFaults(b *testing.B) {
	for _, n := range []int{200, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := startWith(b, &demo{many: n}, 20_000)
			f.all(b)
			p := f.someone(api.Operator)
			for b.Loop() {
				if resp, _ := p.get("/faults?group=none"); resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status)
				}
			}
		})
	}
}
