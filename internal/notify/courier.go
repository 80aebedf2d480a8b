package notify

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

const (
	// roundMost is how many messages are taken on at a time.
	roundMost = 256
	// The pause after a failure doubles from the first to the longest. It is
	// spread over its upper half, so that agents do not knock in step.
	firstPause, longestPause = time.Second, time.Minute
	// refusedPause is the longest pause between two tries of a message that the
	// receiver refuses.
	refusedPause = time.Hour
	// poll is how often time alone is asked whether something became due: the end
	// of a wait for a look makes no event.
	poll = time.Second
	// storeWait bounds the storing of what was told.
	storeWait = 5 * time.Second
)

// courier keeps one receiver informed.
type courier struct {
	Config
	opts *Options
	id   string        // of its told records
	kick chan struct{} // capacity 1: try now
	state

	// What follows belongs to the goroutine of run.
	tries    map[fault.Key]*try
	rest     time.Time // nothing is sent before
	refresh  time.Time // when the receiver is reminded next
	flood    flood
	oneByOne bool // the last batch was refused: find the message that is to blame
}

// try is the history of one message that is due.
type try struct {
	first   time.Time // when it was due first
	next    time.Time // not to be tried before
	refused int
}

// parcel is a message with the faults that it tells of.
type parcel struct {
	Message
	about []*journal.Pending
	paced bool // it is the message of a flood; the next one waits
}

func newCourier(opts *Options, s Config) *courier {
	return &courier{Config: s, opts: opts, id: s.told(), kick: make(chan struct{}, 1), tries: map[fault.Key]*try{}}
}

// run keeps the receiver informed until ctx ends.
func (c *courier) run(ctx context.Context, ask func()) {
	c.state.ask(ask)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		moved := c.opts.Journal.Moved() // before anything is read
		timer.Reset(c.round(ctx, time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-moved:
		case <-c.kick:
			c.rest = time.Time{}
			for _, t := range c.tries {
				t.next = time.Time{}
			}
		}
	}
}

// round sends what is due and returns how long it may take until more is, if
// nothing moves.
func (c *courier) round(ctx context.Context, now time.Time) time.Duration {
	if wait := c.rest.Sub(now); wait > 0 {
		return wait
	}
	if !c.resync(ctx, now) || !c.remind(ctx, now) {
		return max(0, time.Until(c.rest))
	}
	parcels, wait := c.arrange(c.due(now), now)
	switch most := roundMost; {
	case c.failing(): // one message finds out whether the receiver is back
		parcels = parcels[:min(1, len(parcels))]
	case len(parcels) > most:
		parcels, wait = parcels[:most], 0
	}
	if len(parcels) == 0 {
		return wait
	}
	if parcels = c.open(ctx, parcels); len(parcels) == 0 {
		return poll
	}
	c.send(ctx, parcels)
	return max(0, time.Until(c.rest))
}

// itself claims that p is the sink's own failure. It is never told of that:
// told when it works again, it would read as if it did not.
func (c *courier) itself(p *journal.Pending) bool {
	return p.Key.Code == CodeFailed && p.Key.Resource == c.Name && p.Told == nil
}

// due returns what the receiver must hear now, the worst first, then by age.
func (c *courier) due(now time.Time) []*journal.Pending {
	all := c.opts.Journal.Pending(c.id)
	due := make([]*journal.Pending, 0, len(all))
	seen := make(map[fault.Key]bool, len(c.tries))
	waiting := 0
	for i := range all {
		p := &all[i]
		if c.itself(p) {
			continue
		}
		waiting++
		t := c.tries[p.Key]
		if t == nil {
			t = &try{first: now}
			c.tries[p.Key] = t
		}
		seen[p.Key] = true
		if !now.Before(t.next) {
			due = append(due, p)
		}
	}
	for k := range c.tries {
		if !seen[k] {
			delete(c.tries, k)
		}
	}
	c.waits(waiting, c.stuck())
	slices.SortStableFunc(due, func(a, b *journal.Pending) int {
		return cmp.Or(cmp.Compare(b.Shown, a.Shown), cmp.Compare(a.Seq, b.Seq))
	})
	return due
}

// stuck is how many times the message was refused that was refused most often.
func (c *courier) stuck() int {
	most := 0
	for _, t := range c.tries {
		most = max(most, t.refused)
	}
	return most
}

// open notes, before the first try, that the receiver may hear of a fault: a
// message may arrive whose answer does not. It returns the parcels that may be
// sent now: those of which that could be noted.
//
// What the database has of a fault that it told before needs no note, as its
// notice is another: it is told again. Where the severity is a part of the name
// that does not do, as the newest one may be the one that was told before.
func (c *courier) open(ctx context.Context, parcels []parcel) []parcel {
	open := map[fault.Key]*fault.Told{}
	for i := range parcels {
		for _, p := range parcels[i].about {
			switch {
			case p.Send != fault.SendRaise:
			case p.Told == nil:
				open[p.Key] = &fault.Told{}
			case p.Told.Notice != 0 && (!p.Durable || c.BySeverity && p.Told.Severity != p.Shown):
				open[p.Key] = &fault.Told{Occurrence: p.Told.Occurrence, Severity: p.Told.Severity}
			}
		}
	}
	if len(open) == 0 {
		return parcels
	}
	err := c.store(ctx, open)
	if err == nil {
		return parcels
	}
	untraced, ok := errors.AsType[*journal.UntracedError](err)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(parcels, func(p parcel) bool {
		return slices.ContainsFunc(p.about, func(p *journal.Pending) bool { return slices.Contains(untraced.Keys, p.Key) })
	})
}

