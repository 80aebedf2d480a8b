package journal

import (
	"context"
	"errors"
	"time"
)

// errHung says that the disk has not answered in time.
var errHung = errors.New("the disk does not answer")

// hand does the writer's disk work in a goroutine of its own, one job at a
// time, so that a disk that never answers cannot stop the writer.
type hand struct {
	jobs chan func(context.Context) error
	done chan error // buffered: a late job ends even if nobody asks
	busy bool       // a job has not come back; touched by the writer only
}

func newHand() *hand {
	return &hand{jobs: make(chan func(context.Context) error), done: make(chan error, 1)}
}

// work does jobs until the channel is closed.
func (h *hand) work(ctx context.Context) {
	for job := range h.jobs {
		h.done <- job(ctx)
	}
}

// do does the job and waits for at most limit; 0 means for ever. Answered by
// errHung, the job may still happen: settle tells.
func (h *hand) do(limit time.Duration, job func(context.Context) error) error {
	if h.busy {
		return errHung
	}
	h.jobs <- job
	var over <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	select {
	case err := <-h.done:
		return err
	case <-over:
		h.busy = true
		return errHung
	}
}

// settle claims that no job is on its way. late claims that one has just come
// back which was given up.
func (h *hand) settle() (settled, late bool) {
	if !h.busy {
		return true, false
	}
	select {
	case <-h.done:
		h.busy = false
		return true, true
	default:
		return false, false
	}
}
