package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"time"

	"allclear/internal/subsystem"
	"allclear/internal/wire"
)

// mounted returns the routes of a subsystem.
func mounted(sub subsystem.Subsystem) []Route {
	base := "/v1/" + sub.Name() + "/"
	var all []Route
	if v, ok := sub.(subsystem.Shower); ok {
		for _, view := range v.Views() {
			all = append(all, Route{
				Method: "GET", Path: base + strings.TrimPrefix(view.Path, "/"), Role: view.Role, Door: Socket, Timeout: quick,
				Doc: "view of subsystem " + sub.Name(),
				answer: func(_ *Server, _ http.ResponseWriter, r *http.Request) (any, error) {
					return view.Get(r.Context(), r.URL.Query())
				},
			})
		}
	}
	if v, ok := sub.(subsystem.Streamer); ok {
		for _, stream := range v.Streams() {
			all = append(all, Route{
				Method: "GET", Path: base + strings.TrimPrefix(stream.Path, "/"), Role: stream.Role, Door: Socket,
				Doc:    "stream of subsystem " + sub.Name() + ", one JSON object a line",
				stream: func(s *Server, w http.ResponseWriter, r *http.Request) error { return s.follow(w, r, stream) },
			})
		}
	}
	if v, ok := sub.(subsystem.Downloader); ok {
		for _, d := range v.Downloads() {
			all = append(all, Route{
				Method: "GET", Path: base + strings.TrimPrefix(d.Path, "/"), Role: d.Role, Door: Socket, Change: true,
				Doc:    "download of subsystem " + sub.Name() + ", " + d.Type,
				stream: func(s *Server, w http.ResponseWriter, r *http.Request) error { return s.download(w, r, d) },
			})
		}
	}
	if v, ok := sub.(subsystem.Actor); ok {
		for _, act := range v.Actions() {
			all = append(all, Route{
				Method: "POST", Path: base + act.Name, Role: act.Role, Door: Socket, Timeout: working, Change: true,
				Doc: "action of subsystem " + sub.Name() + "; progress, then the result, one JSON object a line",
				stream: func(s *Server, w http.ResponseWriter, r *http.Request) error {
					return s.act(w, r, sub.Name(), act.Name)
				},
			})
		}
	}
	return all
}

// follow writes a subsystem's stream, one JSON object a line. A blank line
// shows that an idle stream lives.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, st subsystem.Stream) error {
	release, err := s.place()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	seq, err := st.Open(ctx, r.URL.Query())
	if err != nil {
		return err
	}
	out := begin(w, "application/x-ndjson")
	err = pump(ctx, s.stopping, func(context.Context) iter.Seq2[any, error] { return seq },
		func(v any) error {
			b, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return out.json(wire.StreamLine{Item: b})
		},
		func() error { return out.write("\n") })
	if err != nil && r.Context().Err() == nil {
		_ = out.json(wire.StreamLine{Error: &describe(err).body}) // err counts
	}
	return err
}

// act carries out an action; its progress is told as it happens.
func (s *Server) act(w http.ResponseWriter, r *http.Request, sub, action string) error {
	in := json.RawMessage("{}")
	if err := decode(w, r, &in); err != nil {
		return err
	}
	return s.work(w, r, func(ctx context.Context, tell func(any)) (any, error) {
		out, events, err := s.opts.Agent.Do(ctx, sub, action, in, func(p wire.Progress) { tell(wire.ActionLine{Progress: &p}) })
		return wire.ActionLine{Done: true, Result: out, Events: events}, err
	}, func(e *wire.Error) any { return wire.ActionLine{Error: e} })
}

// download writes a subsystem's bytes as they come.
func (s *Server) download(w http.ResponseWriter, r *http.Request, d subsystem.Download) error {
	release, err := s.place()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return d.Send(ctx, r.URL.Query(), &bytesOut{w: w, kind: d.Type})
}

// downloadWait is how long a reader may take for one piece: it writes it to a
// disk that may be slow, or waits for a person.
const downloadWait = 5 * time.Minute

// bytesOut begins an answer with its first byte. A reader that does not take a
// piece within downloadWait is cut off.
type bytesOut struct {
	w     http.ResponseWriter
	kind  string
	begun bool
}

func (b *bytesOut) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", b.kind)
		b.w.Header().Set("Cache-Control", "no-store")
	}
	_ = http.NewResponseController(b.w).SetWriteDeadline(time.Now().Add(downloadWait)) // only recorders refuse it
	return b.w.Write(p)
}
