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
// end to whoever may have heard of it.
type footprint struct {
	Key fault.Key `json:"key"`
	// Sinks may have heard of the fault other than the database says.
	Sinks []string `json:"sinks,omitempty"`
}

// trace is a file whose blocks exist before they are needed: writing it in
// place works when the disk is full. It is not for concurrent use.
type trace struct {
	f      *os.File
	prints map[fault.Key]*imprint
	used   [traceSlots]bool
}

// imprint is where a footprint lies.
type imprint struct {
	slots []int    // one, or more if the sinks do not fit into one
	sinks []string // those known to be on disk; in the order in which they came
	sure  bool     // all of it is known to be on disk
}

// openTrace opens the file, making it if need be, and returns what it holds.
func openTrace(path string) (*trace, []footprint, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the trace file: %w", err)
	}
	t := &trace{f: f, prints: map[fault.Key]*imprint{}}
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

// read returns the footprints that are whole, and keeps their slots taken.
func (t *trace) read() []footprint {
	var found []footprint
	at := map[fault.Key]int{} // in found
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
		i, more := at[p.Key]
		if !more {
			i = len(found)
			at[p.Key] = i
			found = append(found, footprint{Key: p.Key})
			t.prints[p.Key] = &imprint{sure: true}
		}
		found[i].Sinks = append(found[i].Sinks, p.Sinks...)
		im := t.prints[p.Key]
		im.slots, im.sinks = append(im.slots, slot), found[i].Sinks
		t.used[slot] = true
	}
	return found
}

// put adds the footprints to what is there, and returns the keys of those that
// find no room. What is there already costs nothing. After an error none counts
// as added.
func (t *trace) put(prints []footprint) (missed []fault.Key, err error) {
	grown := map[*imprint][]string{}
	for _, p := range prints {
		im := t.prints[p.Key]
		if im == nil {
			im = &imprint{}
		}
		sinks := slices.Clone(im.sinks)
		for _, sink := range p.Sinks {
			if !slices.Contains(sinks, sink) {
				sinks = append(sinks, sink)
			}
		}
		if im.sure && len(sinks) == len(im.sinks) {
			continue
		}
		bodies, fits := divide(p.Key, sinks)
		if !fits || !t.room(im, len(bodies)) {
			missed = append(missed, p.Key)
			continue
		}
		t.prints[p.Key] = im
		im.sure = false
		for i, body := range bodies {
			if err := t.write(im.slots[i], body); err != nil {
				return nil, fmt.Errorf("write the trace of %s: %w", p.Key, err)
			}
		}
		grown[im] = sinks
	}
	if len(grown) == 0 {
		return missed, nil
	}
	if err := t.f.Sync(); err != nil {
		return nil, fmt.Errorf("write the trace file through: %w", err)
	}
	for im, sinks := range grown {
		im.sinks, im.sure = sinks, true
	}
	return missed, nil
}

// divide makes records of a footprint. More sinks change only the last of them,
// or add to them: none is lost if the process dies in between.
func divide(k fault.Key, sinks []string) (bodies [][]byte, fits bool) {
	for first := true; first || len(sinks) > 0; first = false {
		n := len(sinks)
		for ; ; n-- {
			body, err := json.Marshal(footprint{k, sinks[:n]})
			if err != nil || n == 0 && len(sinks) > 0 {
				return nil, false
			}
			if len(body) <= traceSize-traceHead {
				bodies = append(bodies, body)
				break
			}
			if n == 0 {
				return nil, false
			}
		}
		sinks = sinks[n:]
	}
	return bodies, true
}

// room sees to it that the imprint has n slots, and claims that it has.
func (t *trace) room(im *imprint, n int) bool {
	var slots []int
	for slot := 0; len(im.slots)+len(slots) < n; slot++ {
		if slot == traceSlots {
			return false
		}
		if !t.used[slot] {
			slots = append(slots, slot)
		}
	}
	for _, slot := range slots {
		t.used[slot] = true
	}
	im.slots = append(im.slots, slots...)
	return true
}

// write fills one slot.
func (t *trace) write(slot int, body []byte) error {
	b := make([]byte, traceSize)
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli))
	copy(b[traceHead:], body)
	_, err := t.f.WriteAt(b, int64(slot)*traceSize)
	return err
}

// wipe forgets all records.
func (t *trace) wipe() error {
	if len(t.prints) == 0 {
		return nil
	}
	for _, im := range t.prints {
		im.sure = false
		for _, slot := range im.slots {
			if _, err := t.f.WriteAt(make([]byte, traceSize), int64(slot)*traceSize); err != nil {
				return fmt.Errorf("wipe the trace file: %w", err)
			}
		}
	}
	if err := t.f.Sync(); err != nil {
		return fmt.Errorf("wipe the trace file: %w", err)
	}
	clear(t.prints)
	t.used = [traceSlots]bool{}
	return nil
}

func (t *trace) close() error { return t.f.Close() }

// traceable returns the footprints that must be on disk before the batch's
// raises are seen, and before what it notes as told may be sent.
func traceable(b *batch) []footprint {
	var prints []footprint
	at := map[fault.Key]int{} // in prints
	name := func(k fault.Key) *footprint {
		i, known := at[k]
		if !known {
			i = len(prints)
			at[k] = i
			prints = append(prints, footprint{Key: k})
		}
		return &prints[i]
	}
	for i := range b.events {
		if k := b.events[i].Kind; k == fault.KindRaise || k == fault.KindAdopt {
			name(b.events[i].Key)
		}
	}
	for _, c := range b.told {
		if c.told != nil {
			p := name(c.key)
			p.Sinks = append(p.Sinks, c.sink)
		}
	}
	return prints
}

// note writes the footprints and returns the keys of those that it could not.
// That keeps no raise from being seen.
func (s *Store) note(prints []footprint) (missed map[fault.Key]bool) {
	if len(prints) == 0 {
		return nil
	}
	missed = map[fault.Key]bool{}
	noted := make(chan []fault.Key, 1) // the disk may answer when nobody waits any more
	err := s.hand.do(s.o.Stall, func(context.Context) error {
		if err := s.o.Failpoint("trace"); err != nil {
			return err
		}
		missed, err := s.trace.put(prints)
		noted <- missed
		return err
	})
	if err == nil {
		for _, k := range <-noted {
			missed[k] = true
		}
		return missed
	}
	for _, p := range prints {
		missed[p.Key] = true
	}
	return missed
}

// forgetTrace wipes the trace file once the database has all of it. What is
// left of it by a failure is wiped after the next commit; a start before that
// looks at well faults and tells them again.
func (s *Store) forgetTrace() {
	err := s.hand.do(s.o.Stall, func(context.Context) error { return s.trace.wipe() })
	s.leftover = err != nil
	if err != nil {
		s.o.Log.Warn("trace file not wiped", slog.Any("error", err))
	}
}
