package check_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
)

// memory is a journal without a disk: the real core behind a lock.
type memory struct {
	start time.Time
	order atomic.Uint64

	mu     sync.Mutex // guards the fields below
	set    *fault.Set
	shown  time.Time
	refuse bool // as with a full disk: clears are refused
	looks  []fault.Look
	events []fault.Event
}

// The codes of the tests: b is caused by a; held must be seen for a minute, and
// be gone for a minute.
const (
	codeA    fault.Code = "test/a"
	codeB    fault.Code = "test/b"
	codeHeld fault.Code = "test/held"
)

func catalogue(t testing.TB) *fault.Catalogue {
	t.Helper()
	entry := func(code fault.Code) fault.Entry {
		return fault.Entry{
			Code: code, Title: "t", Impact: "i", Cause: "c", Raise: "r", Clear: "c", Severity: fault.Major,
			Remedy: []fault.Remedy{{Text: "t", Impact: "i"}}, Facts: []string{"fact"}, Readings: []string{"reading"},
		}
	}
	b := entry(codeB)
	b.CausedBy = []fault.Code{codeA}
	held := entry(codeHeld)
	held.Hold = fault.Hold{Raise: time.Minute, Clear: time.Minute}
	c, err := fault.NewCatalogue(append([]fault.Entry{entry(codeA), b, held}, check.Faults()...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newMemory(t testing.TB) (*memory, *fault.Catalogue) {
	c := catalogue(t)
	return &memory{start: time.Now(), set: fault.NewSet(c, fault.DefaultLimits())}, c
}

func (m *memory) NextOrder() uint64 { return m.order.Add(1) }

func (m *memory) Clock() fault.Clock {
	now := time.Now()
	return fault.Clock{Wall: now, Boot: now.Sub(m.start), BootID: "boot"}
}

func (m *memory) Observe(_ context.Context, l fault.Look) (fault.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks = append(m.looks, l)
	now := fault.Now{Clock: m.Clock(), Order: m.order.Load()}
	now.Shown = now.Wall
	if !now.Shown.After(m.shown) {
		now.Shown = m.shown.Add(time.Microsecond)
	}
	at := m.set.Checkpoint()
	out, err := m.set.Look(&l, now)
	if err != nil {
		return out, err
	}
	for _, ev := range out.Events {
		if m.refuse && ev.Kind == fault.KindClear {
			m.set.Revert(at)
			return fault.Outcome{}, errors.New("no space left on device")
		}
	}
	m.set.Commit()
	if n := len(out.Events); n > 0 {
		m.shown = out.Events[n-1].At
	}
	m.events = append(m.events, out.Events...)
	return out, nil
}

func (m *memory) active(code fault.Code, resource string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.set.Get(fault.Key{Code: code, Resource: resource})
	return f != nil && f.Active
}

func (m *memory) kinds(code fault.Code) (kinds []fault.Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range m.events {
		if ev.Key.Code == code {
			kinds = append(kinds, ev.Kind)
		}
	}
	return kinds
}
