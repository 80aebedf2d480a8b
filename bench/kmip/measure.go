package main

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// sample is what one measurement saw.
type sample struct {
	p50, p99      time.Duration
	rate          float64       // operations a second over all connections
	allocs, bytes float64       // an operation, of the client's process
	cpu           time.Duration // likewise
}

// warmUp is how many operations each connection does before the clock runs.
const warmUp = 20

// measure has n clients get the key, one after the other on each connection, for the given time.
func measure(ctx context.Context, m maker, s *server, n int, length time.Duration) (sample, error) {
	clients := make([]client, n)
	for i := range clients {
		c, err := m.dial(ctx, s.address, s.config)
		if err != nil {
			return sample{}, err
		}
		defer c.Close()
		for range warmUp {
			if err := c.get(ctx, s.id, s.key); err != nil {
				return sample{}, err
			}
		}
		clients[i] = c
	}
	took, errs := make([][]time.Duration, n), make([]error, n)
	for i := range took {
		took[i] = make([]time.Duration, 0, 1<<17) // no allocation meanwhile
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	worked, err := processorTime()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { took[i], errs[i] = repeat(ctx, c, s, took[i], began.Add(length)) })
	}
	wg.Wait()
	all := time.Since(began)
	workedThen, err := processorTime()
	if err != nil {
		return sample{}, err
	}
	runtime.ReadMemStats(&after)
	if err := errors.Join(errs...); err != nil {
		return sample{}, err
	}
	each := slices.Concat(took...)
	slices.Sort(each)
	count := float64(len(each))
	return sample{
		p50: each[len(each)/2], p99: each[len(each)*99/100], rate: count / all.Seconds(),
		allocs: float64(after.Mallocs-before.Mallocs) / count, bytes: float64(after.TotalAlloc-before.TotalAlloc) / count,
		cpu: (workedThen - worked) / time.Duration(len(each)),
	}, nil
}

// processorTime is what this process has used so far.
func processorTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// repeat gets the key until the end and answers how long each time took.
func repeat(ctx context.Context, c client, s *server, took []time.Duration, end time.Time) ([]time.Duration, error) {
	for {
		start := time.Now()
		if err := c.get(ctx, s.id, s.key); err != nil {
			return nil, err
		}
		now := time.Now()
		if took = append(took, now.Sub(start)); now.After(end) {
			return took, nil
		}
	}
}

// median answers the middle one of the rounds.
func median[T int64 | float64 | time.Duration](all []sample, of func(sample) T) T {
	var values []T
	for _, s := range all {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
