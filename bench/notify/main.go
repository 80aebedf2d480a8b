// Command notify measures how soon a webhook hears of a raise: a real journal
// on disk, the real notifier and a real HTTP receiver on loopback, at a steady
// rate of raises. The time runs from before the look is recorded to the
// receiver's having read the message whole.
//
//	go run ./bench/notify [-rate 1000] [-seconds 10] [-dir DIR]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/notify"
	"allclear/internal/wire"
)

func main() {
	rate := flag.Int("rate", 1000, "raises a second")
	seconds := flag.Int("seconds", 10, "how long")
	dir := flag.String("dir", "", "where the journal lies (default: a temporary directory)")
	flag.Parse()
	if err := run(*rate, *seconds, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "notify:", err)
		os.Exit(1)
	}
}

const code fault.Code = "bench/raise"

// times holds when each raise began and arrived, by its number.
type times struct {
	mu             sync.Mutex // guards the fields below
	began, arrived []time.Time
	left           int
	done           chan struct{}
}

func (t *times) begin(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began[i] = time.Now()
}

func (t *times) arrive(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.arrived[i].IsZero() {
		t.arrived[i] = time.Now()
		if t.left--; t.left == 0 {
			close(t.done)
		}
	}
}

// ServeHTTP is the receiver.
func (t *times) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var e struct{ Data struct{ Resource string } }
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	i, numberErr := strconv.Atoi(e.Data.Resource)
	if err = errors.Join(err, numberErr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t.arrive(i)
}

func run(rate, seconds int, dir string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-notify-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	n := rate * seconds
	t := &times{began: make([]time.Time, n), arrived: make([]time.Time, n), left: n, done: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: t, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(ln) }() // ends with Close below
	defer srv.Close()
	catalogue, err := fault.NewCatalogue(append(notify.Faults(), fault.Entry{
		Code: code, Title: "A raise", Impact: "none", Cause: "a benchmark", Raise: "always", Clear: "never", Severity: fault.Major,
		Remedy: []fault.Remedy{{Text: "wait", Impact: "none"}},
	})...)
	if err != nil {
		return err
	}
	store, err := journal.Open(context.Background(), journal.Options{
		Dir: dir, Node: "bench", Catalogue: catalogue, Limits: fault.Limits{Active: n + 100, SenseBytes: 4096, TextBytes: 1024}, BallastBytes: -1,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	hook, err := notify.NewWebhook(notify.WebhookOptions{
		HTTPOptions: notify.HTTPOptions{URL: "http://" + ln.Addr().String() + "/"},
		Secrets:     func() ([]string, error) { return []string{"secret"}, nil },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	nt := notify.New(notify.Options{Node: "bench", Journal: store, Wire: wireOf}, []notify.Config{
		{Name: "hook", Kind: "webhook", Identity: ln.Addr().String(), Stateful: true, Parallel: 16, Sink: hook},
	})
	wg.Go(func() { _ = nt.Run(ctx, nobody{}) }) // it answers nil
	if err := raise(ctx, store, t, n, rate); err != nil {
		return err
	}
	select {
	case <-t.done:
	case <-time.After(time.Minute):
		return fmt.Errorf("%d of %d raises never arrived", t.left, n)
	}
	report(t, rate)
	return nil
}

// raise records n looks at a steady rate, each in a goroutine of its own, as
// checks do.
func raise(ctx context.Context, store *journal.Store, t *times, n, rate int) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	start := time.Now()
	for i := range n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		t.begin(i)
		wg.Go(func() {
			_, err := store.Observe(ctx, fault.Look{
				Check: "bench@" + strconv.Itoa(i), Started: store.NextOrder(), Ended: store.NextOrder(), At: store.Now(),
				Every: time.Hour, Timeout: time.Second,
				Observations: []fault.Observation{{
					Key: fault.Key{Code: code, Resource: strconv.Itoa(i)}, Verdict: fault.Present, Text: "a raise of the benchmark",
				}},
			})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func report(t *times, rate int) {
	d := make([]time.Duration, len(t.began))
	for i := range d {
		d[i] = t.arrived[i].Sub(t.began[i])
	}
	slices.Sort(d)
	at := func(p float64) time.Duration { return d[int(p*float64(len(d)-1))].Round(100 * time.Microsecond) }
	fmt.Printf("raise -> webhook, %d raises at %d/s, journal with fsync, one receiver\n\n", len(d), rate)
	fmt.Println("| p50 | p90 | p99 | p99.9 | max |")
	fmt.Println("|---|---|---|---|---|")
	fmt.Printf("| %s | %s | %s | %s | %s |\n", at(.5), at(.9), at(.99), at(.999), at(1))
}

// wireOf is what the agent does, as far as it costs anything here.
func wireOf(v *fault.View) wire.Fault {
	return wire.Fault{
		ID: v.ID, Seq: v.Seq, Node: "bench", Code: v.Key.Code, Legacy: []string{}, Resource: v.Key.Resource, Severity: v.Shown,
		SeverityWhy: v.Why, State: v.Condition, Title: v.Title, Text: v.Text, Sense: v.Sense.Map(), Cause: v.Cause, Remedy: v.Remedy,
		RaisedAt: &v.Raised, ChangedAt: &v.Changed, Count: v.Count, Occurrence: v.Occurrence, MaskedBy: []string{}, Check: v.Check,
	}
}

type nobody struct{}

func (nobody) Ask(string, fault.Trigger) {}

func (nobody) Report(context.Context, string, fault.Trigger, func(*check.Report)) error { return nil }
