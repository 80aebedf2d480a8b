package journal_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/journal"
)

// childDir makes the test binary a writer on that journal instead of a test.
const childDir = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Each step of a property's life waits for the disk; the flag still overrides.
	if err := flag.Set("rapid.checks", strconv.Itoa(rounds(20, 2000))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child raises and clears faults from several goroutines until it is killed,
// and prints each event that the journal acknowledged, one JSON a line.
func child(dir string) error {
	cat, err := newCatalogue()
	if err != nil {
		return err
	}
	s, err := journal.Open(context.Background(), journal.Options{Dir: dir, Node: "child", Catalogue: cat, BallastBytes: -1})
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards out
	out := json.NewEncoder(os.Stdout)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; err == nil; i++ {
				l := fault.Look{
					Check: "watch", Started: s.NextOrder(), Ended: s.NextOrder(), At: s.Now(), Every: time.Minute,
				}
				for j := range 1 + i/2%5 { // fresh resources, or they would flap and fall silent
					o := fault.Observation{Key: key(plain, fmt.Sprintf("%d/%d/%d/%d", os.Getpid(), w, i/2, j)), Verdict: fault.Present}
					if i%2 == 1 {
						o.Verdict = fault.Absent
					}
					l.Observations = append(l.Observations, o)
				}
				got, failed := s.Observe(context.Background(), l)
				mu.Lock()
				if failed != nil {
					err = failed
				}
				for _, ev := range got.Events {
					_ = out.Encode(ev) // the parent kills us when it has enough
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return err
}

// writer is a child at work.
type writer struct {
	cmd  *exec.Cmd
	acks chan fault.Event // closed when the child is gone
}

func startWriter(t *testing.T, dir string) *writer {
	t.Helper()
	w := &writer{cmd: exec.Command(os.Args[0]), acks: make(chan fault.Event, 1<<16)}
	w.cmd.Env = append(os.Environ(), childDir+"="+dir)
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.acks)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var ev fault.Event
			if json.Unmarshal(lines.Bytes(), &ev) == nil { // the last line may be cut
				w.acks <- ev
			}
		}
	}()
	t.Cleanup(func() { w.kill() })
	return w
}

// take waits for n acknowledged events.
func (w *writer) take(t *testing.T, n int) (acks []fault.Event) {
	t.Helper()
	for range n {
		ev, ok := <-w.acks
		if !ok {
			t.Fatal("the child ended by itself")
		}
		acks = append(acks, ev)
	}
	return acks
}

// kill ends the child with SIGKILL and returns what it acknowledged besides.
func (w *writer) kill() (acks []fault.Event) {
	_ = w.cmd.Process.Kill()
	for ev := range w.acks {
		acks = append(acks, ev)
	}
	_ = w.cmd.Wait()
	return acks
}

// survived fails the test unless the journal is sound and holds every
// acknowledged event. It opens the journal and closes it again.
func survived(t *testing.T, dir string, acks []fault.Event) {
	t.Helper()
	s, err := journal.Open(t.Context(), journal.Options{Dir: dir, Node: "child", Catalogue: catalogue(t), BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if h := s.Health(); h.SetAside != nil || !h.Unclean {
		t.Fatalf("set aside %+v, unclean %t", h.SetAside, h.Unclean)
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, ack := range acks {
		if ack.Seq > uint64(len(events)) {
			t.Fatalf("acknowledged event %d is lost, the journal ends at %d", ack.Seq, len(events))
		}
		if have := events[ack.Seq-1]; have.Seq != ack.Seq || have.Key != ack.Key || have.Kind != ack.Kind || !have.At.Equal(ack.At) {
			t.Fatalf("event %d is %+v, acknowledged was %+v", ack.Seq, have, ack)
		}
	}
	// What is active is what the events say, and waits for a look.
	active := map[fault.Key]bool{}
	for _, ev := range events {
		switch ev.Kind {
		case fault.KindRaise:
			active[ev.Key] = true
		case fault.KindClear:
			delete(active, ev.Key)
		}
	}
	views, _ := s.Page(0, 1<<20, func(f *fault.Fault) bool { return f.Active })
	if len(views) != len(active) {
		t.Fatalf("%d faults active, the events say %d", len(views), len(active))
	}
	for _, v := range views {
		if !active[v.Key] || !v.Unverified {
			t.Fatalf("%s: active by the events %t, unverified %t", v.Key, active[v.Key], v.Unverified)
		}
	}
}
