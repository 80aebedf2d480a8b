package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"allclear/internal/fault"
)

// Agrees answers an error unless what the store believes in memory is what a
// process that starts now would read from the disk. Nothing may be held.
func (s *Store) Agrees(ctx context.Context) error {
	var st stored
	if err := s.disk.loadBeliefs(ctx, &st); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	onDisk := map[fault.Key]fault.Belief{}
	for _, b := range st.beliefs {
		onDisk[b.Key] = b
	}
	for _, k := range s.set.Keys() {
		f := s.set.Get(k)
		if f.Seq() == 0 {
			continue // pending: no event yet
		}
		have, err := json.Marshal(onDisk[k])
		if err != nil {
			return err
		}
		want, err := json.Marshal(f.Belief)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want) {
			return fmt.Errorf("%s: disk has %s, memory %s", k, have, want)
		}
		delete(onDisk, k)
	}
	for k := range onDisk {
		return fmt.Errorf("%s is on disk only", k)
	}
	if s.set.Summary() != s.set.Recount() {
		return fmt.Errorf("summary %+v, recount %+v", s.set.Summary(), s.set.Recount())
	}
	return nil
}
