package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allclear/internal/agent"
	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/journal"
	"allclear/internal/lab"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

const (
	codeBroken = fault.Code("demo/broken")
	thing      = "thing"
)

// demo is a subsystem with one thing that can be broken.
type demo struct {
	broken atomic.Bool
	looks  atomic.Int64
}

func (d *demo) Name() string { return "demo" }

func (d *demo) Faults() []fault.Entry {
	return []fault.Entry{{
		Code: codeBroken, Legacy: []string{"D1"}, Title: "The thing is broken", Severity: fault.Major,
		Impact: "nothing works", Cause: "somebody broke it", Raise: "it is broken", Clear: "it is whole",
		Remedy: []fault.Remedy{{Text: "Mend it.", Impact: "none", Action: "mend"}}, Facts: []string{"how"},
	}}
}

func (d *demo) check(resource string, broken *atomic.Bool) check.Check {
	return check.Check{
		Name: "demo.thing", Resource: resource, Codes: []fault.Code{codeBroken}, Every: time.Hour,
		Run: func(_ context.Context, r *check.Report) {
			d.looks.Add(1)
			if broken.Load() {
				r.Present(codeBroken, errors.New("a crack"), map[string]string{"how": "cracked"})
				return
			}
			r.Absent(codeBroken)
			r.Proved("the thing is whole")
		},
	}
}

func (d *demo) Checks() []check.Check { return []check.Check{d.check(thing, &d.broken)} }

func (d *demo) Run(ctx context.Context, _ check.Sink) error {
	<-ctx.Done()
	return nil
}

func (d *demo) Views() []subsystem.View {
	return []subsystem.View{{Path: "state", Role: subsystem.Viewer, Get: func(_ context.Context, q url.Values) (any, error) {
		return map[string]any{"broken": d.broken.Load(), "of": q.Get("of")}, nil
	}}}
}

func (d *demo) Downloads() []subsystem.Download {
	return []subsystem.Download{{
		Path: "bytes", Role: subsystem.Admin, Type: "application/octet-stream",
		Send: func(ctx context.Context, q url.Values, w io.Writer) error {
			if q.Get("of") == "" {
				return errors.New("bytes of what?")
			}
			for i := range 3 {
				if _, err := fmt.Fprintf(w, "%d of %s\n", i, q.Get("of")); err != nil {
					return err
				}
				if q.Get("of") == "crack" {
					return errors.New("cracked")
				}
			}
			if q.Get("of") == "for-ever" {
				<-ctx.Done()
			}
			return ctx.Err()
		},
	}}
}

func (d *demo) Streams() []subsystem.Stream {
	return []subsystem.Stream{{Path: "beats", Role: subsystem.Viewer, Open: func(ctx context.Context, q url.Values) (iter.Seq2[any, error], error) {
		if q.Get("refuse") != "" {
			return nil, errors.New("not now")
		}
		return func(yield func(any, error) bool) {
			for i := 1; i <= 3; i++ {
				if !yield(i, nil) {
					return
				}
			}
			if q.Get("stay") != "" {
				<-ctx.Done()
				return
			}
			yield(nil, errors.New("out of beats"))
		}, nil
	}}}
}

func (d *demo) Actions() []subsystem.Action {
	return []subsystem.Action{
		{
			Name: "mend", Role: subsystem.Operator, Verifies: []fault.Key{{Code: codeBroken, Resource: thing}},
			Do: func(_ context.Context, in json.RawMessage, progress func(wire.Progress)) (any, error) {
				var how struct{ Fail string }
				if err := json.Unmarshal(in, &how); err != nil {
					return nil, err
				}
				if how.Fail == "at once" {
					return nil, errors.New("no glue")
				}
				progress(wire.Progress{Stage: "glue", Percent: 50})
				if how.Fail != "" {
					return nil, errors.New("the glue is dry")
				}
				d.broken.Store(false)
				return "mended", nil
			},
		},
		{Name: "explode", Role: subsystem.Admin, Do: func(context.Context, json.RawMessage, func(wire.Progress)) (any, error) {
			return nil, errors.New("never called in a test")
		}},
	}
}

