package journal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"slices"

	"allclear/internal/fault"
)

// The trace file has traceSlots records of traceSize bytes, a disk sector each,
// so that a write leaves the old record or the new one.
const (
	traceName  = "raised.trace"
	traceSize  = 512
	traceSlots = 4096
	traceHead  = 8 // length and CRC-32C, little endian
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// footprint is what the trace file says of a fault that was raised or told
// while the database took nothing: enough to find it again and to tell its
// clear to whoever heard of it.
type footprint struct {
	Key   fault.Key `json:"key"`
	Sinks []string  `json:"sinks,omitempty"` // who was told
}

// trace is a file whose blocks exist before they are needed: writing it in
// place works when the disk is full. It is not for concurrent use.
type trace struct {
	f     *os.File
	slots map[fault.Key]int
}

// openTrace opens the file, making it if need be, and returns what it holds.
func openTrace(path string) (*trace, []footprint, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the trace file: %w", err)
	}
	t := &trace{f: f, slots: map[fault.Key]int{}}
	info, err := f.Stat()
	if err == nil && info.Size() < traceSize*traceSlots {
		if err = fillZeros(f, info.Size(), traceSize*traceSlots); err == nil {
			err = f.Sync()
		}
	}
	if err != nil && !noSpace(err) { // what there is of it serves
		return nil, nil, errors.Join(fmt.Errorf("fill the trace file: %w", err), f.Close())
	}
	return t, t.read(), nil
}

// read returns the records that are whole, and keeps their slots taken.
func (t *trace) read() []footprint {
	var found []footprint
	b := make([]byte, traceSize)
	for slot := range traceSlots {
		if _, err := t.f.ReadAt(b, int64(slot)*traceSize); err != nil {
			break
		}
		n := binary.LittleEndian.Uint32(b)
		if n == 0 || n > traceSize-traceHead {
			continue
		}
		body := b[traceHead : traceHead+n]
		var p footprint
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) || json.Unmarshal(body, &p) != nil {
			continue
		}
		t.slots[p.Key] = slot
		found = append(found, p)
	}
	return found
}

// put records the footprints, each in the slot that its key has, and answers
// how many could not be.
func (t *trace) put(prints []footprint) (missed int, err error) {
	taken := make(map[int]bool, len(t.slots))
	for _, slot := range t.slots {
		taken[slot] = true
	}
	next := 0
	for _, p := range prints {
		body, err := json.Marshal(p)
		if err != nil || len(body) > traceSize-traceHead {
			missed++
			continue
		}
		slot, known := t.slots[p.Key]
		if !known {
			for taken[next] {
				next++
			}
			if slot = next; slot >= traceSlots {
				missed++
				continue
			}
		}
		b := make([]byte, traceSize)
		binary.LittleEndian.PutUint32(b, uint32(len(body)))
		binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli))
		copy(b[traceHead:], body)
		if _, err := t.f.WriteAt(b, int64(slot)*traceSize); err != nil {
			return len(prints), fmt.Errorf("write the trace of %s: %w", p.Key, err)
		}
		t.slots[p.Key], taken[slot] = slot, true
	}
	if err := t.f.Sync(); err != nil {
		return len(prints), fmt.Errorf("write the trace file through: %w", err)
	}
	return missed, nil
}

// wipe forgets all records.
func (t *trace) wipe() error {
	if len(t.slots) == 0 {
		return nil
	}
	for _, slot := range t.slots {
		if _, err := t.f.WriteAt(make([]byte, traceSize), int64(slot)*traceSize); err != nil {
			return fmt.Errorf("wipe the trace file: %w", err)
		}
	}
	if err := t.f.Sync(); err != nil {
		return fmt.Errorf("wipe the trace file: %w", err)
	}
	clear(t.slots)
	return nil
}

func (t *trace) close() error { return t.f.Close() }

// traceable returns the footprints that must be on disk before the batch's
// raises are seen or what it told is known. The store's lock is held.
func (s *Store) traceable(b *batch) []footprint {
	var keys []fault.Key
	for i := range b.events {
		if k := b.events[i].Kind; k == fault.KindRaise || k == fault.KindAdopt {
			keys = append(keys, b.events[i].Key)
		}
	}
	for _, c := range b.told {
		if c.told != nil && !slices.Contains(keys, c.key) {
			keys = append(keys, c.key)
		}
	}
	prints := make([]footprint, 0, len(keys))
	for _, k := range keys {
		p := footprint{Key: k}
		for sink, told := range s.told {
			if _, ok := told[k]; ok {
				p.Sinks = append(p.Sinks, sink)
			}
		}
		for _, c := range b.told {
			if c.key == k && c.told != nil && !slices.Contains(p.Sinks, c.sink) {
				p.Sinks = append(p.Sinks, c.sink)
			}
		}
		slices.Sort(p.Sinks)
		prints = append(prints, p)
	}
	return prints
}

// note writes the footprints. That it fails keeps no raise from being seen.
func (s *Store) note(prints []footprint) {
	if len(prints) == 0 {
		return
	}
	missed := len(prints)
	err := s.hand.do(s.o.Stall, func(context.Context) error {
		if err := s.o.Failpoint("trace"); err != nil {
			return err
		}
		n, err := s.trace.put(prints)
		if err == nil && n > 0 {
			return &untracedError{n}
		}
		return err
	})
	if few, ok := errors.AsType[*untracedError](err); ok {
		missed = few.keys
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.health.Untraced += missed
	}
}

// untracedError says how many keys found no room in the trace file.
type untracedError struct{ keys int }

func (e *untracedError) Error() string {
	return fmt.Sprintf("no room for the trace of %d faults", e.keys)
}

// forgetTrace wipes the trace file once the database has all of it. What is
// left of it by a failure only makes the next start look at well faults.
func (s *Store) forgetTrace() {
	err := s.hand.do(s.o.Stall, func(context.Context) error { return s.trace.wipe() })
	if err != nil {
		s.o.Log.Warn("trace file not wiped", slog.Any("error", err))
	}
}
