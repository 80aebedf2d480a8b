package web

import (
	"fmt"
	"testing"
)

// A viewer that falls behind the ring is told so and never blocks the others.
func TestAViewerThatIsTooSlowIsToldWhatItMissed(t *testing.T) {
	h := newHub()
	n, known := h.after(5, 5)
	if !known || n != 1 {
		t.Fatalf("at the head: frame %d, %v", n, known)
	}
	for seq := range uint64(ringSize + 10) {
		h.mu.Lock()
		h.publish(seq+6, []byte(fmt.Sprint(seq+6)))
		h.mu.Unlock()
	}
	if b := h.since(n); !b.lost || b.frames != nil || b.next != ringSize+11 {
		t.Errorf("behind the ring: lost %v, %d frames, next %d", b.lost, len(b.frames), b.next)
	}
	if b := h.since(12); b.lost || len(b.frames) != ringSize-1 || b.frames[0].seq != 17 {
		t.Errorf("just within the ring: lost %v, %d frames", b.lost, len(b.frames))
	}
	head := uint64(ringSize + 15)
	for _, c := range []struct {
		seq   uint64
		frame uint64
		known bool
	}{{head, ringSize + 11, true}, {head - 1, ringSize + 10, true}, {20, 16, true}, {15, 11, true}, {14, 11, false}, {5, 11, false}} {
		if n, known := h.after(c.seq, head); known != c.known || n != c.frame {
			t.Errorf("after %d: frame %d, known %v; want %d, %v", c.seq, n, known, c.frame, c.known)
		}
	}
}

func TestWhatIsSeenIsWhatIsThere(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\nb\tc": "a\nb\tc", "\x1b[31m": "␛[31m", "\x7f": "␡", "\u202egnp.exe": "\ufffdgnp.exe", "\u0085": "\ufffd", "ü": "ü",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
