package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"allclear/internal/fault"
)

const (
	heartbeatEvery = time.Minute // how often the clock is written when nothing else is
	stepLeast      = 2 * time.Second
)

// Tick lets time pass for all faults: shelves and escalations end, faults go
// stale, flapping calms down. It also watches the clock, writes a heartbeat
// each minute, writes what is held when the disk is back, prunes history and
// lays the ballast again. Call it about once a second.
func (s *Store) Tick(ctx context.Context) ([]fault.Event, error) {
	events, err := submit(ctx, s, (*batch).tick)
	if err != nil {
		return nil, err
	}
	if h := s.failing(); h {
		return events, nil
	}
	if err := s.ballast.make(); err != nil {
		s.o.Log.LogAttrs(ctx, slog.LevelWarn, "no ballast", slog.Any("error", err))
	}
	pruned, err := s.prune(ctx)
	if errors.Is(err, ErrRefused) {
		err = nil // the next tick tries again
	}
	return append(events, pruned...), err
}

func (s *Store) failing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.health.Failing.IsZero()
}

func (b *batch) tick() ([]fault.Event, error) {
	now := b.now.Clock
	events := b.watchClock()
	for _, k := range b.s.set.Ticking(now) {
		moved, err := b.apply(k, fault.Tick{Urgent: b.degraded})
		if errors.Is(err, ErrRefused) {
			continue // the next tick tries again
		}
		if err != nil {
			return events, fmt.Errorf("tick %s: %w", k, err)
		}
		events = append(events, moved...)
	}
	if due := now.Boot-b.s.heartbeat >= heartbeatEvery; (due || !b.s.health.Failing.IsZero()) && !b.degraded {
		b.s.beat = now.Boot
		b.extra = append(b.extra, alive(now))
		b.after = append(b.after, func() { b.s.heartbeat = now.Boot })
	}
	return events, nil
}

// watchClock makes an event of a wall clock that moved unlike CLOCK_BOOTTIME
// since the last tick.
func (b *batch) watchClock() []fault.Event {
	s, now, last := b.s, b.now.Clock, b.s.watched
	b.anyway = append(b.anyway, func() { s.watched = now })
	by := now.Wall.Sub(last.Wall) - (now.Boot - last.Boot)
	if now.BootID != last.BootID || by.Abs() <= stepLeast {
		return nil
	}
	text := fmt.Sprintf("the clock was set forward by %s", by.Round(time.Millisecond))
	if by < 0 {
		text = fmt.Sprintf("the clock was set back by %s", (-by).Round(time.Millisecond))
	}
	ev := b.node(fault.Event{
		Kind: fault.KindClockStep, Last: &last, Text: text,
		Sense: fault.Sense{{Key: "step_ms", Value: strconv.FormatInt(by.Milliseconds(), 10)}},
	})
	b.anyway = append(b.anyway, func() {
		s.health.ClockStep, s.stepped = &ClockStep{At: now.Wall, By: by}, now.Boot
		s.ailing()
	})
	return []fault.Event{ev}
}
