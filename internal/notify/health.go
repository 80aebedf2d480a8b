package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// CodeFailed says that a receiver cannot be told.
const CodeFailed fault.Code = "system/notify-failed"

const (
	checkName  = "notify.sink"
	checkEvery = time.Minute
	// undeliverable is how many tries in a row must fail.
	undeliverable = 3
	// between is the pause between the tries of one look.
	between = 500 * time.Millisecond
)

// state is how the telling goes, for the check and for people.
type state struct {
	mu            sync.Mutex // guards the fields below
	wake          func()     // asks for a look
	failures      int        // in a row
	stuckBy       int        // tries of the message that is refused most stubbornly
	since         time.Time  // of the first failure in the row
	err           error
	errAt         time.Time
	next          time.Time
	busy          bool          // the receiver itself has said when it wants to be tried again
	tried         chan struct{} // closed and replaced when something came of a try
	waiting       int           // messages due when last seen
	sent          uint64
	digests       uint64
	folded        uint64
	lastDelivered time.Time
	answer        string
}

func (s *state) ask(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
}

// look asks for a look of the sink's check; not under the lock.
func (s *state) look(wanted bool) {
	s.mu.Lock()
	wake := s.wake
	s.mu.Unlock()
	if wanted && wake != nil {
		wake()
	}
}

func (s *state) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures > 0
}

// waits notes how many messages are due, and how often the most refused one
// was refused.
func (s *state) waits(n, stuck int) {
	s.mu.Lock()
	was := s.stuckBy
	s.waiting, s.stuckBy = n, stuck
	s.mu.Unlock()
	s.look(was >= undeliverable && stuck < undeliverable)
}

// settled wakes whoever waits for a try. The lock is held.
func (s *state) settled() {
	if s.tried != nil {
		close(s.tried)
		s.tried = nil
	}
}

// outcome is closed when something comes of the next try.
func (s *state) outcome() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried == nil {
		s.tried = make(chan struct{})
	}
	return s.tried
}

func (s *state) delivered(m *Message, answer string) {
	s.mu.Lock()
	s.settled()
	recovered := s.failures >= undeliverable
	s.failures, s.next, s.sent = 0, time.Time{}, s.sent+1
	s.lastDelivered, s.answer = time.Now(), oneLine(answer)
	if m.Type == Digest {
		s.digests++
	}
	if m.Late {
		s.folded += uint64(len(m.Items))
	}
	s.mu.Unlock()
	s.look(recovered)
}

// failed notes that nothing gets through and returns for the how many-th time.
func (s *state) failed(err error) int {
	s.mu.Lock()
	if s.failures == 0 {
		s.since = time.Now()
	}
	s.failures++
	n := s.failures
	s.err, s.errAt = err, time.Now()
	s.settled()
	s.mu.Unlock()
	s.look(n == undeliverable)
	return n
}

// refused notes that a message was refused for the n-th time.
func (s *state) refused(n int, err error) {
	s.mu.Lock()
	s.failures, s.next = 0, time.Time{} // it answers
	s.stuckBy = max(s.stuckBy, n)
	s.err, s.errAt = err, time.Now()
	s.settled()
	s.mu.Unlock()
	s.look(n == undeliverable)
}

func (s *state) resting(until time.Time, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.busy = until, busy
}

// Check is the check of a sink that no notifier runs, such as one in a drill.
func Check(c Config, resource string) check.Check {
	return newCourier(&Options{}, c).check(resource)
}

// check looks whether the receiver can be told: by what became of the messages,
// and where nothing was to be said lately, by reaching it.
func (c *courier) check(resource string) check.Check {
	return check.Check{
		Name: checkName, Resource: resource, Codes: []fault.Code{CodeFailed}, Every: checkEvery,
		Version: c.id, Run: c.judge,
	}
}

func (c *courier) judge(ctx context.Context, r *check.Report) {
	for range undeliverable {
		n, waiting, busy := c.trouble()
		if n == 0 || waiting == 0 || busy || !c.again(ctx) {
			break
		}
		if n, _, _ := c.trouble(); n == 0 || n >= undeliverable || !rest(ctx) {
			break
		}
	}
	c.mu.Lock()
	n, waiting, err, since, last := max(c.failures, c.stuckBy), c.waiting, c.err, c.since, c.lastDelivered
	answer := c.answer
	c.mu.Unlock()
	switch {
	case n >= undeliverable && waiting > 0:
		c.present(r, err, n, waiting, since)
	case n > 0 && waiting > 0:
		r.Unknown(CodeFailed, fmt.Sprintf("failures in a row: %d, the next try tells more", n))
	case n == 0 && time.Since(last) < checkEvery:
		r.Absent(CodeFailed)
		r.Proved("a message was delivered at %s: %s", last.UTC().Format(time.TimeOnly), answer)
	default:
		c.reach(ctx, r)
	}
}

