package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HTTPOptions say how an HTTP receiver is reached. URLs may carry a token in
// their path and are shown nowhere: see [SafeURL].
type HTTPOptions struct {
	URL   string
	Roots []byte // PEM; nil: the system's
	// Proxy is the URL of a proxy; "" is none, whatever the environment says.
	Proxy string
}

// SafeURL is what of a URL may be shown: its scheme and host.
func SafeURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "[url]"
	}
	return u.Scheme + "://" + u.Host
}

// poster sends requests to one HTTP receiver.
type poster struct {
	url    *url.URL
	proxy  *url.URL // nil: none
	tls    *tls.Config
	client *http.Client
}

func newPoster(o HTTPOptions, parallel int) (*poster, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the URL is not of the form http://host/path or https://host/path")
	}
	p := &poster{url: u, tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}}
	if o.Roots != nil {
		p.tls.RootCAs = x509.NewCertPool()
		if !p.tls.RootCAs.AppendCertsFromPEM(o.Roots) {
			return nil, errors.New("the bundle of authorities holds no certificate")
		}
	}
	t := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: deadline}).DialContext,
		TLSClientConfig: p.tls.Clone(), ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: parallel, MaxConnsPerHost: parallel,
	}
	if o.Proxy != "" {
		if p.proxy, err = url.Parse(o.Proxy); err != nil || p.proxy.Host == "" {
			return nil, errors.New("the proxy is not of the form http://host:port")
		}
		t.Proxy = http.ProxyURL(p.proxy)
	}
	// A redirect would carry evidence to a place that nobody has configured.
	p.client = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return p, nil
}

// maxAnswer bounds what is read of an answer to a message, maxListing what is
// read of an answer to a question, in bytes.
const (
	maxAnswer  = 64 << 10
	maxListing = 64 << 20
)

// do sends one request to the receiver's URL, or to path on its host, and
// returns the answer's status and body. Errors never hold the URL.
func (p *poster) do(ctx context.Context, method, path string, header http.Header, body []byte) (string, []byte, error) {
	u := *p.url
	if path != "" {
		rest, query, _ := strings.Cut(path, "?")
		u = *p.url.JoinPath(rest)
		u.RawQuery = query
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return "", nil, bare(err)
	}
	req.Header = header
	req.Header.Set("User-Agent", "allclear")
	resp, err := p.client.Do(req)
	if err != nil {
		return "", nil, bare(err)
	}
	defer resp.Body.Close()
	limit := int64(maxAnswer)
	if method == http.MethodGet {
		limit = maxListing
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return "", nil, fmt.Errorf("read the answer: %w", bare(err))
	}
	answer := strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	return answer, b, judgeStatus(resp, answer, b)
}

// bare takes the URL out of an error of net/http.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// judgeStatus tells a refused message from a receiver that is not well.
func judgeStatus(resp *http.Response, answer string, body []byte) error {
	said := answer
	if text := strings.TrimSpace(string(body)); text != "" {
		said += ": " + cut(oneLine(text), 200)
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("the receiver redirects (%s); redirects are not followed", answer)
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return &BusyError{said, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	case code == 400 || code == 406 || code == 409 || code == 410 || code == 413 || code == 415 || code == 422:
		return &RejectedError{said}
	}
	return errors.New("the receiver answers " + said) // 401, 404, 500 ...: no message would get through
}

// retryAfter reads the header (RFC 9110 section 10.2.3); 0 if it says nothing.
func retryAfter(h string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return time.Duration(min(s, 3600)) * time.Second
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// reach connects to the receiver, or to the proxy before it, and shakes hands
// where TLS is spoken.
func (p *poster) reach(ctx context.Context) (string, error) {
	target := p.url
	if p.proxy != nil {
		target = p.proxy
	}
	port := target.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[target.Scheme]
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(target.Hostname(), port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if p.proxy != nil {
		return "the proxy before the receiver takes connections", nil
	}
	if target.Scheme != "https" {
		return "the receiver takes connections", stays(conn)
	}
	if err := tls.Client(conn, p.tls).HandshakeContext(ctx); err != nil {
		return "", fmt.Errorf("TLS handshake: %w", err)
	}
	return "the receiver takes connections and its certificate is good", nil
}

// stayFor is how long a receiver is given to end a connection at once.
const stayFor = 50 * time.Millisecond

// stays answers the error of a receiver that takes a connection only to end it.
func stays(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(stayFor)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return errors.New("the receiver ends the connection at once")
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil // it waits for a request
	}
	return err
}

// dial connects within the deadline.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: deadline}).DialContext(ctx, network, address)
}

func (p *poster) close() { p.client.CloseIdleConnections() }
