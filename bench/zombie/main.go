// Command zombie plays three stories against Debian's Alertmanager and against
// allclear, and says whether the receiver behind each was told of the clear.
// In each story a receiver is told of an alarm, the trouble ends at a bad
// moment, and everything is well afterwards:
//
//	inhibited  it ends while its cause hides it
//	silenced   it ends while an operator has silenced it
//	killed     it ends while the program is down after a kill -9
//
// Alertmanager is fed as Prometheus feeds it: firing alerts again and again,
// ended ones again and again for a while. Prometheus does that for 15 minutes
// (resolvedRetention), and what hides an alarm mostly lasts longer: here it is 3
// seconds and 6. Hidden for less than that, Alertmanager does tell of the clear.
// allclear is its journal and notifier in a process of their own, with looks
// instead of alerts.
//
//	go run ./bench/zombie [-patience 15s]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

func main() {
	if dir := os.Getenv(nodeDir); dir != "" {
		if err := node(dir, os.Getenv(nodeHook)); err != nil {
			fmt.Fprintln(os.Stderr, "zombie: node:", err)
			os.Exit(1)
		}
		return
	}
	patience := flag.Duration("patience", 15*time.Second, "how long a clear is waited for")
	flag.Parse()
	if err := run(*patience); err != nil {
		fmt.Fprintln(os.Stderr, "zombie:", err)
		os.Exit(1)
	}
}

// system is what a story is played on.
type system interface {
	// start begins, or begins again after kill, with what was kept on disk.
	start() error
	kill() error
	stop()
	// is sets whether the symptom, or its cause, is there.
	is(name string, there bool) error
	// quiet hides the symptom by an operator's word, or ends that.
	quiet(on bool) error
}

// The two alarms of the stories: cause hides symptom.
const (
	symptom = "symptom"
	cause   = "cause"
)

type story struct {
	name string
	play func(system) error // from the moment that the receiver knows of the symptom
}

func stories() []story {
	return []story{
		{"inhibited", func(s system) error {
			return errors.Join(s.is(cause, true), pause(), s.is(symptom, false), pause(), s.is(cause, false))
		}},
		{"silenced", func(s system) error {
			return errors.Join(s.quiet(true), pause(), s.is(symptom, false), pause(), s.quiet(false))
		}},
		{"killed", func(s system) error {
			return errors.Join(s.kill(), s.is(symptom, false), s.start())
		}},
	}
}

// pause lets the system take in what has happened: several of Alertmanager's
// group intervals, and longer than an ended alert is repeated.
func pause() error {
	time.Sleep(2 * repeated)
	return nil
}

func run(patience time.Duration) error {
	r, err := newReceiver()
	if err != nil {
		return err
	}
	defer r.close()
	fmt.Printf("| the trouble ends | %-40s | %-40s |\n|---|---|---|\n", "Alertmanager tells of the clear", "allclear tells of the clear")
	for _, st := range stories() {
		var cells []string
		for _, build := range []func(*receiver, string) (system, error){newAlertmanager, newNode} {
			cell, err := play(r, st, build, patience)
			if err != nil {
				return fmt.Errorf("%s: %w", st.name, err)
			}
			cells = append(cells, cell)
		}
		fmt.Printf("| %-16s | %-40s | %-40s |\n", st.name, cells[0], cells[1])
	}
	return nil
}

// play tells how a story ends.
func play(r *receiver, st story, build func(*receiver, string) (system, error), patience time.Duration) (_ string, err error) {
	dir, err := os.MkdirTemp("", "zombie-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r.reset()
	s, err := build(r, dir)
	if err != nil {
		return "", err
	}
	defer s.stop()
	if err := s.start(); err != nil {
		return "", err
	}
	if err := s.is(symptom, true); err != nil {
		return "", err
	}
	if !r.await("raise", patience) {
		return "", errors.New("the raise itself was never told")
	}
	if err := pause(); err != nil {
		return "", err
	}
	if err := st.play(s); err != nil {
		return "", err
	}
	began := time.Now()
	if r.await("clear", patience) {
		took := max(0, r.when("clear").Sub(began)).Round(100 * time.Millisecond)
		if took == 0 {
			return "yes, at once", nil
		}
		return fmt.Sprintf("yes, %s after all was well again", took), nil
	}
	return fmt.Sprintf("**never** (waited %s)", patience), nil
}

// receiver hears of the symptom, in either system's words.
type receiver struct {
	srv *http.Server
	url string

	mu    sync.Mutex // guards heard and times
	heard []string
	times []time.Time
	told  chan struct{} // capacity 1
}

func newReceiver() (*receiver, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + ln.Addr().String() + "/", told: make(chan struct{}, 1)}
	r.srv = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.srv.Serve(ln) }() // ends with close
	return r, nil
}

func (r *receiver) close() { _ = r.srv.Close() }

// ServeHTTP understands Alertmanager's webhook and ours.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
		Type string
		Data struct{ Code string }
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, a := range body.Alerts {
		if a.Labels["alertname"] == symptom {
			r.hear(map[string]string{"firing": "raise", "resolved": "clear"}[a.Status])
		}
	}
	if body.Data.Code == "zombie/"+symptom {
		r.hear(map[string]string{"allclear.fault.raise": "raise", "allclear.fault.clear": "clear"}[body.Type])
	}
}

func (r *receiver) hear(what string) {
	r.mu.Lock()
	r.heard, r.times = append(r.heard, what), append(r.times, time.Now())
	r.mu.Unlock()
	select {
	case r.told <- struct{}{}:
	default:
	}
}

func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard, r.times = nil, nil
}

// when is when the receiver heard of it; zero if it has not.
func (r *receiver) when(what string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.heard, what); i >= 0 {
		return r.times[i]
	}
	return time.Time{}
}

func (r *receiver) await(what string, patience time.Duration) bool {
	end := time.After(patience)
	for r.when(what).IsZero() {
		select {
		case <-r.told:
		case <-end:
			return false
		}
	}
	return true
}
