package sshpolicy

import (
	"context"
	"iter"
	"sync"
	"syscall"
)

// DefaultJobs is how many connections ProbeAll keeps in flight. A connection
// mostly waits, so this is far more than there are processors: a thousand
// targets of which some never answer end after one timeout, not after many.
const DefaultJobs = 1024

// ProbeAll looks at many targets at once and yields each result with the index
// of its target, in the order in which they finish. jobs <= 0 means
// DefaultJobs; it never exceeds half of the file handles that the process may
// open. When the loop over the results ends early, the rest is cancelled; all
// goroutines have ended when the sequence returns.
func ProbeAll(ctx context.Context, targets []Target, jobs int, o Options) iter.Seq2[int, Result] {
	return func(yield func(int, Result) bool) {
		p, err := newProber(o)
		if err != nil {
			for i, t := range targets {
				r := newResult(t, o.Policy)
				r.fail(err)
				if !yield(i, r) {
					return
				}
			}
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type numbered struct {
			i int
			r Result
		}
		next, done := make(chan int), make(chan numbered, 64)
		var wg sync.WaitGroup
		for range min(limitJobs(jobs), len(targets)) {
			wg.Go(func() {
				for i := range next {
					done <- numbered{i, p.probe(ctx, targets[i])}
				}
			})
		}
		go func() { // ends when the workers have, and the loop below waits for that
			defer close(done)
			for i := range targets {
				next <- i
			}
			close(next)
			wg.Wait()
		}()
		wanted := true
		for d := range done {
			if wanted && !yield(d.i, d.r) {
				wanted = false
				cancel() // what is left fails at once
			}
		}
	}
}

// limitJobs keeps ProbeAll within the process's file handles.
func limitJobs(jobs int) int {
	if jobs <= 0 {
		jobs = DefaultJobs
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur/2 < uint64(jobs) {
		jobs = max(1, int(limit.Cur/2))
	}
	return jobs
}
