package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"allclear/internal/api"
	"allclear/internal/wire"
)

// Works is what the subsystems of the agent show and do. Each view and action
// has its own role: the joiner asks for it once more, and answers ErrRole.
type Works interface {
	// View answers a value of package wire; ErrNoWork when nobody has such a view.
	View(ctx context.Context, role api.Role, subsystem, path string, q url.Values) (any, error)
	// Do carries out an action; tell may be called from other goroutines.
	Do(ctx context.Context, role api.Role, subsystem, action string, in any, tell func(wire.Progress)) (any, error)
	// Restore sends one thing of a copy. It calls open once, before the first byte,
	// with what is coming; after that an error means that the rest is missing.
	Restore(ctx context.Context, role api.Role, what Restore, open func(Restored) (io.Writer, error)) error
}

// Errors of Works.
var (
	ErrRole   = errors.New("the role does not allow it")
	ErrNoWork = errors.New("the agent has no such work")
)

// Restore names a thing in a copy.
type Restore struct{ Job, Snapshot, Path string }

// Restored is what comes: a file as it is, or a folder as a tar archive.
type Restored struct {
	Name   string // of the file or folder itself, as it was saved: raw bytes
	Folder bool
	Size   int64 // in bytes; -1 for a folder
}

// view is a view of a known type.
func view[T any](ctx context.Context, w *Web, role api.Role, subsystem, path string, q url.Values) (T, error) {
	var none T
	if w.o.Works == nil {
		return none, ErrNoWork
	}
	got, err := w.o.Works.View(ctx, role, subsystem, path, q)
	return typed[T](got, err, subsystem+"/"+path)
}

// do is an action with a result of a known type. It is audited, as at the
// socket.
func do[T any](ctx context.Context, w *Web, r *http.Request, s *session, subsystem, action, target string, in any) (T, error) {
	var none T
	if w.o.Works == nil {
		return none, noWork
	}
	got, err := w.o.Works.Do(ctx, s.Role, subsystem, action, in, func(wire.Progress) {})
	out, err := typed[T](got, err, subsystem+"/"+action)
	err = worked(err)
	w.note(r, s, subsystem+"/"+action, target, "", result(err))
	return out, err
}

func typed[T any](got any, err error, what string) (T, error) {
	out, ok := got.(T)
	if err == nil && !ok {
		return out, fmt.Errorf("%s answers a %T", what, got)
	}
	return out, err
}

// noWork is what there is to say when no subsystem does such a thing.
var noWork = &refusal{http.StatusNotFound, wire.Error{Code: "no-such-action", Message: "This agent does no such thing."}}

// worked gives the errors of an action their own words: who may ask for it may
// read why it came to nothing.
func worked(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		return err
	}
	switch status, e := api.Describe(err); {
	case errors.Is(err, ErrRole):
		return &refusal{http.StatusForbidden, wire.Error{Code: "not-allowed", Message: "This needs more rights: " + err.Error() + "."}}
	case errors.Is(err, ErrNoWork):
		return noWork
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal{http.StatusGatewayTimeout, wire.Error{Code: "timeout", Message: "No answer came in time: " + err.Error() + "."}}
	case status == http.StatusInternalServerError:
		return &refusal{http.StatusConflict, wire.Error{Code: "not-done", Message: sentence(err.Error()) + "."}}
	default:
		return &refusal{status, e}
	}
}

const (
	maxTasks = 16             // at work at a time
	taskLife = 24 * time.Hour // the longest that one may take
	taskKept = 64             // ended ones that are still shown
)

// task is something long that an operator asked for: it goes on when the
// browser leaves, and every page about its target shows it.
type task struct {
	What, Target string // backup/verify, and the job
	Who          string
	Begun        time.Time
	Ended        time.Time // zero while it goes on
	Progress     wire.Progress
	Result       any
	Err          error
	over         chan struct{} // closed at its end
	do           func(ctx context.Context, tell func(wire.Progress)) (any, error)
	note         func(error)
}

// Going claims that it is not over.
func (t task) Going() bool { return t.Ended.IsZero() }

