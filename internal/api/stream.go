package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"time"

	"allclear/internal/fault"
	"allclear/internal/wire"
)

// tracked knows whether an answer has begun.
type tracked struct {
	http.ResponseWriter
	begun bool
}

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// place takes one of the places for streams.
func (s *Server) place() (release func(), err error) {
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams }, nil
	default:
		return nil, refuse(http.StatusServiceUnavailable, "too-many-streams", "close one, then try again", "%d streams are open already", maxStreams)
	}
}

// lines writes a stream piece by piece. A reader that does not take a piece
// within writeWait is cut off: nothing is queued for it.
type lines struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func begin(w http.ResponseWriter, contentType string) *lines {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &lines{w, http.NewResponseController(w)}
}

func (l *lines) write(format string, args ...any) error {
	setWriteDeadline(l.w)
	if _, err := fmt.Fprintf(l.w, format, args...); err != nil {
		return err
	}
	return l.c.Flush()
}

func (l *lines) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write a line as JSON: %w", err)
	}
	return l.write("%s\n", b)
}

// beatEvery is how often an idle stream shows that it lives.
const beatEvery = 15 * time.Second

type item[T any] struct {
	value T
	err   error
}

// pump passes what open yields to write until it ends, ctx ends or stop is
// closed, and calls beat when nothing came for a while. Nothing is buffered:
// the source waits for the reader.
func pump[T any](ctx context.Context, stop <-chan struct{}, open func(context.Context) iter.Seq2[T, error], write func(T) error, beat func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	var source sync.WaitGroup
	defer source.Wait()
	defer cancel()
	items := make(chan item[T])
	source.Go(func() {
		defer close(items)
		for v, err := range open(ctx) {
			select {
			case items <- item[T]{v, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	idle := time.NewTicker(beatEvery)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stop:
			return nil
		case <-idle.C:
			if err := beat(); err != nil {
				return err
			}
		case it, more := <-items:
			if !more {
				return nil
			}
			if it.err != nil {
				return it.err
			}
			if err := write(it.value); err != nil {
				return err
			}
			idle.Reset(beatEvery)
		}
	}
}

// events streams the journal as server-sent events (WHATWG HTML, section 9.2).
// The id of each is its seq.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	after, err := s.resume(r)
	if err != nil {
		return err
	}
	release, err := s.place()
	if err != nil {
		return err
	}
	defer release()
	out := begin(w, "text/event-stream")
	if err := out.write(": events after %d\n\n", after); err != nil {
		return err
	}
	err = pump(r.Context(), s.stopping,
		func(ctx context.Context) iter.Seq2[fault.Event, error] { return s.opts.Agent.Follow(ctx, after) },
		func(e fault.Event) error {
			b, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("write event %d as JSON: %w", e.Seq, err)
			}
			return out.write("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, b)
		},
		func() error { return out.write(": alive\n\n") })
	if err != nil && r.Context().Err() == nil {
		b, _ := json.Marshal(describe(err).body) // two strings: cannot fail
		return errors.Join(err, out.write("event: error\ndata: %s\n\n", b))
	}
	return err
}

// resume says after which seq the events begin: after Last-Event-ID, after
// ?after=, or now. A reader that has seen more than there is follows a journal
// that is gone; it must not wait in silence for seqs it has already had.
func (s *Server) resume(r *http.Request) (uint64, error) {
	st := s.opts.Agent
	epoch, head := st.Recorder().Head()
	v := r.URL.Query()
	after, err := number(v, "after", head)
	if id := r.Header.Get("Last-Event-ID"); err == nil && id != "" {
		after, err = number(map[string][]string{"after": {id}}, "after", 0)
	}
	if err != nil {
		return 0, err
	}
	if want := v.Get("epoch"); want != "" && want != epoch || after > head {
		return 0, refuse(http.StatusConflict, "other-epoch", "read the status anew, then follow from its seq",
			"the journal is epoch %s at seq %d; what was asked for belongs to another", epoch, head)
	}
	return after, nil
}

// drill streams one report a line, then the end.
func (s *Server) drill(w http.ResponseWriter, r *http.Request) error {
	var req wire.DrillRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	release, err := s.place()
	if err != nil {
		return err
	}
	defer release()
	return s.work(w, r, func(ctx context.Context, tell func(any)) (any, error) {
		_, err := s.opts.Agent.Drill(ctx, req.Codes, func(d wire.DrillReport) { tell(wire.DrillLine{Report: &d}) })
		return wire.DrillLine{Done: true}, err
	}, func(e *wire.Error) any { return wire.DrillLine{Error: e} })
}

// work runs something long and writes what it tells as lines. It begins its
// answer with the first line, so that what fails at once has a proper status.
// A reader that is gone or too slow ends the work.
func (s *Server) work(w http.ResponseWriter, r *http.Request, do func(context.Context, func(any)) (any, error), wrap func(*wire.Error) any) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	var mu sync.Mutex // guards out: tell may be called from several goroutines
	var out *lines
	tell := func(v any) {
		mu.Lock()
		defer mu.Unlock()
		if out == nil {
			out = begin(w, "application/x-ndjson")
		}
		if err := out.json(v); err != nil {
			cancel(fmt.Errorf("tell the caller: %w", err))
		}
	}
	last, err := do(ctx, tell)
	if err != nil && out == nil {
		return err
	}
	if err != nil {
		last = wrap(&describe(err).body)
	}
	tell(last)
	return err
}