// store keeps told records. Once begun it outlives ctx: an answered message
// should not be sent again only because the agent stops.
func (c *courier) store(ctx context.Context, told map[fault.Key]*fault.Told) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	err := c.opts.Journal.SetToldAll(ctx, c.id, told)
	if err != nil {
		c.opts.Log.LogAttrs(ctx, slog.LevelWarn, "what a sink is told is not recorded; it will be told later, or again",
			slog.String("sink", c.Name), slog.Any("error", err))
	}
	return err
}

// outcome is what came of a parcel.
type outcome struct {
	*parcel
	answer string
	err    error
}

// send delivers the parcels and records the answers as they come.
func (c *courier) send(ctx context.Context, parcels []parcel) {
	singly := c.oneByOne
	c.oneByOne = false
	results := make(chan outcome, len(parcels))
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(results)
		if b, ok := c.Sink.(Batcher); ok && !singly {
			c.sendBatch(ctx, b, parcels, results)
		} else {
			c.sendEach(ctx, parcels, results)
		}
	})
	for r := range results {
		batch := []outcome{r}
		for len(results) > 0 {
			batch = append(batch, <-results)
		}
		c.settle(ctx, batch)
	}
	wg.Wait()
}

func (c *courier) sendBatch(ctx context.Context, b Batcher, parcels []parcel, results chan<- outcome) {
	ctx, cancel := context.WithTimeout(ctx, 2*deadline)
	defer cancel()
	ms := make([]Message, len(parcels))
	for i := range parcels {
		ms[i] = parcels[i].Message
	}
	answer, err := b.DeliverAll(ctx, ms)
	c.oneByOne = rejected(err) && len(ms) > 1
	if c.oneByOne {
		return // nothing is known of any one of them
	}
	for i := range parcels {
		results <- outcome{&parcels[i], answer, err}
	}
}

// sendEach sends the parcels in order, several at a time. After the first that
// does not get through no other is begun.
func (c *courier) sendEach(ctx context.Context, parcels []parcel, results chan<- outcome) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards next and down
	next, down := 0, false
	take := func() *parcel {
		mu.Lock()
		defer mu.Unlock()
		if down || next == len(parcels) {
			return nil
		}
		next++
		return &parcels[next-1]
	}
	for range min(max(1, c.Parallel), len(parcels)) {
		wg.Go(func() {
			for p := take(); p != nil; p = take() {
				answer, err := deliver(ctx, c.Sink, p.Message)
				if err != nil && !rejected(err) {
					mu.Lock()
					down = true
					mu.Unlock()
				}
				results <- outcome{p, answer, err}
			}
		})
	}
	wg.Wait()
}

// settle records outcomes.
func (c *courier) settle(ctx context.Context, batch []outcome) {
	told := map[fault.Key]*fault.Told{}
	for _, r := range batch {
		switch {
		case r.err == nil:
			for _, p := range r.about {
				told[p.Key] = record(p)
				delete(c.tries, p.Key)
			}
			if r.paced {
				c.flood = flood{last: time.Now()}
			}
			c.delivered(&r.Message, r.answer)
		case rejected(r.err):
			c.refused(r.about, r.err)
		case ctx.Err() != nil: // the agent stops; that is nobody's failure
		default:
			c.fail(ctx, r.err)
		}
	}
	if len(told) > 0 && c.store(ctx, told) != nil {
		c.rest = time.Now().Add(poll) // it is told again, but not at once
	}
}

// refused notes that the receiver does not take these messages: they are tried
// again, ever more seldom, and hold up no other.
func (c *courier) refused(about []*journal.Pending, err error) {
	most := 0
	for _, p := range about {
		t := c.tries[p.Key]
		t.refused++
		t.next = time.Now().Add(pause(t.refused, refusedPause))
		most = max(most, t.refused)
	}
	c.state.refused(most, err)
}

// fail notes that nothing gets through, and rests. Messages that were under way
// together are one failure.
func (c *courier) fail(ctx context.Context, err error) {
	if ctx.Err() != nil || time.Now().Before(c.rest) {
		return
	}
	n := c.failed(err)
	wait := pause(n, longestPause)
	b, ok := asBusy(err)
	busy := ok && b.After > 0
	if busy {
		wait = min(b.After, refusedPause)
	}
	c.rest = time.Now().Add(wait)
	c.resting(c.rest, busy)
	c.opts.Log.LogAttrs(ctx, slog.LevelDebug, "sink not reached", slog.String("sink", c.Name), slog.Int("attempt", n),
		slog.String("error", oneLine(err.Error())))
}

// pause is how long to wait after the n-th failure in a row.
func pause(n int, longest time.Duration) time.Duration {
	d := longest
	if n < 20 {
		d = min(longest, firstPause<<(n-1))
	}
	return d/2 + rand.N(d/2)
}