// tasks are what goes on and what has ended, newest last. One of a kind goes on
// for one target at a time.
type tasks struct {
	ask chan *task // to the loop that starts them

	mu  sync.Mutex // guards the fields below, and what changes of each task
	all []*task
}

func newTasks() *tasks { return &tasks{ask: make(chan *task)} }

// run starts what is asked for until ctx ends, and waits for all of it.
func (ts *tasks) run(ctx context.Context, now func() time.Time) {
	var at sync.WaitGroup
	defer at.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-ts.ask:
			at.Go(func() { ts.carry(ctx, t, now) })
		}
	}
}

func (ts *tasks) carry(ctx context.Context, t *task, now func() time.Time) {
	ctx, cancel := context.WithTimeout(ctx, taskLife)
	defer cancel()
	out, err := t.do(ctx, func(p wire.Progress) {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		t.Progress = p
	})
	t.note(err)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.Result, t.Err, t.Ended = out, err, now()
	close(t.over)
}

// patience is how long a browser waits for the end of long work, so that most
// of it is answered at once.
const patience = 15 * time.Second

// await waits for the end of a task, but not long. It answers the error of one
// that has ended.
func (ts *tasks) await(ctx context.Context, t *task) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case <-t.over:
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return t.Err
}

// begin enters a task, unless one of its kind goes on for its target.
func (ts *tasks) begin(t *task) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	going := 0
	for _, o := range ts.all {
		if o.Going() && o.What == t.What && o.Target == t.Target {
			return &refusal{http.StatusConflict, wire.Error{Code: "under-way", Message: o.Who + " asked for the same, and it is under way. Its page shows how far it is."}}
		}
		if o.Going() {
			going++
		}
	}
	if going >= maxTasks {
		return &refusal{http.StatusTooManyRequests, wire.Error{Code: "too-many-tasks", Message: fmt.Sprintf("%d things are under way. Wait until one has ended.", going)}}
	}
	kept := ts.all[:0]
	for i, o := range ts.all {
		if o.Going() || len(ts.all)-i < taskKept {
			kept = append(kept, o)
		}
	}
	ts.all = append(kept, t)
	return nil
}

// drop takes back a task that nobody started.
func (ts *tasks) drop(t *task) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for i, o := range ts.all {
		if o == t {
			ts.all = append(ts.all[:i], ts.all[i+1:]...)
			return
		}
	}
}

// of are the tasks of a target, the newest of each kind.
func (ts *tasks) of(target string) map[string]task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	found := map[string]task{}
	for _, t := range ts.all {
		if t.Target == target {
			found[t.What] = *t
		}
	}
	return found
}

// targets are what there are tasks of these kinds for.
func (ts *tasks) targets(kinds []taskKind) []string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var names []string
	for _, t := range ts.all {
		if slices.ContainsFunc(kinds, func(k taskKind) bool { return k.what == t.What }) && !slices.Contains(names, t.Target) {
			names = append(names, t.Target)
		}
	}
	return names
}

// start begins an action that takes long. It is audited when it begins and when
// it has ended.
func (w *Web) start(r *http.Request, s *session, subsystem, action, target string, in any) (*task, error) {
	if w.o.Works == nil {
		return nil, noWork
	}
	what := subsystem + "/" + action
	t := &task{
		What: what, Target: target, Who: s.Who, Begun: w.o.Now(), over: make(chan struct{}),
		do: func(ctx context.Context, tell func(wire.Progress)) (any, error) {
			out, err := w.o.Works.Do(ctx, s.Role, subsystem, action, in, tell)
			return out, worked(err)
		},
	}
	ended := r.Clone(context.WithoutCancel(r.Context())) // the audit log names who asked, also after they left
	t.note = func(err error) { w.note(ended, s, what, target, "", result(err)) }
	err := w.tasks.begin(t)
	if err == nil {
		select {
		case w.tasks.ask <- t:
			w.note(r, s, what, target, "", "begun")
			return t, nil
		case <-r.Context().Done():
			err = context.Cause(r.Context())
			w.tasks.drop(t)
		}
	}
	w.note(r, s, what, target, "", result(err))
	return nil, err
}
