package journal

import (
	"context"
	"os"
	"time"

	"allclear/internal/fault"
)

// Health is how the store itself fares.
type Health struct {
	Epoch string
	Seq   uint64 // of the newest durable event
	// Failing is since when the store cannot write; zero: it can.
	Failing  time.Time
	Stalled  bool   // a write does not come back
	Error    string // the newest, while failing
	Held     int    // events in memory only
	Untraced int    // raises in memory only that not even the trace file could take
	// LastCommit is when the newest transaction was stored.
	LastCommit time.Time
	Unclean    bool       // the process before did not stop in order
	SetAside   *SetAside  // a broken database was replaced, until ForgetSetAside
	ClockStep  *ClockStep // the last one seen
	Cleared    int        // cleared faults kept
	MaxCleared int
	Strain     fault.Strain
	Size       int64 // bytes of the database and its log
	Ballast    bool  // the ballast is in place
}

// SetAside tells of a broken database that was replaced by a new one.
type SetAside struct {
	Path     string    `json:"path"` // where it lies now; empty: it was gone
	Why      string    `json:"why"`
	At       time.Time `json:"at"`
	Beliefs  int       `json:"beliefs"`  // active faults read from it and adopted
	Told     int       `json:"told"`     // told records read from it
	Complete bool      `json:"complete"` // all of both could be read
}

// ClockStep is a jump of the wall clock.
type ClockStep struct {
	At time.Time
	By time.Duration // forward if positive
}

// Health returns how the store fares.
func (s *Store) Health() Health {
	s.mu.RLock()
	h := s.health
	h.Epoch, h.Seq = s.head.Epoch, s.head.Seq
	h.MaxCleared, h.Strain = s.o.MaxCleared, s.set.Strain()
	h.Cleared = s.set.Len() - s.activeCount()
	s.mu.RUnlock()
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.disk.path + suffix); err == nil {
			h.Size += info.Size()
		}
	}
	h.Ballast = s.ballast.there()
	return h
}

// activeCount is the number of active faults, drills included. The lock is held.
func (s *Store) activeCount() int {
	sum := s.set.Summary()
	return sum.Active + sum.Drills
}

// Changed returns a channel that is closed when the store begins or ends to
// fail, or sees the clock step.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// ForgetSetAside ends the mention of a broken database in the health: the
// operator knows of it.
func (s *Store) ForgetSetAside(ctx context.Context) error {
	_, err := submit(ctx, s, func(b *batch) (struct{}, error) {
		b.extra = append(b.extra, func(ctx context.Context, d *disk) error {
			return d.exec(ctx, "UPDATE node SET set_aside = NULL")
		})
		b.after = append(b.after, func() { s.health.SetAside = nil })
		return struct{}{}, b.refuse("forgetting the broken database")
	})
	return err
}