// trouble is how many tries failed in a row, how many messages wait, and
// whether the receiver has asked to be left alone.
func (s *state) trouble() (n, waiting int, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.failures, s.stuckBy), s.waiting, s.busy && time.Now().Before(s.next)
}

// again has the courier try now instead of after its pause, and waits for what
// comes of it: a look should see the receiver as it is. It answers false if
// nothing came of it.
func (c *courier) again(ctx context.Context) bool {
	outcome := c.outcome()
	select {
	case c.kick <- struct{}{}:
	default: // it was asked already
	}
	select {
	case <-outcome:
		return true
	case <-ctx.Done():
	case <-time.After(2 * deadline):
	}
	return false
}

// rest lets the pause between two tries pass; false if ctx ends before.
func rest(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(between):
		return true
	}
}

// reach tries to get through to the receiver without telling it anything.
func (c *courier) reach(ctx context.Context, r *check.Report) {
	began := time.Now()
	var err error
	for n := range undeliverable {
		if n > 0 && !rest(ctx) {
			return
		}
		var proved string
		if proved, err = c.Sink.Probe(ctx); err == nil {
			c.reached()
			r.Absent(CodeFailed)
			r.Proved("%s", oneLine(proved))
			return
		}
	}
	if ctx.Err() == nil {
		c.present(r, err, undeliverable, 0, began)
	}
}

// reached forgets failures that no message is left to disprove.
func (s *state) reached() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 {
		s.failures, s.next = 0, time.Time{}
	}
}

func (c *courier) present(r *check.Report, err error, n, waiting int, since time.Time) {
	if err == nil {
		err = errors.New("no answer")
	}
	text := oneLine(err.Error())
	r.Present(CodeFailed, errors.New(text), map[string]string{
		"kind": c.Kind, "destination": c.Destination, "error": text, "failures": strconv.Itoa(n),
		"pending": strconv.Itoa(waiting), "since": since.UTC().Format(time.RFC3339),
	})
}

// list is how the telling goes, for people. What is pending is asked of the
// journal, so that it is never out of date.
func (c *courier) list(now time.Time) wire.NotifySink {
	due := c.opts.Journal.Pending(c.id)
	head := c.opts.Journal.Head().Seq
	told := 0
	for _, t := range c.opts.Journal.Told(c.id) {
		if t.Notice != 0 { // else it may have heard, and nobody knows
			told++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := wire.NotifySink{
		Name: c.Name, Kind: c.Kind, Template: c.Template, Destination: c.Destination, State: "idle",
		ToldSeq: head, Told: told, Delivered: c.sent, LastAnswer: c.answer,
		Failures: max(c.failures, c.stuckBy), Digests: c.digests, Folded: c.folded,
	}
	for i := range due {
		p := &due[i]
		if c.itself(p) {
			continue
		}
		l.Pending++
		if p.Seq > 0 {
			l.ToldSeq = min(l.ToldSeq, p.Seq-1)
		}
		l.LagSeconds = max(l.LagSeconds, now.Sub(since(p)).Seconds())
	}
	l.Lag = head - l.ToldSeq
	l.LastDelivered, l.LastErrorAt, l.NextTry = moment(c.lastDelivered), moment(c.errAt), moment(c.next)
	if c.err != nil {
		l.LastError = oneLine(c.err.Error())
	}
	switch {
	case l.Failures > 0:
		l.State = "failing"
	case c.sent > 0:
		l.State = "ok"
	}
	return l
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Faults are the catalogue entries that package notify owns.
func Faults() []fault.Entry {
	return []fault.Entry{{
		Code: CodeFailed, Title: "Nobody is told through {resource}", Severity: fault.Major,
		Impact: "Who relies on this receiver alone hears of no fault and of no clear; what is due is kept and sent later.",
		Cause:  "The receiver is down or unreachable, refuses our credentials, or does not take our messages.",
		Raise:  fmt.Sprintf("a message, or the attempt to reach the receiver, failed %d times in a row", undeliverable),
		Clear:  "a message is delivered; with none to deliver, the receiver is reached",
		Remedy: []fault.Remedy{
			{Text: "See what is due, since when, and what the receiver said last.", Impact: "none, reads only", Command: "allclear notify list"},
			{Text: "Mend the receiver at {destination}, the way to it, or the credentials: {error}", Impact: "messages that are due arrive, newest state only"},
			{Text: "Send a test message and read the answer.", Impact: "the receiver gets a message marked as a test", Command: "allclear notify test {resource}"},
			{Text: "Look again.", Impact: "none", Command: "allclear verify {resource}"},
		},
		Facts: []string{"kind", "destination"}, Readings: []string{"error", "failures", "pending", "since"},
		Applies: "to each configured receiver",
	}}
}
