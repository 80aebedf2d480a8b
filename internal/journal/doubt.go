package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"allclear/internal/fault"
)

// A message may be sent only if a record that outlives the process says that
// its sink may have heard of the fault: in the database, or in the trace file
// while that takes nothing. If neither takes anything, because the disk is dead
// or the trace file has no room left, faults are told all the same, but not
// before the last heartbeat is as old as silence. So a start that finds no clean
// end and no younger heartbeat knows that anything may have been told: it is in
// doubt, and receivers that keep state are brought in line. While there are held
// events no heartbeat is written, as a commit that failed may be on disk or not.
const silence = 2 * heartbeatEvery

// doubtMark is the cursor that holds the time of the newest doubt. Its value is
// above any seq and holds back no pruning.
const doubtMark = "doubt"

// UntracedError says that no record outlives the process of these faults, so
// that nobody must be told of them yet.
type UntracedError struct{ Keys []fault.Key }

func (e *UntracedError) Error() string {
	return fmt.Sprintf("neither the database nor the trace file takes what is to be told of %d faults, such as %s: they are told within %s",
		len(e.Keys), e.Keys[0], silence)
}

// raised is the number of faults among keys that the batch raised.
func (b *batch) raised(keys map[fault.Key]bool) (n int) {
	for i := range b.events {
		if k := b.events[i].Kind; (k == fault.KindRaise || k == fault.KindAdopt) && keys[b.events[i].Key] {
			n++
		}
	}
	return n
}

// unsay takes back that sinks may hear of faults that left no trace, unless the
// next start is going to know by the silence. What they have heard stands. The
// store's lock is held.
func (b *batch) unsay(missed map[fault.Key]bool) error {
	if !b.ahead || b.now.Clock.Boot-b.s.beat >= silence {
		return nil
	}
	e := &UntracedError{}
	b.told = slices.DeleteFunc(b.told, func(c toldChange) bool {
		gone := c.told != nil && c.told.Notice == 0 && missed[c.key]
		if gone {
			e.Keys = append(e.Keys, c.key)
		}
		return gone
	})
	if len(e.Keys) == 0 {
		return nil
	}
	return e
}

// doubtful claims that the process before may have told anything.
func (st *start) doubtful() bool {
	return st.unclean && !st.fresh && (st.node.BootID != st.clock.BootID || st.clock.Boot-st.node.Boot >= silence)
}

// doubt notes that anything may have been told before now.
func (b *batch) doubt(now fault.Clock) {
	stamp := uint64(now.Wall.UnixNano())
	b.extra = append(b.extra, setCursor(doubtMark, stamp))
	b.anyway = append(b.anyway, func() { b.s.cursors[doubtMark] = stamp })
}

// keepDoubt writes the node's row, and the doubt in case that the boot could not.
// It is no heartbeat.
func (s *Store) keepDoubt(ctx context.Context, d *disk) error {
	if err := d.exec(ctx, "UPDATE node SET clean = 0"); err != nil {
		return fmt.Errorf("write the node's row: %w", err)
	}
	if stamp := s.Cursor(doubtMark); stamp != 0 {
		return setCursor(doubtMark, stamp)(ctx, d)
	}
	return nil
}

// Lost is when receivers may last have been told what no record knows of: when
// a history was lost in part, or at the start after a process of which nobody
// knows what it told. Zero: never, as far as the journal goes back.
func (s *Store) Lost() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var at time.Time
	if stamp := s.cursors[doubtMark]; stamp != 0 {
		at = time.Unix(0, int64(stamp))
	}
	if aside := s.health.SetAside; aside != nil && !aside.Complete && aside.At.After(at) {
		at = aside.At
	}
	return at
}
