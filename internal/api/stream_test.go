package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// follow opens the event stream; next returns the next event's id, kind and
// data.
func (f *fixture) follow(path string, header ...string) (next func() (id, kind string, ev fault.Event)) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://agent"+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { resp.Body.Close() })
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		f.t.Fatalf("%s: %s, %s", path, resp.Status, ct)
	}
	sc := bufio.NewScanner(resp.Body)
	return func() (id, kind string, ev fault.Event) {
		f.t.Helper()
		for sc.Scan() {
			field, value, _ := strings.Cut(sc.Text(), ": ")
			switch field {
			case "id":
				id = value
			case "event":
				kind = value
			case "data":
				if err := json.Unmarshal([]byte(value), &ev); err != nil {
					f.t.Fatalf("event %s: %v", value, err)
				}
				return id, kind, ev
			}
		}
		f.t.Fatalf("the stream ended: %v", sc.Err())
		return
	}
}

func TestEventsArriveAsTheyHappenAndResumeWithoutAGap(t *testing.T) {
	f := start(t)
	next := f.follow("/v1/events")
	f.raise()
	id, kind, ev := next()
	for kind != string(fault.KindRaise) { // the agent's own start may still be told of
		id, kind, ev = next()
	}
	if id != fmt.Sprint(ev.Seq) || ev.Key.Code != codeBroken {
		t.Fatalf("id %s, event %+v", id, ev)
	}
	f.demo.broken.Store(false)
	f.do("POST", "/v1/verify", `{"select":["thing"]}`)
	_, kind, live := next()
	if kind != string(fault.KindClear) || live.Seq != ev.Seq+1 {
		t.Fatalf("then: %s %+v", kind, live)
	}
	resumed := f.follow("/v1/events", "Last-Event-ID", id)
	if _, kind, again := resumed(); kind != string(fault.KindClear) || again.Seq != live.Seq {
		t.Errorf("resumed after %s with %s %+v", id, kind, again)
	}
	fromStart := f.follow("/v1/events?after=0")
	for want := uint64(1); want <= live.Seq; want++ {
		if _, _, e := fromStart(); e.Seq != want {
			t.Fatalf("from the start: seq %d, want %d", e.Seq, want)
		}
	}
}

func TestAReaderOfAnotherJournalIsToldSo(t *testing.T) {
	f := start(t)
	for _, c := range [][]string{
		{"/v1/events?after=1000000"},
		{"/v1/events", "Last-Event-ID", "1000000"},
		{"/v1/events?after=0&epoch=another"},
	} {
		resp, text := f.do("GET", c[0], "", c[1:]...)
		var reply wire.ErrorReply
		if err := json.Unmarshal([]byte(text), &reply); err != nil || resp.StatusCode != 409 || reply.Error.Code != "other-epoch" {
			t.Errorf("%v: %s %s", c, resp.Status, text)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	f := start(t)
	for range maxStreams {
		f.server.streams <- struct{}{}
	}
	if resp, text := f.do("GET", "/v1/events", ""); resp.StatusCode != 503 || !strings.Contains(text, "too-many-streams") {
		t.Errorf("one too many: %s %s", resp.Status, text)
	}
	<-f.server.streams
	next := f.follow("/v1/events?after=0")
	if _, _, ev := next(); ev.Seq != 1 {
		t.Errorf("a place is free again, but the first event is %+v", ev)
	}
}

// source yields n numbers, then waits for its context; it tells when it ended.
func source(n int, ended *bool) func(context.Context) iter.Seq2[int, error] {
	return func(ctx context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			defer func() { *ended = true }()
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
			<-ctx.Done()
		}
	}
}

func TestAnIdleStreamBeatsAndEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(4*beatEvery+time.Second, func() { close(stop) })
		beats, items, ended := 0, 0, false
		err := pump(t.Context(), stop, source(2, &ended), func(int) error { items++; return nil }, func() error { beats++; return nil })
		if err != nil || items != 2 || beats != 4 || !ended {
			t.Errorf("%v: %d items, %d beats, source ended %v", err, items, beats, ended)
		}
	})
}

func TestAReaderThatIsGoneEndsItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, ended := errors.New("write: broken pipe"), false
		err := pump(t.Context(), nil, source(5, &ended), func(i int) error {
			if i == 1 {
				return gone
			}
			return nil
		}, func() error { return nil })
		if !errors.Is(err, gone) || !ended {
			t.Errorf("%v, source ended %v", err, ended)
		}
		ended = false
		err = pump(t.Context(), nil, source(0, &ended), func(int) error { return nil }, func() error { return gone })
		if !errors.Is(err, gone) || !ended {
			t.Errorf("found out by a beat: %v, source ended %v", err, ended)
		}
	})
}

func TestACallerThatHangsUpFreesItsPlace(t *testing.T) {
	f := start(t)
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://agent/v1/demo/beats?stay=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != `{"item":1}`+"\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	if len(f.server.streams) != 1 {
		t.Errorf("%d places taken", len(f.server.streams))
	}
	hangUp()
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	f.eventually("the place is free", func() bool { return len(f.server.streams) == 0 })
}

// oneConn is a listener that hands out one connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.done); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestAReaderThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{streams: make(chan struct{}, 1), stopping: make(chan struct{})}
		endless := subsystem.Stream{Open: func(context.Context, url.Values) (iter.Seq2[any, error], error) {
			return func(yield func(any, error) bool) {
				for yield(strings.Repeat("x", 4096), nil) {
				}
			}, nil
		}}
		begun, ended := time.Now(), make(chan error, 1)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ended <- s.follow(w, r, endless) })}
		ln := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
		ours, theirs := net.Pipe()
		ln.conns <- theirs
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		if _, err := io.WriteString(ours, "GET / HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("the stream ended without an error")
		}
		if took := time.Since(begun); took != writeWait {
			t.Errorf("cut off after %s, want %s", took, writeWait)
		}
		if len(s.streams) != 0 {
			t.Error("its place is not free")
		}
		ours.Close()
		srv.Close()
		<-served
	})
}
