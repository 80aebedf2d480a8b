package netdiag

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxHead bounds what is read of an answer's status line and headers.
const maxHead = 64 << 10

// proxy asks the proxy for the goal: CONNECT is a step of its own.
func (r *run) proxy(ctx context.Context) bool {
	if r.proxyURL == nil {
		r.skip(StepProxy, "not needed: no proxy is configured")
		return true
	}
	st := begin(StepProxy)
	st.Evidence["proxy"] = r.proxyURL.Scheme + "://" + r.via.String()
	raw := r.conn
	w, err := r.connect(ctx, raw)
	raw.measure(st)
	var said *proxyAnswer
	if errors.As(err, &said) {
		st.Evidence["status"] = fmt.Sprint(said.status)
		if len(said.schemes) > 0 {
			st.Evidence["scheme"] = strings.Join(said.schemes, ", ")
		}
	}
	var failed *proxyFailure
	if errors.As(err, &failed) {
		return r.fail(st, failed.cause, failed.Error())
	}
	r.conn = w
	return r.ok(st, "connected to "+r.goal.String())
}

// proxyAnswer is a refusal by status.
type proxyAnswer struct {
	status  int
	schemes []string // of Proxy-Authenticate
}

func (p *proxyAnswer) Error() string {
	return fmt.Sprintf("the proxy answers %d %s", p.status, http.StatusText(p.status))
}

// proxyFailure is the cause why no tunnel was opened.
type proxyFailure struct {
	cause Cause
	err   error
}

func (p *proxyFailure) Error() string { return plain(p.err) }
func (p *proxyFailure) Unwrap() error { return p.err }

// connect does TLS to the proxy if wanted, and CONNECT. The result counts the
// traffic to the goal alone; every error is a *proxyFailure.
func (r *run) connect(ctx context.Context, c *wireConn) (*wireConn, error) {
	defer until(ctx, c, r.t.Timeouts.Proxy)()
	pipe := c
	if r.proxyURL.Scheme == "https" {
		pool, err := parsePool(r.t.ProxyRoots)
		if err != nil {
			return nil, &proxyFailure{ProxyTLS, err}
		}
		t := tls.Client(c, &tls.Config{ServerName: r.via.host, RootCAs: pool, Time: r.t.Now, NextProtos: []string{"http/1.1"}})
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, &proxyFailure{ProxyTLS, err}
		}
		pipe = newWireConn(t)
	}
	if _, err := io.WriteString(pipe, r.connectRequest()); err != nil {
		return nil, &proxyFailure{ProxyClosed, err}
	}
	in := bufio.NewReaderSize(io.LimitReader(oneByte{pipe}, maxHead), 16)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, proxyReadFailure(err, pipe.traffic().head)
	}
	if cause := proxyStatusCause(resp.StatusCode); cause != "" {
		said := &proxyAnswer{status: resp.StatusCode}
		for _, v := range resp.Header.Values("Proxy-Authenticate") {
			scheme, _, _ := strings.Cut(v, " ")
			said.schemes = append(said.schemes, scheme)
		}
		return nil, &proxyFailure{cause, said}
	}
	return newWireConn(pipe), nil
}

// oneByte reads a byte at a time, so that nothing of what follows the proxy's
// answer is swallowed.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return o.r.Read(p[:1])
}

func (r *run) connectRequest() string {
	auth := ""
	if u := r.proxyURL.User; u != nil {
		pw, _ := u.Password()
		auth = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pw)) + "\r\n"
	}
	return "CONNECT " + r.goal.String() + " HTTP/1.1\r\nHost: " + r.goal.String() + "\r\n" + auth + "\r\n"
}

// proxyReadFailure names an answer that did not come or is none.
func proxyReadFailure(err error, head []byte) *proxyFailure {
	switch {
	case timedOut(err) && len(head) == 0:
		return &proxyFailure{ProxyHang, errors.New("no answer to CONNECT in time")}
	case len(head) > 0:
		return &proxyFailure{ProxyNotHTTP, errors.New("first bytes " + quoteHead(head))}
	}
	return &proxyFailure{ProxyClosed, err}
}

// proxyStatusCause names a status that refuses; "" for 2xx.
func proxyStatusCause(status int) Cause {
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusProxyAuthRequired:
		return ProxyAuth
	case status == http.StatusForbidden:
		return ProxyForbidden
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable:
		return ProxyBadGateway
	case status == http.StatusGatewayTimeout:
		return ProxyTimeout
	}
	return ProxyStatus
}