func (d *demo) Drills() []subsystem.Drill {
	var broken atomic.Bool
	return []subsystem.Drill{{
		Code: codeBroken,
		Prepare: func(_ context.Context, l *lab.Lab) (check.Check, error) {
			return d.check(l.Resource(thing), &broken), nil
		},
		Break:  func(context.Context, *lab.Lab) error { broken.Store(true); return nil },
		Repair: func(context.Context, *lab.Lab) error { broken.Store(false); return nil },
	}}
}

func (d *demo) Preflight(_ context.Context, c wire.Change) []wire.Finding {
	return []wire.Finding{{Target: thing, Kind: "demo", Verdict: "breaks", Why: "policy " + c.Policy, Missing: []string{}, Remedy: []string{}}}
}

// recorder is a journal as the agent declares it, with a switch.
type recorder struct {
	*journal.Store
	failing atomic.Bool
}

func (r *recorder) Clock() fault.Clock { return r.Now() }

func (r *recorder) View(k fault.Key) (fault.View, bool) {
	v, ok := r.Store.View(k)
	v.View.Seq = v.Seq
	return v.View, ok
}

func (r *recorder) Page(after uint64, n int, want func(*fault.Fault) bool) ([]fault.View, bool) {
	page, more := r.Store.Page(after, n, want)
	views := make([]fault.View, len(page))
	for i, v := range page {
		v.View.Seq = v.Seq
		views[i] = v.View
	}
	return views, more
}

func (r *recorder) Head() (string, uint64) {
	h := r.Store.Head()
	return h.Epoch, h.Seq
}

func (r *recorder) Health() agent.StoreHealth {
	h := r.Store.Health()
	out := agent.StoreHealth{Held: h.Held, Failing: h.Failing, Error: h.Error, Bytes: h.Size}
	if r.failing.Load() {
		out.Failing, out.Error = time.Now(), "no space left on device"
	}
	return out
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fixture is a real agent on a real journal behind a real socket.
type fixture struct {
	t      *testing.T
	demo   *demo
	rec    *recorder
	agent  *agent.Agent
	server *Server
	log    *logBuffer
	client *http.Client // on the socket
}

// start starts everything; prepare may change the server before it runs.
func start(t *testing.T, prepare ...func(*Server)) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{t: t, demo: &demo{}, log: &logBuffer{}}
	cat, err := fault.NewCatalogue(slices.Concat(agent.Faults(), check.Faults(), f.demo.Faults())...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Node: "web1", Catalogue: cat, BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	f.rec = &recorder{Store: store}
	log := slog.New(slog.NewJSONHandler(f.log, nil))
	version := wire.Version{Version: "1.2.3", Revision: "abc", Go: "go1"}
	f.agent, err = agent.New(agent.Options{
		Node: "web1", Version: version, Recorder: f.rec, Catalogue: cat, Subsystems: []subsystem.Subsystem{f.demo}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.server, err = New(Options{Agent: f.agent, Version: version, Socket: filepath.Join(dir, "run", "s.sock"), Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(f.server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{f.agent.Run, f.server.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	f.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", f.server.opts.Socket)
	}}}
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Errorf("close the journal: %v", err)
		}
	})
	return f
}

// do sends a request over the socket, as this process's user.
func (f *fixture) do(method, path, body string, header ...string) (*http.Response, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, "http://agent"+path, bytes.NewBufferString(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(b)
}

// get reads a good answer into v.
func (f *fixture) get(method, path, body string, v any) {
	f.t.Helper()
	resp, text := f.do(method, path, body)
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		f.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
}

// raise breaks the thing and lets the agent find it.
func (f *fixture) raise() wire.Fault {
	f.t.Helper()
	f.demo.broken.Store(true)
	var reply wire.VerifyReply
	f.get("POST", "/v1/verify", `{"select":["thing"]}`, &reply)
	if reply.Active != 1 {
		f.t.Fatalf("verify found %d active faults, want 1: %+v", reply.Active, reply)
	}
	var broken wire.Fault
	f.get("GET", fmt.Sprintf("/v1/faults/%s", url.PathEscape("demo/broken@thing")), "", &broken)
	return broken
}

// eventually waits for the real clock of the agent, with a deadline.
func (f *fixture) eventually(what string, done func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for poll := time.NewTicker(10 * time.Millisecond); !done(); <-poll.C {
		if time.Now().After(deadline) {
			f.t.Fatalf("not within 10 s: %s", what)
		}
	}
}
