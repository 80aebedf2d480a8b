package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"allclear/internal/api/client"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// serve answers on a unix socket until the returned stop is called.
func serve(t *testing.T, path string, h http.HandlerFunc) (stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: h}}
	s.Start()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			s.CloseClientConnections()
			s.Close()
		}
	}
	t.Cleanup(stop)
	return stop
}

func newClient(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	if h != nil {
		serve(t, path, h)
	}
	c := client.New(path)
	t.Cleanup(c.Close)
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAMissingAgentIsUnreachableAndSaysWhy(t *testing.T) {
	_, err := newClient(t, nil).Status(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	_, err = client.New(dead).Status(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dead agent's socket: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "http://") {
		t.Errorf("people do not know of the URL: %v", err)
	}
}

func TestARefusalKeepsItsCodeAndHint(t *testing.T) {
	c := newClient(t, answer(404, `{"error":{"code":"no-such-fault","message":"no such fault 7","hint":"look"}}`))
	_, err := c.Fault(t.Context(), "7")
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != 404 || e.Code != "no-such-fault" || e.Hint != "look" || e.Error() != "no such fault 7" {
		t.Errorf("got %#v", err)
	}
	if !client.IsCode(err, "no-such-fault") || client.IsCode(err, "other") || client.IsCode(nil, "other") {
		t.Error("IsCode is wrong")
	}
}

func TestSomethingElseThanAnAgentIsSaid(t *testing.T) {
	for _, h := range []http.HandlerFunc{answer(500, "<html>"), answer(200, "<html>"), answer(200, ""), answer(502, `{"error":"no"}`)} {
		if _, err := newClient(t, h).Status(t.Context()); err == nil || errors.Is(err, client.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheEndOfTheCallersTimeIsNotTheAgentsFault(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	c := newClient(t, func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the operator went home")
	cancel(why)
	if _, err := c.Status(ctx); !errors.Is(err, why) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestReferencesWithSlashesReachTheAgentWhole(t *testing.T) {
	var got atomic.Value
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/faults/{ref}/{op}", func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.PathValue("ref") + " " + r.PathValue("op"))
		_, _ = io.WriteString(w, "{}")
	})
	c := newClient(t, mux.ServeHTTP)
	for _, ref := range []string{"7", "ssh/unreachable@nas1", "a/b@host/../etc/x", "a/b@50%/ü?#"} {
		if _, err := c.Operate(t.Context(), ref, wire.OperatorRequest{Op: fault.OpAck}); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		if got.Load() != ref+" ack" {
			t.Errorf("%s arrived as %v", ref, got.Load())
		}
	}
}

func TestAllFaultsFollowsThePages(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("after") {
		case "":
			_, _ = io.WriteString(w, `{"items":[{"id":1},{"id":2}],"next":"2"}`)
		case "2":
			_, _ = io.WriteString(w, `{"items":[{"id":3}],"next":"3"}`)
		default:
			answer(503, `{"error":{"code":"stopping","message":"stops"}}`)(w, r)
		}
	})
	var ids []uint64
	var last error
	for f, err := range c.AllFaults(t.Context(), client.Filter{State: "all"}) {
		if last = err; err == nil {
			ids = append(ids, f.ID)
		}
	}
	if !slices.Equal(ids, []uint64{1, 2, 3}) || !client.IsCode(last, "stopping") {
		t.Errorf("ids %v, then %v", ids, last)
	}
}

// events is an agent that knows n events and then hangs up.
func events(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		after := 0
		_, _ = fmt.Sscan(r.Header.Get("Last-Event-ID"), &after)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": hello\n\n")
		for i := after + 1; i <= n; i++ {
			_, _ = fmt.Fprintf(w, "id: %d\nevent: raise\ndata: {\"seq\":%d,\"kind\":\"raise\"}\n\n", i, i)
		}
	}
}

func TestEventsGoOnAfterTheAgentsRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stop := serve(t, path, events(3))
	c := client.New(path)
	defer c.Close()
	var seqs []uint64
	for e, err := range c.Events(t.Context(), 1, "") {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
		if e.Seq == 3 {
			stop()
			serve(t, path, events(5))
		}
		if e.Seq == 5 {
			break
		}
	}
	if !slices.Equal(seqs, []uint64{2, 3, 4, 5}) {
		t.Errorf("got %v: each once and in order is wanted", seqs)
	}
}

func TestEventsEndWithARefusal(t *testing.T) {
	for _, c := range []*client.Client{
		newClient(t, answer(409, `{"error":{"code":"other-epoch","message":"other"}}`)),
		newClient(t, answer(200, "event: error\ndata: {\"code\":\"other-epoch\",\"message\":\"other\"}\n\n")),
	} {
		var errs []error
		for _, err := range c.Events(t.Context(), 0, "") {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !client.IsCode(errs[0], "other-epoch") {
			t.Errorf("got %v", errs)
		}
	}
	n := 0
	for _, err := range newClient(t, nil).Events(t.Context(), 0, "") {
		if n++; !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("never connected: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("never connected: told %d times", n)
	}
}

func TestAnAnswerCutInTheMiddleIsNoSuccess(t *testing.T) {
	c := newClient(t, answer(200, `{"progress":{"stage":"half"}}`+"\n"))
	var stages []string
	_, err := c.Do(t.Context(), "host", "prune", nil, func(p wire.Progress) { stages = append(stages, p.Stage) })
	if !errors.Is(err, client.ErrUnreachable) || !slices.Equal(stages, []string{"half"}) {
		t.Errorf("stages %v, then %v", stages, err)
	}
	if err := c.Drill(t.Context(), nil, func(wire.DrillReport) {}); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("drill: %v", err)
	}
	failed := newClient(t, answer(200, `{"progress":{"stage":"half"}}`+"\n"+`{"error":{"code":"internal","message":"no glue"}}`+"\n"))
	if _, err := failed.Do(t.Context(), "host", "prune", nil, nil); !client.IsCode(err, "internal") {
		t.Errorf("an error on the way: %v", err)
	}
	done := newClient(t, answer(200, "\n"+`{"done":true,"result":"ok"}`+"\n"))
	if end, err := done.Do(t.Context(), "host", "prune", nil, nil); err != nil || end.Result != "ok" {
		t.Errorf("%+v, %v", end, err)
	}
}
