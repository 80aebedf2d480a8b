package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

const code fault.Code = "bench/target-broken"

func options(dir string, n int) (journal.Options, error) {
	cat, err := fault.NewCatalogue(fault.Entry{
		Code: code, Title: "The target is broken", Impact: "None.", Cause: "A benchmark.", Severity: fault.Major,
		Raise: "always", Clear: "never", Remedy: []fault.Remedy{{Text: "Wait.", Impact: "None."}},
		Facts: []string{"banner", "missing"}, Readings: []string{"elapsed_ms"},
	})
	limits := fault.DefaultLimits()
	limits.Active = 2 * n
	return journal.Options{Dir: dir, Node: "bench", Catalogue: cat, Limits: limits}, err
}

// child runs one part, prints its result and waits to be killed.
func child(ctx context.Context, name, dir string, n int) error {
	o, err := options(dir, n)
	if err != nil {
		return err
	}
	var r result
	start := time.Now()
	s, err := journal.Open(ctx, o)
	if err != nil {
		return err
	}
	r.Open = time.Since(start).Seconds()
	before, err := empty()
	if err != nil {
		return err
	}
	switch name {
	case "callers":
		err = raise(ctx, s, &r, n, 64, 1)
	case "looks":
		err = raise(ctx, s, &r, n, 4, 100)
	}
	if err != nil {
		return err
	}
	after, err := empty()
	if err != nil {
		return err
	}
	if name == "open" {
		before = baseline
	}
	r.Bytes = float64(after-before) / float64(n)
	r.Active, r.Disk = s.Summary().Active, s.Health().Size
	if err := list(s, &r, n); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// baseline is about what a process with an empty journal has resident.
const baseline = 20 << 20

// empty gives back what is not needed and returns what stays resident.
func empty() (int64, error) {
	debug.FreeOSMemory()
	return resident(0)
}

// raise raises n faults from so many callers with so many faults in a look.
func raise(ctx context.Context, s *journal.Store, r *result, n, callers, size int) error {
	errs := make(chan error, callers)
	var mu sync.Mutex // guards r
	var wg sync.WaitGroup
	start, used := time.Now(), processor()
	for c := range callers {
		wg.Go(func() {
			var slowest time.Duration
			for i := c * size; i < n; i += callers * size {
				began := time.Now()
				if _, err := s.Observe(ctx, look(s, i, min(size, n-i))); err != nil {
					errs <- err
					return
				}
				slowest = max(slowest, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			r.SlowestTxn = max(r.SlowestTxn, slowest.Seconds())
		})
	}
	wg.Wait()
	r.Store = float64(n) / time.Since(start).Seconds()
	r.Processor = (processor() - used).Seconds() / float64(n)
	select {
	case err := <-errs:
		return err
	default:
	}
	if got := s.Summary().Active; got != n {
		return fmt.Errorf("%d faults active, want %d", got, n)
	}
	return nil
}

// processor is the processor time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for the process itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// look is a look that finds size targets broken, each with its own evidence.
func look(s *journal.Store, first, size int) fault.Look {
	l := fault.Look{
		Check: "bench/targets", Trigger: fault.TriggerTimer, Started: s.NextOrder(), Ended: s.NextOrder(), At: s.Now(),
		Every: 5 * time.Minute, Timeout: 10 * time.Second, Observations: make([]fault.Observation, size),
	}
	for i := range l.Observations {
		name := "target-" + strconv.Itoa(first+i)
		l.Observations[i] = fault.Observation{
			Key: fault.Key{Code: code, Resource: name}, Verdict: fault.Present, Text: "dial " + name + ": connection refused",
			Sense: fault.Sense{
				{Key: "banner", Value: "SSH-2.0-OpenSSH_9.2 " + name},
				{Key: "elapsed_ms", Value: strconv.Itoa(i)},
				{Key: "missing", Value: "kex"},
			},
		}
	}
	return l
}

// list pages through all faults as the API does, encoding each.
func list(s *journal.Store, r *result, n int) error {
	out := json.NewEncoder(io.Discard)
	start := time.Now()
	after, total := uint64(0), 0
	for more := true; more; {
		var page []journal.View
		page, more = s.Page(after, 100, nil)
		for i := range page {
			if err := out.Encode(&page[i]); err != nil {
				return err
			}
			after = page[i].ID
		}
		if total == 0 {
			r.First = time.Since(start).Seconds()
		}
		total += len(page)
	}
	r.List = time.Since(start).Seconds()
	if total != n {
		return fmt.Errorf("%d faults listed, want %d", total, n)
	}
	return nil
}
