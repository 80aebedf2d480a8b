package lab

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// HTTPOptions are the switches of the answer to a request. The zero value
// answers 200 with a small JSON body.
type HTTPOptions struct {
	Status     int // 200 when 0
	Header     http.Header
	Body       string
	Portal     bool          // 200 with an HTML page, like a login portal
	Redirect   string        // Location, with status 302 unless Status is set
	DateOffset time.Duration // on top of ClockOffset
	NoDate     bool
	Truncate   bool // promise twice the body, then end the connection or stream
	Hang       bool // never answer
	GRPCStatus int  // answer gRPC requests with this status; 0 is OK
	Abort      bool // end the connection or stream without an answer
}

const portalPage = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please accept the terms of use.</body></html>\n"

// answer is the one handler of a lab's web server.
func (s *TLSServer) answer(w http.ResponseWriter, r *http.Request) {
	s.note(func(n *ServerSeen) { n.Requests++ })
	o := s.opt.get()
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20)) // the body means nothing here
	h := w.Header()
	for k, v := range o.Header {
		h[k] = v
	}
	if o.NoDate {
		h["Date"] = nil // net/http leaves it out
	} else {
		h.Set("Date", time.Now().Add(o.ClockOffset+o.DateOffset).UTC().Format(http.TimeFormat))
	}
	switch {
	case o.Hang:
		<-r.Context().Done()
		return
	case o.Abort:
		panic(http.ErrAbortHandler)
	case r.Header.Get("Content-Type") == "application/grpc" && o.Status == 0:
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", strconv.Itoa(o.GRPCStatus)) // a "trailers-only" answer
		w.WriteHeader(http.StatusOK)
		return
	}
	s.body(w, o)
}

// body writes status and body as the switches say.
func (s *TLSServer) body(w http.ResponseWriter, o TLSOptions) {
	h := w.Header()
	body, status := o.Body, o.Status
	if body == "" {
		body = "{\"status\":\"ok\"}\n"
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	if o.Portal {
		body = portalPage
		h.Set("Content-Type", "text/html; charset=utf-8")
	}
	if o.Redirect != "" {
		h.Set("Location", o.Redirect)
		if status == 0 {
			status = http.StatusFound
		}
	}
	if status == 0 {
		status = http.StatusOK
	}
	if o.Truncate {
		h.Set("Content-Length", strconv.Itoa(2*len(body)))
	}
	w.WriteHeader(status)
	if _, err := fmt.Fprint(w, body); err != nil || !o.Truncate {
		return
	}
	_ = http.NewResponseController(w).Flush() // so that the half is on the wire
	panic(http.ErrAbortHandler)
}
