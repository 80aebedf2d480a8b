package netdiag

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// replayConn gives back what the quiet read took, and keeps the last error.
type replayConn struct {
	net.Conn

	mu    sync.Mutex // guards the fields below
	early []byte
	err   error
}

func (c *replayConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		c.mu.Unlock()
		return n, nil
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) { // closed by ourselves says nothing
		c.mu.Lock()
		if c.err == nil {
			c.err = err
		}
		c.mu.Unlock()
	}
	return n, err
}

// last is the first error a read met; it says more than what HTTP makes of it.
func (c *replayConn) last() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// answer is a response whose body was read within bounds.
type answer struct {
	resp *http.Response
	body []byte // the first 4 KiB
	size int64
	err  error // what cut the body off
	at   time.Time
}

// http sends the request and judges the answer, then the clock by its Date.
func (r *run) http(ctx context.Context) bool {
	if r.t.HTTP == nil {
		r.skip(StepHTTP, "not needed: no request is wanted")
		r.skip(StepClock, "not needed: no request is wanted")
		return true
	}
	st := begin(StepHTTP)
	h2 := r.shake != nil && r.shake.state.NegotiatedProtocol == "h2"
	if r.t.HTTP.GRPC != "" && !h2 {
		return r.fail(st, GRPCNoH2, "the connection speaks HTTP/1.1")
	}
	req, err := r.request(ctx)
	if err != nil {
		return r.fail(st, BadTarget, err.Error())
	}
	a, err := r.exchange(ctx, req, h2)
	r.conn.measure(st)
	if err != nil {
		return r.noAnswer(ctx, st, err)
	}
	r.rep.HTTP = httpInfo(a)
	st.Evidence["status"] = fmt.Sprint(a.resp.StatusCode)
	cause, detail := r.judgeAnswer(a)
	if cause != "" {
		r.blameAnswer(st, a, cause, detail)
	} else {
		r.ok(st, a.resp.Proto+" "+a.resp.Status)
	}
	r.clock(a)
	return false // the top of the ladder
}

func (r *run) request(ctx context.Context) (*http.Request, error) {
	h := r.t.HTTP
	scheme := "https"
	if r.t.Plain {
		scheme = "http"
	}
	host := r.name
	if (r.goal.port != 443 || r.t.Plain) && (r.goal.port != 80 || !r.t.Plain) {
		host = hop{host: r.name, port: r.goal.port}.String()
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	method, path, body := h.Method, h.Path, io.Reader(nil)
	if h.GRPC != "" {
		// One empty message: not compressed, length 0.
		method, path, body = http.MethodPost, h.GRPC, bytes.NewReader(make([]byte, 5))
	}
	u, err := url.Parse(scheme + "://" + host + path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "allclear")
	for k, v := range h.Header {
		req.Header[k] = v
	}
	if h.GRPC != "" {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	return req, nil
}

// exchange sends req over the connection of this climb and reads the answer.
func (r *run) exchange(ctx context.Context, req *http.Request, h2 bool) (*answer, error) {
	defer until(ctx, r.conn, r.t.Timeouts.HTTP)()
	if !h2 {
		return r.exchange1(req)
	}
	ctx, cancel := context.WithTimeout(ctx, r.t.Timeouts.HTTP)
	defer cancel()
	// net/http opens its connections itself; this one has been climbed to.
	//lint:ignore SA1019 http.Transport.NewClientConn takes no connection
	t := &http2.Transport{MaxHeaderListSize: maxHead, DisableCompression: true}
	//lint:ignore SA1019 as above
	cc, err := t.NewClientConn(r.app)
	if err != nil {
		return nil, err
	}
	defer cc.Close() // the answer has been read
	resp, err := cc.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // read to its end or its bound
	return r.readBody(resp), nil
}

func (r *run) exchange1(req *http.Request) (*answer, error) {
	req.Close = true
	if err := req.Write(r.app); err != nil && !isReset(err) {
		return nil, err
	}
	// A reset while writing: the answer may have come before it.
	limited := &io.LimitedReader{R: r.app, N: maxHead}
	in := bufio.NewReader(limited)
	for range 6 { // a few informational answers (RFC 9110 section 15.2)
		resp, err := http.ReadResponse(in, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			limited.N = r.t.HTTP.MaxBody + maxHead
			return r.readBody(resp), nil
		}
	}
	return nil, errors.New("nothing but informational answers")
}

// readBody reads at most MaxBody bytes; more is not an error.
func (r *run) readBody(resp *http.Response) *answer {
	a := &answer{resp: resp, at: r.t.Now()}
	var kept bytes.Buffer
	body := io.LimitReader(resp.Body, r.t.HTTP.MaxBody)
	n, err := io.CopyN(&kept, body, 4<<10)
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, body)
		n += more
	}
	if !errors.Is(err, io.EOF) {
		a.err = err
	}
	a.size, a.body = n, kept.Bytes()
	return a
}

// noAnswer names a request without an answer. The server's late word on our
// certificate may be what really happened.
func (r *run) noAnswer(ctx context.Context, st *Step, err error) bool {
	first := r.app.last()
	for _, e := range []error{first, err} {
		if r.shake != nil && r.shake.asked && remoteAlert(e) >= 0 {
			cst := begin(StepClientCert)
			r.clientEvidence(cst, r.shake)
			cause, detail := r.clientVerdict(cst, r.shake, e)
			r.dropStep(StepClientCert)
			return r.fail(cst, cause, detail)
		}
	}
	if _, ok := errors.AsType[http2.StreamError](err); ok {
		return r.fail(st, HTTPReset, plain(err))
	}
	if timedOut(err) || timedOut(first) {
		return r.fail(st, HTTPTimeout, fmt.Sprintf("no answer within %s", r.t.Timeouts.HTTP))
	}
	ended, reset := hungUp(err)
	if e, rs := hungUp(first); e {
		ended, reset = true, rs
	}
	if ended && r.secondVerdict(ctx) {
		return false
	}
	switch {
	case ended && reset:
		return r.fail(st, HTTPReset, plain(err))
	case ended:
		return r.fail(st, HTTPClosed, plain(err))
	}
	return r.fail(st, HTTPMalformed, plain(err))
}

func httpInfo(a *answer) *HTTPInfo {
	h := a.resp.Header
	i := &HTTPInfo{
		Proto: a.resp.Proto, Status: a.resp.StatusCode, ContentType: clip(h.Get("Content-Type")),
		Server: clip(h.Get("Server")), Location: clip(h.Get("Location")), RetryAfter: clip(h.Get("Retry-After")),
		BodyBytes: a.size, authenticate: h.Get("WWW-Authenticate"),
	}
	for _, from := range []http.Header{h, a.resp.Trailer} { // in the headers when the answer is trailers only
		if v := from.Get("Grpc-Status"); v != "" {
			i.GRPCStatus, i.GRPCMessage = clip(v), clip(from.Get("Grpc-Message"))
		}
	}
	return i
}

// clip bounds a foreign header value.
func clip(s string) string { return s[:min(len(s), 256)] }
